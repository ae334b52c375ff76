//! Reclaim: pages are given up because memory is short.
//!
//! The cache says which ([`PageCache::search`]), by the policy of [`Kernel::Replacement`]; a step
//! finds their files, locks them, has user mappings removed, and drops those that are clean and not
//! pinned. No thread of its own: a thread of the embedder calls [`Reclaimer::step`] when free
//! memory is low, and an allocation that finds none does by way of [`Kernel::reclaim`].
//!
//! Neighbours: [`evict`](crate::evict) drops pages by name, [`flush`](crate::flush) sends dirty
//! ones.
#![forbid(unsafe_code)]

use core::ops::Deref;

use faultless_page::{
    Kernel, LockedRun, PAGES_PER_LEAF, PageCache, PageIndex, PageRun, Removals, SlotMask,
    UserMappings, Victims,
};
use heapless::Vec;

use crate::inode::Inode;
use crate::task::Task;
use crate::token::PageLocks;

/// Pages of a leaf that are looked at together at most, for a large cache.
const MOST_AT_ONCE: u64 = 32;
/// How often a step looks at each page on average, at most. Two uses protect a page from two looks,
/// during which pages that must stay are looked at each time.
const LOOKS: u64 = 3;
/// Leaves that have lost their last page, and are freed together.
const EMPTIED: usize = 16;

/// The embedder's table of the inodes of a cache.
pub trait Files<K: Kernel> {
    /// What keeps an inode alive, such as an `Arc`. If the last one is dropped, it is by the step:
    /// with no page locked, but with what its caller holds. An allocation's may hold I of another
    /// file, a range and M: there the end of an inode may need none of these.
    type Handle: Deref<Target = Inode<K>>;

    /// The inode whose [mapping](Inode::mapping) has this [id](faultless_page::Mapping::id); `None`
    /// if it is gone. Called with no lock held of this library's short ones, in no read section.
    fn find(&self, mapping: u64) -> Option<Self::Handle>;
}

/// What a step does with dirty pages that it comes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DirtyVictims {
    /// They stay. For an allocation, whose thread may hold what a store waits for: the inode lock
    /// of the file that a loop device lies in, say.
    Leave,
    /// They are handed to their store, with the other dirty pages of their leaf, and come up again
    /// when they are clean. For a thread of its own, which holds nothing.
    Send,
}

/// Gives pages up. Any number of threads may step at the same time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[doc(alias = "kswapd")]
pub struct Reclaimer {
    dirty: DirtyVictims,
}

/// What a step has come to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[must_use]
pub struct Reclaimed {
    /// Pages that have left the cache. Their frames are free, unless something else has a count.
    pub dropped: u32,
    /// Pages that were handed to a store. If nothing was dropped, another step has a chance after
    /// the end of a writeback, and not at once.
    pub sent: u32,
    /// Looks at pages that stay: dirty, under writeback, locked, pinned or in use. Several at one
    /// page if the step found too few that may go.
    pub kept: u32,
}

impl Reclaimer {
    /// A reclaimer that does this with dirty pages.
    #[must_use]
    pub const fn new(dirty: DirtyVictims) -> Self {
        Self { dirty }
    }

    /// One step: drops about `wanted` pages of `cache`, those that its policy would miss least.
    /// Pages that are locked, dirty, under writeback or pinned stay (F5). Pages of stores that keep
    /// no data elsewhere are not on the books, but for zeros that were never written. Leaves that
    /// have lost their last page are freed. It looks at each page three times at most, and ends
    /// (L1). If it has neither dropped nor sent one of a cache with pages, none can be dropped now.
    ///
    /// Waits for no lock but short ones, and for no read of a store; for the ends of read sections,
    /// and with [`DirtyVictims::Send`] where a store does, for room in its queue. No page lock is
    /// held; with [`DirtyVictims::Leave`] I, a range and M may be.
    #[doc(alias = "shrink_node")]
    #[doc(alias = "try_to_free_pages")]
    pub fn step<K: Kernel, F: Files<K>, T: Task>(
        &self,
        cache: &PageCache<K>,
        files: &F,
        token: &mut impl PageLocks,
        wanted: u32,
        task: &T,
    ) -> Reclaimed {
        let mut search = cache.search();
        let mut at_hand = AtHand::<K, F>::nothing(cache);
        let pages = cache.reclaimable_pages();
        let (at_once, most) = ((pages / 64).clamp(1, MOST_AT_ONCE) as u32, LOOKS * pages);
        let (mut done, mut looked_at, mut on_their_way) = (Reclaimed::default(), 0, 0);
        while done.dropped < wanted
            && on_their_way < wanted.max(PAGES_PER_LEAF as u32)
            && looked_at < most
            && !task.fatal_signal_pending()
        {
            // The longer it takes, the more of a leaf are looked at together.
            let want = (wanted - done.dropped).max(done.kept / PAGES_PER_LEAF as u32);
            let Some(mut victims) = search.next(want.min(at_once)) else { break };
            looked_at += u64::from(victims.rest());
            if at_hand.turn_to(files, victims.mapping()) {
                done.dropped += at_hand.drop_clean(token, &mut victims);
                if victims.rest() > 0 && self.dirty == DirtyVictims::Send {
                    let sent = at_hand.send_dirty(token, &victims, task);
                    done.sent += sent;
                    // A synchronous store has cleaned them by now.
                    let cleaned = at_hand.drop_clean(token, &mut victims);
                    done.dropped += cleaned;
                    on_their_way += if cleaned > 0 { 0 } else { sent };
                }
            }
            done.kept += victims.rest();
        }
        done
    }
}

/// The file at hand, and what leaves it. Dropped, it frees the leaves that were left empty; then
/// the frames go.
struct AtHand<'c, K: Kernel, F: Files<K>> {
    file: Option<F::Handle>,
    emptied: Vec<PageIndex, EMPTIED>,
    removals: Removals<'c, K>,
}

impl<'c, K: Kernel, F: Files<K>> AtHand<'c, K, F> {
    fn nothing(cache: &'c PageCache<K>) -> Self {
        Self { file: None, emptied: Vec::new(), removals: cache.removals() }
    }

    /// Takes the file of this mapping to hand; whether there is one that pages may leave.
    fn turn_to(&mut self, files: &F, mapping: u64) -> bool {
        if self.file.as_ref().is_some_and(|file| file.mapping().id() == mapping) {
            return true;
        }
        self.lay_down();
        let is_it = |file: &F::Handle| file.mapping().id() == mapping && file.may_drop_pages();
        self.file = files.find(mapping).filter(is_it);
        self.file.is_some()
    }

    fn lay_down(&mut self) {
        if let Some(file) = self.file.take()
            && !self.emptied.is_empty()
        {
            file.mapping().prune_leaves(&self.emptied);
        }
        self.emptied.clear();
    }

    /// Drops those of the victims that are clean and not in use; how many.
    fn drop_clean(&mut self, token: &mut impl PageLocks, victims: &mut Victims<'_, K>) -> u32 {
        let Some(file) = &self.file else { return 0 };
        let leaf = PageRun::new(victims.leaf_base(), PAGES_PER_LEAF as u64);
        let (mut rest, mut dropped, mut is_empty) = (victims.among(leaf), 0, false);
        while let Some(stretch) = PageRun::first_of(leaf.first(), rest) {
            let Some(mut locked) = file.mapping().try_lock_free(token.page_locks(), stretch) else {
                rest -= stretch.mask();
                continue;
            };
            rest -= up_to(stretch, locked.run().end());
            let slots = victims.among(locked.run());
            let used = file.take_accessed(&locked, slots);
            let unused = file.unused(&locked, slots - used);
            file.note_dropped_unused(locked.marker() & unused, unused);
            dropped += victims.take(&mut locked, unused, used, &mut self.removals);
            is_empty = dropped > 0 && locked.is_last();
        }
        if is_empty {
            if self.emptied.is_full() {
                file.mapping().prune_leaves(&self.emptied);
                self.emptied.clear();
            }
            // There is room.
            let _fits = self.emptied.push(leaf.first());
        }
        dropped
    }

    /// Hands the dirty pages of the victims' leaf to the store; how many.
    fn send_dirty<T: Task>(
        &self,
        token: &mut impl PageLocks,
        victims: &Victims<'_, K>,
        task: &T,
    ) -> u32 {
        let leaf = PageRun::new(victims.leaf_base(), PAGES_PER_LEAF as u64);
        self.file.as_ref().map_or(0, |file| file.flush_run(token, leaf, task))
    }
}

impl<K: Kernel, F: Files<K>> Drop for AtHand<'_, K, F> {
    fn drop(&mut self) {
        self.lay_down();
    }
}

/// The slots of `run` before page `end`, which lies in it or is its end.
fn up_to(run: PageRun, end: PageIndex) -> SlotMask {
    PageRun::new(run.first(), end.get() - run.first().get()).mask()
}

impl<K: Kernel> Inode<K> {
    /// Which of `slots`, locked pages, were accessed through user mappings since this was asked
    /// last.
    fn take_accessed(&self, locked: &LockedRun<'_, K>, slots: SlotMask) -> SlotMask {
        if !self.was_mapped() {
            return SlotMask::EMPTY;
        }
        let (mapping, run) = (self.mapping(), locked.run());
        slots & mapping.user_mappings().take_accessed(mapping.id(), run)
    }
}
