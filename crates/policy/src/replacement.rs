//! Which pages leave the cache when memory is short.
//!
//! Two FIFO queues of *leaves* (64 slots, one bit a page in a few words), three bits a page, and a
//! table of shadows of the pages that left. The unit of choice is the page; the unit of queueing is
//! the leaf. Key types: [`Replacement`] is the state, [`Marks`] are the bits, [`Leaves`] is how the
//! hand reaches them, [`Shadows`] remembers dropped pages, in memory that the caller supplies
//! ([`ShadowWords`]).
//!
//! Locking pages, writing them back, unmapping and freeing them is the caller's. So are the words
//! of the leaves, the memory of the queues and the locks.
//!
//! # The policy
//! - A new page is *small*: on probation in the small queue. The hand meets it twice. The first
//!   meeting only clears its referenced mark, so that a burst of accesses to a new page counts
//!   once. At the second meeting a referenced page becomes *main*; another one is dropped, and
//!   leaves a shadow.
//! - A main page is dropped when the hand finds it without a reference. Two references protect it
//!   twice. It leaves no shadow.
//! - A page that returns *soon* is main at once. Soon is counted on a clock that counts every
//!   dropped page, from either queue, and every main page that the hand spares: a page is back soon
//!   if a FIFO of the whole cache, a fifth longer, still had it.
//! - The small queue has about a twentieth of the cache, more where many of its pages become main,
//!   and less while the main queue is hot (module `share`).
//! - While the cache fills, the small queue takes its share and the main queue takes the rest. See
//!   [`Replacement::removed`] for what starts another fill.
//! - A search is bounded. After 32 leaves of young pages the main queue has to give a page, in
//!   exchange for a young one. After some leaves of referenced main pages a reference protects
//!   less.
//!
//! # Marks
//! | main | referenced | extra | the page |
//! |---|---|---|---|
//! | 0 | 0 | 1 | was read ahead, and not used yet |
//! | 0 | 1 | 1 | was used, and the hand has not met it: further uses change nothing |
//! | 0 | 0 | 0 | was met once, and not used since: goes next |
//! | 0 | 1 | 0 | was met once, and used since: becomes main |
//! | 1 | 0 | 0 | main, not used since the last pass |
//! | 1 | 1 | 0 | main, used once since |
//! | 1 | 1 | 1 | main, used more than once since |
//!
//! # Locks
//! Every operation on [`Replacement`] needs the reclaimer's lock, one for each instance. A hit
//! needs no lock: it computes the bits to set with [`Marks::hit`] and sets them atomically.
//! `referenced` and `extra` are hints: a bit that is set late, or on a page that has just left,
//! costs a wrong guess, never a wrong count. `main` changes under the reclaimer's lock only.
//!
//! A caller that puts pages into slots or takes them out holds the *locks of the slots* from before
//! the present bits change until [`insert`](Replacement::insert),
//! [`removed`](Replacement::removed) or [`settle`](Replacement::settle) has returned. Between the
//! two, the hand may offer such a page as a victim; trying to lock it then fails, and nothing is
//! lost. Slot locks come before the reclaimer's lock.
#![forbid(unsafe_code)]

mod hand;
mod leaves;
mod marks;
mod shadow_word;
mod shadows;
mod share;
mod state;

#[cfg(test)]
mod tests;

pub use hand::{Offer, Outcome, Victims};
pub use leaves::{Leaves, Queue};
pub use marks::{Hit, Marks};
pub use shadows::{Identity, ShadowWords, Shadows};
pub use state::{Origin, Replacement};
