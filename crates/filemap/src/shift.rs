//! Ranges that go, or are put in, while the rest of the file moves: `fallocate` with
//! `FALLOC_FL_COLLAPSE_RANGE` and `FALLOC_FL_INSERT_RANGE`.
//!
//! Everything from the page of the start of the range on moves: the *tail*. Order: I, so that the
//! size stays; the range of the tail, so that a write of several steps comes before or after; a
//! first writeback of what is dirty. From then on no page of the tail comes into the cache
//! ([`moving`](crate::moving)), and every page that is there is unmapped, sent if it is dirty, and
//! removed, pinned or not: a pin keeps the frame, as for a truncation. Only then is the store
//! asked, which moves its blocks and its size in one step; and before the first page of the tail
//! comes back, the new size is visible. A store that refuses finds all of the file on itself, and
//! the next read or fault brings it back: nothing is lost.
//!
//! A read beside it sees, for each byte of its place in the file, the old one or the new one (W5).
//! A read or a fault whose page goes before it was used brings it in again: each shift costs it one
//! round at most, and after a few of them it keeps the next one off (L1).
//!
//! Neighbours: [`fallocate`](crate::fallocate) changes blocks in their place,
//! [`truncate`](crate::truncate) the end.
#![forbid(unsafe_code)]

use core::ops::Range;
use core::pin::pin;

use faultless_page::{AddressSpaceOperations, Errno, Kernel, Mark, PageIndex, Shift, Unmap};

use crate::errors::ErrorCursor;
use crate::inode::Inode;
use crate::limits;
use crate::pos::FilePos;
use crate::ranges::{ByteRange, RangeGuard};
use crate::task::{Caller, Task};
use crate::token::{InodeLocks, PageLocks};
use crate::writeback::Claim;

/// The tail, and the caller's right to move it.
struct Tail<'r, 'l, K: Kernel> {
    bytes: ByteRange,
    claim: &'r RangeGuard<'l, K>,
    /// Taken before the first look at a page.
    failures: ErrorCursor,
}

/// How a pass over the tail has ended.
enum Pass {
    /// No page of it is in the cache.
    Empty,
    /// A write that was under way has claimed bytes of it ahead.
    MustWait,
}

impl<K: Kernel> Inode<K> {
    /// Takes the bytes of `range` out of the file: what lies behind them moves down in their place,
    /// and the file gets shorter. Mappings show the moved bytes by their next fault; those past the
    /// new end are gone. Private copies before it stay where they are.
    ///
    /// Takes I, and may sleep: it waits for the writeback of everything from the start of the range
    /// on, and for its readers. Reads, writes and faults of that part wait meanwhile, unless they
    /// find their pages in the cache still. No page lock and no range is held. Not to be called
    /// from a call of the file's own store, or from `install` of a [`fault`](Self::fault). The
    /// times are stamped and set-id goes when the store is asked (W12).
    ///
    /// Direct reads are the embedder's to order: one that runs beside it reads what the store
    /// answers.
    ///
    /// # Errors
    /// Neither contents nor size have changed:
    /// - [`Errno::Invalid`] for an empty range, one whose ends are not multiples of the store's
    ///   [unit](AddressSpaceOperations::shift_unit), and one that does not end before the end of
    ///   the file;
    /// - [`Errno::FileTooBig`] for a range past the store's maximum;
    /// - [`Errno::NotSupported`]: the store cannot, or the cache has the only copy;
    /// - as [`writeback`](Self::writeback); what the store says
    ///   ([`shift`](AddressSpaceOperations::shift));
    /// - [`Errno::Interrupted`] for a fatal signal (L3).
    #[doc(alias = "FALLOC_FL_COLLAPSE_RANGE")]
    pub fn collapse_range<T: Task>(
        &self,
        token: &mut impl InodeLocks,
        range: Range<u64>,
        task: &T,
    ) -> Result<(), Errno> {
        self.shift(token, Shift::Collapse, range, task)
    }

    /// Puts a hole in at `range`: what lies from its start on moves up, behind its end, and the
    /// file gets longer by it.
    ///
    /// Else as [`collapse_range`](Self::collapse_range).
    ///
    /// # Errors
    /// As `collapse_range`, but that the range need only begin before the end of the file.
    /// [`Errno::FileTooBig`] as well if the file would be larger than the store's maximum, or than
    /// the task's limit, with its signal (W8).
    #[doc(alias = "FALLOC_FL_INSERT_RANGE")]
    pub fn insert_range<T: Task>(
        &self,
        token: &mut impl InodeLocks,
        range: Range<u64>,
        task: &T,
    ) -> Result<(), Errno> {
        self.shift(token, Shift::Insert, range, task)
    }

    fn shift<T: Task>(
        &self,
        token: &mut impl InodeLocks,
        shift: Shift,
        range: Range<u64>,
        task: &T,
    ) -> Result<(), Errno> {
        let (mapping, store) = (self.mapping(), self.mapping().store());
        if range.is_empty() {
            return Err(Errno::Invalid);
        }
        FilePos::at_most(range.end, self.max_size()).ok_or(Errno::FileTooBig)?;
        let unit = store.shift_unit().filter(|_| store.is_persistent());
        let unit = unit.ok_or(Errno::NotSupported)?;
        if !range.start.is_multiple_of(unit) || !range.end.is_multiple_of(unit) {
            return Err(Errno::Invalid);
        }
        let wait = mapping.cache().wait();
        let _size_lock = self.lock.lock_killable(wait, &Caller(task))?;
        let size = self.size_after(shift, &range, task)?;
        self.complete_cut(token, task)?;
        let first = PageIndex::containing(range.start);
        let bytes = ByteRange { start: first.start(), end: u64::MAX };
        let request = pin!(self.ranges.request());
        let claim = self.ranges.acquire(request.as_ref(), wait, bytes, task)?;
        let failures = ErrorCursor::now(mapping);
        // Most of it before reads and faults have to wait.
        self.send_dirty(token, &(bytes.start..bytes.end), task)?;
        failures.since(mapping)?;
        // The store moves the size that it knows. It is told no other until the new one is visible.
        self.tell_size();
        let learning = self.size_changes.learn(wait);
        let tail = Tail { bytes, claim: &claim, failures };
        let _moving = loop {
            let moving = self.moving.begin(wait, first, task)?;
            match self.remove_tail(token, &tail, task)? {
                Pass::Empty => break moving,
                Pass::MustWait => drop(moving),
            }
            self.ranges.wait_for(bytes, &claim, task)?;
        };
        self.file_modified(task);
        store.shift(shift, range, size.get())?;
        learning.show(size, || match shift {
            Shift::Collapse => self.shrink_size(size),
            Shift::Insert => mapping.truncate_size(size.get()),
        });
        if shift == Shift::Collapse {
            // No page is there any more; private copies may be.
            self.unmap(size.page_from(), past_all(), Unmap::Truncate);
        }
        Ok(())
    }

    /// The size that the file will have. I is held.
    fn size_after<T: Task>(
        &self,
        shift: Shift,
        range: &Range<u64>,
        task: &T,
    ) -> Result<FilePos, Errno> {
        let (size, len) = (self.size(), range.end - range.start);
        match shift {
            Shift::Collapse if range.end < size => Ok(FilePos::clipped(size - len)),
            Shift::Insert if range.start < size => {
                let new = size.checked_add(len).ok_or(Errno::FileTooBig)?;
                let new = FilePos::at_most(new, self.max_size()).ok_or(Errno::FileTooBig)?;
                if new.get() > task.file_size_limit() {
                    // The byte that would be the last one is checked as a write would be.
                    limits::clip(self.max_size().get(), new.get() - 1, 1, task)?;
                }
                Ok(new)
            }
            _ => Err(Errno::Invalid),
        }
    }

    /// Takes every page of the tail out of the cache, once the store has it. None comes in
    /// meanwhile, and none is dirtied once its lock was had here: so each is sent once, or twice if
    /// a write had it locked before. I is held, no page lock.
    ///
    /// # Errors
    /// That of a writeback; [`Errno::Interrupted`]. Pages that were removed by then are clean.
    fn remove_tail<T: Task>(
        &self,
        token: &mut impl PageLocks,
        tail: &Tail<'_, '_, K>,
        task: &T,
    ) -> Result<Pass, Errno> {
        let mapping = self.mapping();
        let killed = Caller(task);
        let first = PageIndex::containing(tail.bytes.start);
        let mut removals = mapping.removals();
        let mut from = first;
        while let Some(run) = mapping.find(from, past_all(), Mark::Present) {
            let locked = mapping.lock_killable(token.page_locks(), run, &killed)?;
            let Some(mut locked) = locked else {
                from = run.end();
                continue;
            };
            // A write whose source came short had pages locked until it claimed the rest: of any
            // part of the tail, since what it has landed is in these.
            if self.ranges.conflicts(tail.bytes, Some(tail.claim)) {
                return Ok(Pass::MustWait);
            }
            // Dirty pages, too: the next CPU store through a mapping faults, and waits.
            if self.was_mapped() {
                self.unmap(run.first(), run.end(), Unmap::Evict);
            }
            locked.wait_writeback(locked.mask(), &killed)?;
            if let Claim::Send(stretch) = Claim::of(&locked) {
                tail.failures.since(mapping)?;
                self.claim_and_send(locked, stretch, task);
                continue;
            }
            let present = locked.present();
            removals.take(&mut locked, present);
            from = run.end();
        }
        drop(removals);
        mapping.prune(first, past_all());
        Ok(Pass::Empty)
    }
}

/// The first page that no file has.
fn past_all() -> PageIndex {
    FilePos::MAX.page().plus(1)
}
