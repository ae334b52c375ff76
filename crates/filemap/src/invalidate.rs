//! Dropping pages that the store has newer: after a change by another client, or beside the cache.
//!
//! An eviction drops what it can have without a wait, for the sake of memory. An invalidation drops
//! all, for the sake of contents: it waits for locks and writebacks, and says what has stayed.
//!
//! Neighbours: [`evict`](crate::evict) knows which pages are pinned;
//! [`remote_size`](crate::remote_size) is for a size that has changed on the store,
//! [`direct`](crate::direct) for I/O that passes by the cache.
#![forbid(unsafe_code)]

use core::ops::Range;
use core::pin::pin;

use faultless_page::{AddressSpaceOperations, Errno, Kernel, LockedRun, Mark, PageIndex, Removals};

use crate::inode::Inode;
use crate::ranges::{ByteRange, RangeGuard};
use crate::task::{Caller, Task};
use crate::token::{InodeLocks, PageLocks};
use crate::writeback::pages;

/// What becomes of dirty pages that an invalidation meets. A page is dirty as a whole: which of its
/// bytes are newer than the store is not known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dirty {
    /// They stay, and are sent to the store later: what was written here wins, for whole pages.
    Keep,
    /// They are dropped, and what was written here since their last writeback is lost: the store
    /// wins.
    Discard,
    /// They are sent to the store first, and then dropped: what was written here wins. Those that
    /// become dirty again meanwhile stay, as with [`Keep`](Self::Keep).
    WriteBack,
}

impl<K: Kernel> Inode<K> {
    /// Drops the pages that hold bytes of `range` from the cache, mapped or not, because the store
    /// has newer ones: reads and faults that begin later ask it again. The store knows, and is told
    /// nothing but what [`Dirty::WriteBack`] sends. If the size has changed as well, call
    /// [`size_changed_remotely`](Self::size_changed_remotely) first.
    ///
    /// Private copies that mappings have made stay, as on Linux. Pages of a store that keeps no
    /// data elsewhere are all dirty in this sense, and stay whatever `dirty` says.
    ///
    /// May sleep: for page locks, and so for reads of the store that are under way; for writebacks;
    /// with [`Dirty::Discard`] for the ranges of writes of several steps, so that it does not drop
    /// the first half of one. No page lock is held; I need not be. Not to be called from a call of
    /// the file's own store. Passes over each page once, however fast others bring pages in.
    ///
    /// # Errors
    /// - [`Errno::Busy`]: pages have stayed, and all others are gone. They are dirty and to be
    ///   kept, or pinned: their frames are counted by something else than the mapping and page
    ///   tables, which an operation on another CPU may have done for a moment.
    /// - With [`Dirty::WriteBack`], as [`writeback`](Self::writeback); nothing was dropped.
    /// - [`Errno::Interrupted`]: a fatal signal; some pages were not dropped (L3).
    #[doc(alias = "invalidate_inode_pages2_range")]
    pub fn invalidate<T: Task>(
        &self,
        token: &mut impl InodeLocks,
        range: Range<u64>,
        dirty: Dirty,
        task: &T,
    ) -> Result<(), Errno> {
        let (first, end) = pages(&range);
        if end <= first {
            return Ok(());
        }
        if dirty == Dirty::WriteBack {
            self.writeback(token, range, task)?;
        }
        let all = ByteRange { start: first.start(), end: end.start() };
        let request = pin!(self.ranges.request());
        let wait = self.mapping().cache().wait();
        let claim = match dirty {
            Dirty::Discard => Some(self.ranges.acquire(request.as_ref(), wait, all, task)?),
            Dirty::Keep | Dirty::WriteBack => None,
        };
        match self.drop_pages(token, first..end, dirty, claim.as_ref(), task)? {
            0 => Ok(()),
            _ => Err(Errno::Busy),
        }
    }

    /// Drops pages; how many have stayed. `claim` is that of a caller that is to meet no write
    /// half-way. No page lock is held.
    ///
    /// # Errors
    /// [`Errno::Interrupted`].
    pub(crate) fn drop_pages<T: Task>(
        &self,
        token: &mut impl PageLocks,
        all: Range<PageIndex>,
        dirty: Dirty,
        claim: Option<&RangeGuard<'_, K>>,
        task: &T,
    ) -> Result<u64, Errno> {
        let mapping = self.mapping();
        let killed = Caller(task);
        let mut removals = mapping.removals();
        let (mut from, mut kept, mut dropped) = (all.start, 0, 0);
        while let Some(run) = mapping.find(from, all.end, Mark::Present) {
            let locked = mapping.lock_killable(token.page_locks(), run, &killed)?;
            if let Some(mut locked) = locked {
                let bytes = ByteRange { start: run.start(), end: run.end().start() };
                if let Some(claim) = claim
                    && self.ranges.conflicts(bytes, Some(claim))
                {
                    drop(locked);
                    self.ranges.wait_for(bytes, claim, task)?;
                    continue;
                }
                let before = locked.present().count();
                let stay = self.drop_locked(&mut locked, dirty, &mut removals, task)?;
                kept += u64::from(stay);
                dropped += before - stay;
            }
            from = run.end();
        }
        drop(removals);
        // Only then: a thread that has just made a leaf would find it gone each time (L1).
        if dropped > 0 {
            mapping.prune(all.start, all.end);
        }
        Ok(kept)
    }

    /// Drops locked pages once their writebacks are over; how many have stayed.
    ///
    /// # Errors
    /// [`Errno::Interrupted`].
    pub(crate) fn drop_locked<T: Task>(
        &self,
        locked: &mut LockedRun<'_, K>,
        dirty: Dirty,
        removals: &mut Removals<'_, K>,
        task: &T,
    ) -> Result<u32, Errno> {
        locked.wait_writeback(locked.mask(), &Caller(task))?;
        let wanted = match dirty {
            Dirty::Discard => locked.present(),
            Dirty::Keep | Dirty::WriteBack => locked.clean(),
        };
        if self.mapping().store().is_persistent() {
            let free = self.unmap_unpinned(locked, wanted);
            removals.take(locked, free);
        }
        Ok(locked.present().count())
    }
}
