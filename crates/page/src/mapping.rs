//! A mapping: one file's cached pages, its size, and what stands behind it.
//!
//! Key types: [`Mapping`], [`Mark`]. Neighbours: the tree finds leaves, [`LockedRun`] changes pages,
//! [`prune`](crate::prune) has the walks over whole ranges. A mapping does not own the inode lock, nor any policy.
#![forbid(unsafe_code)]

use core::ops::Deref;
use core::sync::atomic::Ordering::{Acquire, Relaxed, Release};

use crate::debug::kernel_debug;
use crate::leaf::Leaf;
use crate::page_lock::Waited;
use crate::tree::Tree;
use crate::{
    Errno, Kernel, LockContext, LockId, LockedRun, MAX_FILE_SIZE, PageCache, PageIndex, PageRun,
    ReadSection, Removals, SlotMask, Trace, Word, Word64,
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
        let size = Word::new(size.min(MAX_FILE_SIZE));
        Self { tree: Tree::new(), id, size, user_mappings, store, cache }
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

    /// Sets the size for truncation, down or up; above [`MAX_FILE_SIZE`] it is that. The caller holds the inode lock (I). Growth by a write is
    /// [`LockedRun::grow_size`].
    pub fn truncate_size(&self, new: u64) {
        self.size.store(new.min(MAX_FILE_SIZE), Release);
    }

    pub(crate) fn raise_size(&self, new: u64) {
        let new = new.min(MAX_FILE_SIZE);
        // Whoever changes the size holds I, so nobody can have moved it between the look and the store.
        if self.size.load(Relaxed) < new {
            self.size.store(new, Release);
        }
    }

    /// Locks the pages of `run`, present or not. `None` if no leaf covers them: none is present. May sleep, and cannot be
    /// interrupted; no page lock may be held, but of lower pages in another leaf (P4).
    ///
    /// Requests for a page are served in order of arrival: once this one waits, each other thread gets in before it at most
    /// once (L1). It waits for no pages but those of the run, and for no other mapping's (L4, L5).
    #[inline]
    #[must_use]
    pub fn lock<'t>(&'t self, cx: LockContext<'t>, run: PageRun) -> Option<LockedRun<'t, K>> {
        // An error is an interruption, and this call is never interrupted.
        self.lock_killable(cx, run, &never).unwrap_or(None)
    }

    /// As [`lock`](Self::lock), but a wait ends when `killed` says yes. The waiting thread asks `killed` whenever it looks whether its
    /// wait is over, so the embedder's [`Wait`](crate::Wait) must look again when a fatal signal arrives. Pages that are
    /// free are locked whatever `killed` says: it is not even asked.
    ///
    /// # Errors
    /// [`Errno::Interrupted`] if `killed` said yes before the pages were had (L3). Nothing is locked then.
    #[inline]
    pub fn lock_killable<'t>(
        &'t self,
        cx: LockContext<'t>,
        run: PageRun,
        killed: &impl Fn() -> bool,
    ) -> Result<Option<LockedRun<'t, K>>, Errno> {
        loop {
            let Some(leaf) = self.tree.lookup(run.first()) else { return Ok(None) };
            if let Some(locked) = self.lock_leaf(leaf, run, killed)? {
                return Ok(Some(LockedRun::new(self, leaf, locked, cx)));
            }
        }
    }

    /// As [`lock`](Self::lock), but never sleeps. `None` if no leaf covers the run, or a page of it is locked or waited for.
    #[inline]
    #[must_use]
    pub fn try_lock<'t>(&'t self, cx: LockContext<'t>, run: PageRun) -> Option<LockedRun<'t, K>> {
        loop {
            let leaf = self.tree.lookup(run.first())?;
            if !leaf.try_lock(run.mask()) {
                return None;
            }
            if let Some(locked) = self.confirm(leaf, run) {
                return Some(LockedRun::new(self, leaf, locked, cx));
            }
        }
    }

    /// Locks the first maximal stretch of pages of `run` that are neither locked nor waited for, and never sleeps. `None` if no leaf
    /// covers the run, or there is no such page. A caller that wants all free pages goes on at the end of the
    /// [run](LockedRun::run) that it got.
    #[must_use]
    pub fn try_lock_free<'t>(
        &'t self,
        cx: LockContext<'t>,
        run: PageRun,
    ) -> Option<LockedRun<'t, K>> {
        loop {
            let leaf = self.tree.lookup(run.first())?;
            let stretch = PageRun::first_of(run.leaf_base(), leaf.unlocked() & run.mask())?;
            // Another thread may have been faster with one of them: look again.
            if leaf.try_lock(stretch.mask())
                && let Some(locked) = self.confirm(leaf, stretch)
            {
                return Some(LockedRun::new(self, leaf, locked, cx));
            }
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
        self.lock_or_create_killable(cx, run, &never)
    }

    /// [`lock_or_create`](Self::lock_or_create) that can be interrupted, as [`lock_killable`](Self::lock_killable) can.
    ///
    /// # Errors
    /// Of both. Nothing is locked then, and nothing is left behind.
    #[inline]
    pub fn lock_or_create_killable<'t>(
        &'t self,
        cx: LockContext<'t>,
        run: PageRun,
        killed: &impl Fn() -> bool,
    ) -> Result<LockedRun<'t, K>, Errno> {
        loop {
            let leaf = match self.tree.lookup(run.first()) {
                Some(leaf) => leaf,
                None => self.create_leaf(run.first())?,
            };
            if let Some(locked) = self.lock_leaf(leaf, run, killed)? {
                return Ok(LockedRun::new(self, leaf, locked, cx));
            }
        }
    }

    /// Locks two runs at once, in ascending order (P4), and makes their leaves if there are none. `second` begins at or after the
    /// end of `first`. The first guard covers what lies between them, too, if both lie in one leaf. May sleep and allocate, with no
    /// page lock held (P3).
    ///
    /// # Errors
    /// [`Errno::Invalid`] if the runs are in the wrong order; of [`lock_or_create_killable`](Self::lock_or_create_killable). Nothing is locked
    /// then.
    #[cold]
    pub fn lock_both<'t>(
        &'t self,
        cx: LockContext<'t>,
        first: PageRun,
        second: PageRun,
        killed: &impl Fn() -> bool,
    ) -> Result<(LockedRun<'t, K>, LockedRun<'t, K>), Errno> {
        if second.first() < first.end() {
            return Err(Errno::Invalid);
        }
        if first.leaf_base() == second.leaf_base() {
            // One request for both: a thread must not wait in a leaf's queue with a page of the leaf locked.
            let pages = second.end().get() - first.first().get();
            let both = PageRun::new(first.first(), pages);
            let locked = self.lock_or_create_killable(cx, both, killed)?;
            return Ok(locked.split_at(second.first()));
        }
        let mut cx = cx;
        loop {
            let leaf = match self.tree.lookup(second.first()) {
                Some(leaf) => leaf,
                None => self.create_leaf(second.first())?,
            };
            // Nothing is allocated from here on.
            let lower = match self.tree.lookup(first.first()) {
                Some(leaf) => leaf,
                None => self.create_leaf(first.first())?,
            };
            let Some(run) = self.lock_leaf(lower, first, killed)? else { continue };
            let (own, other) = cx.split();
            let locked = LockedRun::new(self, lower, run, own);
            if let Some(run) = self.lock_leaf(leaf, second, killed)? {
                return Ok((locked, LockedRun::new(self, leaf, run, other)));
            }
            drop(locked);
            cx = other;
        }
    }

    #[cold]
    fn create_leaf(&self, index: PageIndex) -> Result<&Leaf<K::Sync>, Errno> {
        self.tree.lookup_or_graft(self.id, index, self.cache.nodes())
    }

    /// Locks the run in `leaf`; `None`, with nothing locked, if the leaf turns out to be another one (P6).
    #[inline]
    fn lock_leaf(
        &self,
        leaf: &Leaf<K::Sync>,
        run: PageRun,
        killed: &impl Fn() -> bool,
    ) -> Result<Option<PageRun>, Errno> {
        let id = self.lock_id(run);
        K::trace(Trace::Acquiring(id));
        let waited = if leaf.try_lock(run.mask()) {
            Waited::Locked
        } else {
            let stale = || !leaf.is(self.id, run.leaf_base());
            leaf.lock_contended(run.mask(), self.cache.wait(), &stale, killed)
        };
        if waited == Waited::Locked
            && let Some(locked) = self.confirm(leaf, run)
        {
            return Ok(Some(locked));
        }
        K::trace(Trace::GaveUp(id));
        if waited == Waited::Killed { Err(Errno::Interrupted) } else { Ok(None) }
    }

    /// Keeps the run, just locked in `leaf`, if the leaf is the right one; otherwise unlocks it.
    #[inline]
    fn confirm(&self, leaf: &Leaf<K::Sync>, run: PageRun) -> Option<PageRun> {
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

    /// Sleeps until each page of the run was seen not to be under writeback. The caller holds no page lock.
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
        killed: &impl Fn() -> bool,
    ) -> Result<(), Errno> {
        let section = self.cache.enter();
        let Some(leaf) = self.leaf_of(run) else { return Ok(()) };
        // Type-stable, so its keys can be waited on; but its identity may change once the section is over.
        drop(section);
        let stale = || !leaf.is(self.id, run.leaf_base());
        leaf.wait_writeback(run.mask(), self.cache.wait(), &stale, killed)
    }

    fn leaf_of(&self, run: PageRun) -> Option<&Leaf<K::Sync>> {
        self.tree.lookup(run.first()).filter(|leaf| leaf.is(self.id, run.leaf_base()))
    }
}

/// For waits that nothing interrupts.
fn never() -> bool {
    false
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
