//! Taking leaves out of a mapping's tree: pruning of empty ones, and the end of a mapping.
//!
//! Neighbours: [`tree`](crate::tree) has the other half. A leaf is unlinked by the thread that
//! holds all its slots, under the tree's short lock, together with the inner nodes that it leaves
//! empty; it goes back to its pool after a grace period, because readers in a section may stand in
//! it.

use heapless::Vec;

use crate::leaf::Leaf;
use crate::node::{Inner, Link, MAX_LEVEL, leaf_number, slot_at};
use crate::pool::Spare;
use crate::tree::Tree;
use crate::{
    Count, FrameNumber, Kernel, Mapping, PAGES_PER_LEAF, PageIndex, Replacement, SlotMask, Spin,
    SyncFamily,
};

/// Leaves that share a grace period.
const BATCH: usize = 16;

/// Nodes on their way back to the pools.
struct Detached<'c, S: SyncFamily, R: Replacement> {
    leaves: Vec<Spare<'c, Leaf<S, R>>, BATCH>,
    inners: Vec<Spare<'c, Inner<S>>, { BATCH + MAX_LEVEL as usize }>,
}

impl<S: SyncFamily, R: Replacement> Detached<'_, S, R> {
    fn new() -> Self {
        Self { leaves: Vec::new(), inners: Vec::new() }
    }

    /// Whether the next leaf, with all the nodes above it, may not fit.
    fn is_full(&self) -> bool {
        self.leaves.is_full() || self.inners.len() > BATCH
    }
}

impl<S: SyncFamily, R: Replacement> Tree<S, R> {
    /// Unlinks leaf `leaf`, number `number`, and the inner nodes left empty above it.
    ///
    /// # Safety
    /// The leaf is linked under that number, and the caller holds all its slots or has the tree for
    /// itself: no other thread detaches it. `out` is not full.
    unsafe fn detach<'a>(
        &'a self,
        number: u64,
        leaf: &'a Leaf<S, R>,
        out: &mut Detached<'a, S, R>,
    ) {
        let _held = self.lock.lock();
        let mut path: Vec<(&Inner<S>, u32), { MAX_LEVEL as usize }> = Vec::new();
        let mut link = self.root.get();
        while link.level() > 0 {
            // SAFETY: the level is not 0; the pools outlive the tree and so `'a`.
            let inner: &'a Inner<S> = unsafe { link.inner() };
            let slot = slot_at(number, link.level());
            let _fits = path.push((inner, slot));
            link = inner.child(slot);
        }
        debug_assert!(link == Link::to_leaf(leaf));
        // SAFETY: it is unlinked below, still under the tree's lock, and by the caller's promise no
        // other thread does.
        let _fits = out.leaves.push(unsafe { Spare::from_unlinked(leaf) });
        while let Some((inner, slot)) = path.pop() {
            inner.clear_child(slot);
            if inner.occupied() != 0 {
                return;
            }
            // SAFETY: empty, and only ever unlinked here: by the next round, under the tree's lock.
            let _fits = out.inners.push(unsafe { Spare::from_unlinked(inner) });
        }
        self.root.set(Link::EMPTY);
    }
}

impl<K: Kernel> Mapping<K> {
    /// Frees the leaves that cover pages `first..end`, have no page and no locked slot, and the
    /// inner nodes above them. May wait for a grace period; page locks elsewhere may be held, but
    /// not a [`ReadSection`](crate::ReadSection).
    #[inline(never)] // for the stack of its callers
    pub fn prune(&self, first: PageIndex, end: PageIndex) {
        if end <= first {
            return;
        }
        let last = leaf_number(PageIndex::new(end.get() - 1));
        let mut number = leaf_number(first);
        let mut more = true;
        while more {
            let mut detached = Detached::new();
            more = false;
            while !detached.is_full() {
                let Some(at) = self.prune_next(number, last, &mut detached) else { break };
                number = at + 1;
                more = true;
            }
            self.give_back(&mut detached);
        }
    }

    /// As [`prune`](Self::prune), for the leaves that begin at these pages, in any order: they
    /// share grace periods.
    #[inline(never)] // for the stack of its callers
    pub fn prune_leaves(&self, bases: &[PageIndex]) {
        let mut detached = Detached::new();
        for base in bases {
            if detached.is_full() {
                self.give_back(&mut detached);
            }
            let number = leaf_number(*base);
            self.prune_next(number, number, &mut detached);
        }
        self.give_back(&mut detached);
    }

    /// Detaches the first leaf in `number..=last` if it is empty. Its number, either way.
    fn prune_next<'a>(
        &'a self,
        number: u64,
        last: u64,
        detached: &mut Detached<'a, K::Sync, K::Replacement>,
    ) -> Option<u64> {
        let cache = self.cache();
        let section = cache.enter();
        let (at, leaf) = self.tree().next_leaf(number, last)?;
        if !leaf.present().is_empty() || !leaf.try_lock(SlotMask::ALL) {
            return Some(at);
        }
        let base = PageIndex::new(at * PAGES_PER_LEAF as u64);
        if leaf.is(self.id(), base) && leaf.present().is_empty() {
            // SAFETY: its identity says that it is linked, and while we hold all its slots no other
            // thread gets here; the caller has looked that `detached` is not full.
            unsafe { self.tree().detach(at, leaf, detached) };
            leaf.retire();
        }
        leaf.unlock(SlotMask::ALL, cache.wait());
        drop(section);
        Some(at)
    }

    /// Gives nodes back after a grace period.
    fn give_back(&self, detached: &mut Detached<'_, K::Sync, K::Replacement>) {
        if !detached.leaves.is_empty() {
            self.cache().synchronize();
        }
        self.reuse(detached);
    }

    /// Gives nodes back that no reader can be in.
    fn reuse(&self, detached: &mut Detached<'_, K::Sync, K::Replacement>) {
        let nodes = self.cache().nodes();
        while let Some(leaf) = detached.leaves.pop() {
            nodes.leaves.put(leaf);
        }
        while let Some(inner) = detached.inners.pop() {
            nodes.inners.put(inner);
        }
    }

    /// Removes everything. For `drop`: the mapping has no other user, so there is nothing to wait
    /// for.
    pub(crate) fn clear(&mut self) {
        let this = &*self;
        while let Some((number, leaf)) = this.tree().next_leaf(0, u64::MAX) {
            let (pages, booked) = (leaf.present(), leaf.on_books());
            let dirty = leaf.take(pages, |frame| this.release(frame));
            this.count_slots(Count::Removed, pages);
            this.count_dirty(Count::Cleaned, dirty);
            this.cache().note_removed(leaf, booked);
            leaf.retire();
            let mut detached = Detached::new();
            // SAFETY: it was found linked, and the tree is ours alone.
            unsafe { this.tree().detach(number, leaf, &mut detached) };
            // A slot may be locked for an instant by a thread that took the leaf for another
            // mapping's, and for ever by a guard that was forgotten. Such a leaf is not used again.
            if !this.waits_for_unlock(leaf) {
                detached.leaves.clear();
            }
            this.reuse(&mut detached);
        }
    }

    fn waits_for_unlock(&self, leaf: &Leaf<K::Sync, K::Replacement>) -> bool {
        let mut rounds = 0;
        while leaf.is_locked() && rounds < 1000 {
            K::Sync::relax();
            rounds += 1;
        }
        !leaf.is_locked()
    }

    fn release(&self, frame: FrameNumber) {
        // SAFETY: it was in a leaf of this mapping, which owned the count, and was just taken out.
        unsafe { crate::Frames::release(self.cache().frames(), frame) };
    }
}
