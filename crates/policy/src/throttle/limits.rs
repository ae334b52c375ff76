//! The two thresholds.
#![forbid(unsafe_code)]

use super::rate::Rate;

/// A position that is neither too low nor too high.
pub(super) const BALANCED: u64 = 1024;
/// The highest position: how much faster than its share a writer may be.
const HIGHEST: u64 = BALANCED + BALANCED / 16;
/// The lowest position.
const LOWEST: u64 = BALANCED / 64;
/// A store gets at least this part of the limits, and leaves this part of what others leave.
const LEAST_SHARE: u64 = 16;

/// Free pages below the point where pauses begin that a step may take part of.
const STEPS_TO_FREE: u64 = 16;
/// A store that writes less has stopped: a page in each longest pause.
const STOPPED: Rate = Rate::per_second(5);
/// Parts of the room below the limit, of which one promise may take one.
const PROMISES: u64 = 4;

/// Two thresholds for dirty pages, in pages.
///
/// # Invariants
/// `background < hard <= most`, and `keep` is not above the point where pauses begin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    background: u64,
    hard: u64,
    /// Pages up to which pages are promised. Above `hard` only for a store's share.
    most: u64,
    /// Pages up to which a task keeps what is promised between two steps.
    keep: u64,
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
        let keep = halfway(background, hard);
        Self { background, hard, most: hard, keep }
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
        halfway(self.background, self.hard)
    }

    /// Whether a task may keep promised pages while it does not write. Only while all pages of all
    /// stores are below the point where pauses begin: what idle tasks hold was counted then, so
    /// that the room between that point and the hard limit is never theirs.
    pub(super) const fn keeps(&self, charged: u64) -> Keep {
        if charged < self.keep { Keep::Promised } else { Keep::Nothing }
    }

    /// How many of `wanted` pages may be promised while `charged` pages are dirty or promised: at
    /// most a quarter of the room, so that there is some for others. Zero: wait until writeback
    /// ends. The sum with `charged` is never above the hard limit unless `charged` is.
    ///
    /// Pages must be admitted by the limits of the cache and by those of the store. The share of a
    /// store is no hard limit: a store that writes may hold more, up to 7/8 of what the others
    /// leave, while its writers get a page for each longest pause. One that has stopped may not.
    #[must_use]
    pub const fn admit(&self, charged: u64, wanted: u64) -> u64 {
        let room = self.most.saturating_sub(charged).div_ceil(PROMISES);
        if wanted < room { wanted } else { room }
    }

    /// The part of the limits that one of several stores gets, whose bandwidth is `own` while all
    /// stores with dirty pages have `all` together: in proportion, a 16th at least, and at most
    /// 15/16 of what the `others` charged pages of other stores leave. So a store that stops with
    /// all that it could get leaves room for the next one. One that has stopped gets the 16th, also
    /// while no other store has dirty pages.
    #[must_use]
    pub fn share(&self, own: Rate, all: Rate, others: u64) -> Self {
        let left = self.hard.saturating_sub(others);
        let most = left - left.div_ceil(LEAST_SHARE);
        let has_stopped = own < STOPPED;
        let part = if has_stopped { 0 } else { own.part_of(all, self.hard) };
        let hard = part.max(self.hard / LEAST_SHARE).min(most).max(1);
        let background = u128::from(self.background) * u128::from(hard) / u128::from(self.hard);
        let share = Self::new(background as u64, hard);
        let most = if has_stopped { 0 } else { left - left.div_ceil(8) };
        // INVARIANT: `new` makes a share that holds, `most` only rises and `keep` only falls.
        let keep = share.keep.min(self.free().saturating_sub(others));
        Self { most: share.hard.max(most), keep, ..share }
    }

    /// Pages of a step while writers do not pause, at most: the steps get small where pauses begin,
    /// or many writers at once would go far beyond that.
    pub(super) const fn free_step(&self, charged: u64) -> u64 {
        self.free().saturating_sub(charged) / STEPS_TO_FREE
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
        let above =
            u128::from(charged - set) * u128::from(BALANCED) / u128::from((top - set).max(1));
        Some(BALANCED.saturating_sub(above.min(u128::from(BALANCED)) as u64).max(LOWEST))
    }
}

/// What a task does with promised pages between two steps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Keep {
    /// It keeps them.
    Promised,
    /// It gives them back.
    Nothing,
}

const fn halfway(low: u64, high: u64) -> u64 {
    low + (high - low) / 2
}
