//! M: the lock of an address space. A reader–writer lock whose queued writer blocks new readers (DL3′).

#![forbid(unsafe_code)]

use std::sync::{Condvar, Mutex, PoisonError};

use crate::lockcheck::{self, Lock, Mode};
use crate::wait::Watchdog;

/// The lock. Tells the lock checker, and the watchdog watches it.
#[derive(Debug)]
pub struct SpaceLock {
    id: u64,
    state: Mutex<State>,
    changed: Condvar,
    watchdog: Watchdog,
}

#[derive(Debug, Default)]
struct State {
    readers: usize,
    queued_writers: usize,
    writer: Writer,
}

#[derive(Debug, Default, PartialEq, Eq)]
enum Writer {
    #[default]
    No,
    Yes,
}

/// M, held for reading or for writing.
#[derive(Debug)]
pub struct SpaceGuard<'a> {
    lock: &'a SpaceLock,
    mode: Mode,
}

impl SpaceLock {
    /// The lock of the address space `id`.
    pub(super) fn new(id: u64, watchdog: Watchdog) -> Self {
        Self { id, state: Mutex::default(), changed: Condvar::new(), watchdog }
    }

    /// Takes the lock for reading: waits for a writer, *and behind a queued one*.
    pub fn read(&self) -> SpaceGuard<'_> {
        self.watchdog.check().adopt();
        lockcheck::acquiring(Lock::Space(self.id, Mode::Read));
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let mut state = self.watchdog.wait(&self.changed, state, "M for reading", |state| {
            state.writer == Writer::No && state.queued_writers == 0
        });
        state.readers += 1;
        drop(state);
        self.held(Mode::Read)
    }

    /// Takes the lock for writing.
    pub fn write(&self) -> SpaceGuard<'_> {
        self.watchdog.check().adopt();
        lockcheck::acquiring(Lock::Space(self.id, Mode::Write));
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.queued_writers += 1;
        let queued = Queued(self);
        let mut state = self.watchdog.wait(&self.changed, state, "M for writing", |state| {
            state.writer == Writer::No && state.readers == 0
        });
        std::mem::forget(queued);
        state.queued_writers -= 1;
        state.writer = Writer::Yes;
        drop(state);
        self.held(Mode::Write)
    }

    /// Writers that wait at the moment.
    #[must_use]
    pub fn queued_writers(&self) -> usize {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).queued_writers
    }

    fn held(&self, mode: Mode) -> SpaceGuard<'_> {
        lockcheck::acquired(Lock::Space(self.id, mode));
        SpaceGuard { lock: self, mode }
    }
}

/// Leaves the queue if the wait panics.
struct Queued<'a>(&'a SpaceLock);

impl Drop for Queued<'_> {
    fn drop(&mut self) {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner).queued_writers -= 1;
        self.0.changed.notify_all();
    }
}

impl Drop for SpaceGuard<'_> {
    fn drop(&mut self) {
        let mut state = self.lock.state.lock().unwrap_or_else(PoisonError::into_inner);
        match self.mode {
            Mode::Read => state.readers -= 1,
            Mode::Write | Mode::Exclusive => state.writer = Writer::No,
        }
        drop(state);
        self.lock.changed.notify_all();
        lockcheck::released(Lock::Space(self.lock.id, self.mode));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lockcheck::LockCheck;
    use std::time::Duration;

    fn lock(limit: Duration) -> SpaceLock {
        SpaceLock::new(1, Watchdog::new(limit, LockCheck::new()))
    }

    #[test]
    fn readers_share_and_a_writer_excludes_them() {
        let lock = lock(Duration::from_secs(10));
        std::thread::scope(|scope| {
            let first = lock.read();
            scope.spawn(|| drop(lock.read())).join().expect("a second reader");
            drop(first);
            drop(lock.write());
        });
    }

    #[test]
    fn a_queued_writer_blocks_new_readers() {
        let lock = lock(Duration::from_secs(30));
        let order = Mutex::new(Vec::new());
        let enter = |who| order.lock().expect("the order").push(who);
        std::thread::scope(|scope| {
            let first = lock.read();
            scope.spawn(|| {
                let _m = lock.write();
                enter("writer");
            });
            while lock.queued_writers() == 0 {
                std::thread::yield_now();
            }
            let second = scope.spawn(|| {
                let _m = lock.read();
                enter("reader");
            });
            let waits = || lock.watchdog.check().describe().contains("waits for M(1) for reading");
            while !waits() && !second.is_finished() {
                std::thread::yield_now();
            }
            drop(first);
        });
        assert_eq!(*order.lock().expect("the order"), ["writer", "reader"]);
    }

    #[test]
    fn after_the_writer_has_gone_readers_come_in() {
        let lock = lock(Duration::from_secs(10));
        drop(lock.write());
        drop(lock.read());
        assert_eq!(lock.queued_writers(), 0);
    }
}
