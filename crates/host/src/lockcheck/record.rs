//! What one thread holds and waits for.

#![forbid(unsafe_code)]

use std::fmt;
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::instance::Instance;

/// A thread's locks. Shared with the machine, so that a watchdog can tell the whole story.
#[derive(Debug)]
pub(super) struct Record {
    pub(super) name: String,
    pub(super) held: Vec<Instance>,
    pub(super) waiting: Option<Instance>,
}

impl Record {
    /// Takes `gone`, or the part of a run that it is, off what is held; whether it was.
    pub(super) fn release(&mut self, gone: &Instance) -> bool {
        if let Some(place) = self.held.iter().rposition(|held| held == gone) {
            self.held.remove(place);
            return true;
        }
        let Some(part) = self.held.iter_mut().rev().find(|held| held.conflicts(gone)) else {
            return false;
        };
        part.slots -= gone.slots;
        self.held.retain(|held| !held.slots.is_empty());
        true
    }
}

impl fmt::Display for Record {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "thread '{}' holds", self.name)?;
        if self.held.is_empty() {
            f.write_str(" nothing")?;
        }
        for held in &self.held {
            write!(f, " [{held}]")?;
        }
        match self.waiting {
            Some(lock) => write!(f, " and waits for {lock}"),
            None => Ok(()),
        }
    }
}

/// Locks a mutex whose holder may have panicked: what it guards here is only told, never relied
/// upon.
pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
