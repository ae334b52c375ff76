//! Since when a file is dirty, and how far it was flushed.
//!
//! A file is *flushed* in rounds from its first page to its end, in steps of
//! [`Inode::flush`](crate::Inode::flush). At the end of a round every page that was dirty when the
//! round began has been sent, but for those that another task had locked at that moment: they are
//! being written, or sent by a sync. So the file counts as dirty since the begin of the round, or
//! as clean.
//!
//! # The order of events
//! A writer sets the mark of a page, then looks whether the file has a time; if not, it stores one.
//! The end of a round finds no page dirty or under writeback, takes the time away, and looks at all
//! pages once more. Both accesses of the writer are sequentially consistent, and the end of the
//! round has a fence between its two. So either the writer finds no time, or the second look finds
//! the page. Pages that are sent keep the time, and with it cover a writeback that fails. One that
//! fails in the middle of a look is not found by it; it is in the sequence of failures.
//!
//! A time that is older than the pages makes a round come early, and nothing else. No sync depends
//! on it.
#![forbid(unsafe_code)]

use core::sync::atomic::Ordering::{AcqRel, Acquire, Relaxed, Release, SeqCst};

use faultless_page::{Kernel, PageIndex, SyncFamily, Word, Word64};

/// No page is dirty.
const CLEAN: u64 = 0;
/// The number of no page: a step is under way.
const TAKEN: u64 = u64::MAX;

/// Since when a file is dirty, and how far it was flushed. Three words.
pub(crate) struct DirtyAge<K: Kernel> {
    /// When the file became dirty, or [`CLEAN`].
    since: Word64<K>,
    /// The page at which the next step begins, or [`TAKEN`].
    at: Word64<K>,
    /// When the round began. Belongs to the holder of the turn.
    round: Word64<K>,
}

impl<K: Kernel> DirtyAge<K> {
    /// Of a file without pages.
    pub(crate) fn new() -> Self {
        Self { since: Word::new(CLEAN), at: Word::new(0), round: Word::new(CLEAN) }
    }

    /// A page that was not dirty has just been marked. A time of 0 is one of 1.
    #[inline(always)]
    pub(crate) fn became_dirty(&self, now: u64) {
        // Sequentially consistent, as the mark: see the module's documentation.
        if self.since.load(SeqCst) == CLEAN {
            // A failure is another writer's time, of about now.
            let _another = self.since.compare_exchange(CLEAN, now.max(1), AcqRel, Relaxed);
        }
    }

    /// When the file became dirty.
    pub(crate) fn since(&self) -> Option<u64> {
        Some(self.since.load(Acquire)).filter(|since| *since != CLEAN)
    }

    /// The turn to flush the file, unless another thread has it.
    pub(crate) fn take_turn(&self) -> Option<Turn<'_, K>> {
        match self.at.swap(TAKEN, AcqRel) {
            TAKEN => None,
            at => Some(Turn { age: self, at: PageIndex::new(at) }),
        }
    }
}

/// The turn to flush a file. Its drop leaves the next page to the next step.
pub(crate) struct Turn<'i, K: Kernel> {
    age: &'i DirtyAge<K>,
    /// The page to go on with.
    pub(crate) at: PageIndex,
}

impl<K: Kernel> Turn<'_, K> {
    /// A round begins at the first page.
    pub(crate) fn begin_round(&mut self, now: u64) {
        self.at = PageIndex::ZERO;
        self.age.round.store(now.max(1), Relaxed);
    }

    /// The round has come to the end of the file. `is_unclean` looks at all pages, and says whether
    /// one is dirty, under writeback, or has failed since the first look.
    pub(crate) fn end_round(&mut self, mut is_unclean: impl FnMut() -> bool) {
        self.at = PageIndex::ZERO;
        let begun = self.age.round.load(Relaxed);
        if is_unclean() {
            self.age.since.store(begun, Release);
            return;
        }
        self.age.since.store(CLEAN, SeqCst);
        <K::Sync as SyncFamily>::fence(SeqCst);
        if is_unclean() {
            // Not later than the time that a writer may have stored meanwhile.
            self.age.since.store(begun, Release);
        }
    }
}

impl<K: Kernel> Drop for Turn<'_, K> {
    fn drop(&mut self) {
        self.age.at.store(self.at.get(), Release);
    }
}
