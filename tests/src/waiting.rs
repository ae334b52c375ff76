//! Waiting for what another thread is about to do.

#![forbid(unsafe_code)]

use std::time::Instant;

use faultless_host::Watchdog;

/// Waits until `condition` holds, which has to come soon. It is looked at again and again.
///
/// # Panics
/// If it does not hold within the watchdog's limit: with `what` was waited for.
#[track_caller]
pub fn until(what: &str, mut condition: impl FnMut() -> bool) {
    let (began, limit) = (Instant::now(), Watchdog::default_limit());
    while !condition() {
        assert!(began.elapsed() < limit, "after {limit:?} it is not so yet: {what}");
        std::thread::yield_now();
    }
}
