//! A task as tests need it: a clock, a limit, and a signal that arrives after some checks.

use std::sync::atomic::{AtomicU64, Ordering};

use faultless::filemap::Task;

/// A task whose answers a test sets, and which counts what it was asked.
#[derive(Debug)]
pub struct TestTask {
    now: AtomicU64,
    limit: u64,
    exceeded: AtomicU64,
    /// Checks for a signal so far, and how many of them say no.
    checks: AtomicU64,
    lives_for: u64,
    throttled: AtomicU64,
}

impl Default for TestTask {
    fn default() -> Self {
        Self {
            now: AtomicU64::new(0),
            limit: u64::MAX,
            exceeded: AtomicU64::new(0),
            checks: AtomicU64::new(0),
            lives_for: u64::MAX,
            throttled: AtomicU64::new(0),
        }
    }
}

impl TestTask {
    /// A task without limits or signals, at time 0.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The same with this `RLIMIT_FSIZE`.
    #[must_use]
    pub fn limited_to(mut self, limit: u64) -> Self {
        self.limit = limit;
        self
    }

    /// The same, killed after `checks` checks that found no signal.
    #[must_use]
    pub fn killed_after(mut self, checks: u64) -> Self {
        self.lives_for = checks;
        self
    }

    /// The same at this time.
    #[must_use]
    pub fn at(self, now: u64) -> Self {
        self.now.store(now, Ordering::Relaxed);
        self
    }

    /// How many times `SIGXFSZ` was raised.
    #[must_use]
    pub fn exceeded(&self) -> u64 {
        self.exceeded.load(Ordering::Relaxed)
    }

    /// How many times a signal was looked for.
    #[must_use]
    pub fn checks(&self) -> u64 {
        self.checks.load(Ordering::Relaxed)
    }

    /// How many times the task was throttled.
    #[must_use]
    pub fn throttled(&self) -> u64 {
        self.throttled.load(Ordering::Relaxed)
    }
}

impl Task for TestTask {
    fn now(&self) -> u64 {
        self.now.load(Ordering::Relaxed)
    }

    fn fatal_signal_pending(&self) -> bool {
        self.checks.fetch_add(1, Ordering::Relaxed) >= self.lives_for
    }

    fn file_size_limit(&self) -> u64 {
        self.limit
    }

    fn file_size_exceeded(&self) {
        self.exceeded.fetch_add(1, Ordering::Relaxed);
    }

    fn throttle(&self) {
        self.throttled.fetch_add(1, Ordering::Relaxed);
    }
}
