//! M: the lock of an address space, whose queued writer blocks new readers (DL3′). Who has to wait
//! does so on a bell of shuttle's, so that shuttle sees who waits.
#![forbid(unsafe_code)]

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::checker::Bell;
use crate::on_shuttle::bell::ShuttleBell;
use crate::on_shuttle::words::lock_point;

/// The lock.
#[derive(Debug, Default)]
pub struct SpaceLock(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    readers: u32,
    writers: u32,
    queued: u32,
    waiting: Vec<Arc<ShuttleBell>>,
}

/// How M is held.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mode {
    Read,
    Write,
}

/// M, held. Dropping it unlocks.
#[derive(Debug)]
pub struct SpaceGuard<'a> {
    lock: &'a SpaceLock,
    mode: Mode,
}

impl SpaceLock {
    /// A free lock.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes the lock for reading: waits for a writer, and behind a queued one.
    pub fn read(&self) -> SpaceGuard<'_> {
        lock_point();
        self.wait_until(|state| state.writers + state.queued == 0);
        self.state().readers += 1;
        SpaceGuard { lock: self, mode: Mode::Read }
    }

    /// Takes the lock for writing.
    pub fn write(&self) -> SpaceGuard<'_> {
        lock_point();
        self.state().queued += 1;
        self.wait_until(|state| state.writers + state.readers == 0);
        let mut state = self.state();
        state.queued -= 1;
        state.writers += 1;
        SpaceGuard { lock: self, mode: Mode::Write }
    }

    /// Nothing comes between the last look and what the caller does next: looking is no point.
    fn wait_until(&self, ready: fn(&State) -> bool) {
        loop {
            let mut state = self.state();
            if ready(&state) {
                return;
            }
            let bell = Arc::new(ShuttleBell::new());
            state.waiting.push(Arc::clone(&bell));
            drop(state);
            bell.wait();
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for SpaceGuard<'_> {
    fn drop(&mut self) {
        let mut state = self.lock.state();
        match self.mode {
            Mode::Read => state.readers -= 1,
            Mode::Write => state.writers -= 1,
        }
        let waiting = std::mem::take(&mut state.waiting);
        drop(state);
        waiting.iter().for_each(|bell| bell.ring());
    }
}
