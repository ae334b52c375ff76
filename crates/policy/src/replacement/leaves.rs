//! How the hand reaches leaves.
#![forbid(unsafe_code)]

use super::marks::Marks;

/// One of the two queues of leaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Queue {
    /// Leaves with pages on probation.
    Small,
    /// Leaves with pages that have proved themselves.
    Main,
}

/// The leaves of a cache and the two queues, as the holder of the reclaimer's lock sees them.
///
/// A leaf is named by an opaque `Copy` handle. Handles on a queue, and the ones that [`Victims`]
/// carry, must stay valid: leaves come from type-stable memory, or are taken from the queues before
/// they are freed. A queued leaf may lose its pages and its mapping, and may get another one
/// meanwhile; the hand takes an empty leaf off the queue and goes on.
///
/// Every method is O(1).
///
/// [`Victims`]: super::Victims
pub trait Leaves {
    /// Names a leaf.
    type Leaf: Copy;

    /// The slots that hold pages.
    fn present(&self, leaf: Self::Leaf) -> u64;

    /// The marks, loaded word by word.
    fn marks(&self, leaf: Self::Leaf) -> Marks;

    /// Clears bits of the marks and sets others, atomically bit by bit, as hits set bits at the
    /// same time. The two sets share no bit. Words without a bit in either need no store.
    fn change(&mut self, leaf: Self::Leaf, clear: Marks, set: Marks);

    /// Which of the pages in `slots` were accessed through page tables since the last call, and
    /// forgets it. An access counts as a hit. Without page tables there is nothing to say.
    ///
    /// An implementor that may not walk page tables under the reclaimer's lock answers 0 here and
    /// reports the accesses in [`Outcome::referenced`](super::Outcome); then the accesses of a
    /// page's first burst count, too.
    fn take_accessed(&mut self, leaf: Self::Leaf, slots: u64) -> u64 {
        let _ = (leaf, slots);
        0
    }

    /// Whether the leaf is on the queue.
    fn is_queued(&self, queue: Queue, leaf: Self::Leaf) -> bool;

    /// Puts a leaf that is not on the queue at its tail.
    fn push_back(&mut self, queue: Queue, leaf: Self::Leaf);

    /// Takes the leaf at the head of the queue.
    fn pop_front(&mut self, queue: Queue) -> Option<Self::Leaf>;
}
