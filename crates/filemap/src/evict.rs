//! Dropping clean pages: what reclaim and `POSIX_FADV_DONTNEED` ask for.
#![forbid(unsafe_code)]

use core::ops::Range;
use core::sync::atomic::Ordering::Relaxed;

use faultless_page::{
    AddressSpaceOperations, Frames, Kernel, LockedRun, Mark, PageIndex, PageRun, SlotMask, Unmap,
    Word,
};

use crate::inode::Inode;
use crate::token::PageLocks;
use crate::writeback::pages;

impl<K: Kernel> Inode<K> {
    /// Drops the clean pages that hold bytes of `range` from the cache, mapped or not; how many.
    /// Pages that are locked, dirty or under writeback stay (F5); so do pages whose frame is
    /// counted by something else than the mapping and page tables, as a device's pin is, and the
    /// pages of a store that keeps no data elsewhere, but for zeros that were never written.
    ///
    /// Waits for no lock; for the end of read sections only. No page lock is held; I need not be.
    /// So an allocator may call it to reclaim, on the thread that allocates ([`Frames::allocate`]).
    #[doc(alias = "invalidate_mapping_pages")]
    pub fn evict(&self, token: &mut impl PageLocks, range: Range<u64>) -> u64 {
        let (first, end) = pages(&range);
        self.drop_chosen(token, first, end, |locked| {
            let unused = self.unused(locked, SlotMask::ALL);
            self.note_dropped_unused(locked.marker() & unused, unused);
            unused
        })
    }

    /// Drops those of pages `first..end` that are clean, still transient, and counted by nothing
    /// but the mapping; how many. Under the same conditions as [`evict`](Self::evict).
    pub(crate) fn drop_transient(
        &self,
        token: &mut impl PageLocks,
        first: PageIndex,
        end: PageIndex,
    ) -> u64 {
        self.drop_chosen(token, first, end, |locked| {
            let slots = locked.transient() & locked.clean();
            if slots.is_empty() { slots } else { self.counted_once(locked) & slots }
        })
    }

    /// Drops the pages of `first..end` that can be locked at once and that `choose` gives: clean
    /// ones, which nothing else counts.
    fn drop_chosen(
        &self,
        token: &mut impl PageLocks,
        first: PageIndex,
        end: PageIndex,
        choose: impl Fn(&LockedRun<'_, K>) -> SlotMask,
    ) -> u64 {
        let mapping = self.mapping();
        if !self.may_drop_pages() {
            return 0;
        }
        let (mut from, mut evicted) = (first, 0);
        let mut removals = mapping.removals();
        while let Some(run) = mapping.find_span(from, end, Mark::Present) {
            let Some(mut locked) = mapping.try_lock_free(token.page_locks(), run) else {
                from = run.end();
                continue;
            };
            from = locked.run().end();
            let chosen = choose(&locked);
            evicted += u64::from(removals.take(&mut locked, chosen).count());
        }
        drop(removals);
        if evicted > 0 {
            mapping.prune(first, end);
        }
        evicted
    }

    /// Pages leave with a marker that no reader has come to: it and the pages behind it were read
    /// ahead for nothing. A lower bound: pages before the marker may be unused as well.
    pub(crate) fn note_dropped_unused(&self, markers: SlotMask, dropped: SlotMask) {
        if let Some(marker) = markers.first() {
            let pages = u64::from(dropped.count_from(marker));
            self.dropped_unused.fetch_add(pages, Relaxed);
        }
    }

    /// Whether some pages can be had again once they are dropped.
    pub(crate) fn may_drop_pages(&self) -> bool {
        self.mapping().store().is_persistent() || self.mapping().holes_are_zeros()
    }

    /// Which of `slots`, locked pages, are clean, no longer mapped by a user, and counted by the
    /// mapping alone; of a file in memory, those that were never written.
    pub(crate) fn unused(&self, locked: &LockedRun<'_, K>, slots: SlotMask) -> SlotMask {
        let is_zeros = self.mapping().holes_are_zeros();
        let slots = if is_zeros { slots & locked.transient() } else { slots };
        self.unmap_unpinned(locked, locked.clean() & slots)
    }

    /// Removes user mappings of locked pages; which of them are counted by the mapping alone.
    pub(crate) fn unmap_unpinned(&self, locked: &LockedRun<'_, K>, slots: SlotMask) -> SlotMask {
        if slots.is_empty() {
            return slots;
        }
        if self.was_mapped() {
            // A page that is mapped writable is dirty, so clean ones can be unmapped without loss.
            let base = locked.run().first().leaf_base();
            let mut rest = slots;
            while let Some(stretch) = PageRun::first_of(base, rest) {
                rest -= stretch.mask();
                self.unmap(stretch.first(), stretch.end(), Unmap::Evict);
            }
        }
        slots & self.counted_once(locked)
    }

    /// Slots of locked pages that nothing but the mapping counts.
    pub(crate) fn counted_once(&self, locked: &LockedRun<'_, K>) -> SlotMask {
        let frames = self.mapping().cache().frames();
        // A pin is taken through a page table, which needs the page lock, or by its holder, which
        // has one.
        let counted_once = |index: &PageIndex| {
            locked.frame(*index).is_some_and(|frame| frames.references(frame) == 1)
        };
        let pages = locked.run().first().get()..locked.run().end().get();
        let once = pages.map(PageIndex::new).filter(counted_once);
        once.fold(SlotMask::EMPTY, |slots, index| slots | index.bit())
    }
}
