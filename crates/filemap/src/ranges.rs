//! Ranges of a file held by writers: how overwrites exclude each other without an inode lock.
//!
//! A write that holds all its page locks at once needs no range: the page locks order it against everyone.
//! Only a write that must let go of its page locks midway (several leaves, a short copy, a temporary page)
//! takes its byte range first. Whoever finds a foreign range over its own bytes *after* locking its pages lets
//! go, waits, and tries again.
//!
//! Why the check after the page lock is enough: let S hold a range and H be a one-step writer that shares a
//! page with it. Whichever locks that page first is seen by the other. If S locked it first, its range was
//! entered before, so H, which acquires the lock S released, reads it and backs off. If H locked it first, H lands
//! all of its bytes before S can touch the page, and precedes S everywhere.
//!
//! Rank: after I, before M and P. A task takes at most one range and never waits for one under a page lock.
//! The fault handler never looks at ranges. Model-checked; see `ARCHITECTURE.md`.
#![forbid(unsafe_code)]

use core::fmt;
use core::sync::atomic::Ordering;

use faultless_page::{Kernel, LockId, Spin, SpinLock, Trace, Wait, WaitKey, Word, Word64};

/// Writers that may hold a range of one file at the same time; the next one waits for any to end.
const MAX_RANGES: usize = 8;

/// A non-empty range of bytes, `start..end`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ByteRange {
    pub(crate) start: u64,
    pub(crate) end: u64,
}

impl ByteRange {
    fn overlaps(self, other: Self) -> bool {
        self.start < other.end && other.start < self.end
    }
}

/// The ranges of one file.
pub(crate) struct RangeLock<K: Kernel> {
    /// How many ranges are held. Read without the lock on every write.
    held: Word64<K>,
    table: SpinLock<K, [Option<ByteRange>; MAX_RANGES]>,
    owner: u64,
}

impl<K: Kernel> RangeLock<K> {
    /// No ranges, for the mapping with this id.
    pub(crate) fn new(owner: u64) -> Self {
        Self { held: Word::new(0), table: Spin::new([None; MAX_RANGES]), owner }
    }

    /// Whether somebody else than `own` holds a range that overlaps `range`. Never sleeps.
    #[inline(always)]
    pub(crate) fn conflicts(&self, range: ByteRange, own: Option<&RangeGuard<'_, K>>) -> bool {
        // Acquire: pairs with the insertion through the page lock that both writers take.
        self.held.load(Ordering::Acquire) > u64::from(own.is_some())
            && self.conflicts_slow(range, own.map(|guard| guard.slot))
    }

    #[cold]
    fn conflicts_slow(&self, range: ByteRange, own: Option<usize>) -> bool {
        let table = self.table.lock();
        let mut taken = table.iter().enumerate().filter(|(slot, _)| Some(*slot) != own);
        taken.any(|(_, held)| held.is_some_and(|held| held.overlaps(range)))
    }

    /// Takes `range` if nobody holds any of it. Never sleeps.
    pub(crate) fn try_acquire<'l>(
        &'l self,
        wait: &'l K::Wait,
        range: ByteRange,
    ) -> Option<RangeGuard<'l, K>> {
        let mut table = self.table.lock();
        if table.iter().flatten().any(|held| held.overlaps(range)) {
            return None;
        }
        let slot = table.iter().position(Option::is_none)?;
        table[slot] = Some(range);
        // Inside the lock, so that the count never falls below the number of entries.
        self.held.fetch_add(1, Ordering::Release);
        drop(table);
        K::trace(Trace::Acquired(LockId::Range(self.owner, range.start)));
        Some(RangeGuard { lock: self, wait, slot, start: range.start })
    }

    /// Takes `range`. May sleep: no page lock is held, and no range.
    #[cold]
    pub(crate) fn acquire<'l>(&'l self, wait: &'l K::Wait, range: ByteRange) -> RangeGuard<'l, K> {
        K::trace(Trace::Acquiring(LockId::Range(self.owner, range.start)));
        let mut guard = None;
        wait.wait_until(self.key(), &mut || {
            guard = self.try_acquire(wait, range);
            guard.is_some()
        });
        match guard {
            Some(guard) => guard,
            // A `Wait` that returns early breaks its contract; spinning keeps this sound all the same.
            None => loop {
                if let Some(guard) = self.try_acquire(wait, range) {
                    break guard;
                }
                core::hint::spin_loop();
            },
        }
    }

    /// Sleeps until nobody else holds any of `range`. No page lock is held.
    #[cold]
    pub(crate) fn wait_for(
        &self,
        wait: &K::Wait,
        range: ByteRange,
        own: Option<&RangeGuard<'_, K>>,
    ) {
        K::trace(Trace::Acquiring(LockId::Range(self.owner, range.start)));
        let own = own.map(|guard| guard.slot);
        wait.wait_until(self.key(), &mut || !self.conflicts_slow(range, own));
    }

    fn key(&self) -> WaitKey {
        WaitKey(core::ptr::from_ref(self).addr())
    }
}

impl<K: Kernel> fmt::Debug for RangeLock<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RangeLock").field("held", &self.held.load(Ordering::Relaxed)).finish()
    }
}

/// A range that this writer holds. Dropping it wakes who waits for it; that never sleeps.
pub(crate) struct RangeGuard<'l, K: Kernel> {
    lock: &'l RangeLock<K>,
    wait: &'l K::Wait,
    slot: usize,
    start: u64,
}

impl<K: Kernel> Drop for RangeGuard<'_, K> {
    fn drop(&mut self) {
        let mut table = self.lock.table.lock();
        table[self.slot] = None;
        self.lock.held.fetch_sub(1, Ordering::Release);
        drop(table);
        K::trace(Trace::Released(LockId::Range(self.lock.owner, self.start)));
        self.wait.wake(self.lock.key());
    }
}
