//! A mapping: one file's cached pages, its size, and what stands behind it.
//!
//! Key types: [`Mapping`], [`Mark`](crate::Mark). Neighbours: the tree finds leaves,
//! [`LockedRun`](crate::LockedRun) changes
//! pages, [`prune`](crate::prune) has the walks over whole ranges. A mapping does not own the inode
//! lock, nor any policy.
#![forbid(unsafe_code)]

use core::ops::Deref;
use core::sync::atomic::Ordering::{Acquire, Relaxed, Release};

use crate::debug::kernel_debug;
use crate::kernel::count;
use crate::leaf::{Leaf, ON_BOOKS, ZEROS_ON_BOOKS};
use crate::tree::Tree;
use crate::{
    AddressSpaceOperations, Count, Errno, Kernel, LockId, MAX_FILE_SIZE, PageCache, PageIndex,
    PageRun, Patience, SlotMask, StoreId, Trace, Word, Word64,
};

/// The pages of one file that are in the cache.
#[doc(alias = "address_space")]
pub struct Mapping<K: Kernel> {
    tree: Tree<K::Sync, K::Replacement>,
    /// Address of the [anchor](crate::anchor), or 0.
    pub(crate) anchor: Word64<K>,
    id: u64,
    size: Word64<K>,
    user_mappings: K::UserMappings,
    store: K::Store,
    /// Whether its dirty pages count.
    accounts_dirty: bool,
    store_id: StoreId,
    /// Keeps the nodes that the tree links to.
    cache: K::Cache,
}

impl<K: Kernel> Mapping<K> {
    /// A mapping without pages, of a file of `size` bytes. Allocates nothing.
    #[must_use]
    pub fn new(
        cache: K::Cache,
        store: K::Store,
        user_mappings: K::UserMappings,
        size: u64,
    ) -> Self {
        cache.add_user();
        let on_books = if store.is_persistent() { ON_BOOKS } else { 0 };
        let zeros = if store.is_empty() && on_books == 0 { ZEROS_ON_BOOKS } else { 0 };
        let id = cache.new_id() << 2 | zeros | on_books;
        let size = Word::new(size.min(MAX_FILE_SIZE));
        let anchor = Word::new(0);
        let (accounts_dirty, store_id) = (!store.is_swap(), store.store_id());
        let tree = Tree::new();
        Self { tree, anchor, id, size, user_mappings, store, accounts_dirty, store_id, cache }
    }

    /// A number that no other mapping of this cache has or had. Not 0.
    #[must_use]
    #[inline]
    pub fn id(&self) -> u64 {
        self.id
    }

    /// The cache that the pages are in.
    #[must_use]
    #[inline]
    pub fn cache(&self) -> &PageCache<K> {
        &self.cache
    }

    /// The backing store.
    #[must_use]
    #[inline]
    pub fn store(&self) -> &<K::Store as Deref>::Target {
        &self.store
    }

    /// How user mappings of the pages are found.
    #[must_use]
    #[inline]
    pub fn user_mappings(&self) -> &K::UserMappings {
        &self.user_mappings
    }

    /// Whether its dirty pages count: those of a [swap area](AddressSpaceOperations::is_swap) do
    /// not.
    #[must_use]
    #[inline]
    pub fn accounts_dirty(&self) -> bool {
        self.accounts_dirty
    }

    /// Which store the file is on, as its [store said](AddressSpaceOperations::store_id) when the
    /// mapping was made.
    #[must_use]
    #[inline]
    pub fn store_id(&self) -> StoreId {
        self.store_id
    }

    /// Tells the kernel of `pages` pages of this mapping: [`Kernel::count`]. `pages` is not 0.
    #[inline(always)]
    pub fn count(&self, what: Count, pages: u32) {
        K::count(self.store_id, what, pages);
    }

    /// Tells the kernel of the pages in `slots`, if there are any.
    #[inline(always)]
    pub(crate) fn count_slots(&self, what: Count, slots: SlotMask) {
        count::<K>(self.store_id, what, slots);
    }

    /// Tells the kernel of pages that became dirty, or are so no longer.
    #[inline]
    pub(crate) fn count_dirty(&self, what: Count, slots: SlotMask) {
        if self.accounts_dirty {
            self.count_slots(what, slots);
        }
    }

    /// Whether pages may be dropped because memory is short: the store keeps what is in them.
    pub(crate) fn is_evictable(&self) -> bool {
        self.id & ON_BOOKS != 0
    }

    /// Whether what is in no page reads as zeros: the store [is empty]. A page that the store has
    /// filled is [transient] until a write, and may be dropped as long as it is.
    ///
    /// [is empty]: AddressSpaceOperations::is_empty
    /// [transient]: crate::LockedRun::set_transient
    #[must_use]
    #[inline]
    pub fn holes_are_zeros(&self) -> bool {
        self.id & ZEROS_ON_BOOKS != 0
    }

    /// The file's size in bytes (P7: one word, never torn).
    #[must_use]
    #[inline]
    pub fn size(&self) -> u64 {
        self.size.load(Acquire)
    }

    /// Sets the size for truncation, down or up; above [`MAX_FILE_SIZE`] it is that. The caller
    /// holds the inode lock (I). Growth by a write is
    /// [`LockedRun::grow_size`](crate::LockedRun::grow_size).
    pub fn truncate_size(&self, new: u64) {
        self.size.store(new.min(MAX_FILE_SIZE), Release);
    }

    pub(crate) fn raise_size(&self, new: u64) {
        let new = new.min(MAX_FILE_SIZE);
        // The size is changed with I held, so it has not moved between the look and the store.
        if self.size.load(Relaxed) < new {
            self.size.store(new, Release);
        }
    }

    /// The run's identity in traces.
    #[inline]
    pub(crate) fn lock_id(&self, run: PageRun) -> LockId {
        LockId::Pages { mapping: self.id, base: run.leaf_base().get(), slots: run.mask() }
    }

    /// The identity in traces of a writeback of `slots` in the leaf of `run`.
    #[inline]
    pub(crate) fn writeback_id(&self, run: PageRun, slots: SlotMask) -> LockId {
        LockId::Writeback { mapping: self.id, base: run.leaf_base().get(), slots }
    }

    #[inline]
    pub(crate) fn tree(&self) -> &Tree<K::Sync, K::Replacement> {
        &self.tree
    }

    /// As [`leaf_to_read`](Self::leaf_to_read), and not walked to if this CPU has read it last. It
    /// may just have been unlinked, without a page: a reader that does not find its page walks
    /// before it brings it in.
    #[inline(always)]
    pub(crate) fn recent_leaf(&self, index: PageIndex) -> Option<&Leaf<K::Sync, K::Replacement>> {
        let recent = self.cache.recent().read(K::cpu(), self.id, index.leaf_base());
        recent.or_else(|| self.leaf_to_read(index))
    }

    /// The leaf that covers `index`, for a reader in a section: it is this mapping's until that
    /// ends.
    #[cold] // beside what a CPU has read last, which keeps the registers
    #[inline(never)]
    pub(crate) fn leaf_to_read(&self, index: PageIndex) -> Option<&Leaf<K::Sync, K::Replacement>> {
        self.leaf_of(index).inspect(|leaf| self.cache.recent().set_read(K::cpu(), leaf))
    }

    /// Sleeps until each page of the run was seen not to be under writeback. The caller holds no
    /// page lock.
    pub fn wait_writeback(&self, run: PageRun) {
        // An error is an interruption, and this call is never interrupted.
        let _never_interrupted = self.wait_writeback_killable(run, &never);
    }

    /// As [`wait_writeback`](Self::wait_writeback), but the wait ends when `killed` says yes; see
    /// [`lock_killable`](Self::lock_killable).
    ///
    /// # Errors
    /// [`Errno::Interrupted`] if `killed` said yes before the last writeback had ended (L3).
    pub fn wait_writeback_killable(
        &self,
        run: PageRun,
        killed: &impl Patience,
    ) -> Result<(), Errno> {
        let section = self.cache.enter();
        let Some(leaf) = self.leaf_of(run.first()) else { return Ok(()) };
        // Type-stable, so its keys can be waited on; but its identity may change once the section
        // is over.
        drop(section);
        let stale = || !leaf.is(self.id, run.leaf_base());
        self.wait_writeback_in(leaf, run, run.mask(), &stale, killed)
    }

    /// Sleeps until none of `slots` of `leaf`, where `run` lies, is under writeback, or the leaf is
    /// another one's.
    pub(crate) fn wait_writeback_in(
        &self,
        leaf: &Leaf<K::Sync, K::Replacement>,
        run: PageRun,
        slots: SlotMask,
        stale: &impl Fn() -> bool,
        killed: &impl Patience,
    ) -> Result<(), Errno> {
        if slots.is_empty() {
            return Ok(());
        }
        let id = self.writeback_id(run, slots);
        K::trace(Trace::Acquiring(id));
        let waited = leaf.wait_writeback(slots, self.cache.wait(), stale, killed);
        K::trace(Trace::GaveUp(id));
        waited
    }

    fn leaf_of(&self, index: PageIndex) -> Option<&Leaf<K::Sync, K::Replacement>> {
        self.tree.lookup(index).filter(|leaf| leaf.is(self.id, index.leaf_base()))
    }
}

/// For waits that nothing interrupts.
fn never() -> bool {
    false
}

impl<K: Kernel> Drop for Mapping<K> {
    /// Waits for the requests that are under way, then removes all pages. Every lock and section
    /// borrows the mapping, so there is none. Sleeps only if there are requests: a caller that must
    /// not sleep waits for them before.
    fn drop(&mut self) {
        self.wait_for_requests();
        self.clear();
        self.drop_anchor();
        self.cache.remove_user();
    }
}

kernel_debug!(Mapping<K>, |this| { id: this.id, size: this.size() });
