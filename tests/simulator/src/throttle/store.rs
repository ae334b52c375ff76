//! A store with a bandwidth that may vary.

#![forbid(unsafe_code)]

use faultless_policy::throttle::{Counters, Rate, Store};

use crate::random::Random;

/// Pages in a MiB.
pub const MIB: u64 = 256;
/// Nanoseconds in a second.
pub const SECOND: u64 = 1_000_000_000;
/// Pages that are written at once.
const BATCH: u64 = 16;

/// How the bandwidth of a store varies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Course {
    /// Not at all.
    Steady,
    /// Each batch takes half to one and a half times as long, by chance.
    Jitter,
    /// Nothing is written for a second, from this time on.
    Stall {
        /// Nanoseconds.
        from: u64,
    },
    /// From this time on it is another one.
    Change {
        /// Nanoseconds.
        from: u64,
        /// MiB/s.
        mib: u64,
    },
}

/// A store.
#[derive(Clone, Copy, Debug)]
pub struct Disk {
    /// MiB/s.
    pub mib: u64,
    /// How that varies.
    pub course: Course,
}

impl Disk {
    /// A store of `mib` MiB/s.
    pub const fn steady(mib: u64) -> Self {
        Self { mib, course: Course::Steady }
    }

    /// Nanoseconds for `pages` pages that are begun at time `now`.
    fn time(self, now: u64, pages: u64, random: &mut Random) -> u64 {
        let at = |mib: u64| pages * SECOND / (mib * MIB);
        match self.course {
            Course::Stall { from } if (from..from + SECOND).contains(&now) => {
                from + SECOND - now + at(self.mib)
            }
            Course::Change { from, mib } if now >= from => at(mib),
            Course::Jitter => (at(self.mib) as f64 * (0.5 + random.unit())) as u64,
            _ => at(self.mib),
        }
    }
}

/// A store with its counters, and what the policy knows of it.
#[derive(Debug)]
pub(super) struct Stored {
    disk: Disk,
    random: Random,
    pub(super) policy: Store,
    pub(super) counters: Counters,
    pub(super) dirty: u64,
    /// Pages under writeback, and since when.
    writing: Option<(u64, u64)>,
}

impl Stored {
    pub(super) fn new(disk: Disk) -> Self {
        Self {
            disk,
            random: Random::new(6),
            policy: Store::new(Rate::per_second(100 * MIB)),
            counters: Counters::default(),
            dirty: 0,
            writing: None,
        }
    }

    /// Begins a batch if there is none. Returns when it ends.
    pub(super) fn begin(&mut self, now: u64) -> Option<u64> {
        if self.writing.is_some() || self.dirty == 0 {
            return None;
        }
        let pages = self.dirty.min(BATCH);
        self.writing = Some((pages, now));
        Some(now + self.disk.time(now, pages, &mut self.random))
    }

    /// Ends the batch. Returns its pages.
    pub(super) fn end(&mut self, now: u64) -> u64 {
        let Some((pages, since)) = self.writing.take() else { return 0 };
        self.dirty -= pages;
        self.counters.charged -= pages;
        self.counters.written += pages;
        self.counters.busy_ns += now - since;
        pages
    }

    /// The counters at time `now`, in the middle of a batch too.
    pub(super) fn counters(&self, now: u64) -> Counters {
        let busy_ns = self.writing.map_or(0, |(_, since)| now - since);
        Counters { busy_ns: self.counters.busy_ns + busy_ns, ..self.counters }
    }
}
