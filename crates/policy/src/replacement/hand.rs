//! Where the hand stands in a queue, what it offers, and what becomes of it.
#![forbid(unsafe_code)]

/// Pages to try to drop. They have left the hand's books of pending work, and come back through
/// [`Replacement::settle`](super::Replacement::settle), each of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use = "victims that are not settled are lost to the policy"]
pub struct Victims<L> {
    /// The leaf.
    pub leaf: L,
    /// One or more of its slots.
    pub slots: u64,
}

/// The answer to a request for victims.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Offer<L> {
    /// Try to drop these.
    Victims(Victims<L>),
    /// The budget of leaf visits is used up. Ask again.
    Again,
    /// Both queues are empty.
    Nothing,
}

/// What became of victims.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Outcome {
    /// Slots whose pages left the cache.
    pub dropped: u64,
    /// Of the others: pages that were found in use, say by accessed bits in page tables when they
    /// were unmapped, or by a hit between the offer and the slot's lock.
    pub referenced: u64,
}

/// The leaf that a hand is working on, and its slots that are still to be offered.
#[derive(Clone, Copy, Debug)]
pub(super) struct Hand<L> {
    leaf: Option<L>,
    pending: u64,
    /// Leaves visited since the last victim.
    pub(super) fruitless: u32,
    /// Pages of its queue that were offered and stay, since a page of either queue was dropped.
    pub(super) kept: i64,
}

impl<L: Copy> Hand<L> {
    pub(super) const fn new() -> Self {
        Self { leaf: None, pending: 0, fruitless: 0, kept: 0 }
    }

    /// The leaf with pending slots, if there are any.
    pub(super) fn pending(&self) -> Option<(L, u64)> {
        self.leaf.filter(|_| self.pending != 0).map(|leaf| (leaf, self.pending))
    }

    pub(super) fn stand_on(&mut self, leaf: L, pending: u64) {
        self.leaf = Some(leaf);
        self.pending = pending;
    }

    /// Counts leaves whose visit brings the next victim no nearer.
    pub(super) fn tried_in_vain(&mut self, leaves: u32) {
        self.fruitless = self.fruitless.saturating_add(leaves);
    }

    pub(super) fn keep_pending(&mut self, slots: u64) {
        self.pending &= slots;
    }
}

/// The lowest `count` bits that are set in `slots`.
pub(super) fn lowest(slots: u64, count: u32) -> u64 {
    let mut rest = slots;
    for _ in 0..count.min(64) {
        rest &= rest.wrapping_sub(1);
    }
    slots & !rest
}

/// The bits that are set, from the lowest.
pub(super) fn bits(mut slots: u64) -> impl Iterator<Item = u32> {
    core::iter::from_fn(move || {
        let slot = slots.trailing_zeros();
        slots &= slots.wrapping_sub(1);
        (slot < 64).then_some(slot)
    })
}
