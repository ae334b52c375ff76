//! Writeback, `fsync`, `msync`: dirty pages to the store.
//!
//! A page is claimed under its lock: user mappings become read-only, so that the next store through one faults
//! and dirties the page again; dirty becomes writeback; then the lock is let go and the store is called. Whatever
//! changes from here on makes the page dirty once more and is sent by a later round.
#![forbid(unsafe_code)]

use core::ops::Range;

use faultless_page::{
    AddressSpaceOperations, Errno, Kernel, LEAF_SIZE, LockedRun, Mark, PAGE_SIZE, PageIndex,
    PageRun, SlotMask, SyncKind, Unmap, UserMappings, WritebackOutcome,
};

use crate::inode::Inode;
use crate::options::MsyncKind;
use crate::token::PageLocks;

impl<K: Kernel> Inode<K> {
    /// Sends the dirty pages that hold bytes of `range` to the store, and waits for those already on their way.
    ///
    /// May sleep. No page lock is held; I need not be.
    ///
    /// # Errors
    /// The first error of the store. Its pages are dirty again, the other pages were sent all the same, and
    /// the next [`fsync`](Self::fsync) reports it (W4).
    #[doc(alias = "filemap_write_and_wait_range")]
    pub fn writeback(&self, may: &mut impl PageLocks, range: Range<u64>) -> Result<(), Errno> {
        let result = self.send_dirty(may, &range);
        self.wait_for_writeback(&range);
        if let Err(errno) = result {
            self.record_error(errno);
        }
        result
    }

    /// Makes the file durable: what `fsync` and `fdatasync` do.
    ///
    /// May sleep. No page lock and no I is held.
    ///
    /// # Errors
    /// An error of writeback since the last call, of this one, or of the store's sync. Each is reported once.
    #[doc(alias = "fdatasync")]
    pub fn fsync(&self, may: &mut impl PageLocks, kind: SyncKind) -> Result<(), Errno> {
        self.fsync_range(may, kind, 0..u64::MAX)
    }

    /// As [`fsync`](Self::fsync), for the pages that hold bytes of `range`.
    ///
    /// # Errors
    /// As `fsync`.
    #[doc(alias = "vfs_fsync_range")]
    pub fn fsync_range(
        &self,
        may: &mut impl PageLocks,
        kind: SyncKind,
        range: Range<u64>,
    ) -> Result<(), Errno> {
        let sent = self.writeback(may, range);
        let synced = self.mapping().store().sync(kind);
        let earlier = self.take_error();
        sent.and(synced).and(earlier)
    }

    /// `msync` of the bytes in `range`: stores through mappings are in the page cache already.
    ///
    /// May sleep when it is to wait. No page lock is held.
    ///
    /// # Errors
    /// [`MsyncKind::Sync`]: as [`fsync`](Self::fsync).
    pub fn msync(
        &self,
        may: &mut impl PageLocks,
        range: Range<u64>,
        kind: MsyncKind,
    ) -> Result<(), Errno> {
        match kind {
            MsyncKind::Async => Ok(()),
            MsyncKind::Sync => self.fsync_range(may, SyncKind::Data, range),
        }
    }

    fn send_dirty(&self, may: &mut impl PageLocks, range: &Range<u64>) -> Result<(), Errno> {
        let mut result = Ok(());
        let (mut from, end) = pages(range);
        while let Some(run) = self.mapping().find(from, end, Mark::Dirty) {
            match self.send_run(may, run) {
                Sent::Moved(next, outcome) => {
                    from = next;
                    result = result.and(outcome);
                }
                Sent::Busy => self.mapping().wait_writeback(run),
            }
        }
        result
    }

    /// Sends the first stretch of dirty pages in `run`.
    fn send_run(&self, may: &mut impl PageLocks, run: PageRun) -> Sent {
        let mapping = self.mapping();
        let Some(mut locked) = mapping.lock(may.page_locks(), run) else {
            return Sent::Moved(run.end(), Ok(()));
        };
        let Some(stretch) = first_stretch(run, locked.dirty()) else {
            return Sent::Moved(run.end(), Ok(()));
        };
        if locked.writeback() & stretch.mask() != 0 {
            return Sent::Busy;
        }
        let (first, end) = (stretch.first(), stretch.end());
        mapping.user_mappings().unmap(mapping.id(), first, end, Unmap::WriteProtect);
        let size = mapping.size();
        self.clean_tail(&mut locked, stretch, size);
        let Some(writeback) = locked.begin_writeback(stretch, size) else {
            return Sent::Moved(end, Ok(()));
        };
        drop(locked);
        let outcome = match writeback.view() {
            view if view.is_empty() => Ok(()),
            view => mapping.store().writeback(&view),
        };
        let state = match outcome {
            Ok(()) => WritebackOutcome::Clean,
            Err(_) => WritebackOutcome::Redirty,
        };
        writeback.end(state);
        Sent::Moved(end, outcome)
    }

    /// Zeroes what a mapping stored past the end (P2). No mapping of these pages is writable at the moment.
    fn clean_tail(&self, locked: &mut LockedRun<'_, K>, stretch: PageRun, size: u64) {
        let scribbled = locked.scribbled() & stretch.mask();
        let last = PageIndex::containing(size);
        let holds_end = stretch.first() <= last && last < stretch.end();
        if holds_end && scribbled & (1 << last.slot()) != 0 {
            // Should that be more than this page: the next one is not in the file either.
            locked.zero(size, PAGE_SIZE);
        }
        locked.clear_scribbled(scribbled);
    }

    fn wait_for_writeback(&self, range: &Range<u64>) {
        let (mut from, end) = pages(range);
        while let Some(run) = self.mapping().find(from, end, Mark::Writeback) {
            self.mapping().wait_writeback(run);
            from = run.end();
        }
    }
}

/// How far [`Inode::send_run`] got.
enum Sent {
    /// On to this page, with the store's answer.
    Moved(PageIndex, Result<(), Errno>),
    /// The pages are still on their way from before.
    Busy,
}

/// The pages that hold bytes of `range`.
pub(crate) fn pages(range: &Range<u64>) -> (PageIndex, PageIndex) {
    let end = range.end.min(faultless_page::MAX_FILE_SIZE);
    (PageIndex::containing(range.start), PageIndex::new(end.div_ceil(PAGE_SIZE as u64)))
}

/// The first consecutive pages whose slots are in `marked`, which are some of those of `run`.
fn first_stretch(run: PageRun, marked: SlotMask) -> Option<PageRun> {
    if marked == 0 {
        return None;
    }
    let slot = marked.trailing_zeros();
    let count = (marked >> slot).trailing_ones();
    let first = run.first().leaf_base().plus(u64::from(slot));
    debug_assert!(count as usize * PAGE_SIZE <= LEAF_SIZE, "a stretch lies in one leaf");
    PageRun::covering(first.start(), count as usize * PAGE_SIZE)
}
