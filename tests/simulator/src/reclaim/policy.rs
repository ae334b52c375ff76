//! What a policy does for the simulator, and what it took.

/// A cache of some pages.
pub trait Policy {
    /// Uses a page, which is brought in if it is missing; whether it was there.
    fn request(&mut self, page: u32) -> bool;

    /// What it took, of the policy that ships.
    fn costs(&self) -> Option<Costs> {
        None
    }
}

/// What the policy took, beyond misses.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Costs {
    /// Leaves visited.
    pub visits: u64,
    /// Pages dropped.
    pub evictions: u64,
    /// Leaf visits of the eviction that took most.
    pub longest: u64,
    /// Requests that found their page.
    pub hits: u64,
    /// Hits that set a mark.
    pub writes: u64,
    /// Bytes of the leaves' marks (three words each) for each page of the cache.
    pub marks_per_page: f64,
    /// Bytes of shadows and queues (a pointer for each queued leaf) for each page of the cache.
    pub beside_per_page: f64,
}

impl Costs {
    /// Leaf visits for each page dropped.
    #[must_use]
    pub fn visits_per_eviction(&self) -> f64 {
        self.visits as f64 / self.evictions.max(1) as f64
    }
}
