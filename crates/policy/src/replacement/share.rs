//! How many pages the small queue may have.
//!
//! About a twentieth of the cache, and more where probation pays: with the part of its pages that
//! the hand finds referenced and promotes. Loops and scans have none; a working set that moves has
//! many. Less while the main queue is hot, that is, while the hand finds long runs of referenced
//! main pages and each victim there would be missed.
#![forbid(unsafe_code)]

/// The small queue's part of the capacity, in thousandths: without promotions, the most, and what
/// remains beside a hot main queue.
const USUAL: u64 = 48;
const MOST: u64 = 300;
const LEAST: u64 = 10;
/// Thousandths more, if every page were promoted.
const SLOPE: u64 = 1000;
/// Main pages in a row that the hand spares before the main queue counts as hot.
const HOT_RUN: u64 = 20;
/// The small queue cedes a page for each hot run, and gets it back after so many main victims.
const PAID_BACK: u64 = 32;
/// The most that is ceded: one page in so many of the capacity.
const CEDED_PART: u64 = 5;

/// What the hands found lately.
#[derive(Clone, Debug)]
pub(super) struct Share {
    /// Small pages that became main or left at their second meeting; halved now and then.
    promoted: u64,
    dropped: u64,
    /// Main pages spared since the last victim.
    run: u64,
    /// Pages ceded, in units of 1 / [`PAID_BACK`].
    ceded: u64,
}

impl Share {
    /// Begins as if as many pages as the cache may hold had been dropped.
    pub(super) const fn new(capacity: u64) -> Self {
        Self { promoted: 0, dropped: turnover(capacity), run: 0, ceded: 0 }
    }

    /// The pages that the small queue may have.
    pub(super) fn pages(&self, capacity: u64) -> u64 {
        let all = self.promoted + self.dropped;
        let wanted = USUAL + SLOPE * self.promoted / all.max(1);
        let pages = part(capacity, wanted.min(MOST)).saturating_sub(self.ceded / PAID_BACK);
        pages.max(part(capacity, LEAST)).max(1)
    }

    /// Whether the small queue has nothing left to cede to a hot main queue.
    pub(super) fn is_least(&self, capacity: u64) -> bool {
        self.pages(capacity) == part(capacity, LEAST).max(1)
    }

    /// Small pages became main.
    pub(super) fn promoted(&mut self, pages: u32, capacity: u64) {
        self.promoted += u64::from(pages);
        self.age(capacity);
    }

    /// Small pages were dropped.
    pub(super) fn dropped(&mut self, pages: u32, capacity: u64) {
        self.dropped += u64::from(pages);
        self.age(capacity);
    }

    /// The hand looked at main pages of a leaf: it spared some and chose others as victims.
    pub(super) fn looked(&mut self, spared: u32, victims: u32, capacity: u64) {
        if victims > 0 {
            self.run = 0;
            self.ceded = self.ceded.saturating_sub(u64::from(victims));
            return;
        }
        self.run += u64::from(spared);
        if self.run >= HOT_RUN {
            self.run = 0;
            self.ceded =
                (self.ceded + 2 * PAID_BACK).min((capacity / CEDED_PART).saturating_mul(PAID_BACK));
        }
    }

    /// Lets old counts weigh less: what counts is the last one or two turnovers of the cache.
    fn age(&mut self, capacity: u64) {
        if self.promoted + self.dropped > 2 * turnover(capacity) {
            self.promoted /= 2;
            self.dropped /= 2;
        }
    }
}

/// The capacity, as far as the counts can follow.
const fn turnover(capacity: u64) -> u64 {
    const MOST: u64 = 1 << 48;
    if capacity < MOST { capacity } else { MOST }
}

/// So many thousandths of the capacity, to the nearest page.
const fn part(capacity: u64, thousandths: u64) -> u64 {
    capacity / 1000 * thousandths + (capacity % 1000 * thousandths + 500) / 1000
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_share_is_about_a_twentieth_at_first_and_at_most_three_tenths() {
        let mut share = Share::new(1000);
        assert_eq!(share.pages(1000), 48);
        share.promoted(64, 1000);
        assert!((49..300).contains(&share.pages(1000)));
        for _ in 0..100 {
            share.promoted(64, 1000);
        }
        assert_eq!(share.pages(1000), 300);
    }

    #[test]
    fn the_share_returns_when_promotions_end() {
        let mut share = Share::new(1000);
        for _ in 0..100 {
            share.promoted(64, 1000);
        }
        for _ in 0..400 {
            share.dropped(64, 1000);
        }
        assert_eq!(share.pages(1000), 48);
    }

    #[test]
    fn a_hot_main_queue_takes_all_but_a_hundredth_and_gives_it_back_slowly() {
        let mut share = Share::new(1000);
        for _ in 0..1000 {
            share.looked(64, 0, 1000);
        }
        assert_eq!(share.pages(1000), 10);
        share.looked(0, 64, 1000);
        assert_eq!(share.pages(1000), 10);
        for _ in 0..200 {
            share.looked(0, 64, 1000);
        }
        assert_eq!(share.pages(1000), 48);
    }

    #[test]
    fn a_run_that_a_victim_ends_is_not_hot() {
        let mut share = Share::new(1000);
        for _ in 0..1000 {
            share.looked(19, 0, 1000);
            share.looked(0, 1, 1000);
        }
        assert_eq!(share.pages(1000), 48);
    }

    #[test]
    fn no_capacity_is_too_small_or_too_large() {
        for capacity in [0, 1, 19, u64::MAX] {
            let mut share = Share::new(capacity);
            share.promoted(1, capacity);
            share.looked(64, 0, capacity);
            assert!(share.pages(capacity) >= 1);
        }
    }
}
