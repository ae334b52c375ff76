//! The bandwidth of a store, and the rate that is fair for one of its writers.
#![forbid(unsafe_code)]

use super::limits::{BALANCED, Limits};
use super::rate::Rate;

/// Nanoseconds between two looks at the counters.
const PERIOD_NS: u64 = 100_000_000;
/// Pages after which a bandwidth is measured without more time.
const ENOUGH_PAGES: u64 = 256;
/// Nanoseconds of writing after which a bandwidth is measured from few pages.
const LONG_NS: u64 = 4 * PERIOD_NS;
/// The rate falls by this factor at most in a period.
const MOST_FALL: u64 = 16;
/// The rate rises by this factor at most in a period.
const MOST_RISE: u64 = 4;

/// Counters of a store. The cache keeps them; all but `charged` only grow.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Pages of the store that are dirty, under writeback or promised.
    pub charged: u64,
    /// Pages that became dirty so far.
    pub dirtied: u64,
    /// Pages whose writeback ended so far.
    pub written: u64,
    /// Nanoseconds so far during which at least one page was under writeback.
    pub busy_ns: u64,
}

/// What is known of a store.
///
/// It takes 104 bytes. Calls of [`update`](Self::update) must not overlap; the other calls only
/// read.
#[derive(Clone, Copy, Debug)]
#[doc(alias = "bdi_writeback")]
pub struct Store {
    bandwidth: Rate,
    /// What is fair for each writer.
    fair: Rate,
    origin: Origin,
    /// Counters when the bandwidth was measured last.
    measured: Counters,
    /// Counters and time at the last look.
    seen: Option<(Counters, u64)>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Origin {
    Guessed,
    Measured,
}

impl Store {
    /// A store that has not written yet. `guess` is its bandwidth until it is measured.
    #[must_use]
    pub const fn new(guess: Rate) -> Self {
        Self {
            bandwidth: guess,
            fair: guess,
            origin: Origin::Guessed,
            measured: Counters { charged: 0, dirtied: 0, written: 0, busy_ns: 0 },
            seen: None,
        }
    }

    /// The bandwidth as it is known.
    #[must_use]
    pub const fn bandwidth(&self) -> Rate {
        self.bandwidth
    }

    /// The rate that is fair for each writer of the store, before the position between the limits
    /// is taken into account.
    #[must_use]
    #[doc(alias = "dirty_ratelimit")]
    pub const fn fair(&self) -> Rate {
        self.fair
    }

    /// Looks at the counters, at time `now`. To be called after a step that dirtied pages, and
    /// when writeback ends; more often than every 100 ms changes nothing. `limits` are those of
    /// the store, see [`Limits::share`]. O(1).
    pub fn update(&mut self, counters: &Counters, limits: &Limits, now: u64) {
        let Some((before, then)) = self.seen else {
            self.measured = *counters;
            self.seen = Some((*counters, now));
            return;
        };
        let elapsed = now.saturating_sub(then);
        if elapsed < PERIOD_NS {
            return;
        }
        self.seen = Some((*counters, now));
        self.measure(counters);
        // A period that was spent below the point where pauses begin says nothing of the writers.
        if before.charged >= limits.free() && elapsed <= LONG_NS {
            let dirtied = counters.dirtied.saturating_sub(before.dirtied);
            self.balance(Rate::of(dirtied, elapsed), limits, counters.charged);
        }
        self.fair = self.fair.min(self.bandwidth).max(Rate::LEAST);
    }

    /// Measures the bandwidth while the store writes.
    fn measure(&mut self, counters: &Counters) {
        let busy = counters.busy_ns.saturating_sub(self.measured.busy_ns);
        let written = counters.written.saturating_sub(self.measured.written);
        if busy < PERIOD_NS / 2 || (written < ENOUGH_PAGES && busy < LONG_NS) {
            return;
        }
        self.measured = *counters;
        let sample = Rate::of(written, busy).max(Rate::LEAST);
        let before = self.bandwidth;
        self.bandwidth = match self.origin {
            Origin::Guessed => sample,
            Origin::Measured => before.towards(sample),
        };
        if self.origin == Origin::Guessed {
            self.fair = self.fair.in_proportion(self.bandwidth, before);
        }
        self.origin = Origin::Measured;
    }

    /// Moves the fair rate to where the writers together, which dirtied at rate `found`, dirty as
    /// fast as the store writes.
    fn balance(&mut self, found: Rate, limits: &Limits, charged: u64) {
        let position = limits.position(charged).unwrap_or(BALANCED);
        if found < Rate::LEAST {
            return;
        }
        let now = self.fair.scaled(position, BALANCED);
        let balanced = now.in_proportion(self.bandwidth, found);
        let (low, high) = (self.fair.scaled(1, MOST_FALL), self.fair.scaled(MOST_RISE, 1));
        let balanced = balanced.clamp(low, high);
        let near = self.fair.scaled(1, 2)..=self.fair.scaled(2, 1);
        self.fair = if near.contains(&balanced) {
            self.fair.scaled(1, 2).plus(balanced.scaled(1, 2))
        } else {
            balanced
        };
    }
}
