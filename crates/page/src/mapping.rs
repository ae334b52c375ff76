//! A mapping: one file's cached pages, its size, and what stands behind it.
//!
//! Key types: [`Mapping`], [`Mark`]. Neighbours: the tree finds leaves, [`LockedRun`] changes pages,
//! [`prune`](crate::prune) has the walks over whole ranges. A mapping does not own the inode lock, nor any policy.
#![forbid(unsafe_code)]

use core::ops::Deref;
use core::sync::atomic::Ordering::{Acquire, Relaxed, Release};

use crate::debug::kernel_debug;
use crate::leaf::Leaf;
use crate::tree::Tree;
use crate::{
    Errno, Kernel, LockContext, LockId, LockedRun, PageCache, PageIndex, PageRun, ReadSection,
    Removals, SlotMask, Trace, Word, Word64,
};

/// The pages of one file that are in the cache.
#[doc(alias = "address_space")]
pub struct Mapping<K: Kernel> {
    tree: Tree<K::Sync>,
    id: u64,
    size: Word64<K>,
    user_mappings: K::UserMappings,
    store: K::Store,
    /// Keeps the nodes that the tree links to.
    cache: K::Cache,
}

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
    /// A writeback begins by setting writeback, then clearing dirty. The look loads dirty first (acquire), then
    /// writeback, so a page on its way from the one to the other is found. One miss is left: a writeback that
    /// fails between the two loads, setting dirty after the first and clearing writeback before the second. The error
    /// sequence covers it: the failure is recorded *before* [`Writeback::end`](crate::Writeback::end), and a sync reads the sequence *after*
    /// this look. The load that found writeback cleared (acquire) makes the record visible (F2).
    Unclean,
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
        let id = cache.new_id();
        Self { tree: Tree::new(), id, size: Word::new(size), user_mappings, store, cache }
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

    /// The file's size in bytes (P7: one word, never torn).
    #[must_use]
    #[inline]
    pub fn size(&self) -> u64 {
        self.size.load(Acquire)
    }

    /// Sets the size for truncation, down or up. The caller holds the inode lock (I). Growth by a write is
    /// [`LockedRun::grow_size`].
    pub fn truncate_size(&self, new: u64) {
        self.size.store(new, Release);
    }

    pub(crate) fn raise_size(&self, new: u64) {
        // Whoever changes the size holds I, so nobody can have moved it between the look and the store.
        if self.size.load(Relaxed) < new {
            self.size.store(new, Release);
        }
    }

    /// Locks the pages of `run`, present or not. `None` if no leaf covers them: none is present. May sleep; no page lock may
    /// be held, but in ascending order (P4).
    #[inline]
    #[must_use]
    pub fn lock<'t>(&'t self, cx: LockContext<'t>, run: PageRun) -> Option<LockedRun<'t, K>> {
        loop {
            let leaf = self.tree.lookup(run.first())?;
            if let Some(locked) = self.lock_leaf(leaf, run) {
                return Some(LockedRun::new(self, leaf, locked, cx));
            }
        }
    }

    /// As [`lock`](Self::lock), but never sleeps. `None` if no leaf covers the run, or a page of it is locked.
    #[inline]
    #[must_use]
    pub fn try_lock<'t>(&'t self, cx: LockContext<'t>, run: PageRun) -> Option<LockedRun<'t, K>> {
        loop {
            let leaf = self.tree.lookup(run.first())?;
            if !leaf.try_lock(run.mask()) {
                return None;
            }
            if leaf.is(self.id, run.leaf_base()) {
                K::trace(Trace::Acquired(self.lock_id(run)));
                return Some(LockedRun::new(self, leaf, run, cx));
            }
            leaf.unlock(run.mask(), self.cache.wait());
        }
    }

    /// As [`lock`](Self::lock), but makes the leaf if there is none. Allocates, with no page lock held (P3). A leaf that stays empty
    /// is freed by [`prune`](Self::prune).
    ///
    /// # Errors
    /// Of [`Frames::allocate`](crate::Frames::allocate): [`Errno::NoMemory`]. Nothing is left behind (P8).
    #[inline]
    pub fn lock_or_create<'t>(
        &'t self,
        cx: LockContext<'t>,
        run: PageRun,
    ) -> Result<LockedRun<'t, K>, Errno> {
        loop {
            let leaf = match self.tree.lookup(run.first()) {
                Some(leaf) => leaf,
                None => self.create_leaf(run.first())?,
            };
            if let Some(locked) = self.lock_leaf(leaf, run) {
                return Ok(LockedRun::new(self, leaf, locked, cx));
            }
        }
    }

    #[cold]
    fn create_leaf(&self, index: PageIndex) -> Result<&Leaf<K::Sync>, Errno> {
        self.tree.lookup_or_graft(self.id, index, self.cache.nodes())
    }

    /// Locks the run in `leaf`; `None`, with nothing locked, if the leaf turns out to be another one (P6).
    #[inline]
    fn lock_leaf(&self, leaf: &Leaf<K::Sync>, run: PageRun) -> Option<PageRun> {
        K::trace(Trace::Acquiring(self.lock_id(run)));
        if !leaf.try_lock(run.mask()) {
            leaf.lock_contended(run.mask(), self.cache.wait());
        }
        if leaf.is(self.id, run.leaf_base()) {
            K::trace(Trace::Acquired(self.lock_id(run)));
            return Some(run);
        }
        leaf.unlock(run.mask(), self.cache.wait());
        None
    }

    /// Collects pages that leave this mapping, in several runs, so that they share grace periods.
    pub fn removals(&self) -> Removals<'_, K> {
        self.cache.removals()
    }

    /// The run's identity in traces.
    #[inline]
    pub(crate) fn lock_id(&self, run: PageRun) -> LockId {
        LockId::Pages { mapping: self.id, base: run.leaf_base().get(), slots: run.mask() }
    }

    #[inline]
    pub(crate) fn tree(&self) -> &Tree<K::Sync> {
        &self.tree
    }

    /// Begins reading without locks. See [`ReadSection`].
    #[inline]
    #[must_use]
    pub fn read_section<'t>(&'t self, cx: LockContext<'t>) -> ReadSection<'t, K> {
        ReadSection::new(self, cx)
    }

    /// Sleeps until no page of the run is under writeback. The caller holds no page lock.
    pub fn wait_writeback(&self, run: PageRun) {
        loop {
            let section = self.cache.enter();
            let Some(leaf) = self.leaf_of(run) else { return };
            if leaf.marked(Mark::Writeback) & run.mask() == 0 {
                return;
            }
            // Type-stable, so its key can be waited on; but its identity may change once the section is over.
            drop(section);
            leaf.sleep(self.cache.wait(), &mut || {
                !leaf.is(self.id, run.leaf_base()) || leaf.writeback_announced(run.mask()) == 0
            });
        }
    }

    fn leaf_of(&self, run: PageRun) -> Option<&Leaf<K::Sync>> {
        self.tree.lookup(run.first()).filter(|leaf| leaf.is(self.id, run.leaf_base()))
    }
}

impl<K: Kernel> Drop for Mapping<K> {
    /// Removes all pages. Nobody can be inside: every lock and section borrows the mapping.
    fn drop(&mut self) {
        self.clear();
    }
}

impl<S: crate::SyncFamily> Leaf<S> {
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

kernel_debug!(Mapping<K>, |this| { id: this.id, size: this.size() });
