//! Pages that come into being by a write: filled while nothing is locked, then put in.
//!
//! A page that is not in the cache, and of which nothing else remains, needs no copy under its
//! lock: the bytes go into a frame that nothing else knows, as into a temporary page, and the frame
//! becomes the page. A source that comes short, or a thread that was faster with the page, costs
//! the frame and no more. Both strategies do so.
//!
//! [`write_page`] is tried first, for a request that one page takes, from one segment: it has
//! neither claim nor cursor, and whatever is out of the ordinary is undone, and left to
//! [`step`](super::step). [`Writer::step_fresh`] is a step of the general path, for as many pages
//! as there are frames side by side.
#![forbid(unsafe_code)]

use faultless_page::{
    AddressSpaceOperations, Contents, Errno, FrameBatch, Kernel, LockedRun, PAGE_SIZE, PageIndex,
    PageRun, Reserved, SlotMask, Strategy,
};
use faultless_usercopy::{UserMemory, WholeRequest};

use super::chunk::{has_rest, take_back};
use super::hot::admit;
use super::request::{Attempt, Mode, Stop};
use super::writer::{Unwinding, Writer};
use crate::inode::Inode;
use crate::limits;
use crate::options::{Position, Retention, Written};
use crate::ranges::ByteRange;
use crate::task::{Caller, Task};
use crate::token::{InodeLocks, PageLocks};
use crate::transfer::{fill, fill_whole};

/// What the store says of bytes, which are all that is written of their pages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Room {
    /// It has room for so many of them, not 0, from the first one on.
    For(usize, Reserved),
    /// It holds bytes around them, which have to be read. It has been told that none came.
    Stored,
    /// None.
    Refused(Errno),
}

/// What came of [`write_page`].
pub(super) enum NewPage {
    /// All bytes landed.
    Landed(Written),
    /// No byte has. The times may have been stamped. What the first attempt of the general path
    /// comes to, if that is known.
    Left(Option<Attempt>),
}

impl NewPage {
    /// It is not there, as far as is known.
    const ABSENT: Self = Self::Left(Some(Attempt::NotReady(1)));
}

/// Pages for which the store has room.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Granted {
    slots: SlotMask,
    /// Those of them that have room for all of a page.
    reserved: SlotMask,
    /// The last page of each of the store's answers.
    ends: SlotMask,
}

impl Granted {
    /// The store has room for bytes of the pages of `run`.
    #[inline(always)]
    fn add(&mut self, run: Option<PageRun>, reserved: Reserved) {
        let Some(run) = run else { return };
        self.slots |= run.mask();
        self.ends |= run.last().bit();
        if reserved == Reserved::Fully {
            self.reserved |= run.mask();
        }
    }
}

/// What became of new pages.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct PutIn {
    /// Bytes that landed, from the first one on.
    bytes: usize,
    /// Pages that became dirty.
    pages: u32,
    /// Why no more landed, if the store has refused the first of the others.
    refused: Option<Errno>,
    /// The store was asked for room past the bytes that landed.
    overreached: bool,
}

/// Writes all of `whole` to a page that is not there yet, if that is possible without waiting: past
/// the end of the file; or inside it, if an attempt to `overwrite` has come to that.
///
/// # Errors
/// The store's. No byte has landed.
#[inline(always)] // into its only caller
pub(super) fn write_page<K: Kernel, U: UserMemory<Token: InodeLocks> + ?Sized, T: Task>(
    inode: &Inode<K>,
    token: &mut U::Token,
    whole: &WholeRequest<'_, U>,
    position: Position,
    overwrite: Option<Attempt>,
    task: &T,
) -> Result<NewPage, Errno> {
    if let Position::At(start) = position
        && start < inode.size()
    {
        return match overwrite {
            Some(Attempt::NotReady(1)) => {
                write_page_at(inode, token, whole, start, Mode::Overwrite, task)
            }
            _ => Ok(NewPage::Left(overwrite)),
        };
    }
    // The page of the end is there, or has to be locked as well (P2).
    let ends_in_page = || inode.eof().offset_in_page() != 0;
    if ends_in_page() {
        return Ok(NewPage::Left(None));
    }
    let Some(_size_lock) = inode.lock.try_lock(inode.mapping().cache().wait()) else {
        return Ok(NewPage::Left(None));
    };
    let size = inode.size();
    let start = match position {
        Position::At(start) => start,
        Position::Append => size,
    };
    // Once more, now that the end stays where it is.
    if start < size || ends_in_page() || inode.size_changes.is_cut_incomplete() {
        return Ok(NewPage::Left(None));
    }
    let unwinding = Unwinding::of(inode);
    let written = write_page_at(inode, token, whole, start, Mode::Grow, task);
    unwinding.forget();
    written
}

/// The same at `start`. I is held if the file grows.
#[inline(always)]
fn write_page_at<K: Kernel, U: UserMemory<Token: InodeLocks> + ?Sized, T: Task>(
    inode: &Inode<K>,
    token: &mut U::Token,
    whole: &WholeRequest<'_, U>,
    start: u64,
    mode: Mode,
    task: &T,
) -> Result<NewPage, Errno> {
    let page = PageIndex::containing(start);
    let left = match mode {
        Mode::Overwrite => NewPage::ABSENT,
        Mode::Grow => NewPage::Left(None),
    };
    let Some(end) = start.checked_add(whole.len() as u64) else { return Ok(left) };
    let bytes = ByteRange { start, end };
    if bytes.end > page.plus(1).start()
        || bytes.end > limits::end(inode.max_size().get(), task)
        || !may_be_fresh(inode, bytes)
    {
        return Ok(left);
    }
    if mode == Mode::Grow {
        inode.file_modified(task);
    }
    promised(inode, 1, task, Ok(left), || {
        let written = fill_page(inode, token, whole, page, (mode, bytes), task);
        (u32::from(matches!(written, Ok(NewPage::Landed(_)))), written)
    })
}

/// Lets `write` make `pages` pages dirty, if the task is promised as many; what it says, besides
/// how many it has. Otherwise `refused`.
#[inline(always)]
fn promised<K: Kernel, T: Task, R>(
    inode: &Inode<K>,
    pages: u32,
    task: &T,
    refused: R,
    write: impl FnOnce() -> (u32, R),
) -> R {
    if !inode.limits_dirty::<T>() {
        return write().1;
    }
    let is_promised = task.admit_dirty(inode.mapping().store_id(), pages) >= pages;
    let (dirtied, result) = if is_promised { write() } else { (0, refused) };
    task.settle_dirty(dirtied);
    result
}

/// Whether absent pages of which `bytes` are all that is written can be had without reading, unless
/// the store says otherwise.
#[inline]
fn may_be_fresh<K: Kernel>(inode: &Inode<K>, bytes: ByteRange) -> bool {
    let is_whole = (bytes.start | bytes.end).is_multiple_of(PAGE_SIZE as u64);
    is_whole
        || inode.mapping().holes_are_zeros()
        || PageIndex::containing(bytes.start) >= inode.eof().page_from()
}

/// The same with all that stands in its way out of it, but what happens meanwhile.
#[inline(always)]
fn fill_page<K: Kernel, U: UserMemory<Token: InodeLocks> + ?Sized, T: Task>(
    inode: &Inode<K>,
    token: &mut U::Token,
    whole: &WholeRequest<'_, U>,
    page: PageIndex,
    (mode, bytes): (Mode, ByteRange),
    task: &T,
) -> Result<NewPage, Errno> {
    let mapping = inode.mapping();
    let Ok(mut frames) = mapping.cache().allocate_hot(1) else { return Ok(NewPage::ABSENT) };
    match fill_whole(&mut frames, whole, bytes.start as usize % PAGE_SIZE) {
        0 => {}
        left if left == whole.len() => return Ok(NewPage::Left(Some(Attempt::Nothing))),
        _ => return Ok(NewPage::ABSENT),
    }
    let (locks, killed) = (token.page_locks(), Caller(task));
    let run = PageRun::single(page);
    let Ok(mut locked) = mapping.lock_or_create_killable(locks, run, &killed) else {
        return Ok(NewPage::ABSENT);
    };
    if !locked.present().is_empty() || !inode.ranges.are_free() {
        return Ok(NewPage::Left(None));
    }
    let slot = locked.insert_batch(page.bit(), &mut frames);
    if is_out_of_place(inode, mode, bytes) {
        take_back(&mut locked, slot);
        return Ok(NewPage::Left(None));
    }
    match ask_for_room(inode, bytes.start, bytes.len()) {
        Room::For(len, reserved) if len == bytes.len() => {
            let mut room = Granted::default();
            room.add(Some(run), reserved);
            let _new = land(inode, &mut locked, mode, bytes, room, task);
            return Ok(NewPage::Landed(Written { bytes: len, end: bytes.end }));
        }
        Room::For(len, _) => {
            mapping.store().write_end(bytes.start, len, 0);
            take_back(&mut locked, slot);
            drop(locked);
            if mode == Mode::Grow {
                inode.give_back(token, task);
            }
        }
        Room::Stored => take_back(&mut locked, slot),
        Room::Refused(errno) => {
            take_back(&mut locked, slot);
            return Err(errno);
        }
    }
    Ok(NewPage::ABSENT)
}

/// Whether pages that were just put in must not take `bytes`. Truncation only waits for pages that
/// were inserted before its scan, and so does a shift: an overwrite looks again, and reserves no
/// blocks for the pages otherwise (W9).
#[inline(always)]
fn is_out_of_place<K: Kernel>(inode: &Inode<K>, mode: Mode, bytes: ByteRange) -> bool {
    if mode == Mode::Grow {
        return false;
    }
    let (size, moving) = inode.size_and_moving_after_insertion();
    bytes.end > size.min(moving).get()
}

/// Asks the store for room for the `len` bytes at `pos`, not 0, all that is written of their pages.
#[inline]
fn ask_for_room<K: Kernel>(inode: &Inode<K>, pos: u64, len: usize) -> Room {
    let store = inode.mapping().store();
    let begun = match store.write_begin_run(pos, len) {
        Ok(begun) => begun,
        Err(errno) => return Room::Refused(errno),
    };
    let granted = begun.len.clamp(1, len);
    if begun.contents == Contents::Hole || !has_rest(inode, pos, granted) {
        return Room::For(granted, begun.reserved);
    }
    store.write_end(pos, granted, 0);
    Room::Stored
}

/// Pages with `bytes` have come into being: those of `room`. Those that were not dirty.
#[inline(always)]
fn land<K: Kernel, T: Task>(
    inode: &Inode<K>,
    locked: &mut LockedRun<'_, K>,
    mode: Mode,
    bytes: ByteRange,
    room: Granted,
    task: &T,
) -> SlotMask {
    let Granted { slots, reserved, ends } = room;
    locked.set_uptodate(slots);
    locked.set_reserved(reserved);
    let dirtied = inode.set_dirty(locked, slots, task);
    // After the marks: should the store unwind, what has landed is dirty.
    for (pos, len) in grants(bytes, ends) {
        inode.mapping().store().write_end(pos, len, len);
    }
    if mode == Mode::Grow {
        locked.grow_size(bytes.end);
    }
    dirtied
}

/// Puts `frames`, which hold `bytes` of the file and zeros around them, into locked pages, all of
/// them absent, as far as the store has room, and no bytes of its own in them.
fn put_in<K: Kernel, T: Task>(
    inode: &Inode<K>,
    locked: &mut LockedRun<'_, K>,
    frames: &mut FrameBatch<'_, K>,
    (mode, bytes): (Mode, ByteRange),
    is_cut: impl FnOnce() -> bool,
    task: &T,
) -> PutIn {
    let mut done = PutIn::default();
    let Some(run) = PageRun::covering(bytes.start, bytes.len()) else { return done };
    let inserted = locked.insert_batch(run.mask(), frames);
    // Said while it is known: a copy of more than one page looks for it.
    let _side_by_side = locked.contiguous(run.first(), run.pages());
    debug_assert!(inserted == run.mask(), "the pages were absent, and there are as many frames");
    if is_out_of_place(inode, mode, bytes) || mode == Mode::Overwrite && is_cut() {
        take_back(locked, inserted);
        return done;
    }
    let mut room = Granted::default();
    while done.bytes < bytes.len() {
        let (pos, wanted) = (bytes.start + done.bytes as u64, bytes.len() - done.bytes);
        match ask_for_room(inode, pos, wanted) {
            Room::For(len, reserved) => {
                done.bytes += len;
                let end = pos + len as u64;
                let last = PageIndex::containing(end - 1);
                room.add(PageRun::covering(pos, len), reserved);
                let rest = (last.plus(1).start().min(bytes.end) - end) as usize;
                if rest > 0 {
                    // These bytes are not the file's.
                    locked.zero(end, rest);
                    room.reserved -= last.bit();
                    break;
                }
            }
            Room::Stored => {
                done.overreached = true;
                break;
            }
            Room::Refused(errno) => {
                done.refused = Some(errno);
                break;
            }
        }
    }
    let landed = ByteRange { start: bytes.start, end: bytes.start + done.bytes as u64 };
    if !room.slots.is_empty() {
        done.pages = land(inode, locked, mode, landed, room, task).count();
    }
    let rest = inserted - room.slots;
    if !rest.is_empty() {
        take_back(locked, rest);
    }
    done
}

/// The parts of `bytes` that the store has granted, each of which ends in a page of `ends`: where
/// it begins, and its length.
#[inline(always)]
fn grants(bytes: ByteRange, mut ends: SlotMask) -> impl Iterator<Item = (u64, usize)> {
    let leaf = PageIndex::containing(bytes.start).leaf_base();
    let mut pos = bytes.start;
    core::iter::from_fn(move || {
        let last = ends.first()?;
        ends -= SlotMask::single(last);
        let start = pos;
        pos = leaf.plus(u64::from(last) + 1).start().min(bytes.end);
        Some((start, (pos - start) as usize))
    })
}

impl<K, U, T> Writer<'_, '_, '_, K, U, T>
where
    K: Kernel,
    U: UserMemory<Token: InodeLocks> + ?Sized,
    T: Task,
{
    /// Lands the next `len` bytes, which the pages of `run` take, in new pages, of which `absent`
    /// were seen to be absent; fewer, if there are not as many frames side by side, not as much
    /// room, or the source comes short. [`Attempt::NotReady`] leaves it to the general path.
    ///
    /// # Errors
    /// The store's, if it refuses the first page that it is asked for in a round.
    pub(super) fn step_fresh(
        &mut self,
        run: PageRun,
        len: usize,
        absent: u32,
    ) -> Result<Attempt, Stop> {
        let otherwise = Attempt::NotReady(absent);
        let is_plain = self.retention() == Retention::Kept && self.reading.is_none();
        if absent < run.pages()
            || !is_plain
            || self.end_page_before(run).is_some()
            || !may_be_fresh(self.inode, self.next_bytes(len))
        {
            return Ok(otherwise);
        }
        let Ok(mut frames) = self.inode.mapping().cache().allocate_hot(run.pages()) else {
            return Ok(otherwise);
        };
        let run = PageRun::new(run.first(), frames.len() as u64);
        let len = run.clip_len(self.pos, len);
        self.claim_if_in_steps(len)?;
        self.came = 0;
        let came = fill(&mut frames, self.request.from, self.pos as usize % PAGE_SIZE, len);
        if came == 0 {
            return Ok(Attempt::Nothing);
        }
        let (inode, task) = (self.inode, self.request.task);
        let done = promised(inode, run.pages(), task, PutIn::default(), || {
            let done = self.put_in(run, came, &mut frames);
            (done.pages, done)
        });
        self.request.from.revert(came - done.bytes);
        self.overreached |= done.overreached;
        // A round of strategy A is a page.
        let is_first = done.bytes == 0 || self.request.strategy == Strategy::PrepareCommit;
        match done.refused {
            Some(errno) if is_first => {
                if done.bytes > 0 {
                    self.progressed(done.bytes);
                }
                Err(Stop::Failed(errno))
            }
            _ if done.bytes > 0 => Ok(Attempt::Landed(done.bytes)),
            _ => Ok(otherwise),
        }
    }

    /// Puts new pages with the next `len` bytes, which may be fewer than `run` takes, in.
    fn put_in(&mut self, run: PageRun, len: usize, frames: &mut FrameBatch<'_, K>) -> PutIn {
        let (inode, mode, bytes) = (self.inode, self.mode, self.next_bytes(len));
        let (task, then) = (self.request.task, self.request.then);
        let mut done = PutIn::default();
        let (locks, killed) = (self.request.token.page_locks(), Caller(task));
        let Ok(mut locked) = inode.mapping().lock_or_create_killable(locks, run, &killed) else {
            return done;
        };
        if !locked.present().is_empty() || admit(inode, mode, &self.claim, then, bytes) != Ok(true)
        {
            return done;
        }
        // Strategy A prepares and commits one page after the other.
        let each = match self.request.strategy {
            Strategy::BeginEnd => len,
            Strategy::PrepareCommit => PageIndex::bytes_from(bytes.start),
        };
        let mut next =
            ByteRange { start: bytes.start, end: bytes.end.min(bytes.start + each as u64) };
        while next.start < bytes.end {
            let is_cut = || self.claim.is_cut(inode, then);
            let part = put_in(inode, &mut locked, frames, (mode, next), is_cut, task);
            done.bytes += part.bytes;
            done.pages += part.pages;
            done.overreached |= part.overreached;
            done.refused = part.refused;
            if part.bytes < next.len() {
                break;
            }
            next = ByteRange { start: next.end, end: bytes.end.min(next.end + PAGE_SIZE as u64) };
        }
        let end = bytes.start + (len + self.request.from.count()) as u64;
        if 0 < done.bytes && bytes.start + (done.bytes as u64) < end {
            self.claim.get_ahead(inode, ByteRange { start: self.request.start, end });
        }
        done
    }
}
