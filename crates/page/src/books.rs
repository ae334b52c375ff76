//! What [`Kernel::Replacement`] is told of pages, and asked: the seam, brought together with leaves
//! and mappings.
//!
//! Neighbours: [`replacement`](crate::replacement) is the seam, [`victims`](crate::victims) how a
//! reclaimer asks.
//!
//! A policy names leaves by address. A leaf stays a leaf while the cache has a user (module
//! `users`), so a name is good for as long; when the last user goes, the books forget all of them.

use core::ptr;

use faultless_policy::replacement::{Identity, Origin, Outcome};

use crate::leaf::Leaf;
use crate::replacement::{Answer, LeavesOf, Name, Offer, Ops};
use crate::shadow_frames::ShadowFrames;
use crate::{Errno, Kernel, Mapping, PageCache, PageIndex, SlotMask, Spin};

impl Name {
    fn of<K: Kernel>(leaf: &Leaf<K::Sync, K::Replacement>) -> Self {
        Self(ptr::from_ref(leaf).expose_provenance() as u64)
    }
}

impl<K: Kernel> LeavesOf<K::Replacement> for PageCache<K> {
    type Sync = K::Sync;
    type Frames = K::Frames;

    fn frames(&self) -> &K::Frames {
        self.frames()
    }

    fn words(&self, leaf: Name) -> &<K::Replacement as Ops>::Words<K::Sync> {
        &self.named(leaf).words
    }

    fn present(&self, leaf: Name) -> SlotMask {
        self.named(leaf).on_books()
    }
}

impl<K: Kernel> PageCache<K> {
    /// The leaf of a name that this cache's books have had since the cache had its last first user.
    pub(crate) fn named(&self, leaf: Name) -> &Leaf<K::Sync, K::Replacement> {
        let leaf: *const Leaf<K::Sync, K::Replacement> =
            ptr::with_exposed_provenance(leaf.0 as usize);
        // SAFETY: names are made below only, of leaves of this cache's mappings; the books forget
        // them before the memory of the leaves goes, and a search that has one is a user. Nodes are
        // type-stable and shared only.
        unsafe { &*leaf }
    }

    /// Pages in `slots`, which are locked, of the leaf at `base` are [on the books] from here on.
    ///
    /// [on the books]: Leaf::on_books
    #[inline]
    pub(crate) fn note_inserted(
        &self,
        mapping: &Mapping<K>,
        leaf: &Leaf<K::Sync, K::Replacement>,
        slots: SlotMask,
        base: PageIndex,
        origin: Origin,
    ) {
        if K::Replacement::KEEPS_BOOKS && !slots.is_empty() {
            let first = Identity { mapping: mapping.id(), page: base.get() };
            let mut books = self.books().lock();
            K::Replacement::inserted(&mut books, self, Name::of::<K>(leaf), slots, first, origin);
        }
    }

    /// Pages that were on the books are not any more, other than as victims: `slots`, which are
    /// locked or a dropped mapping's.
    #[inline]
    pub(crate) fn note_removed(&self, leaf: &Leaf<K::Sync, K::Replacement>, slots: SlotMask) {
        if K::Replacement::KEEPS_BOOKS && !slots.is_empty() {
            K::Replacement::removed(&mut self.books().lock(), self, Name::of::<K>(leaf), slots);
        }
    }

    /// The next pages to give up. The caller is a user.
    pub(crate) fn offer(&self, want: u32) -> Option<Offer> {
        loop {
            let answer = K::Replacement::victims(&mut self.books().lock(), self, want);
            match answer {
                Answer::Offer(offer) => return Some(offer),
                Answer::Again => {}
                Answer::Nothing => return None,
            }
        }
    }

    /// What became of offered pages, of a leaf whose first page is `first`.
    pub(crate) fn settle(&self, offer: Offer, first: Identity, outcome: Outcome) {
        if !offer.slots.is_empty() {
            K::Replacement::settle(&mut self.books().lock(), self, offer, first, outcome);
        }
    }

    /// There is room for `pages` pages: what a page that comes back is measured by. Not a limit;
    /// that is what the allocator has. Without it, there is room for what the cache holds when
    /// pages are searched for. Does nothing if [`Kernel::Replacement`] is `()`.
    ///
    /// Forgets which pages have left. May sleep and reclaim: no page lock is held.
    ///
    /// # Errors
    /// [`Errno::NoMemory`] if there is none for the shadows, 1.25 bytes a page; nothing has
    /// changed.
    pub fn set_capacity(&self, pages: u64) -> Result<(), Errno> {
        if !K::Replacement::KEEPS_BOOKS {
            return Ok(());
        }
        let (shadows, table) = ShadowFrames::for_pages(self.frames(), pages)?;
        let old = {
            let mut books = self.books().lock();
            K::Replacement::set_capacity(&mut books, pages, shadows, table)
        };
        old.give_back(self.frames());
        Ok(())
    }

    /// Pages that may be given up when memory is short, clean or not. None if
    /// [`Kernel::Replacement`] is `()`.
    #[must_use]
    pub fn reclaimable_pages(&self) -> u64 {
        K::Replacement::pages(&self.books().lock())
    }

    /// Gives the memory of the books back, at the end of the cache.
    pub(crate) fn close_books(&mut self) {
        let table = K::Replacement::take_table(&mut self.books().lock());
        table.give_back(self.frames());
    }
}
