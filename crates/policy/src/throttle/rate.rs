//! Pages in a time, in integers: kernels have no floating point.
#![forbid(unsafe_code)]

const SECOND_NS: u128 = 1_000_000_000;
/// Units in a page per second.
const UNIT: u128 = 1024;

/// A rate, in 1024ths of a page per second. Every operation saturates.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Rate(u64);

impl Rate {
    /// One page per second: no estimate is lower.
    pub(super) const LEAST: Self = Self(UNIT as u64);

    /// `pages` pages per second.
    #[must_use]
    pub const fn per_second(pages: u64) -> Self {
        Self(pages.saturating_mul(UNIT as u64))
    }

    /// `pages` pages in `ns` nanoseconds; the highest rate for no time.
    #[must_use]
    pub const fn of(pages: u64, ns: u64) -> Self {
        if ns == 0 {
            return Self(u64::MAX);
        }
        Self(short((pages as u128).saturating_mul(SECOND_NS * UNIT) / ns as u128))
    }

    /// Pages per second, rounded down.
    #[must_use]
    pub const fn pages_per_second(self) -> u64 {
        self.0 / UNIT as u64
    }

    /// Nanoseconds that `pages` pages take, rounded up; [`u64::MAX`] at rate zero, except for no
    /// pages.
    #[must_use]
    pub fn time_for(self, pages: u64) -> u64 {
        if pages == 0 {
            return 0;
        }
        let (pages, rate) = (u128::from(pages), u128::from(self.0));
        match rate {
            0 => u64::MAX,
            _ => short((pages * SECOND_NS * UNIT).div_ceil(rate)),
        }
    }

    /// Pages in `ns` nanoseconds, rounded down.
    #[must_use]
    pub const fn pages_in(self, ns: u64) -> u64 {
        short(self.0 as u128 * ns as u128 / (SECOND_NS * UNIT))
    }

    /// The sum of two rates.
    #[must_use]
    pub const fn plus(self, other: Self) -> Self {
        Self(self.0.saturating_add(other.0))
    }

    /// `part / of` of this rate; the highest rate if `of` is zero.
    pub(super) const fn scaled(self, part: u64, of: u64) -> Self {
        if of == 0 {
            return Self(u64::MAX);
        }
        Self(short(self.0 as u128 * part as u128 / of as u128))
    }

    /// This rate in proportion of `part` to `of`.
    pub(super) const fn in_proportion(self, part: Self, of: Self) -> Self {
        self.scaled(part.0, of.0)
    }

    /// `pages` in proportion of this rate to `all`; all pages if `all` is not higher.
    pub(super) const fn part_of(self, all: Self, pages: u64) -> u64 {
        if all.0 <= self.0 {
            return pages;
        }
        short(pages as u128 * self.0 as u128 / all.0 as u128)
    }

    /// A step of a quarter from this rate to `sample`.
    pub(super) const fn towards(self, sample: Self) -> Self {
        Self(self.0 - self.0 / 4 + sample.0 / 4)
    }
}

const fn short(number: u128) -> u64 {
    if number > u64::MAX as u128 { u64::MAX } else { number as u64 }
}
