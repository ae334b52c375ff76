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

/// Pages of one leaf by their marks: a word for each mark.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LeafMarks {
    /// The first page of the leaf: that of slot 0.
    pub base: PageIndex,
    /// In the cache, valid or not.
    pub present: SlotMask,
    /// Valid: what `mincore` calls resident.
    pub uptodate: SlotMask,
    /// Newer than the store.
    pub dirty: SlotMask,
    /// On their way to the store. A page that became dirty again meanwhile is in both.
    pub writeback: SlotMask,
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
        self.first_leaf(from, end, |leaf, base, wanted| {
            PageRun::first_of(base, leaf.marked(mark) & wanted)
        })
    }

    /// All pages with `mark` in the first leaf of `from..end` that has one, and what lies between
    /// them: for a caller that takes as many as it can under one lock, whatever their places. As
    /// [`find`](Self::find) otherwise.
    #[must_use]
    pub fn find_span(&self, from: PageIndex, end: PageIndex, mark: Mark) -> Option<PageRun> {
        self.first_leaf(from, end, |leaf, base, wanted| {
            let found = leaf.marked(mark) & wanted;
            let first = found.first()?;
            let pages = found.last() - first + 1;
            Some(PageRun::new(base.plus(u64::from(first)), u64::from(pages)))
        })
    }

    /// The marks of the pages in `from..end` that lie in the first leaf with a page there. Takes no
    /// lock and does not sleep: a snapshot of each word, not of all of them together.
    ///
    /// A walk over a range goes on at the end of the leaf: `marks.base.plus(64)`.
    #[must_use]
    pub fn next_marks(&self, from: PageIndex, end: PageIndex) -> Option<LeafMarks> {
        self.first_leaf(from, end, |leaf, base, wanted| {
            let marks = leaf.marks(base, wanted);
            (!marks.present.is_empty()).then_some(marks)
        })
    }

    /// What `look` makes of the first leaf in which it finds something. It is given the leaf, its
    /// first page, and its slots in `from..end`.
    fn first_leaf<R>(
        &self,
        from: PageIndex,
        end: PageIndex,
        look: impl Fn(&Leaf<K::Sync, K::Replacement>, PageIndex, SlotMask) -> Option<R>,
    ) -> Option<R> {
        if end <= from {
            return None;
        }
        let last_page = PageIndex::new(end.get() - 1);
        let _section = self.cache().enter();
        let mut number = leaf_number(from);
        while let Some((at, leaf)) = self.tree().next_leaf(number, leaf_number(last_page)) {
            let base = PageIndex::new(at * PAGES_PER_LEAF as u64);
            let mut wanted = SlotMask::ALL;
            if base == from.leaf_base() {
                wanted &= SlotMask::ALL.moved_up(from.slot());
            }
            if base == last_page.leaf_base() {
                wanted &= SlotMask::lowest(last_page.slot() + 1);
            }
            if let Some(found) = look(leaf, base, wanted)
                && leaf.is(self.id(), base)
            {
                return Some(found);
            }
            number = at + 1;
        }
        None
    }
}

impl<S: SyncFamily, R: Replacement> Leaf<S, R> {
    /// The marks of `slots`. A page that goes from dirty to writeback meanwhile has one of them:
    /// see [`Mark::Unclean`]. What is removed meanwhile is left out.
    fn marks(&self, base: PageIndex, slots: SlotMask) -> LeafMarks {
        let uptodate = self.uptodate.load(Acquire);
        let dirty = self.dirty.load(Acquire);
        let writeback = self.writeback.load(Acquire);
        let present = self.present() & slots;
        LeafMarks {
            base,
            present,
            uptodate: uptodate & present,
            dirty: dirty & present,
            writeback: writeback & present,
        }
    }

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
