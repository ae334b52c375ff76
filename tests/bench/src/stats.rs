//! Medians and percentiles of ratios.

#![forbid(unsafe_code)]

/// Where a sample lies.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Spread {
    pub(super) p10: f64,
    pub(super) median: f64,
    pub(super) p90: f64,
}

impl Spread {
    /// The spread of a sample. `None` if nothing was measured.
    pub(super) fn of(mut sample: Vec<f64>) -> Option<Self> {
        if sample.is_empty() {
            return None;
        }
        sample.sort_by(f64::total_cmp);
        Some(Self {
            p10: at_quantile(&sample, 10),
            median: at_quantile(&sample, 50),
            p90: at_quantile(&sample, 90),
        })
    }

    /// The standard error of the median of so many values that are spread like this, as if they
    /// were distributed normally.
    pub(super) fn error_of_median(&self, values: usize) -> f64 {
        /// Standard deviations between the tenth and the ninetieth percentile.
        const DEVIATIONS: f64 = 2.563;
        /// The standard error of a median, relative to that of a mean: the root of half of pi.
        const OF_MEDIAN: f64 = 1.253;
        OF_MEDIAN * (self.p90 - self.p10) / DEVIATIONS / (values as f64).sqrt()
    }
}

fn at_quantile(sorted: &[f64], percent: usize) -> f64 {
    sorted[(sorted.len() - 1) * percent / 100]
}

/// A small generator of pseudo-random numbers (xorshift): a benchmark must not pay for a good one.
#[derive(Clone, Debug)]
pub(super) struct Dice(u64);

impl Dice {
    /// A generator that repeats itself for the same seed.
    pub(super) fn new(seed: u64) -> Self {
        Self(seed | 1)
    }

    /// A number below `bound`, which must not be zero.
    #[inline]
    pub(super) fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        // The high bits are the better ones.
        ((u128::from(self.0) * u128::from(bound)) >> 64) as u64
    }

    /// Puts the items in a random order.
    pub(super) fn shuffle<T>(&mut self, items: &mut [T]) {
        for at in (1..items.len()).rev() {
            items.swap(at, self.below(at as u64 + 1) as usize);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_spread_of_a_hundred_and_one_numbers_is_exact() {
        let sample: Vec<f64> = (0..=100).rev().map(f64::from).collect();
        let spread = Spread::of(sample).expect("not empty");
        assert_eq!(spread, Spread { p10: 10.0, median: 50.0, p90: 90.0 });
        assert_eq!(Spread::of(vec![]), None);
    }

    #[test]
    fn dice_reach_every_number_and_no_other() {
        let mut dice = Dice::new(7);
        let mut seen = [false; 5];
        for _ in 0..1000 {
            seen[dice.below(5) as usize] = true;
        }
        assert_eq!(seen, [true; 5]);
    }

    #[test]
    fn shuffling_keeps_every_item() {
        let mut items: Vec<u32> = (0..100).collect();
        Dice::new(3).shuffle(&mut items);
        assert_ne!(items, (0..100).collect::<Vec<_>>());
        items.sort_unstable();
        assert_eq!(items, (0..100).collect::<Vec<_>>());
    }
}
