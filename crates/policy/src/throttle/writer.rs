//! The pauses and the promised pages of one task.
#![forbid(unsafe_code)]

use super::limits::{BALANCED, Keep, Limits};
use super::store::Store;

/// The longest pause: 200 ms.
pub const LONGEST_PAUSE_NS: u64 = 200_000_000;
/// A pause that would be shorter is put off: 1 ms.
const SHORTEST_PAUSE_NS: u64 = 1_000_000;
/// A writer that was slower than its share may catch up by this much: 100 ms.
const CREDIT_NS: u64 = 100_000_000;
/// What a step should take at the fair rate: 25 ms.
const STEP_NS: u64 = 25_000_000;

/// Pages that a step dirties at most: those of a leaf.
pub const MOST_STEP: u32 = 64;

/// What a task does after a step that landed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Step {
    /// Nanoseconds to sleep; zero to go on. At most [`LONGEST_PAUSE_NS`].
    pub pause_ns: u64,
    /// Pages that the next step dirties at most, `1..=64`.
    pub pages: u32,
    /// Promised pages to take off the counters before the sleep.
    pub give_back: u32,
}

/// A task that writes to one store. It takes 16 bytes, and belongs to that task.
#[derive(Clone, Copy, Debug, Default)]
pub struct Writer {
    /// When all pages dirtied so far are paid for at the fair rate.
    due: u64,
    /// Pages that the counters hold for this task and that are not dirty.
    promised: u32,
}

impl Writer {
    /// A task that has not written yet.
    #[must_use]
    pub const fn new() -> Self {
        Self { due: 0, promised: 0 }
    }

    /// Pages that the task may dirty without a look at the counters.
    #[must_use]
    pub const fn promised(&self) -> u32 {
        self.promised
    }

    /// `pages` pages more were admitted and added to the counters.
    pub fn promise(&mut self, pages: u32) {
        self.promised = self.promised.saturating_add(pages);
    }

    /// The task ends, or turns to another store: the pages to take off the counters.
    #[must_use]
    pub fn leave(&mut self) -> u32 {
        core::mem::take(&mut self.promised)
    }

    /// A step landed at time `now`, and `dirtied` pages became dirty that were not. `limits` are
    /// those of the store, of which `charged` pages are dirty or promised. O(1).
    #[doc(alias = "balance_dirty_pages")]
    pub fn landed(
        &mut self,
        dirtied: u32,
        store: &Store,
        (limits, charged): (&Limits, u64),
        now: u64,
    ) -> Step {
        self.promised = self.promised.saturating_sub(dirtied);
        let Some(position) = limits.position(charged) else {
            self.due = now;
            let give_back = match limits.keeps(charged) {
                Keep::Promised => 0,
                Keep::Nothing => self.leave(),
            };
            return Step { pause_ns: 0, pages: step(limits.free_step(charged)), give_back };
        };
        let rate = store.fair().scaled(position, BALANCED);
        let since = self.due.max(now.saturating_sub(CREDIT_NS));
        let due = since.saturating_add(rate.time_for(u64::from(dirtied)));
        self.due = due.min(now.saturating_add(LONGEST_PAUSE_NS));
        let pause = self.due.saturating_sub(now);
        let pause_ns = if pause < SHORTEST_PAUSE_NS { 0 } else { pause };
        Step { pause_ns, pages: step(rate.pages_in(STEP_NS)), give_back: self.leave() }
    }
}

fn step(pages: u64) -> u32 {
    pages.clamp(1, u64::from(MOST_STEP)) as u32
}
