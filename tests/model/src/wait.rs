//! Waiting, as weak as the contract of [`Wait`] allows: who waits is registered under its key,
//! evaluates its condition with no lock held, and sleeps on a bell of its own. No order of memory
//! comes from it but from ringer to sleeper.
//!
//! Registration itself is invisible to the checker. That loses no interleaving: it comes before the
//! first operation of the condition, and a wake comes after some operation of the waker; those are
//! visible.
#![forbid(unsafe_code)]

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use faultless_page::{Wait, WaitKey};

use crate::checker::{Bell, Checker};
use crate::plant::{self, Plant};

/// Sleepers by key.
pub struct ModelWait<C: Checker> {
    sleepers: Mutex<Vec<(WaitKey, Arc<C::Bell>)>>,
}

impl<C: Checker> ModelWait<C> {
    /// Nobody sleeps.
    #[must_use]
    pub fn new() -> Self {
        Self { sleepers: Mutex::new(Vec::new()) }
    }

    /// Has every sleeper evaluate its condition again, as the arrival of a fatal signal does.
    pub fn interrupt(&self) {
        let bells: Vec<_> = self.with(|all| all.iter().map(|(_, bell)| Arc::clone(bell)).collect());
        bells.iter().for_each(|bell| bell.ring());
    }

    fn with<R>(&self, f: impl FnOnce(&mut Vec<(WaitKey, Arc<C::Bell>)>) -> R) -> R {
        f(&mut self.sleepers.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl<C: Checker> Default for ModelWait<C> {
    fn default() -> Self {
        Self::new()
    }
}

impl<C: Checker> Wait for ModelWait<C> {
    fn wait_until(&self, key: WaitKey, condition: &mut dyn FnMut() -> bool) {
        let bell = Arc::new(C::Bell::new());
        self.with(|sleepers| sleepers.push((key, Arc::clone(&bell))));
        while !condition() {
            bell.wait();
        }
        self.with(|sleepers| sleepers.retain(|(_, other)| !Arc::ptr_eq(other, &bell)));
    }

    fn wake(&self, key: WaitKey) {
        if !plant::is(Plant::LostWake) {
            let here =
                |(at, bell): &(WaitKey, Arc<C::Bell>)| (*at == key).then(|| Arc::clone(bell));
            let bells: Vec<_> = self.with(|sleepers| sleepers.iter().filter_map(here).collect());
            bells.iter().for_each(|bell| bell.ring());
        }
        C::after_wake();
    }
}

impl<C: Checker> fmt::Debug for ModelWait<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ModelWait")
            .field("sleepers", &self.with(|sleepers| sleepers.len()))
            .finish()
    }
}
