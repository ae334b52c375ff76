//! Walks over a mapping's pages without locks: what is there, and with which marks.
#![forbid(unsafe_code)]

use core::sync::atomic::Ordering::Acquire;

use crate::leaf::Leaf;
use crate::node::leaf_number;
use crate::{
    Kernel, Mapping, PAGES_PER_LEAF, PageIndex, PageRun, Replacement, SlotMask, SyncFamily,
};

/// Which pages [`Mapping::find`] looks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Mark {
    /// In the cache.
    Present,
    /// Newer than the store.
    Dirty,
    /// On their way to the store.
    Writeback,
    /// Dirty or under writeback: what a sync owes (F1).
    ///
    /// A writeback begins by setting writeback, then clearing dirty. The look loads dirty first
    /// (acquire), then writeback, so a page on its way from the one to the other is found. One miss
    /// is left: a writeback that fails between the two loads, setting dirty after the first and
    /// clearing writeback before the second. The error sequence covers it: the failure is recorded
    /// *before* [`WritebackRequest::complete`](crate::WritebackRequest::complete), and a sync reads
    /// the sequence *after* this look. The load that found writeback cleared (acquire) makes the
    /// record visible (F2).
    Unclean,
}

impl<K: Kernel> Mapping<K> {
    /// Pages in the cache. Walks all leaves; a snapshot.
    #[must_use]
    pub fn cached_pages(&self) -> u64 {
        let _section = self.cache().enter();
        let mut number = 0;
        let mut pages = 0;
        while let Some((at, leaf)) = self.tree().next_leaf(number, u64::MAX) {
            pages += u64::from(leaf.present().count());
            number = at + 1;
        }
        pages
    }

    /// The next maximal run of pages with `mark` in `from..end`, inside one leaf. Takes no lock: by
    /// the time the caller has locked the run, the marks may have changed. Does not sleep.
    #[must_use]
    pub fn find(&self, from: PageIndex, end: PageIndex, mark: Mark) -> Option<PageRun> {
        if end <= from {
            return None;
        }
        let last_page = PageIndex::new(end.get() - 1);
        let _section = self.cache().enter();
        let mut number = leaf_number(from);
        while let Some((at, leaf)) = self.tree().next_leaf(number, leaf_number(last_page)) {
            let base = PageIndex::new(at * PAGES_PER_LEAF as u64);
            let mut slots = leaf.marked(mark);
            if base == from.leaf_base() {
                slots &= SlotMask::ALL.moved_up(from.slot());
            }
            if base == last_page.leaf_base() {
                slots &= SlotMask::lowest(last_page.slot() + 1);
            }
            if let Some(run) = PageRun::first_of(base, slots)
                && leaf.is(self.id(), base)
            {
                return Some(run);
            }
            number = at + 1;
        }
        None
    }
}

impl<S: SyncFamily, R: Replacement> Leaf<S, R> {
    /// The slots with `mark`, at this moment.
    pub(crate) fn marked(&self, mark: Mark) -> SlotMask {
        match mark {
            Mark::Present => self.present(),
            Mark::Dirty => self.dirty.load(Acquire),
            Mark::Writeback => self.writeback.load(Acquire),
            Mark::Unclean => self.unclean(),
        }
    }
}
