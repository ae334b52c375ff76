//! Locking pages of a mapping: the ways to a [`LockedRun`].
//!
//! Neighbours: [`page_lock`](crate::page_lock) locks slots of a leaf, whichever mapping it belongs
//! to; here a lock is kept only if the leaf belongs to the mapping at that index (P6).
#![forbid(unsafe_code)]

use heapless::Vec;

use crate::leaf::Leaf;
use crate::page_lock::Waited;
use crate::{
    Errno, Kernel, LockContext, LockedRun, Mapping, PAGES_PER_LEAF, PageIndex, PageRun, Patience,
    Trace,
};

/// Looks for free pages before they count as contended.
const LOOKS: u32 = 8;

impl<K: Kernel> Mapping<K> {
    /// Locks the pages of `run`, present or not. `None` if no leaf covers them: none is present.
    /// May sleep, and cannot be interrupted; no page lock may be held, but of lower pages in
    /// another leaf (P4).
    ///
    /// Requests for a page are served in order of arrival: once this one waits, each other thread
    /// gets in before it at most once (L1). It waits for no pages but those of the run, and for no
    /// other mapping's (L4, L5).
    #[inline]
    #[must_use]
    pub fn lock<'t>(&'t self, cx: LockContext<'t>, run: PageRun) -> Option<LockedRun<'t, K>> {
        // An error is an interruption, and this call is never interrupted.
        self.lock_killable(cx, run, &never).unwrap_or(None)
    }

    /// As [`lock`](Self::lock), but a wait ends when `killed` says yes. The waiting thread asks
    /// `killed` whenever it looks whether its wait is over, so the embedder's [`Wait`](crate::Wait)
    /// must look again when a fatal signal arrives. Pages that are free are locked whatever
    /// `killed` says: it is not even asked.
    ///
    /// # Errors
    /// [`Errno::Interrupted`] if `killed` said yes before the pages were had (L3);
    /// [`Errno::WouldBlock`] if they are not free and the caller [does not sleep](Patience).
    /// Nothing is locked then.
    #[inline]
    pub fn lock_killable<'t>(
        &'t self,
        cx: LockContext<'t>,
        run: PageRun,
        killed: &impl Patience,
    ) -> Result<Option<LockedRun<'t, K>>, Errno> {
        loop {
            let Some(leaf) = self.tree().lookup(run.first()) else { return Ok(None) };
            if let Some(locked) = self.lock_leaf(leaf, run, killed)? {
                return Ok(Some(LockedRun::new(self, leaf, locked, cx)));
            }
        }
    }

    /// As [`lock`](Self::lock), but never sleeps. `None` if no leaf covers the run, a page of it is
    /// locked or waited for, other pages of the leaf are locked and unlocked too fast, or the leaf
    /// was just taken away.
    #[inline(always)]
    #[must_use]
    pub fn try_lock<'t>(&'t self, cx: LockContext<'t>, run: PageRun) -> Option<LockedRun<'t, K>> {
        let leaf = self.tree().lookup(run.first())?;
        self.cache().recent().set_locked(K::cpu(), leaf);
        self.try_lock_in(cx, leaf, run)
    }

    /// As [`try_lock`](Self::try_lock), without a walk of the index: for pages of the leaf that the
    /// last `try_lock` on this CPU was for.
    ///
    /// # Errors
    /// The context again: it was for another leaf.
    #[inline(always)]
    pub fn try_lock_recent<'t>(
        &'t self,
        cx: LockContext<'t>,
        run: PageRun,
    ) -> Result<Option<LockedRun<'t, K>>, LockContext<'t>> {
        let recent = self.cache().recent();
        match recent.locked(K::cpu(), self.id(), run.leaf_base()) {
            Some(leaf) => Ok(self.try_lock_in(cx, leaf, run)),
            None => Err(cx),
        }
    }

    #[inline(always)]
    fn try_lock_in<'t>(
        &'t self,
        cx: LockContext<'t>,
        leaf: &'t Leaf<K::Sync, K::Replacement>,
        run: PageRun,
    ) -> Option<LockedRun<'t, K>> {
        if !leaf.try_lock(run.mask()) {
            return None;
        }
        let locked = self.confirm(leaf, run)?;
        Some(LockedRun::new(self, leaf, locked, cx))
    }

    /// Locks the first maximal stretch of pages of `run` that are neither locked nor waited for,
    /// and never sleeps. `None` if no leaf covers the run, there is no such page, or other pages of
    /// the leaf are locked and unlocked too fast. A caller that wants all free pages goes on at the
    /// end of the [run](LockedRun::run) that it got.
    #[must_use]
    pub fn try_lock_free<'t>(
        &'t self,
        cx: LockContext<'t>,
        run: PageRun,
    ) -> Option<LockedRun<'t, K>> {
        for _ in 0..LOOKS {
            let leaf = self.tree().lookup(run.first())?;
            let stretch = PageRun::first_of(run.leaf_base(), leaf.unlocked() & run.mask())?;
            // Another thread may have been faster with one of them: look again.
            if leaf.try_lock(stretch.mask())
                && let Some(locked) = self.confirm(leaf, stretch)
            {
                return Some(LockedRun::new(self, leaf, locked, cx));
            }
        }
        None
    }

    /// As [`try_lock_free`](Self::try_lock_free), but makes the leaf if there is none. Allocates,
    /// with no page lock held (P3); waits for no page. A leaf that stays empty is freed by
    /// [`prune`](Self::prune).
    ///
    /// # Errors
    /// As [`lock_or_create`](Self::lock_or_create).
    pub fn try_lock_free_or_create<'t>(
        &'t self,
        mut cx: LockContext<'t>,
        run: PageRun,
    ) -> Result<Option<LockedRun<'t, K>>, Errno> {
        if self.tree().lookup(run.first()).is_none() {
            self.create_leaf(cx.reborrow(), run.first())?;
        }
        Ok(self.try_lock_free(cx, run))
    }

    /// As [`lock`](Self::lock), but makes the leaf if there is none. Allocates, with no page lock
    /// held (P3). A leaf that stays empty is freed by [`prune`](Self::prune).
    ///
    /// # Errors
    /// Of [`Frames::allocate`](crate::Frames::allocate): [`Errno::NoMemory`]. Nothing is left
    /// behind (P8).
    #[inline]
    pub fn lock_or_create<'t>(
        &'t self,
        cx: LockContext<'t>,
        run: PageRun,
    ) -> Result<LockedRun<'t, K>, Errno> {
        self.lock_or_create_killable(cx, run, &never)
    }

    /// [`lock_or_create`](Self::lock_or_create) that can be interrupted, as
    /// [`lock_killable`](Self::lock_killable) can.
    ///
    /// # Errors
    /// Of both. Nothing is locked then, and nothing is left behind.
    #[inline]
    pub fn lock_or_create_killable<'t>(
        &'t self,
        mut cx: LockContext<'t>,
        run: PageRun,
        killed: &impl Patience,
    ) -> Result<LockedRun<'t, K>, Errno> {
        loop {
            let leaf = match self.tree().lookup(run.first()) {
                Some(leaf) => leaf,
                None => self.create_leaf(cx.reborrow(), run.first())?,
            };
            if let Some(locked) = self.lock_leaf(leaf, run, killed)? {
                return Ok(LockedRun::new(self, leaf, locked, cx));
            }
        }
    }

    /// Locks two runs at once, in ascending order (P4), and makes their leaves if there are none.
    /// `second` begins at or after the end of `first`. The first guard covers what lies between
    /// them, too, if both lie in one leaf. May sleep and allocate, with no page lock held (P3).
    ///
    /// # Errors
    /// [`Errno::Invalid`] if the runs are in the wrong order; of
    /// [`lock_or_create_killable`](Self::lock_or_create_killable). Nothing is locked then.
    #[cold]
    #[inline(never)] // for the stack of its callers
    pub fn lock_both<'t>(
        &'t self,
        cx: LockContext<'t>,
        first: PageRun,
        second: PageRun,
        killed: &impl Patience,
    ) -> Result<(LockedRun<'t, K>, LockedRun<'t, K>), Errno> {
        if second.first() < first.end() {
            return Err(Errno::Invalid);
        }
        if first.leaf_base() == second.leaf_base() {
            // One request for both: a thread must not wait in a leaf's queue with a page of the
            // leaf locked.
            let pages = second.end().get() - first.first().get();
            let both = PageRun::new(first.first(), pages);
            let locked = self.lock_or_create_killable(cx, both, killed)?;
            return Ok(locked.split_at(second.first()));
        }
        let mut cx = cx;
        loop {
            let leaf = match self.tree().lookup(second.first()) {
                Some(leaf) => leaf,
                None => self.create_leaf(cx.reborrow(), second.first())?,
            };
            // Nothing is allocated from here on.
            let lower = match self.tree().lookup(first.first()) {
                Some(leaf) => leaf,
                None => self.create_leaf(cx.reborrow(), first.first())?,
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

    /// Locks all pages of `N` leaves at once, from page `first` on: for an entry of a page table
    /// that maps them together. Never sleeps. `None` if `first` is not the first page of a leaf, a
    /// leaf is missing, or one of the pages is locked or waited for.
    #[must_use]
    pub fn try_lock_leaves<'t, const N: usize>(
        &'t self,
        cx: LockContext<'t>,
        first: PageIndex,
    ) -> Option<[LockedRun<'t, K>; N]> {
        if first.slot() != 0 {
            return None;
        }
        let mut locked = Vec::<_, N>::new();
        let mut rest = Some(cx);
        for leaf in 0..N as u64 {
            let (own, other) = rest.take()?.split();
            rest = Some(other);
            let run = PageRun::new(first.plus(leaf * PAGES_PER_LEAF as u64), PAGES_PER_LEAF as u64);
            locked.push(self.try_lock(own, run)?).ok()?;
        }
        locked.into_array().ok()
    }

    #[cold]
    #[inline(never)] // for the stack of its callers
    fn create_leaf(
        &self,
        cx: LockContext<'_>,
        index: PageIndex,
    ) -> Result<&Leaf<K::Sync, K::Replacement>, Errno> {
        self.cache().or_reclaim(cx, 1, || {
            self.make_anchor()?;
            self.tree().lookup_or_insert_leaf(self.id(), index, self.cache().nodes())
        })
    }

    /// Locks the run in `leaf`; `None`, with nothing locked, if the leaf turns out to be another
    /// one (P6).
    #[inline]
    fn lock_leaf(
        &self,
        leaf: &Leaf<K::Sync, K::Replacement>,
        run: PageRun,
        killed: &impl Patience,
    ) -> Result<Option<PageRun>, Errno> {
        let id = self.lock_id(run);
        K::trace(Trace::Acquiring(id));
        // Callers that expect the pages to be free have tried before.
        let waited = if leaf.look_and_lock(run.mask()) {
            Waited::Locked
        } else {
            let stale = || !leaf.is(self.id(), run.leaf_base());
            leaf.lock_contended(run.mask(), self.cache().wait(), &stale, killed)
        };
        if waited == Waited::Locked
            && let Some(locked) = self.confirm(leaf, run)
        {
            return Ok(Some(locked));
        }
        K::trace(Trace::GaveUp(id));
        match waited {
            Waited::Killed => Err(Errno::Interrupted),
            Waited::Refused => Err(Errno::WouldBlock),
            Waited::Locked | Waited::Stale => Ok(None),
        }
    }

    /// Keeps the run, just locked in `leaf`, if the leaf is the right one; otherwise unlocks it.
    #[inline(always)]
    fn confirm(&self, leaf: &Leaf<K::Sync, K::Replacement>, run: PageRun) -> Option<PageRun> {
        if leaf.is(self.id(), run.leaf_base()) {
            K::trace(Trace::Acquired(self.lock_id(run)));
            return Some(run);
        }
        leaf.unlock(run.mask(), self.cache().wait());
        None
    }
}

/// For waits that nothing interrupts.
fn never() -> bool {
    false
}
