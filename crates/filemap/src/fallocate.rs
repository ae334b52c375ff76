//! `fallocate`: room for a range of bytes, and holes in the file.
//!
//! Order, under I: hold the range, so that a write of several steps comes before it or after it;
//! then leaf by leaf, in ascending order, lock all the pages of the range, absent ones too; wait
//! for their writeback; remove user mappings; have the store change its blocks; and only then
//! change the cache. While a page is locked, no read of the store, no fault and no writeback of it
//! begins. So no stale page comes back between the two changes, and no byte goes from old to zero
//! and back. A store that refuses finds the cache as it was: nothing is lost.
//!
//! A page that is counted by something else than the mapping stays in the cache, and is zeroed
//! there. So a reader whose page was brought in gets to copy it, however many holes are punched
//! (L1).
//!
//! Neighbours: [`truncate`](crate::truncate) changes the size, [`seek`](crate::seek) finds holes.
#![forbid(unsafe_code)]

use core::ops::Range;
use core::pin::pin;

use faultless_page::{
    AddressSpaceOperations, Errno, Fallocate, Kernel, LockedRun, Mark, PAGE_SIZE, PageIndex,
    PageRun, Removals, SlotMask, Unmap,
};

use crate::inode::Inode;
use crate::limits;
use crate::options::FileSize;
use crate::pos::FilePos;
use crate::ranges::{ByteRange, RangeGuard};
use crate::task::{Caller, Task};
use crate::token::{InodeLocks, PageLocks};

/// Leaves after which those are freed that were only made for their locks.
const LEAVES_TO_PRUNE: u32 = 16;

impl<K: Kernel> Inode<K> {
    /// Makes room on the store for the bytes of `range`: a later write of them does not fail for
    /// want of it. No byte changes. With [`FileSize::Grows`] the file then ends at the end of the
    /// range at least; if not all of the room is there, its size stays. Room past the end of the
    /// file goes when the file is cut off, or a write that grows it gives room back.
    ///
    /// Takes I, and may sleep. No page lock is held. Not to be called from a call of the file's own
    /// store, or from `install` of a [`fault`](Self::fault): it would wait for its caller. The same
    /// holds for [`punch_hole`](Self::punch_hole) and [`zero_range`](Self::zero_range). The times
    /// are stamped and set-id goes, unless nothing has changed (W12).
    ///
    /// # Errors
    /// The size has not changed; room that was made inside the file stays, and an error but the
    /// first three may come when some of it was.
    /// - [`Errno::Invalid`] for an empty range.
    /// - [`Errno::FileTooBig`] for one past the store's maximum, or, if the file would grow, past
    ///   the task's limit, with its signal (W8).
    /// - [`Errno::NotSupported`]: the store cannot.
    /// - The store's, [`Errno::NoSpace`] above all; [`Errno::NoMemory`] for an index node (P8);
    ///   [`Errno::Interrupted`] for a fatal signal (L3).
    #[doc(alias = "posix_fallocate")]
    pub fn allocate<T: Task>(
        &self,
        token: &mut impl InodeLocks,
        range: Range<u64>,
        size: FileSize,
        task: &T,
    ) -> Result<(), Errno> {
        self.fallocate(token, Fallocate::Allocate, range, size, task)
    }

    /// Turns the bytes of `range` into a hole: they read as zeros, and the store gets its blocks
    /// back. What lies past the end of the file is left alone, and the size stays. A byte that is
    /// read meanwhile is the old one or zero (W5).
    ///
    /// # Errors
    /// As [`allocate`](Self::allocate), but for the limit and the size. The bytes from some place
    /// in the range on are as they were, those before it are zero; at the place itself a store that
    /// failed may have zeroed bytes of a leaf. The call can be repeated.
    #[doc(alias = "FALLOC_FL_PUNCH_HOLE")]
    pub fn punch_hole<T: Task>(
        &self,
        token: &mut impl InodeLocks,
        range: Range<u64>,
        task: &T,
    ) -> Result<(), Errno> {
        self.fallocate(token, Fallocate::PunchHole, range, FileSize::Stays, task)
    }

    /// Sets the bytes of `range` to zero, and makes room for them. With [`FileSize::Grows`] the
    /// file then ends at the end of the range at least.
    ///
    /// # Errors
    /// As [`allocate`](Self::allocate); the bytes as for [`punch_hole`](Self::punch_hole).
    #[doc(alias = "FALLOC_FL_ZERO_RANGE")]
    pub fn zero_range<T: Task>(
        &self,
        token: &mut impl InodeLocks,
        range: Range<u64>,
        size: FileSize,
        task: &T,
    ) -> Result<(), Errno> {
        self.fallocate(token, Fallocate::ZeroRange, range, size, task)
    }

    fn fallocate<T: Task>(
        &self,
        token: &mut impl InodeLocks,
        change: Fallocate,
        range: Range<u64>,
        size: FileSize,
        task: &T,
    ) -> Result<(), Errno> {
        if range.is_empty() {
            return Err(Errno::Invalid);
        }
        let end = FilePos::at_most(range.end, self.max_size()).ok_or(Errno::FileTooBig)?;
        self.mapping().store().fallocate(change, range.start..range.start)?;
        let wait = self.mapping().cache().wait();
        let _size_lock = self.lock.lock_killable(wait, &Caller(task))?;
        let grows = size == FileSize::Grows && end > self.eof();
        if grows && end.get() > task.file_size_limit() {
            // The byte that would be the last one is checked as a write would be.
            limits::clip(self.max_size().get(), end.get() - 1, 1, task)?;
        }
        if grows {
            self.mapping().store().prepare_size(end.get())?;
        }
        // Room past the end that a truncation has left goes before there is more of it.
        self.complete_cut(token, task)?;
        self.file_modified(task);
        let bytes = ByteRange { start: range.start, end: self.last_changed(change, end) };
        let changed = self.change_blocks(token, change, bytes, task);
        if !grows {
            return changed;
        }
        match changed.and_then(|()| self.extend(token, end, task)) {
            Ok(()) => self.tell_size(),
            Err(errno) => {
                self.give_back(token, task);
                return Err(errno);
            }
        }
        Ok(())
    }

    /// Where the bytes end that change. A hole takes the page of the end of the file as a whole,
    /// and nothing behind it.
    fn last_changed(&self, change: Fallocate, end: FilePos) -> u64 {
        let size = self.eof();
        if change == Fallocate::PunchHole && end >= size {
            size.page_from().start()
        } else {
            end.get()
        }
    }

    /// Changes the blocks and the pages of `bytes`, a leaf at a time. I is held, no page lock. At
    /// most as many rounds as the range has leaves, each of which looks for a fatal signal; a hole
    /// skips those that have neither pages nor blocks.
    fn change_blocks<T: Task>(
        &self,
        token: &mut impl PageLocks,
        change: Fallocate,
        bytes: ByteRange,
        task: &T,
    ) -> Result<(), Errno> {
        if bytes.start >= bytes.end {
            return Ok(());
        }
        let mapping = self.mapping();
        let request = pin!(self.ranges.request());
        let range = self.ranges.acquire(request.as_ref(), mapping.cache().wait(), bytes, task)?;
        let page_of = |pos: u64| PageIndex::containing(pos);
        let mut removals = mapping.removals();
        let (mut at, mut unpruned, mut leaves) = (bytes.start, bytes.start, 0);
        let changed = loop {
            if change == Fallocate::PunchHole {
                match self.next_in_use(at, bytes.end) {
                    Ok(next) => at = next,
                    Err(errno) => break Err(errno),
                }
            }
            if at >= bytes.end {
                break Ok(());
            }
            let rest = ByteRange { start: at, ..bytes };
            match self.change_leaf(token, change, rest, &range, &mut removals, task) {
                Ok(next) => at = next,
                Err(errno) => break Err(errno),
            }
            leaves += 1;
            if leaves % LEAVES_TO_PRUNE == 0 {
                mapping.prune(page_of(unpruned), page_of(at));
                unpruned = at;
            }
        };
        drop(removals);
        mapping.prune(page_of(unpruned), page_of(at).plus(1));
        changed
    }

    /// The first byte of `at..end` that is in the cache or on the store; `end` if none is.
    fn next_in_use(&self, at: u64, end: u64) -> Result<u64, Errno> {
        let (first, past) = (PageIndex::containing(at), FilePos::clipped(end).page_from());
        // The cache comes first: a page that leaves it afterwards has gone to the store.
        let cached = self.mapping().find(first, past, Mark::Present);
        let cached = cached.map_or(end, |run| run.start().max(at));
        if cached == at {
            return Ok(at);
        }
        let stored = self.mapping().store().extent(at)?;
        Ok(stored.map_or(end, |extent| extent.start.max(at)).min(cached))
    }

    /// Changes the blocks and pages of the first leaf of `bytes`, with all of these pages locked;
    /// where the next one begins.
    fn change_leaf<T: Task>(
        &self,
        token: &mut impl PageLocks,
        change: Fallocate,
        bytes: ByteRange,
        range: &RangeGuard<'_, K>,
        removals: &mut Removals<'_, K>,
        task: &T,
    ) -> Result<u64, Errno> {
        let len = usize::try_from(bytes.end - bytes.start).unwrap_or(usize::MAX);
        let Some(run) = PageRun::covering(bytes.start, len) else { return Ok(bytes.end) };
        let piece = ByteRange { start: bytes.start, end: bytes.end.min(run.end().start()) };
        let killed = Caller(task);
        loop {
            if task.fatal_signal_pending() {
                return Err(Errno::Interrupted);
            }
            let locks = token.page_locks();
            let locked = self.mapping().lock_or_create_killable(locks, run, &killed)?;
            if !self.ranges.conflicts(piece, Some(range)) {
                locked.wait_writeback(locked.mask(), &killed)?;
                self.change_locked(change, locked, piece, removals)?;
                return Ok(piece.end);
            }
            drop(locked);
            self.ranges.wait_for(piece, range, task)?;
        }
    }

    /// Changes the blocks and the pages of `piece`, all of whose pages are locked, and none of them
    /// under writeback.
    fn change_locked(
        &self,
        change: Fallocate,
        mut locked: LockedRun<'_, K>,
        piece: ByteRange,
        removals: &mut Removals<'_, K>,
    ) -> Result<(), Errno> {
        let store = self.mapping().store();
        if change == Fallocate::Allocate {
            return store.fallocate(change, piece.start..piece.end);
        }
        // Once for good: no page is mapped again while it is locked. A mapping of the pages at both
        // ends would store to blocks that have gone.
        if self.was_mapped() {
            self.unmap(locked.run().first(), locked.run().end(), Unmap::Evict);
        }
        if change == Fallocate::PunchHole {
            // First, in case the store unwinds: at worst it is asked for room that it has.
            locked.clear_reserved(locked.mask());
        }
        let mut unwinding = Unwinding { locked, piece, is_over: false };
        let changed = store.fallocate(change, piece.start..piece.end);
        unwinding.is_over = true;
        let locked = &mut unwinding.locked;
        if changed.is_ok() {
            self.zero_locked(locked, piece, removals);
        } else if store.is_persistent() {
            // Bytes of the store may have become zeros. What is clean is read again (P1); what is
            // dirty has its blocks, and stands.
            let unused = self.unused(locked, SlotMask::ALL);
            removals.take(locked, unused);
        }
        changed
    }

    /// The store has zeros at `piece`: so has the cache from here on. Pages that lie wholly in it
    /// leave, dirty or not (F5).
    fn zero_locked(
        &self,
        locked: &mut LockedRun<'_, K>,
        piece: ByteRange,
        removals: &mut Removals<'_, K>,
    ) {
        let whole = whole_pages(piece);
        let stays = (whole & locked.uptodate()) - self.counted_once(locked);
        removals.take(locked, whole - stays);
        locked.zero(piece.start, piece.len());
        locked.clear_dirty(stays);
        locked.clear_wrote_past_eof(stays);
    }
}

/// Locked pages while the store changes their blocks. Dropped by a store that unwinds: it is not
/// known whether the blocks have gone, and what the pages hold may have no room. As zeros they need
/// none, and go to the blocks if those are there.
struct Unwinding<'t, K: Kernel> {
    locked: LockedRun<'t, K>,
    piece: ByteRange,
    /// The store has answered.
    is_over: bool,
}

impl<K: Kernel> Drop for Unwinding<'_, K> {
    fn drop(&mut self) {
        if !self.is_over {
            let pages = PageRun::covering(self.piece.start, self.piece.len());
            let touched = pages.map_or(SlotMask::EMPTY, PageRun::mask);
            self.locked.zero(self.piece.start, self.piece.len());
            let uptodate = self.locked.uptodate();
            self.locked.set_dirty(touched & uptodate);
        }
    }
}

/// The slots of the pages that lie wholly in `piece`, which lies in one leaf.
fn whole_pages(piece: ByteRange) -> SlotMask {
    let first = PageIndex::new(piece.start.div_ceil(PAGE_SIZE as u64));
    match PageIndex::containing(piece.end).get().saturating_sub(first.get()) {
        0 => SlotMask::EMPTY,
        pages => PageRun::new(first, pages).mask(),
    }
}
