//! What is counted in the run.
#![forbid(unsafe_code)]

use core::sync::atomic::AtomicU64;
use core::sync::atomic::Ordering::Relaxed;

use faultless::parts::CacheCounters;

use crate::arena::Part;

/// The counters of the run.
pub(crate) static COUNTERS: Part<Counters> = Part::new(3);

/// Counters.
#[derive(Default)]
pub(crate) struct Counters {
    pub(crate) calls: AtomicU64,
    pub(crate) bytes: AtomicU64,
    pub(crate) faults: AtomicU64,
    pub(crate) short_copies: AtomicU64,
    pub(crate) failed_copies: AtomicU64,
    pub(crate) written_back: AtomicU64,
    pub(crate) reclaimed: AtomicU64,
    pub(crate) disturbances: AtomicU64,
    pub(crate) lost: AtomicU64,
    pub(crate) violations: AtomicU64,
    pub(crate) cache: CacheCounters,
}

/// The counters of the run.
pub(crate) fn counters() -> &'static Counters {
    COUNTERS.get()
}

/// Adds to a counter.
pub(crate) fn add(counter: &AtomicU64, number: u64) {
    counter.fetch_add(number, Relaxed);
}
