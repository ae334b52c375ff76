//! How a reclaimer asks for pages to give up, and says what became of them.
//!
//! Key types: [`Search`] and [`Victims`]. Locking the pages, unmapping them and finding their
//! mapping is the caller's: a cache does not know its mappings. Neighbour:
//! [`replacement`](crate::replacement) decides.
#![forbid(unsafe_code)]

use faultless_policy::replacement::{Identity, Outcome};

use crate::debug::kernel_debug;
use crate::replacement::Offer;
use crate::users::User;
use crate::{Kernel, LockedRun, PageCache, PageIndex, PageRun, Removals, SlotMask};

/// A search for pages to give up. While it lives, the memory of index nodes stays.
pub struct Search<'c, K: Kernel>(User<'c, K>);

/// Pages of one leaf to give up: at least one. Those that [`take`](Self::take) does not drop stay,
/// and come up again later.
#[must_use]
pub struct Victims<'s, K: Kernel> {
    cache: &'s PageCache<K>,
    offer: Offer,
    mapping: u64,
    base: PageIndex,
}

impl<K: Kernel> PageCache<K> {
    /// Begins a search for pages to give up. Does not sleep.
    #[must_use]
    pub fn search(&self) -> Search<'_, K> {
        Search(User::new(self))
    }
}

impl<K: Kernel> Search<'_, K> {
    /// The next pages to give up, `want` at most, of one leaf. Takes short locks only. `None` if
    /// there is no page that could be given up, and always if [`Kernel::Replacement`] is `()`.
    pub fn next(&mut self, want: u32) -> Option<Victims<'_, K>> {
        let cache = self.0.cache();
        let offer = cache.offer(want)?;
        let (mapping, base) = cache.named(offer.leaf).identity();
        Some(Victims { cache, offer, mapping, base })
    }
}

impl<K: Kernel> Victims<'_, K> {
    /// The [id](crate::Mapping::id) of their mapping: 0, or one that is gone, if it was dropped
    /// meanwhile.
    #[must_use]
    pub fn mapping(&self) -> u64 {
        self.mapping
    }

    /// The first page of their leaf.
    #[must_use]
    pub fn leaf_base(&self) -> PageIndex {
        self.base
    }

    /// Decides for those of them that are locked: `drop` are taken out, as by [`Removals::take`];
    /// `referenced` were found in use, stay, and are treated as used. The number that were taken
    /// out. Nothing is decided for others, nor for those under writeback; a run of other pages
    /// changes nothing.
    pub fn take(
        &mut self,
        locked: &mut LockedRun<'_, K>,
        drop: SlotMask,
        referenced: SlotMask,
        removals: &mut Removals<'_, K>,
    ) -> u32 {
        if !core::ptr::eq(locked.leaf, self.cache.named(self.offer.leaf))
            || locked.mapping().id() != self.mapping
            || locked.run().leaf_base() != self.base
        {
            return 0;
        }
        let mine = self.offer.slots & locked.mask();
        let dropped = removals.take_victims(locked, mine & drop);
        self.settle(dropped | mine & referenced, dropped, referenced);
        dropped.count()
    }

    /// How many have not been decided for.
    #[must_use]
    pub fn rest(&self) -> u32 {
        self.offer.slots.count()
    }

    /// Those that have not been decided for, among the pages of `run`.
    #[must_use]
    pub fn among(&self, run: PageRun) -> SlotMask {
        let is_same = run.leaf_base() == self.base;
        if is_same { self.offer.slots & run.mask() } else { SlotMask::EMPTY }
    }

    fn settle(&mut self, slots: SlotMask, dropped: SlotMask, referenced: SlotMask) {
        let first = Identity { mapping: self.mapping, page: self.base.get() };
        let outcome = Outcome {
            dropped: dropped.bits(),
            referenced: (referenced & (slots - dropped)).bits(),
        };
        self.offer.slots -= slots;
        self.cache.settle(Offer { leaf: self.offer.leaf, slots }, first, outcome);
    }
}

impl<K: Kernel> Drop for Victims<'_, K> {
    fn drop(&mut self) {
        self.settle(self.offer.slots, SlotMask::EMPTY, SlotMask::EMPTY);
    }
}

kernel_debug!(Search<'_, K>, |this| { cache: this.0 });
kernel_debug!(Victims<'_, K>, |this| {
    mapping: this.mapping, base: this.base, slots: this.offer.slots
});
