//! One locked run on the way of a write: make its pages ready, and commit what landed.
//!
//! A run's pages are prepared in ascending order, then filled by one copy, then committed. What
//! preparation found is kept as bit masks over the leaf's slots, like the page state itself.
#![forbid(unsafe_code)]

use faultless_page::{
    AddressSpaceOperations, Contents, Count, Errno, FrameBatch, Kernel, LockedRun, PageIndex,
    PageRun, Reserved, SlotMask, Strategy,
};

use super::request::Mode;
use crate::inode::Inode;
use crate::options::Retention;
use crate::task::Task;

/// What was prepared for the bytes `[pos, pos + len)` of a locked run.
pub(super) struct Plan {
    pos: u64,
    /// Bytes that may be copied now.
    pub(super) len: usize,
    /// End of the bytes for which the store was asked; `pos` if it was not.
    begun_end: u64,
    /// The store was asked for these pages, and has to be told how it went.
    begun: SlotMask,
    /// A frame was put in for this write: it goes again if nothing lands in it.
    inserted: SlotMask,
    /// Every byte was defined before the copy.
    valid: SlotMask,
    /// Not valid, but every byte around the copied ones is, or would be, zero.
    hole: SlotMask,
    /// The store has room for the whole page.
    reserved: SlotMask,
    /// Whether what lands is to stay in the cache.
    retention: Retention,
    /// Why preparation ended before the end of the chunk.
    pub(super) halt: Option<Halt>,
}

/// What became of a plan.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Committed {
    /// Bytes that count.
    pub(super) accepted: usize,
    /// Pages that have become dirty.
    pub(super) dirtied: u32,
}

/// What keeps a page from taking its bytes now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Halt {
    /// So many frames have to be allocated before the run is locked again.
    Frames(u32),
    /// These pages have to be read first: they are replaced in part.
    Unread(SlotMask),
    /// The pages [move](crate::moving).
    Moving,
    /// The store refuses.
    Failed(Errno),
}

/// Prepares as much of `[pos, pos + len)` as can be had: nothing, if the file was truncated before
/// its end meanwhile, or, as `is_cut` says, has been since the write began. Never fails as a whole:
/// what stops it stands in the plan. Frames come from `batch`; nothing is allocated here, for
/// the run is locked (P3).
pub(super) fn prepare<K: Kernel>(
    inode: &Inode<K>,
    mode: Mode,
    locked: &mut LockedRun<'_, K>,
    batch: &mut Option<FrameBatch<'_, K>>,
    (pos, len): (u64, usize),
    retention: Retention,
    is_cut: impl FnOnce() -> bool,
) -> Plan {
    let mut plan = Plan {
        pos,
        len: 0,
        begun_end: pos,
        begun: SlotMask::EMPTY,
        inserted: SlotMask::EMPTY,
        valid: SlotMask::EMPTY,
        hole: SlotMask::EMPTY,
        reserved: SlotMask::EMPTY,
        retention,
        halt: None,
    };
    debug_assert!(locked.run().clip_len(pos, len) == len, "all of it lies in the locked run");
    if let Some(frames) = batch {
        plan.inserted = locked.insert_batch(locked.mask(), frames);
        retention.mark(locked, plan.inserted);
    }
    if mode == Mode::Overwrite {
        let (size, moving) = inode.size_and_moving_after_insertion();
        // Truncation only waits for pages that were inserted before its scan. After inserting,
        // re-read the size and reserve no blocks past it: nothing would free them (W9). The next
        // round grows the file.
        let end = pos + len as u64;
        if end > size.get() || is_cut() {
            return plan;
        }
        // The same for a shift. What comes later finds its claim.
        if end > moving.get() {
            plan.halt = Some(Halt::Moving);
            return plan;
        }
    }
    while plan.len < len {
        let at = pos + plan.len as u64;
        let page_end = PageIndex::containing(at).plus(1).start();
        let piece = (len - plan.len).min((page_end - at) as usize);
        match plan.prepare_page(inode, locked, at, piece) {
            Ok(ready) => {
                plan.len += ready;
                if ready < piece {
                    break;
                }
            }
            Err(Halt::Unread(head)) => {
                let tail = unread_tail(inode, locked, pos + len as u64);
                plan.halt = Some(Halt::Unread(head | tail));
                // The frames are used when the write comes back.
                plan.inserted = SlotMask::EMPTY;
                break;
            }
            Err(halt) => {
                plan.halt = Some(halt);
                break;
            }
        }
    }
    plan
}

/// Whether the file holds bytes of the pages of the `len` bytes at `pos`, not 0, besides these, as
/// far as its size tells.
pub(super) fn has_rest<K: Kernel>(inode: &Inode<K>, pos: u64, len: usize) -> bool {
    let (end, size) = (pos + len as u64, inode.size());
    let first = PageIndex::containing(pos).start();
    let pages_end = PageIndex::containing(end - 1).plus(1).start();
    first < size.min(pos) || end < size.min(pages_end)
}

/// The page of `end`, the end of the bytes, if it is likely to have to be read as well as the first
/// one: it is read together with it.
fn unread_tail<K: Kernel>(inode: &Inode<K>, locked: &LockedRun<'_, K>, end: u64) -> SlotMask {
    let index = PageIndex::containing(end);
    let is_partial = end > index.start() && end < inode.size();
    if is_partial && locked.run().contains(index) {
        index.bit() - locked.uptodate()
    } else {
        SlotMask::EMPTY
    }
}

/// Releases frames that were put in for nothing, after a grace period. The pages stay locked
/// meanwhile: readers wait for nothing.
#[cold]
#[inline(never)] // for the stack of its callers
pub(super) fn take_back<K: Kernel>(locked: &mut LockedRun<'_, K>, slots: SlotMask) {
    drop(locked.remove(slots));
}

impl Plan {
    /// Prepares one page for the bytes `[pos, pos + len)`; how many of them may be copied.
    fn prepare_page<K: Kernel>(
        &mut self,
        inode: &Inode<K>,
        locked: &mut LockedRun<'_, K>,
        pos: u64,
        len: usize,
    ) -> Result<usize, Halt> {
        let index = PageIndex::containing(pos);
        let slot = index.bit();
        let absent = locked.mask() - locked.present();
        if absent.contains(slot) {
            return Err(Halt::Frames(absent.count_from(index.slot())));
        }
        let is_valid = locked.uptodate().contains(slot);
        if inode.strategy() == Strategy::PrepareCommit && !is_valid && has_rest(inode, pos, len) {
            // A store of that kind is promised what will come (W1): it is asked once, afterwards.
            return Err(Halt::Unread(slot));
        }
        let (ready, contents) = self.begin(inode, locked, pos, len).map_err(Halt::Failed)?;
        if is_valid {
            self.valid |= slot;
            return Ok(ready);
        }
        if self.define_rest(inode, locked, pos, ready, contents) {
            return Ok(ready);
        }
        Err(Halt::Unread(slot))
    }

    /// Asks the store for room, unless it has said that the whole page has some.
    fn begin<K: Kernel>(
        &mut self,
        inode: &Inode<K>,
        locked: &LockedRun<'_, K>,
        pos: u64,
        len: usize,
    ) -> Result<(usize, Contents), Errno> {
        let slot = PageIndex::containing(pos).bit();
        if locked.reserved().contains(slot) {
            return Ok((len, Contents::Stored));
        }
        let begun = inode.mapping().store().write_begin(pos, len)?;
        let granted = begun.len.clamp(1, len);
        self.begun |= slot;
        self.begun_end = pos + granted as u64;
        if begun.reserved == Reserved::Fully {
            self.reserved |= slot;
        }
        Ok((granted, begun.contents))
    }

    /// Gives the bytes of a page that is not uptodate, around the `len` at `pos`, a value. Whether
    /// that can be done: some may have to be read first.
    fn define_rest<K: Kernel>(
        &mut self,
        inode: &Inode<K>,
        locked: &mut LockedRun<'_, K>,
        pos: u64,
        len: usize,
        contents: Contents,
    ) -> bool {
        let index = PageIndex::containing(pos);
        let end = pos + len as u64;
        let after = (index.plus(1).start() - end) as usize;
        if contents == Contents::Hole || index.start() >= inode.size() {
            self.hole |= index.bit();
            locked.zero(index.start(), (pos - index.start()) as usize);
            locked.zero(end, after);
        } else if has_rest(inode, pos, len) {
            return false;
        } else {
            // All that the file holds of this page is about to be replaced.
            locked.zero(end, after);
        }
        true
    }

    /// Ends what was prepared, after `copied` bytes arrived; how many of them count. Pages become
    /// uptodate and dirty, the store is told, frames that got nothing are taken back. A page that
    /// is neither valid nor a hole accepts its bytes whole or not at all, so that every byte of an
    /// uptodate page is defined (P1).
    pub(super) fn commit<K: Kernel, T: Task>(
        &self,
        inode: &Inode<K>,
        locked: &mut LockedRun<'_, K>,
        mode: Mode,
        copied: usize,
        task: &T,
    ) -> Committed {
        debug_assert!(copied <= self.len, "only what was prepared is copied into");
        let accepted = self.accept(locked, copied);
        debug_assert!(accepted <= copied, "what was not copied does not count");
        let end = self.pos + accepted as u64;
        let landed = PageRun::covering(self.pos, accepted).map_or(SlotMask::EMPTY, PageRun::mask);
        debug_assert!(locked.mask().contains(landed | self.inserted | self.begun), "locked");
        // A page of which a part was refused may lose blocks again: only whole pieces stay
        // reserved.
        let whole =
            if accepted == self.len { landed } else { landed - PageIndex::containing(end).bit() };
        locked.set_uptodate(landed - self.valid);
        if self.retention == Retention::Kept {
            locked.keep(landed);
        }
        locked.set_reserved(self.reserved & whole);
        let dirtied = inode.set_dirty(locked, landed, task);
        locked.mark_used(dirtied & self.valid);
        let used = landed & self.valid;
        if !used.is_empty() {
            inode.mapping().count(Count::Used, used.count());
        }
        // After the marks: should the store unwind, what has landed is dirty.
        self.tell_store(inode, locked, end);
        if mode == Mode::Grow && accepted > 0 {
            locked.grow_size(end);
        }
        let nothing_landed = self.inserted - landed;
        if !nothing_landed.is_empty() {
            take_back(locked, nothing_landed);
        }
        Committed { accepted, dirtied: dirtied.count() }
    }

    /// Whether the store was asked for more than the `accepted` bytes: if the file ends before it,
    /// that has to go back (W9).
    pub(super) const fn overreached(&self, accepted: usize) -> bool {
        self.begun_end > self.pos + accepted as u64
    }

    /// How many of the `copied` bytes count, with the rest of a hole's last page zeroed.
    fn accept<K: Kernel>(&self, locked: &mut LockedRun<'_, K>, copied: usize) -> usize {
        if copied >= self.len {
            return self.len;
        }
        let stop = self.pos + copied as u64;
        let index = PageIndex::containing(stop);
        let piece_start = index.start().max(self.pos);
        if stop == piece_start || self.valid.contains(index.bit()) {
            return copied;
        }
        if !self.hole.contains(index.bit()) {
            return (piece_start - self.pos) as usize;
        }
        let piece_end = index.plus(1).start().min(self.pos + self.len as u64);
        locked.zero(stop, (piece_end - stop) as usize);
        copied
    }

    fn tell_store<K: Kernel>(&self, inode: &Inode<K>, locked: &LockedRun<'_, K>, end: u64) {
        for slot in self.begun.iter() {
            let index = locked.run().first().leaf_base().plus(u64::from(slot));
            let start = index.start().max(self.pos);
            let stop = index.plus(1).start().min(self.begun_end);
            debug_assert!(start < stop, "the store was asked for bytes of this page");
            let landed = end.clamp(start, stop) - start;
            inode.mapping().store().write_end(start, (stop - start) as usize, landed as usize);
        }
    }
}
