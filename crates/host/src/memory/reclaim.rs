//! Direct reclaim: an allocation that finds frames short has clean pages of files dropped before it
//! answers.
//!
//! What is dropped is the machine's affair ([`crate::reclaim`]); this module decides when.
//! Neighbour: [`super`], whose allocator asks for it with no page lock held.

#![forbid(unsafe_code)]

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

/// Frees frames, if it can: drops clean pages, say. Called on the allocating thread, with no page
/// lock held; I and a range may be. It allocates nothing.
pub type Reclaim = Arc<dyn Fn() + Send + Sync>;

/// When memory is reclaimed, and how.
#[derive(Default)]
pub(super) struct Reclaimer {
    rule: Mutex<Option<Rule>>,
    runs: AtomicU64,
}

#[derive(Clone)]
struct Rule {
    above: usize,
    reclaim: Reclaim,
}

impl Reclaimer {
    /// From now on `reclaim` is called by allocations that find at least `above` frames in use.
    pub(super) fn begin(&self, above: usize, reclaim: Reclaim) {
        *self.rule() = Some(Rule { above, reclaim });
    }

    /// Nothing is reclaimed any more.
    pub(super) fn end(&self) {
        *self.rule() = None;
    }

    /// How often memory was reclaimed.
    pub(super) fn runs(&self) -> u64 {
        self.runs.load(Ordering::Relaxed)
    }

    /// Reclaims if at least the limit of `in_use` frames are.
    pub(super) fn before(&self, in_use: usize) {
        let rule = self.rule().clone().filter(|rule| in_use >= rule.above);
        self.run(rule);
    }

    /// Reclaims if that can be done at all: no frame is left.
    pub(super) fn at_last(&self) {
        let rule = self.rule().clone();
        self.run(rule);
    }

    fn run(&self, rule: Option<Rule>) {
        if let Some(rule) = rule {
            self.runs.fetch_add(1, Ordering::Relaxed);
            (rule.reclaim)();
        }
    }

    fn rule(&self) -> std::sync::MutexGuard<'_, Option<Rule>> {
        self.rule.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Reclaimer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reclaimer").field("runs", &self.runs()).finish_non_exhaustive()
    }
}
