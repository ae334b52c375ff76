//! Changing the size: pages past the new end leave the cache, the last page's tail becomes zeros
//! (P2).
//!
//! Order, under I: ask the store, which may refuse (nothing has changed then); set the size, with
//! the page of the new end locked; remove user mappings; take pages out under their locks; zero the
//! partial page under its lock; remove user mappings once more, where a fault came in between; tell
//! the store. Writers and fault handlers look at the size again after they have locked a page, so a
//! later one sees the new end.
//!
//! From the moment the size is set, the truncation has happened. Taking the pages out can wait for
//! a store; a fatal signal ends that wait, and the next change of the size completes what is left
//! before it begins (L3).
#![forbid(unsafe_code)]

use core::pin::pin;

use faultless_page::{
    AddressSpaceOperations, Errno, Kernel, LockContext, LockedRun, Mark, PageIndex, PageRun,
    Patience, Unmap,
};

use crate::eof::zero_to_page_end;
use crate::inode::Inode;
use crate::limits;
use crate::pos::FilePos;
use crate::ranges::ByteRange;
use crate::size_changes::Origin;
use crate::task::{Caller, Leaving, Task};
use crate::token::{InodeLocks, PageLocks};

impl<K: Kernel> Inode<K> {
    /// Sets the size to `size` bytes: cuts the file off, or extends it with a hole.
    ///
    /// May sleep; takes I. No page lock is held. Not to be called from a call of the file's own
    /// store, or from `install` of a [`fault`](Self::fault): it would wait for its caller. Readers
    /// and mappings of the pages that go lose them: an access through a mapping past the new end is
    /// `SIGBUS`, private copies of such pages included.
    ///
    /// A fatal signal that arrives once the size has changed does not undo it; what the cache still
    /// holds past the end is then removed by the next change of the size.
    ///
    /// # Errors
    /// Nothing has changed:
    /// - [`Errno::FileTooBig`] above the store's maximum, or, when extending, above the task's
    ///   limit, with its signal (W8);
    /// - [`Errno::Interrupted`]: a fatal signal while waiting for a lock (L3);
    /// - [`Errno::NoMemory`]: an index node for the page of the old end, when extending (P8);
    /// - what the store says when it is asked:
    ///   [`prepare_size`](AddressSpaceOperations::prepare_size). The call can be repeated.
    #[doc(alias = "truncate_setsize")]
    #[doc(alias = "ftruncate")]
    pub fn set_size<T: Task>(
        &self,
        token: &mut impl InodeLocks,
        size: u64,
        task: &T,
    ) -> Result<(), Errno> {
        let size = FilePos::at_most(size, self.max_size()).ok_or(Errno::FileTooBig)?;
        let wait = self.mapping().cache().wait();
        let _size_lock = self.lock.lock_killable(wait, &Caller(task))?;
        let old = self.eof();
        if size > old && size.get() > task.file_size_limit() {
            // The byte that would be the last one is checked as a write would be.
            limits::clip(self.max_size().get(), size.get() - 1, 1, task)?;
        }
        if size != old {
            self.mapping().store().prepare_size(size.get())?;
        }
        if size < old {
            let cut = || {
                self.file_modified(task);
                self.size_changes.cut_begins(size);
                self.shrink_size(size);
                Ok(())
            };
            self.shrink(token, size, task, cut)?;
        } else {
            self.extend(token, size, task)?;
        }
        self.tell_size();
        Ok(())
    }

    pub(crate) fn extend<T: Task>(
        &self,
        token: &mut impl PageLocks,
        size: FilePos,
        task: &T,
    ) -> Result<(), Errno> {
        self.complete_cut(token, task)?;
        let old = self.eof();
        self.file_modified(task);
        if size == old {
            return Ok(());
        }
        if old.offset_in_page() == 0 {
            self.mapping().truncate_size(size.get());
            return Ok(());
        }
        // The size changes under the lock of the page in which the file ended (P7), be it there or
        // not: no mapping of it becomes writable between the sealing and the change (P2).
        let run = PageRun::single(old.page());
        let killed = Caller(task);
        let locks = token.page_locks();
        let mut locked = self.mapping().lock_or_create_killable(locks, run, &killed)?;
        self.write_protect_eof_page(&mut locked, old);
        self.mapping().truncate_size(size.get());
        Ok(())
    }

    /// Cuts the file off at `size`: `cut` makes that visible, unless it fails. I is held.
    pub(crate) fn shrink<T: Task>(
        &self,
        token: &mut impl PageLocks,
        size: FilePos,
        task: &T,
        cut: impl FnOnce() -> Result<(), Errno>,
    ) -> Result<(), Errno> {
        // A write that is under way in steps comes before the truncation as a whole, or after it.
        let gone = ByteRange { start: size.get(), end: u64::MAX };
        let request = pin!(self.ranges.request());
        let wait = self.mapping().cache().wait();
        let range = self.ranges.acquire(request.as_ref(), wait, gone, task)?;
        let killed = Caller(task);
        loop {
            // A writer that came short of bytes on both sides of the new end has this page locked
            // until it has claimed the rest, ahead of us: the size changes in a lock hold of it.
            let run = PageRun::single(size.page());
            let locked = match size {
                FilePos::ZERO => None,
                _ => self.lock_as_memory_permits(token.page_locks(), run, &killed)?,
            };
            if !self.ranges.conflicts(gone, Some(&range)) {
                cut()?;
                break;
            }
            drop(locked);
            self.ranges.wait_for(gone, &range, task)?;
        }
        // The truncation has happened, and a killed task has no use for more.
        let _left_to_the_next = self.complete_cut(token, task);
        Ok(())
    }

    /// Locks `run`, and makes its leaf. Cutting a file off needs no memory (P8): without any,
    /// nothing is locked.
    fn lock_as_memory_permits<'t>(
        &'t self,
        locks: LockContext<'t>,
        run: PageRun,
        killed: &impl Patience,
    ) -> Result<Option<LockedRun<'t, K>>, Errno> {
        match self.mapping().lock_or_create_killable(locks, run, killed) {
            Ok(locked) => Ok(Some(locked)),
            Err(Errno::NoMemory) => Ok(None),
            Err(errno) => Err(errno),
        }
    }

    /// Completes the truncation that an earlier call, or this one, has begun: nothing of the cache
    /// or the store is left past the end. Call before the end moves up. I is held, no page lock.
    ///
    /// # Errors
    /// [`Errno::Interrupted`]: it is not complete, and the end must not move up.
    pub(crate) fn complete_cut<T: Task>(
        &self,
        token: &mut impl PageLocks,
        task: &T,
    ) -> Result<(), Errno> {
        let Some((size, origin)) = self.size_changes.incomplete_cut() else { return Ok(()) };
        let completed = self.remove_past(token, size, origin, task);
        if completed.is_err() && size.offset_in_page() != 0 {
            // The page of the end may still hold what was cut off. Mappings of it fault again, and
            // the fault zeroes that; see `zero_past_incomplete_cut`.
            let eof_page = size.page();
            self.unmap(eof_page, eof_page.plus(1), Unmap::Evict);
        }
        completed
    }

    /// Completes a truncation that was left incomplete, if any: takes I.
    ///
    /// # Errors
    /// As [`complete_cut`](Self::complete_cut).
    pub(crate) fn finish_cut<T: Task>(
        &self,
        token: &mut impl InodeLocks,
        task: &T,
    ) -> Result<(), Errno> {
        if !self.size_changes.is_cut_incomplete() {
            return Ok(());
        }
        let wait = self.mapping().cache().wait();
        let _size_lock = self.lock.lock_killable(wait, &Caller(task))?;
        self.complete_cut(token, task)
    }

    fn remove_past<T: Task>(
        &self,
        token: &mut impl PageLocks,
        size: FilePos,
        origin: Origin,
        task: &T,
    ) -> Result<(), Errno> {
        let first_gone = size.page_from();
        let end = FilePos::MAX.page().plus(1);
        // Always, and not only if a page was mapped through `fault`: an embedder may have made a
        // private copy of a page that it read.
        self.unmap(first_gone, end, Unmap::Truncate);
        self.remove_pages(token, first_gone, end, task)?;
        self.zero_tail(token, size, task)?;
        // The leaf of the last page goes, too, if it was only made for its lock.
        self.unmap(first_gone, end, Unmap::Truncate);
        self.mapping().prune(size.page(), end);
        self.give_back_past(token, size, origin, task)
    }

    /// Takes every page in `first..end` out of the cache, once its writeback is over.
    fn remove_pages<T: Task>(
        &self,
        token: &mut impl PageLocks,
        first: PageIndex,
        end: PageIndex,
        task: &T,
    ) -> Result<(), Errno> {
        let mapping = self.mapping();
        let killed = Caller(task);
        let mut removals = mapping.removals();
        let mut from = first;
        while let Some(run) = mapping.find_span(from, end, Mark::Present) {
            from = run.end();
            let locked = mapping.lock_killable(token.page_locks(), run, &killed)?;
            let Some(mut locked) = locked else { continue };
            locked.wait_writeback(locked.mask(), &killed)?;
            let present = locked.present();
            removals.take(&mut locked, present);
        }
        Ok(())
    }

    /// Zeroes the last page from `size` on, and waits for its writeback, so that blocks can go. The
    /// store does the same with its own copy in
    /// [`truncate_blocks`](AddressSpaceOperations::truncate_blocks): the page need not be read in
    /// or become dirty.
    fn zero_tail<T: Task>(
        &self,
        token: &mut impl PageLocks,
        size: FilePos,
        task: &T,
    ) -> Result<(), Errno> {
        if size.offset_in_page() == 0 {
            return Ok(());
        }
        let run = PageRun::single(size.page());
        let killed = Caller(task);
        let locked = self.mapping().lock_killable(token.page_locks(), run, &killed)?;
        let Some(mut locked) = locked else { return Ok(()) };
        if !locked.uptodate().is_empty() {
            zero_to_page_end(&mut locked, size);
        }
        locked.wait_writeback(locked.mask(), &killed)
    }

    /// Returns every block past the end to the store, for a write that asked for more than it used
    /// (W9). I is held, no page lock. What a signal interrupts is completed before the file grows.
    pub(crate) fn give_back<T: Task>(&self, token: &mut impl PageLocks, task: &T) {
        let size = self.eof();
        self.size_changes.cut_begins(size);
        // Of a call that does not sleep, the last key that it is told counts: not one of these.
        let task = &Leaving(task);
        let _left_to_the_next = self.give_back_past(token, size, Origin::Here, task);
    }

    /// Returns every block past `size`, the end, to the store, unless it was the store that took
    /// them, and forgets that the last page was wholly reserved: the cached knowledge goes with the
    /// blocks (W9, Linux b9a4207d). I is held, no page lock.
    fn give_back_past<T: Task>(
        &self,
        token: &mut impl PageLocks,
        size: FilePos,
        origin: Origin,
        task: &T,
    ) -> Result<(), Errno> {
        if origin == Origin::Here {
            self.mapping().store().truncate_blocks(size.get());
        }
        // Afterwards: a page inserted meanwhile may have recorded blocks that are gone now. Until
        // here only a write that grows the file would rely on them, and it needs I.
        let run = PageRun::single(size.page());
        let killed = Caller(task);
        if let Some(mut locked) = self.mapping().lock_killable(token.page_locks(), run, &killed)? {
            locked.clear_reserved(locked.mask());
        }
        self.size_changes.cut_completed();
        Ok(())
    }
}
