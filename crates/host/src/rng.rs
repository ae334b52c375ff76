//! A small random generator with a seed that can be replayed.

#![forbid(unsafe_code)]

/// xorshift64*: the same numbers on every machine for the same seed.
#[derive(Clone, Debug)]
pub struct Rng(u64);

impl Rng {
    /// The generator for this seed.
    #[must_use]
    pub const fn new(seed: u64) -> Self {
        let mixed = seed.wrapping_add(0x9E37_79B9_7F4A_7C15).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        Self(if mixed == 0 { 1 } else { mixed })
    }

    /// The next 64 bits.
    pub const fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_F491_4F6C_DD1D)
    }

    /// A number below `end`; 0 if `end` is 0.
    pub const fn below(&mut self, end: u64) -> u64 {
        if end == 0 { 0 } else { self.next() % end }
    }

    /// A number in `range`.
    ///
    /// # Panics
    /// If the range is empty.
    pub fn range(&mut self, range: std::ops::Range<usize>) -> usize {
        assert!(!range.is_empty(), "a number in an empty range");
        range.start + self.below(range.len() as u64) as usize
    }

    /// Bytes.
    pub fn fill(&mut self, bytes: &mut [u8]) {
        for chunk in bytes.chunks_mut(8) {
            chunk.copy_from_slice(&self.next().to_le_bytes()[..chunk.len()]);
        }
    }

    /// `len` bytes.
    #[must_use]
    pub fn bytes(&mut self, len: usize) -> Vec<u8> {
        let mut bytes = vec![0; len];
        self.fill(&mut bytes);
        bytes
    }
}

/// The seed of a random test where the environment names none.
const DEFAULT_SEED: u64 = 1;

/// The seed of a random test: `FAULTLESS_SEED` if it is set, else always the same one, so that a
/// run of the tests can be repeated. Prints the seed. Fresh seeds are drawn by `cargo xtask soak`.
///
/// # Panics
/// If `FAULTLESS_SEED` is not a number.
#[must_use]
pub fn seed() -> u64 {
    let seed = match std::env::var("FAULTLESS_SEED") {
        Ok(text) => text.parse().expect("FAULTLESS_SEED is a number"),
        Err(_) => DEFAULT_SEED,
    };
    println!("FAULTLESS_SEED={seed}");
    seed
}

/// A seed from the clock, below 2³¹: for commands that search anew each time, never for a test.
#[must_use]
pub fn fresh_seed() -> u64 {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    let nanoseconds = now.map_or(1, |now| now.as_nanos() as u64);
    Rng::new(nanoseconds).below(1 << 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_seed_gives_the_same_numbers() {
        assert_eq!(Rng::new(7).bytes(33), Rng::new(7).bytes(33));
        assert_ne!(Rng::new(7).next(), Rng::new(8).next());
        assert!((0..100).all(|seed| Rng::new(seed).below(10) < 10));
    }
}
