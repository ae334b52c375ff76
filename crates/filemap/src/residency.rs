//! What of a file is in the cache: `mincore(2)` and `cachestat(2)`.
//!
//! Both count bits in the words of leaves, without a lock. The answers are snapshots: a page can
//! come or go before the caller has them.
#![forbid(unsafe_code)]

use core::ops::Range;

use faultless_page::{Kernel, LeafMarks, PAGES_PER_LEAF, PageIndex, PageRun, SlotMask};

use crate::inode::Inode;
use crate::writeback::pages;

/// How many pages of a range are in the cache, and with which marks. Linux's `nr_evicted` and
/// `nr_recently_evicted` have no counterpart: nothing is remembered here of pages that have left.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[doc(alias = "cachestat")]
pub struct CacheStat {
    /// In the cache, those included that the store is still being asked for.
    pub cached: u64,
    /// Newer than the store.
    pub dirty: u64,
    /// On their way to the store. A page that became dirty again meanwhile is counted in both.
    pub writeback: u64,
}

impl CacheStat {
    fn add(&mut self, marks: LeafMarks) {
        self.cached += u64::from(marks.present.count());
        self.dirty += u64::from(marks.dirty.count());
        self.writeback += u64::from(marks.writeback.count());
    }
}

impl<K: Kernel> Inode<K> {
    /// Counts the pages that hold bytes of `range`, up to the largest size of a file.
    ///
    /// Does not sleep and takes no lock; any may be held. Looks at each leaf with pages of the
    /// range once, and at nothing between them.
    #[must_use]
    #[doc(alias = "filemap_cachestat")]
    pub fn residency(&self, range: Range<u64>) -> CacheStat {
        let (mut from, end) = pages(&range);
        let mut all = CacheStat::default();
        while let Some(marks) = self.mapping().next_marks(from, end) {
            all.add(marks);
            from = marks.base.plus(PAGES_PER_LEAF as u64);
        }
        all
    }

    /// Which of the pages of `run` are in the cache and valid, as slots of their leaf: a read of
    /// those waits for no store. Does not sleep and takes no lock.
    #[must_use]
    #[doc(alias = "mincore")]
    pub fn resident(&self, run: PageRun) -> SlotMask {
        let marks = self.mapping().next_marks(run.first(), run.end());
        marks.map_or(SlotMask::EMPTY, |marks| marks.uptodate)
    }

    /// Whether page `index` is in the cache and valid.
    #[must_use]
    pub fn is_resident(&self, index: PageIndex) -> bool {
        !self.resident(PageRun::single(index)).is_empty()
    }
}
