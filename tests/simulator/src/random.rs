//! Numbers that look random and repeat for a seed.

#![forbid(unsafe_code)]

/// A generator of pseudo-random numbers (xorshift).
#[derive(Clone, Debug)]
pub struct Random(u64);

impl Random {
    /// A generator that repeats itself for the same seed.
    pub fn new(seed: u64) -> Self {
        Self(seed | 1)
    }

    /// Any number.
    pub fn any(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0.wrapping_mul(0x9e37_79b9_7f4a_7c15)
    }

    /// A number below `bound`; zero if `bound` is zero.
    pub fn below(&mut self, bound: u64) -> u64 {
        ((u128::from(self.any()) * u128::from(bound)) >> 64) as u64
    }

    /// A number in `[0, 1)`.
    pub fn unit(&mut self) -> f64 {
        (self.any() >> 11) as f64 / (1_u64 << 53) as f64
    }

    /// A number below `bound` where `k` is drawn about as often as `1 / (k + 1)` says.
    pub fn skewed(&mut self, bound: u64) -> u64 {
        let drawn = (bound as f64).powf(self.unit()) - 1.0;
        (drawn as u64).min(bound.saturating_sub(1))
    }
}
