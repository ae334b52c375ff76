//! Writeback, `fsync`, `msync`: dirty pages to the store, and what a sync promises (F1–F4).
//!
//! A page is claimed under its lock: user mappings become read-only, so that the next CPU store
//! through one faults and dirties the page again; dirty becomes writeback; then the lock is let go
//! and the store is called. Whatever changes from here on makes the page dirty once more and is
//! sent by a later round.
//!
//! A sync passes twice over the pages of its range, up to the size that was visible when it began,
//! in ascending order. First, a page that is dirty is sent; a page that another caller has under
//! way is locked and waited for with the lock held, and sent if it has failed: no new writeback of
//! it can begin, so the wait is for one. To wait for it later would not do: its failure may have
//! been counted before the sync began. Then the end of what was sent is waited for, in the same
//! way. What becomes dirty behind the first pass, or past the size of its start, is not its
//! business (F4).
#![forbid(unsafe_code)]

use core::mem;
use core::ops::Range;

use faultless_page::{
    AddressSpaceOperations, Errno, FailedSync, Kernel, LockedRun, Mark, PageIndex, PageRun,
    SyncKind, WritebackRequest,
};

use crate::eof::zero_to_page_end;
use crate::errors::ErrorCursor;
use crate::inode::Inode;
use crate::options::MsyncKind;
use crate::pos::FilePos;
use crate::task::{Caller, Task};
use crate::token::PageLocks;

impl<K: Kernel> Inode<K> {
    /// Sends the dirty pages that hold bytes of `range` to the store, and waits for those already
    /// on their way.
    ///
    /// May sleep. No page lock is held; I need not be. Not to be called from a store's own
    /// [`writeback`](AddressSpaceOperations::writeback): it would wait for itself.
    ///
    /// # Errors
    /// - The error of a writeback of this file that failed meanwhile, by whichever caller. Its
    ///   pages are dirty again, the other pages were sent all the same, and every open file is told
    ///   by its next sync (F2).
    /// - [`Errno::Interrupted`]: a fatal signal; some pages were not sent and are still dirty (L3).
    #[doc(alias = "filemap_write_and_wait_range")]
    pub fn writeback<T: Task>(
        &self,
        token: &mut impl PageLocks,
        range: Range<u64>,
        task: &T,
    ) -> Result<(), Errno> {
        let mark = ErrorCursor::now(self.mapping());
        self.send_dirty(token, &range, task)?;
        mark.since(self.mapping())
    }

    /// Hands the dirty pages that hold bytes of `range` to the store, and does not wait for the
    /// ends of their writebacks: `sync_file_range(2)` with `SYNC_FILE_RANGE_WRITE`. Pages that are
    /// under writeback are left out, even if they are dirty again. A failure is in the sequence of
    /// failures.
    ///
    /// May sleep for page locks, and for room in the store's queue. No page lock is held; I need
    /// not be. Ends however fast other tasks dirty pages: each page is looked at once.
    ///
    /// # Errors
    /// [`Errno::Interrupted`]: a fatal signal; some pages were not sent (L3).
    #[doc(alias = "filemap_fdatawrite_range")]
    #[doc(alias = "SYNC_FILE_RANGE_WRITE")]
    pub fn start_writeback<T: Task>(
        &self,
        token: &mut impl PageLocks,
        range: Range<u64>,
        task: &T,
    ) -> Result<(), Errno> {
        if self.is_swapped() {
            return Ok(());
        }
        self.send(token, &range, Busy::Skip, task).map(drop)
    }

    /// Waits for the writebacks of pages that hold bytes of `range` and are under way, each once:
    /// `sync_file_range(2)` with `SYNC_FILE_RANGE_WAIT_BEFORE` or `WAIT_AFTER`. Sends nothing.
    ///
    /// May sleep. No page lock is held; I need not be.
    ///
    /// # Errors
    /// As [`writeback`](Self::writeback).
    #[doc(alias = "filemap_fdatawait_range")]
    pub fn wait_writeback<T: Task>(
        &self,
        token: &mut impl PageLocks,
        range: Range<u64>,
        task: &T,
    ) -> Result<(), Errno> {
        let mark = ErrorCursor::now(self.mapping());
        let (mut first, end) = pages(&(range.start..range.end.min(self.size())));
        self.wait_for_writeback(token, &mut first, end, task)?;
        mark.since(self.mapping())
    }

    /// Makes the file durable: what `fsync` and `fdatasync` do, for a caller without an open file.
    /// An open file has [`OpenFile::fsync`](crate::OpenFile::fsync).
    ///
    /// On success every page that was dirty or under writeback when the call began has reached the
    /// store by a writeback that succeeded, and the store has synced it, with the size that was
    /// visible then (F1, F3). Ends however fast other tasks dirty pages (F4).
    ///
    /// May sleep. No page lock and no I is held. Not to be called from a call of the file's own
    /// store, or from `install` of a [`fault`](Self::fault): it could wait for its caller.
    ///
    /// # Errors
    /// - A failure of a writeback of this file, by whichever caller: one that came during this
    ///   call, or one that no earlier caller of this method was told of. An open file's cursor is
    ///   not moved by that (F2).
    /// - The error of the store's sync; of an earlier one, too, if the store
    ///   [lost](FailedSync::Loses) by it what had been sent before. That one is every sync's, until
    ///   [`accept_failed_sync`](Self::accept_failed_sync).
    /// - [`Errno::Interrupted`]: a fatal signal; nothing is promised, and nothing is lost (L3).
    #[doc(alias = "fdatasync")]
    pub fn fsync<T: Task>(
        &self,
        token: &mut impl PageLocks,
        kind: SyncKind,
        task: &T,
    ) -> Result<(), Errno> {
        self.fsync_range(token, kind, 0..u64::MAX, task)
    }

    /// As [`fsync`](Self::fsync), for the pages that hold bytes of `range`.
    ///
    /// # Errors
    /// As `fsync`.
    #[doc(alias = "vfs_fsync_range")]
    pub fn fsync_range<T: Task>(
        &self,
        token: &mut impl PageLocks,
        kind: SyncKind,
        range: Range<u64>,
        task: &T,
    ) -> Result<(), Errno> {
        let mark = ErrorCursor::now(self.mapping());
        let synced = self.sync_pages(token, kind, range, task);
        self.told.report(self.mapping(), mark).and(synced)
    }

    /// As [`fsync_range`](Self::fsync_range), for an open file: `cursor` is its place in the
    /// sequence of failures, and moves past those that are reported.
    ///
    /// # Errors
    /// As `fsync`, with every failure since `cursor`.
    pub fn fsync_since<T: Task>(
        &self,
        token: &mut impl PageLocks,
        kind: SyncKind,
        range: Range<u64>,
        cursor: &mut ErrorCursor,
        task: &T,
    ) -> Result<(), Errno> {
        let synced = self.sync_pages(token, kind, range, task);
        cursor.report(self.mapping()).and(synced)
    }

    /// `msync` of the bytes in `range`, for a caller without an open file: CPU stores through
    /// mappings are in the page cache already. The times are stamped by then (F7).
    ///
    /// May sleep when it is to wait. No page lock is held.
    ///
    /// # Errors
    /// [`MsyncKind::Sync`]: as [`fsync`](Self::fsync).
    pub fn msync<T: Task>(
        &self,
        token: &mut impl PageLocks,
        range: Range<u64>,
        kind: MsyncKind,
        task: &T,
    ) -> Result<(), Errno> {
        match kind {
            MsyncKind::Async => Ok(()),
            MsyncKind::Sync => self.fsync_range(token, SyncKind::Data, range, task),
        }
    }

    /// Lets syncs of the file succeed again after one that failed on a store that
    /// [loses](FailedSync::Loses) what was sent before: pages that were written back since the last
    /// good sync may be gone from the store, and are clean. The embedder has written them again, or
    /// has told its users of the loss. Does not sleep.
    pub fn accept_failed_sync(&self) {
        self.lost_sync.forget();
    }

    /// The place in the sequence of failures at which a new open file starts.
    #[must_use]
    pub fn error_cursor(&self) -> ErrorCursor {
        ErrorCursor::of_new_file(self.mapping())
    }

    /// Sends the pages and syncs the store. Failures of writebacks are in the sequence of errors,
    /// not in the result.
    #[inline(never)] // for the stack of its callers
    fn sync_pages<T: Task>(
        &self,
        token: &mut impl PageLocks,
        kind: SyncKind,
        range: Range<u64>,
        task: &T,
    ) -> Result<(), Errno> {
        if self.is_swapped() {
            return Ok(());
        }
        self.send_dirty(token, &range, task)?;
        self.sync_store(kind)
    }

    /// Has the store sync, with the size and the times. None succeeds after one that lost what had
    /// been sent.
    pub(crate) fn sync_store(&self, kind: SyncKind) -> Result<(), Errno> {
        // Once more: pages that a truncation has cut off meanwhile were not sent, so its size has
        // to be durable, and a write may have grown the file since.
        self.tell_size_if_new();
        self.tell_times();
        let store = self.mapping().store();
        let unwinds = FailsByDrop(self);
        let synced = store.sync(kind);
        mem::forget(unwinds);
        self.note_sync(synced)
    }

    /// What a sync of the store means for the file.
    pub(crate) fn note_sync(&self, synced: Result<(), Errno>) -> Result<(), Errno> {
        if let Err(errno) = synced
            && self.mapping().store().failed_sync() == FailedSync::Loses
        {
            self.lost_sync.note(errno);
        }
        synced.and(self.lost_sync.result())
    }

    /// The first pass of a sync of all files of a store: [`send`](Self::send), of the whole file.
    ///
    /// # Errors
    /// [`Errno::Interrupted`].
    pub(crate) fn send_all<T: Task>(
        &self,
        token: &mut impl PageLocks,
        task: &T,
    ) -> Result<(), Errno> {
        if self.is_swapped() {
            return Ok(());
        }
        self.send(token, &(0..u64::MAX), Busy::Wait, task).map(drop)
    }

    /// Its second pass: waits for what is under writeback, and tells the store the size and the
    /// times as [`sync_pages`](Self::sync_pages) does.
    ///
    /// # Errors
    /// [`Errno::Interrupted`].
    pub(crate) fn wait_for_all<T: Task>(
        &self,
        token: &mut impl PageLocks,
        task: &T,
    ) -> Result<(), Errno> {
        let (mut first, end) = pages(&(0..self.size()));
        self.wait_for_writeback(token, &mut first, end, task)?;
        self.tell_size_if_new();
        self.tell_times();
        Ok(())
    }

    /// [Sends](Self::send) the dirty pages of `range`, and waits for the end of their writebacks;
    /// see the module's documentation. Failures of the store are recorded and do not end it.
    ///
    /// # Errors
    /// [`Errno::Interrupted`].
    pub(crate) fn send_dirty<T: Task>(
        &self,
        token: &mut impl PageLocks,
        range: &Range<u64>,
        task: &T,
    ) -> Result<(), Errno> {
        let (mut first, end) = self.send(token, range, Busy::Wait, task)?;
        self.wait_for_writeback(token, &mut first, end, task)
    }

    /// Sends the dirty pages of `range`, up to the size that is visible now; the range, in pages.
    ///
    /// # Errors
    /// [`Errno::Interrupted`].
    fn send<T: Task>(
        &self,
        token: &mut impl PageLocks,
        range: &Range<u64>,
        busy: Busy,
        task: &T,
    ) -> Result<(PageIndex, PageIndex), Errno> {
        let (first, end) = self.pages_to_sync(range);
        self.send_from(token, &mut { first }, end, busy, task)?;
        Ok((first, end))
    }

    /// The pages of `range` up to the size that is visible now, of which the store is told.
    pub(crate) fn pages_to_sync(&self, range: &Range<u64>) -> (PageIndex, PageIndex) {
        let size = self.size();
        // The store learns of the size before it gets the data.
        self.tell_size_if_new();
        pages(&(range.start..range.end.min(size)))
    }

    /// Sends the dirty pages of `from..end`. `from` moves on past those that are done with.
    ///
    /// # Errors
    /// [`Errno::Interrupted`].
    pub(crate) fn send_from<T: Task>(
        &self,
        token: &mut impl PageLocks,
        from: &mut PageIndex,
        end: PageIndex,
        busy: Busy,
        task: &T,
    ) -> Result<(), Errno> {
        while let Some(run) = self.mapping().find(*from, end, Mark::Unclean) {
            while *from < run.end() {
                let rest = ((*from).max(run.first()), run.end());
                *from = self.send_first(token, rest, busy, task)?;
            }
        }
        Ok(())
    }

    /// Sends, or waits for, the first pages of a range, all in one leaf; the first page that is
    /// left.
    fn send_first<T: Task>(
        &self,
        token: &mut impl PageLocks,
        (first, end): (PageIndex, PageIndex),
        busy: Busy,
        task: &T,
    ) -> Result<PageIndex, Errno> {
        let mapping = self.mapping();
        let killed = Caller(task);
        if task.fatal_signal_pending() {
            return Err(Errno::Interrupted);
        }
        let rest = PageRun::new(first, end.get() - first.get());
        // The pages that are free in one piece; if the first one is not, that one by itself.
        let free = mapping.try_lock_free(token.page_locks(), rest);
        if let Some(locked) = free.filter(|locked| locked.run().first() == first) {
            match Claim::of(&locked) {
                Claim::Nothing => return Ok(locked.run().end()),
                Claim::Send(stretch) => {
                    let next = stretch.end();
                    self.claim_and_send(locked, stretch, task);
                    return Ok(next);
                }
                // With this page alone locked, the others are free while it is waited for.
                Claim::UnderWay(page) if page != first => return Ok(page),
                Claim::UnderWay(_) if busy == Busy::Skip => return Ok(first.plus(1)),
                Claim::UnderWay(_) => {}
            }
        }
        let single = PageRun::single(first);
        let locked = match busy {
            Busy::Wait => self.lock_idle(token, single, task)?,
            Busy::Skip => mapping.lock_killable(token.page_locks(), single, &killed)?,
        };
        let Some(locked) = locked else { return Ok(end) };
        if let Claim::Send(stretch) = Claim::of(&locked) {
            self.claim_and_send(locked, stretch, task);
        }
        Ok(single.end())
    }

    /// Puts a stretch of dirty pages under writeback, unlocks, and hands them to the store; how
    /// many pages.
    #[inline(never)] // for the stack of its callers
    pub(crate) fn claim_and_send<T: Task>(
        &self,
        mut locked: LockedRun<'_, K>,
        stretch: PageRun,
        task: &T,
    ) -> u32 {
        let claimed = self.claim(&mut locked, stretch, task);
        drop(locked);
        let Some(request) = claimed else { return 0 };
        if request.is_empty() {
            // Cut off meanwhile: it has nothing in the file.
            request.complete(Ok(()));
        } else {
            self.mapping().store().submit_writeback(request);
        }
        stretch.pages()
    }

    /// Puts a stretch of dirty pages under writeback: none of its mappings is writable from here
    /// on.
    fn claim<T: Task>(
        &self,
        locked: &mut LockedRun<'_, K>,
        stretch: PageRun,
        task: &T,
    ) -> Option<WritebackRequest> {
        let size = self.eof();
        if locked.wrote_past_eof().intersects(stretch.mask()) {
            self.write_protect(stretch.first(), stretch.end());
            // A CPU store through a mapping may have come at any time up to now (F7).
            self.stamp(task.now());
            self.zero_past_eof(locked, stretch, size);
        }
        locked.begin_writeback(stretch, size.get())
    }

    /// Zeroes what a mapping stored past the end (P2). No mapping of these pages is writable at the
    /// moment.
    fn zero_past_eof(&self, locked: &mut LockedRun<'_, K>, stretch: PageRun, size: FilePos) {
        let wrote_past_eof = locked.wrote_past_eof() & stretch.mask();
        let last = size.page();
        if stretch.contains(last) && wrote_past_eof.contains(last.bit()) {
            zero_to_page_end(locked, size);
        }
        locked.clear_wrote_past_eof(wrote_past_eof);
    }

    /// Waits for the writebacks of pages `from..end` that are under way, each once, and moves
    /// `from` on. One that fails is in the sequence of failures.
    ///
    /// # Errors
    /// [`Errno::Interrupted`].
    pub(crate) fn wait_for_writeback<T: Task>(
        &self,
        token: &mut impl PageLocks,
        from: &mut PageIndex,
        end: PageIndex,
        task: &T,
    ) -> Result<(), Errno> {
        while let Some(run) = self.mapping().find(*from, end, Mark::Writeback) {
            let page = PageRun::single(run.first());
            self.lock_idle(token, page, task)?;
            *from = page.end();
        }
        Ok(())
    }

    /// Locks a page, and waits for its writeback with it locked. `None` if it has no leaf.
    ///
    /// # Errors
    /// [`Errno::Interrupted`].
    fn lock_idle<'t, T: Task>(
        &'t self,
        token: &'t mut impl PageLocks,
        page: PageRun,
        task: &T,
    ) -> Result<Option<LockedRun<'t, K>>, Errno> {
        let killed = Caller(task);
        let locked = self.mapping().lock_killable(token.page_locks(), page, &killed)?;
        if let Some(locked) = &locked {
            locked.wait_writeback(page.mask(), &killed)?;
        }
        Ok(locked)
    }
}

/// A sync of the store that is under way. Its drop, by a store that unwinds, is a failure.
struct FailsByDrop<'i, K: Kernel>(&'i Inode<K>);

impl<K: Kernel> Drop for FailsByDrop<'_, K> {
    fn drop(&mut self) {
        let _told_by_the_panic = self.0.note_sync(Err(Errno::Io));
    }
}

/// What a pass does about a page that another caller has under writeback.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Busy {
    /// Waits for its end, and sends it if it is dirty then.
    Wait,
    /// Leaves it out.
    Skip,
}

/// What a pass does first with a locked run.
pub(crate) enum Claim {
    /// Every page is clean.
    Nothing,
    /// These pages are dirty and not under writeback, and those before them are clean.
    Send(PageRun),
    /// This page is under writeback, and those before it are clean.
    UnderWay(PageIndex),
}

impl Claim {
    pub(crate) fn of<K: Kernel>(locked: &LockedRun<'_, K>) -> Self {
        // In this order: a writeback that fails in between leaves its page in both.
        let under_way = locked.writeback();
        let dirty = locked.dirty() - under_way;
        let base = locked.run().first().leaf_base();
        match (PageRun::first_of(base, dirty), PageRun::first_of(base, under_way)) {
            (Some(run), Some(busy)) if busy.first() < run.first() => Self::UnderWay(busy.first()),
            (Some(run), _) => Self::Send(run),
            (None, Some(busy)) => Self::UnderWay(busy.first()),
            (None, None) => Self::Nothing,
        }
    }
}

/// The pages that hold bytes of `range`.
pub(crate) fn pages(range: &Range<u64>) -> (PageIndex, PageIndex) {
    (PageIndex::containing(range.start), FilePos::clipped(range.end).page_from())
}
