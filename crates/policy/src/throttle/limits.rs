//! The two thresholds.
#![forbid(unsafe_code)]

use super::rate::Rate;

/// A position that is neither too low nor too high.
pub(super) const BALANCED: u64 = 1024;
/// The highest position: how much faster than its share a writer may be.
const HIGHEST: u64 = BALANCED + BALANCED / 16;
/// The lowest position.
const LOWEST: u64 = BALANCED / 64;
/// A store gets at least this part of the limits.
const LEAST_SHARE: u64 = 16;

/// Two thresholds for dirty pages, in pages.
///
/// # Invariants
/// `background < hard`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    background: u64,
    hard: u64,
}

impl Limits {
    /// Writeback begins above `background` dirty pages, and there are never more than `hard`.
    /// A limit of zero is one page. A background threshold that is not below the limit is half of
    /// it.
    #[must_use]
    #[doc(alias = "dirty_background_bytes")]
    #[doc(alias = "dirty_bytes")]
    pub const fn new(background: u64, hard: u64) -> Self {
        let hard = if hard == 0 { 1 } else { hard };
        // INVARIANT: half of a number above zero is below it.
        let background = if background < hard { background } else { hard / 2 };
        Self { background, hard }
    }

    /// Dirty pages above which writeback begins.
    #[must_use]
    pub const fn background(&self) -> u64 {
        self.background
    }

    /// Pages that are dirty or promised at most.
    #[must_use]
    pub const fn hard(&self) -> u64 {
        self.hard
    }

    /// Pages up to which writers do not pause: halfway between the thresholds.
    #[must_use]
    pub const fn free(&self) -> u64 {
        self.background + (self.hard - self.background) / 2
    }

    /// How many of `wanted` pages may be promised while `charged` pages are dirty or promised.
    /// Zero: wait until writeback ends. The sum with `charged` is never above the hard limit
    /// unless `charged` is.
    #[must_use]
    pub const fn admit(&self, charged: u64, wanted: u64) -> u64 {
        let room = self.hard.saturating_sub(charged);
        if wanted < room { wanted } else { room }
    }

    /// The part of the limits that a store gets, whose bandwidth is `own` while all stores with
    /// dirty pages have `all` together: in proportion, and a 16th at least. A page at least, and
    /// no more than there is.
    #[must_use]
    pub fn share(&self, own: Rate, all: Rate) -> Self {
        let part = |pages: u64| own.part_of(all, pages).max(pages / LEAST_SHARE);
        Self::new(part(self.background), part(self.hard))
    }

    /// How fast writers should be, in 1024ths of what is fair, while `charged` pages are dirty or
    /// promised. `None`: as fast as they like.
    ///
    /// Halfway between [`free`](Self::free) and the hard limit it is 1024. Below, it is a little
    /// more; above, it falls to nearly nothing shortly before the limit.
    pub(super) fn position(&self, charged: u64) -> Option<u64> {
        let free = self.free();
        if charged < free {
            return None;
        }
        let top = self.hard - (self.hard - free) / 8;
        let set = free + (top - free) / 2;
        if charged <= set {
            let below = (set - charged).saturating_mul(HIGHEST - BALANCED);
            return Some(BALANCED + below / (set - free).max(1));
        }
        let above = u128::from(charged - set) * u128::from(BALANCED) / u128::from((top - set).max(1));
        Some(BALANCED.saturating_sub(above.min(u128::from(BALANCED)) as u64).max(LOWEST))
    }
}
