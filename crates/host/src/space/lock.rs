//! M: the lock of an address space. A reader–writer lock whose queued writer blocks new readers
//! (DL3′).

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
    queued_readers: usize,
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
        self.enter("M for reading", State::readers_queue, State::admit_reader);
        self.held(Mode::Read)
    }

    /// Takes the lock for writing.
    pub fn write(&self) -> SpaceGuard<'_> {
        self.watchdog.check().adopt();
        lockcheck::acquiring(Lock::Space(self.id, Mode::Write));
        self.enter("M for writing", State::writers_queue, State::admit_writer);
        self.held(Mode::Write)
    }

    /// Writers that wait at the moment.
    #[must_use]
    pub fn queued_writers(&self) -> usize {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).queued_writers
    }

    /// Waits in `queue` until `admit` lets the thread in.
    fn enter(
        &self,
        what: &str,
        queue: fn(&mut State) -> &mut usize,
        admit: fn(&mut State) -> Admitted,
    ) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if admit(&mut state) == Admitted::Yes {
            return;
        }
        *queue(&mut state) += 1;
        let queued = Queued { lock: self, queue };
        let ready = |state: &mut State| admit(state) == Admitted::Yes;
        drop(self.watchdog.wait(&self.changed, state, what, ready));
        drop(queued);
    }

    fn held(&self, mode: Mode) -> SpaceGuard<'_> {
        lockcheck::acquired(Lock::Space(self.id, mode));
        SpaceGuard { lock: self, mode }
    }
}

#[derive(PartialEq, Eq)]
enum Admitted {
    No,
    Yes,
}

impl State {
    fn readers_queue(&mut self) -> &mut usize {
        &mut self.queued_readers
    }

    fn writers_queue(&mut self) -> &mut usize {
        &mut self.queued_writers
    }

    fn admit_reader(&mut self) -> Admitted {
        if self.writer == Writer::Yes || self.queued_writers > 0 {
            return Admitted::No;
        }
        self.readers += 1;
        Admitted::Yes
    }

    fn admit_writer(&mut self) -> Admitted {
        if self.writer == Writer::Yes || self.readers > 0 {
            return Admitted::No;
        }
        self.writer = Writer::Yes;
        Admitted::Yes
    }
}

/// A thread in a queue: leaves it when it has been admitted, or gives up by a panic.
struct Queued<'a> {
    lock: &'a SpaceLock,
    queue: fn(&mut State) -> &mut usize,
}

impl Drop for Queued<'_> {
    fn drop(&mut self) {
        let mut state = self.lock.state.lock().unwrap_or_else(PoisonError::into_inner);
        *(self.queue)(&mut state) -= 1;
        drop(state);
        // Readers may have waited for this writer to leave the queue.
        self.lock.changed.notify_all();
    }
}

impl Drop for SpaceGuard<'_> {
    fn drop(&mut self) {
        let mut state = self.lock.state.lock().unwrap_or_else(PoisonError::into_inner);
        match self.mode {
            Mode::Read => state.readers -= 1,
            Mode::Write | Mode::Exclusive => state.writer = Writer::No,
        }
        let queued = state.queued_readers + state.queued_writers;
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
