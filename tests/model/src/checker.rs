//! What a model checker has to offer.
//!
//! Neighbours: [`on_loom`](crate::on_loom) and [`on_shuttle`](crate::on_shuttle) implement
//! [`Checker`]; everything else in this crate is generic over it. It does not own the models.

use faultless_page::{Replacement, SyncFamily, Trace, UserMappings};

/// A model checker.
pub trait Checker: Send + Sync + 'static {
    /// Words and short locks.
    type Sync: SyncFamily;
    /// What one sleeper waits on.
    type Bell: Bell;
    /// What is known of one frame's memory.
    type Watch: Watch;
    /// How user mappings are removed.
    type Maps: UserMappings + 'static;
    /// What is given up when memory is short.
    type Replacement: Replacement;

    /// An event of the code under test.
    fn trace(event: Trace);

    /// Somebody was just woken: for planted bugs.
    fn after_wake() {}
}

/// What one sleeper waits on: a ring that comes before the wait is not lost.
pub trait Bell: Send + Sync + 'static {
    /// Not rung.
    fn new() -> Self;
    /// Sleeps until the bell is rung, then silences it. One sleeper only.
    fn wait(&self);
    /// Wakes the sleeper.
    fn ring(&self);
}

/// What the checker knows of one frame's memory.
pub trait Watch: Send + Sync + 'static {
    /// A frame that holds version 0 of its bytes.
    fn new() -> Self;
    /// The frame is read or written, but not given away: it has to be alive.
    fn used(&self);
    /// The frame has an owner now.
    fn taken(&self);
    /// The frame is given away: every use must have happened before.
    fn given_away(&self);
    /// Its bytes are now those of `version`. A relaxed store, as a copy is.
    fn publish(&self, version: u64);
    /// The version that a copy sees which is made now. A relaxed load: it may be an old one.
    fn observe(&self) -> u64;
}
