//! What one sleeper waits on, under shuttle.
#![forbid(unsafe_code)]

use std::sync::PoisonError;

use shuttle::sync::{Condvar, Mutex};

use crate::checker::Bell;

/// A flag under shuttle's mutex, with its condition variable.
#[derive(Debug)]
pub struct ShuttleBell {
    rung: Mutex<bool>,
    changed: Condvar,
}

impl Bell for ShuttleBell {
    fn new() -> Self {
        Self { rung: Mutex::new(false), changed: Condvar::new() }
    }

    fn wait(&self) {
        let mut rung = self.rung.lock().unwrap_or_else(PoisonError::into_inner);
        while !*rung {
            rung = self.changed.wait(rung).unwrap_or_else(PoisonError::into_inner);
        }
        *rung = false;
    }

    fn ring(&self) {
        *self.rung.lock().unwrap_or_else(PoisonError::into_inner) = true;
        self.changed.notify_one();
    }
}
