//! Where threads of a scenario wait for one another.

#![forbid(unsafe_code)]

use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// How long a thread waits for its hook: longer than any watchdog, so that a hang is the watchdog's
/// to find.
const PATIENCE: Duration = Duration::from_secs(120);

/// Shut at first; once open it stays open.
#[derive(Clone, Debug, Default)]
pub(super) struct Gate {
    inner: Arc<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    open: Mutex<bool>,
    opened: Condvar,
}

/// Opens a gate when it is dropped, also by a panic: a thread that waits for another is not to wait
/// for a dead one.
#[derive(Debug)]
pub(super) struct OpenAtEnd(pub(super) Gate);

impl Gate {
    /// Opens it.
    pub(super) fn open(&self) {
        *self.inner.open.lock().unwrap_or_else(PoisonError::into_inner) = true;
        self.inner.opened.notify_all();
    }

    /// Whether it is open.
    pub(super) fn is_open(&self) -> bool {
        *self.inner.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until it is open.
    ///
    /// # Panics
    /// If that takes too long: then the staging is wrong.
    pub(super) fn pass(&self) {
        let open = self.inner.open.lock().unwrap_or_else(PoisonError::into_inner);
        let waited = self.inner.opened.wait_timeout_while(open, PATIENCE, |open| !*open);
        let (_open, result) = waited.unwrap_or_else(PoisonError::into_inner);
        assert!(!result.timed_out(), "staging: a gate stays shut");
    }

    /// Waits until it is open or `ready`, which changes without a notice.
    ///
    /// # Panics
    /// As [`pass`](Self::pass).
    pub(super) fn pass_or(&self, mut ready: impl FnMut() -> bool) {
        let began = Instant::now();
        while !self.is_open() && !ready() {
            assert!(began.elapsed() < PATIENCE, "staging: neither open nor ready");
            std::thread::yield_now();
        }
    }
}

impl Drop for OpenAtEnd {
    fn drop(&mut self) {
        self.0.open();
    }
}
