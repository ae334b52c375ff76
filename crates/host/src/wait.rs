//! Sleeping and waking on the host, with a watchdog: a wait that lasts too long tells the whole
//! story and panics.
//!
//! Key type: [`HostWait`], hashed buckets of a mutex and a condition variable. Neighbour: the lock
//! checker, which knows what each thread holds.

#![forbid(unsafe_code)]

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use faultless_page::{Wait, WaitKey};

use crate::lockcheck::{self, LockCheck};

const BUCKETS: usize = 64;

/// The longest wait that is not taken for a deadlock, unless the environment says otherwise
/// (`FAULTLESS_WATCHDOG`, in seconds).
pub const DEFAULT_LIMIT: Duration = Duration::from_secs(30);

/// How long a wait may last, and the checker to ask about it when it lasts longer.
#[derive(Clone, Debug)]
pub struct Watchdog {
    limit: Duration,
    check: Arc<LockCheck>,
}

impl Watchdog {
    /// A watchdog with this limit.
    #[must_use]
    pub fn new(limit: Duration, check: Arc<LockCheck>) -> Self {
        Self { limit, check }
    }

    /// The limit that the environment asks for, or the default.
    #[must_use]
    pub fn default_limit() -> Duration {
        let seconds = std::env::var("FAULTLESS_WATCHDOG").ok().and_then(|value| value.parse().ok());
        seconds.map_or(DEFAULT_LIMIT, Duration::from_secs)
    }

    /// The lock checker.
    #[must_use]
    pub fn check(&self) -> &Arc<LockCheck> {
        &self.check
    }

    /// Sleeps on `condvar` until `ready`; `guard` is its mutex.
    pub(crate) fn wait<'a, T>(
        &self,
        condvar: &Condvar,
        mut guard: MutexGuard<'a, T>,
        what: &str,
        mut ready: impl FnMut(&mut T) -> bool,
    ) -> MutexGuard<'a, T> {
        let began = Instant::now();
        while !ready(&mut guard) {
            let Some(left) = self.limit.checked_sub(began.elapsed()) else {
                drop(guard);
                self.fire(what);
            };
            let woken = condvar.wait_timeout(guard, left);
            (guard, _) = woken.unwrap_or_else(PoisonError::into_inner);
        }
        guard
    }

    fn fire(&self, what: &str) -> ! {
        let story = format!(
            "watchdog: waited {:?} for {what}\n{}{}",
            self.limit,
            self.check.describe(),
            self.check.dot(),
        );
        if std::thread::panicking() {
            eprintln!("{story}");
            std::process::abort();
        }
        panic!("{story}");
    }
}

#[derive(Debug, Default)]
struct Bucket {
    /// Threads that wait here: a wake without any costs no system call.
    waiters: Mutex<usize>,
    condvar: Condvar,
}

/// Wait queues of one machine.
#[derive(Debug)]
pub struct HostWait {
    buckets: Box<[Bucket]>,
    watchdog: Watchdog,
}

impl HostWait {
    /// Wait queues under this watchdog.
    #[must_use]
    pub fn new(watchdog: Watchdog) -> Self {
        Self { buckets: (0..BUCKETS).map(|_| Bucket::default()).collect(), watchdog }
    }

    fn bucket(&self, key: WaitKey) -> &Bucket {
        let hash = (key.0 as u64).wrapping_mul(0x9E37_79B9_7F4A_7C15);
        &self.buckets[(hash >> 58) as usize % BUCKETS]
    }
}

impl Wait for HostWait {
    fn wait_until(&self, key: WaitKey, condition: &mut dyn FnMut() -> bool) {
        self.watchdog.check.adopt();
        let bucket = self.bucket(key);
        let mut guard = bucket.waiters.lock().unwrap_or_else(PoisonError::into_inner);
        if condition() {
            return;
        }
        *guard += 1;
        let waiting = Waiting(bucket);
        guard = self.watchdog.wait(&bucket.condvar, guard, "a wake", |_| {
            let over = condition();
            if !over {
                lockcheck::sleeping(key.0);
            }
            over
        });
        drop(guard);
        drop(waiting);
    }

    fn wake(&self, key: WaitKey) {
        let bucket = self.bucket(key);
        // The lock orders this wake after the evaluation of a waiter's condition.
        let waiters = *bucket.waiters.lock().unwrap_or_else(PoisonError::into_inner);
        if waiters > 0 {
            self.watchdog.check.woken(key.0);
            bucket.condvar.notify_all();
        }
    }
}

/// Counts a waiter until it goes, also by a panic.
struct Waiting<'a>(&'a Bucket);

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        *self.0.waiters.lock().unwrap_or_else(PoisonError::into_inner) -= 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicU32, Ordering};

    fn wait(limit: Duration) -> HostWait {
        HostWait::new(Watchdog::new(limit, LockCheck::new()))
    }

    #[test]
    fn a_wake_is_never_lost() {
        let wait = wait(DEFAULT_LIMIT);
        let turn = AtomicU32::new(0);
        std::thread::scope(|scope| {
            for me in 0..2 {
                let (wait, turn) = (&wait, &turn);
                scope.spawn(move || {
                    for round in 0..2000 {
                        let mine = round * 2 + me;
                        wait.wait_until(WaitKey(7), &mut || turn.load(Ordering::Acquire) == mine);
                        turn.store(mine + 1, Ordering::Release);
                        wait.wake(WaitKey(7));
                    }
                });
            }
        });
        assert_eq!(turn.into_inner(), 4000);
    }

    #[test]
    #[should_panic(expected = "watchdog")]
    fn a_wait_without_end_panics() {
        wait(Duration::from_millis(10)).wait_until(WaitKey(1), &mut || false);
    }
}
