//! [`CacheCounters`]: what a cache has done and what is in it, for the statistics of a kernel.
#![forbid(unsafe_code)]

use core::sync::atomic::AtomicUsize;
use core::sync::atomic::Ordering::Relaxed;

use faultless_page::Count;

/// Counters of a cache, kept by [`Kernel::count`](faultless_page::Kernel::count).
///
/// One relaxed addition for each event, and no lock. All CPUs add to the same cache line: a kernel
/// that wants more of its hot path has one of these for each CPU, and [adds](CacheCounts::plus)
/// what they say. Without them a cache counts nothing, at no cost.
///
/// ```
/// use faultless_page::{Count, Kernel};
/// use faultless_parts::CacheCounters;
///
/// static COUNTERS: CacheCounters = CacheCounters::new();
///
/// // In `impl Kernel for MyKernel`:
/// fn count(what: Count, pages: u32) {
///     COUNTERS.count(what, pages);
/// }
///
/// count(Count::Used, 3);
/// count(Count::Filled, 1);
/// assert_eq!(COUNTERS.now().hits(), 2);
/// ```
#[derive(Debug)]
pub struct CacheCounters([AtomicUsize; COUNTS]);

/// Counters that are kept: one for each [`Count`], in its order.
const COUNTS: usize = Count::WritebackEnded as usize + 1;

/// What [`CacheCounters`] say at one moment, in pages; each counter is read at a moment of its own,
/// so levels may be off by what is under way. Counters wrap around where `usize` has 32 bits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CacheCounts {
    /// See [`Count::Used`].
    pub used: usize,
    /// Misses. See [`Count::Filled`].
    pub filled: usize,
    /// Faults of user mappings that were resolved.
    pub faulted: usize,
    /// Pages that were put into the cache.
    pub cached: usize,
    /// Pages that were taken out.
    pub removed: usize,
    /// Pages that became dirty.
    pub dirtied: usize,
    /// See [`Count::Cleaned`].
    pub cleaned: usize,
    /// Pages whose writeback has begun.
    pub writeback_begun: usize,
    /// Pages whose writeback has ended.
    pub writeback_ended: usize,
}

impl CacheCounters {
    /// Counters at 0.
    #[must_use]
    pub const fn new() -> Self {
        Self([const { AtomicUsize::new(0) }; COUNTS])
    }

    /// What [`Kernel::count`](faultless_page::Kernel::count) is told. A count that this version
    /// does not know is left out.
    #[inline]
    pub fn count(&self, what: Count, pages: u32) {
        if let Some(counter) = self.0.get(what as usize) {
            counter.fetch_add(pages as usize, Relaxed);
        }
    }

    /// The counters now.
    #[must_use]
    pub fn now(&self) -> CacheCounts {
        let get = |what: Count| self.0[what as usize].load(Relaxed);
        // Of a level, what lowers it first: it comes out too high at worst, not below 0.
        CacheCounts {
            filled: get(Count::Filled),
            used: get(Count::Used),
            faulted: get(Count::Faulted),
            removed: get(Count::Removed),
            cached: get(Count::Cached),
            cleaned: get(Count::Cleaned),
            dirtied: get(Count::Dirtied),
            writeback_ended: get(Count::WritebackEnded),
            writeback_begun: get(Count::WritebackBegun),
        }
    }
}

impl Default for CacheCounters {
    fn default() -> Self {
        Self::new()
    }
}

impl CacheCounts {
    /// Pages whose bytes were used and which were in the cache already.
    #[must_use]
    pub const fn hits(self) -> usize {
        level(self.used, self.filled)
    }

    /// Pages in the cache.
    #[must_use]
    pub const fn pages(self) -> usize {
        level(self.cached, self.removed)
    }

    /// Dirty pages.
    #[must_use]
    pub const fn dirty(self) -> usize {
        level(self.dirtied, self.cleaned)
    }

    /// Pages under writeback.
    #[must_use]
    pub const fn under_writeback(self) -> usize {
        level(self.writeback_begun, self.writeback_ended)
    }

    /// The sum of two, of the counters of two CPUs: a page may become dirty on one and clean on the
    /// other, so levels are those of sums only.
    #[must_use]
    pub const fn plus(self, other: Self) -> Self {
        Self {
            used: self.used.wrapping_add(other.used),
            filled: self.filled.wrapping_add(other.filled),
            faulted: self.faulted.wrapping_add(other.faulted),
            cached: self.cached.wrapping_add(other.cached),
            removed: self.removed.wrapping_add(other.removed),
            dirtied: self.dirtied.wrapping_add(other.dirtied),
            cleaned: self.cleaned.wrapping_add(other.cleaned),
            writeback_begun: self.writeback_begun.wrapping_add(other.writeback_begun),
            writeback_ended: self.writeback_ended.wrapping_add(other.writeback_ended),
        }
    }
}

/// What is left of `up` after `down`, where both may have wrapped around; 0 if `down` is ahead for
/// a moment.
const fn level(up: usize, down: usize) -> usize {
    let left = up.wrapping_sub(down);
    if left > usize::MAX / 2 { 0 } else { left }
}
