//! M: the lock of an address space. A reader–writer lock whose queued writer blocks new readers
//! (DL3′).

#![forbid(unsafe_code)]

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

use crate::admission::{Admission, Admitted};
use crate::lockcheck::{self, Lock, Mode};
use crate::wait::Watchdog;

/// The lock. Tells the lock checker, and the watchdog watches it.
#[derive(Debug)]
pub struct SpaceLock {
    id: u64,
    state: Mutex<Admission>,
    changed: Condvar,
    watchdog: Watchdog,
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
        self.enter(Mode::Read, "M for reading")
    }

    /// Takes the lock for writing.
    pub fn write(&self) -> SpaceGuard<'_> {
        self.enter(Mode::Write, "M for writing")
    }

    /// Writers that wait at the moment.
    #[must_use]
    pub fn queued_writers(&self) -> usize {
        *self.state().queue(Mode::Write)
    }

    fn enter(&self, mode: Mode, what: &str) -> SpaceGuard<'_> {
        self.watchdog.check().adopt();
        lockcheck::acquiring(Lock::Space(self.id, mode));
        self.wait(mode, what);
        lockcheck::acquired(Lock::Space(self.id, mode));
        SpaceGuard { lock: self, mode }
    }

    /// Waits in the queue until the thread is let in.
    fn wait(&self, mode: Mode, what: &str) {
        let mut state = self.state();
        if state.admit(mode) == Admitted::Yes {
            return;
        }
        *state.queue(mode) += 1;
        let queued = Queued { lock: self, mode };
        let ready = |state: &mut Admission| state.admit(mode) == Admitted::Yes;
        drop(self.watchdog.wait(&self.changed, state, what, ready));
        drop(queued);
    }

    fn state(&self) -> MutexGuard<'_, Admission> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A thread in a queue: leaves it when it has been admitted, or gives up by a panic.
struct Queued<'a> {
    lock: &'a SpaceLock,
    mode: Mode,
}

impl Drop for Queued<'_> {
    fn drop(&mut self) {
        *self.lock.state().queue(self.mode) -= 1;
        // Readers may have waited for this writer to leave the queue.
        self.lock.changed.notify_all();
    }
}

impl Drop for SpaceGuard<'_> {
    fn drop(&mut self) {
        let mut state = self.lock.state();
        state.leave(self.mode);
        let queued = state.queued();
        drop(state);
        if queued > 0 {
            self.lock.changed.notify_all();
        }
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
