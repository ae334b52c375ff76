//! [`CacheCounters`]: what a cache has done and what is in it, for the statistics of a kernel.
#![forbid(unsafe_code)]

use core::ops::Index;
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
/// use faultless_page::{Count, Kernel, StoreId};
/// use faultless_parts::CacheCounters;
///
/// static COUNTERS: CacheCounters = CacheCounters::new();
///
/// // In `impl Kernel for MyKernel`:
/// fn count(_store: StoreId, what: Count, pages: u32) {
///     COUNTERS.count(what, pages);
/// }
///
/// count(StoreId(0), Count::Used, 3);
/// count(StoreId(0), Count::Filled, 1);
/// assert_eq!(COUNTERS.now().hits(), 2);
/// ```
#[derive(Debug)]
pub struct CacheCounters([AtomicUsize; COUNTS]);

/// Counters that are kept: one for each [`Count`], in its order.
const COUNTS: usize = Count::WritebackEnded as usize + 1;

/// What [`CacheCounters`] say at one moment, in pages: `counts[Count::Filled]`. Each counter is
/// read at a moment of its own, so levels may be off by what is under way. Counters wrap around
/// where `usize` has 32 bits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CacheCounts([usize; COUNTS]);

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
        let mut counts = CacheCounts::default();
        // From the last to the first, which for a level is what lowers it before what raises it: it
        // comes out too high at worst, not below 0.
        for (count, counter) in counts.0.iter_mut().zip(&self.0).rev() {
            *count = counter.load(Relaxed);
        }
        counts
    }
}

impl Default for CacheCounters {
    fn default() -> Self {
        Self::new()
    }
}

/// A count that this version does not know is 0.
impl Index<Count> for CacheCounts {
    type Output = usize;
    fn index(&self, what: Count) -> &usize {
        self.0.get(what as usize).unwrap_or(&0)
    }
}

impl CacheCounts {
    /// Pages whose bytes were used and which were in the cache already.
    #[must_use]
    pub fn hits(&self) -> usize {
        self.level(Count::Used, Count::Filled)
    }

    /// Pages in the cache.
    #[must_use]
    pub fn pages(&self) -> usize {
        self.level(Count::Cached, Count::Removed)
    }

    /// Dirty pages.
    #[must_use]
    pub fn dirty(&self) -> usize {
        self.level(Count::Dirtied, Count::Cleaned)
    }

    /// Pages under writeback.
    #[must_use]
    pub fn under_writeback(&self) -> usize {
        self.level(Count::WritebackBegun, Count::WritebackEnded)
    }

    /// The sum of two, of the counters of two CPUs: a page may become dirty on one and clean on the
    /// other, so levels are those of sums only.
    #[must_use]
    pub fn plus(self, other: Self) -> Self {
        self.each_with(other, usize::wrapping_add)
    }

    /// What was counted since `earlier`, by the same counters.
    #[must_use]
    pub fn since(self, earlier: Self) -> Self {
        self.each_with(earlier, usize::wrapping_sub)
    }

    fn each_with(mut self, other: Self, join: fn(usize, usize) -> usize) -> Self {
        let pairs = self.0.iter_mut().zip(other.0);
        pairs.for_each(|(count, other)| *count = join(*count, other));
        self
    }

    /// What is left of `up` after `down`, where both may have wrapped around; 0 if `down` is ahead
    /// for a moment.
    fn level(&self, up: Count, down: Count) -> usize {
        let left = self[up].wrapping_sub(self[down]);
        if left > usize::MAX / 2 { 0 } else { left }
    }
}
