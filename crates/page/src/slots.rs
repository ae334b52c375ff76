//! Sets of slots of one leaf, and the atomic words that hold them.
//!
//! Key types: [`SlotMask`], a value, and [`SlotWord`], a word of a [leaf](crate::leaf). Only this
//! module converts between sets and the numbers in atomic words. It does not own the meaning of a
//! mark; filemap does.
#![forbid(unsafe_code)]

use core::fmt;
use core::ops::{BitAnd, BitAndAssign, BitOr, BitOrAssign, Not, Range, Sub, SubAssign};
use core::sync::atomic::Ordering;

use crate::{SyncFamily, Word};

/// A set of slots of one leaf, which has 64 of them: one bit each, slot 0 the lowest.
///
/// `&`, `|` and `!` are intersection, union and complement; `a - b` is what `a` has and `b` has
/// not.
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(transparent)]
pub struct SlotMask(u64);

impl SlotMask {
    /// No slot.
    pub const EMPTY: Self = Self(0);
    /// Every slot of a leaf.
    pub const ALL: Self = Self(u64::MAX);

    /// The set whose slots are the bits of `bits` that are set.
    #[must_use]
    #[inline]
    pub const fn from_bits(bits: u64) -> Self {
        Self(bits)
    }

    /// The set as a number: bit `s` stands for slot `s`.
    #[must_use]
    #[inline]
    pub const fn bits(self) -> u64 {
        self.0
    }

    /// The one slot `slot`, which is below 64 (taken modulo 64).
    #[must_use]
    #[inline]
    pub const fn single(slot: u32) -> Self {
        Self(1 << (slot % 64))
    }

    /// The `len` lowest slots, `1..=64`.
    #[must_use]
    #[inline]
    pub(crate) const fn lowest(len: u32) -> Self {
        Self(u64::MAX >> (64 - len))
    }

    /// The slots that lie `by` above those in the set, as far as there are such slots. `by` is
    /// below 64.
    #[must_use]
    #[inline]
    pub(crate) const fn moved_up(self, by: u32) -> Self {
        Self(self.0 << by)
    }

    /// Whether no slot is in the set.
    #[must_use]
    #[inline]
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// Whether all of `slots` are in the set.
    #[must_use]
    #[inline]
    pub const fn contains(self, slots: Self) -> bool {
        self.0 & slots.0 == slots.0
    }

    /// Whether any of `slots` is in the set.
    #[must_use]
    #[inline]
    pub const fn intersects(self, slots: Self) -> bool {
        self.0 & slots.0 != 0
    }

    /// How many slots are in the set, `0..=64`.
    #[must_use]
    #[inline]
    pub const fn count(self) -> u32 {
        self.0.count_ones()
    }

    /// How many slots from `first` on are in the set; `first` is below 64.
    #[must_use]
    #[inline]
    pub const fn count_from(self, first: u32) -> u32 {
        (self.0 >> first).count_ones()
    }

    /// How many consecutive slots from `first` on are in the set, up to the first one that is not:
    /// 0 if `first` itself is not. `first` is below 64.
    #[must_use]
    #[inline]
    pub(crate) const fn run_len_from(self, first: u32) -> u32 {
        (self.0 >> first).trailing_ones()
    }

    /// The lowest maximal run of consecutive slots in the set.
    #[must_use]
    #[inline]
    pub(crate) const fn first_run(self) -> Option<Range<u32>> {
        match self.first() {
            Some(first) => Some(first..first + self.run_len_from(first)),
            None => None,
        }
    }

    /// The slots just below those in the set. Slot 0 has none.
    #[must_use]
    #[inline]
    pub(crate) const fn predecessors(self) -> Self {
        Self(self.0 >> 1)
    }

    /// The lowest slot in the set.
    #[must_use]
    #[inline]
    pub const fn first(self) -> Option<u32> {
        if self.0 == 0 { None } else { Some(self.0.trailing_zeros()) }
    }

    /// The highest slot in the set; 0 if it is empty.
    #[must_use]
    #[inline]
    pub(crate) const fn last(self) -> u32 {
        (self.0 | 1).ilog2()
    }

    /// The slots in the set, in ascending order.
    #[inline]
    pub fn iter(self) -> impl Iterator<Item = u32> {
        let mut rest = self.0;
        core::iter::from_fn(move || {
            let slot = Self(rest).first()?;
            rest &= rest - 1;
            Some(slot)
        })
    }
}

impl BitAnd for SlotMask {
    type Output = Self;
    #[inline]
    fn bitand(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }
}

impl BitOr for SlotMask {
    type Output = Self;
    #[inline]
    fn bitor(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

impl Sub for SlotMask {
    type Output = Self;
    #[inline]
    fn sub(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }
}

impl Not for SlotMask {
    type Output = Self;
    #[inline]
    fn not(self) -> Self {
        Self(!self.0)
    }
}

impl BitAndAssign for SlotMask {
    #[inline]
    fn bitand_assign(&mut self, other: Self) {
        *self = *self & other;
    }
}

impl BitOrAssign for SlotMask {
    #[inline]
    fn bitor_assign(&mut self, other: Self) {
        *self = *self | other;
    }
}

impl SubAssign for SlotMask {
    #[inline]
    fn sub_assign(&mut self, other: Self) {
        *self = *self - other;
    }
}

impl fmt::Debug for SlotMask {
    /// The runs of slots, as ranges: `{0..4, 7..8}`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut rest = *self;
        let runs = core::iter::from_fn(|| {
            let run = rest.first_run()?;
            rest -= Self::lowest(run.end - run.start).moved_up(run.start);
            Some(run)
        });
        f.debug_set().entries(runs).finish()
    }
}

/// An atomic word of a leaf that holds a set of slots.
#[repr(transparent)]
pub(crate) struct SlotWord<S: SyncFamily>(S::Word64);

impl<S: SyncFamily> SlotWord<S> {
    pub(crate) fn empty() -> Self {
        Self(Word::new(0))
    }

    /// The word itself, for a leaf that has no slots: one that no mapping owns.
    pub(crate) fn unowned(&self) -> &S::Word64 {
        &self.0
    }

    #[inline(always)]
    pub(crate) fn load(&self, order: Ordering) -> SlotMask {
        SlotMask(self.0.load(order))
    }

    #[inline(always)]
    pub(crate) fn store(&self, slots: SlotMask, order: Ordering) {
        self.0.store(slots.0, order);
    }

    /// Keeps only `slots`; what the word held before.
    #[inline(always)]
    pub(crate) fn fetch_and(&self, slots: SlotMask, order: Ordering) -> SlotMask {
        SlotMask(self.0.fetch_and(slots.0, order))
    }

    /// Adds `slots`; what the word held before.
    #[inline(always)]
    pub(crate) fn fetch_or(&self, slots: SlotMask, order: Ordering) -> SlotMask {
        SlotMask(self.0.fetch_or(slots.0, order))
    }

    /// Stores `new` if the word holds `current`.
    ///
    /// # Errors
    /// What the word holds, when it is not `current`.
    #[inline(always)]
    pub(crate) fn compare_exchange(
        &self,
        current: SlotMask,
        new: SlotMask,
        success: Ordering,
        failure: Ordering,
    ) -> Result<SlotMask, SlotMask> {
        let found = self.0.compare_exchange(current.0, new.0, success, failure);
        found.map(SlotMask).map_err(SlotMask)
    }
}
