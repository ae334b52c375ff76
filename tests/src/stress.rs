//! What stress tests share: workers against disturbers, under a watchdog, with a scale.
//!
//! `FAULTLESS_STRESS` multiplies the rounds (1 without it); the seed is printed and can be given
//! back in `FAULTLESS_SEED`.

#![forbid(unsafe_code)]

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::Duration;

use faultless_host::LockCheck;

/// A piece of work for one thread.
pub type Job<'a> = Box<dyn FnOnce() + Send + 'a>;

/// What a thread does over and over.
pub type Loop<'a> = Box<dyn FnMut() + Send + 'a>;

/// How long a stress test may take before it counts as hanging.
const PATIENCE: Duration = Duration::from_secs(240);

/// `rounds`, times what the environment asks for.
#[must_use]
pub fn rounds(rounds: u64) -> u64 {
    let scale = std::env::var("FAULTLESS_STRESS").ok().and_then(|scale| scale.parse().ok());
    rounds * scale.unwrap_or(1_u64).max(1)
}

/// Runs each worker once, on a thread of its own, while the disturbers run over and over until the
/// last worker is done. A run that does not end tells who holds and awaits what, and ends the
/// process: its threads could not be joined.
///
/// # Panics
/// If one of the threads does.
pub fn against(check: &Arc<LockCheck>, workers: Vec<Job<'_>>, disturbers: Vec<Loop<'_>>) {
    let (done, watch) = mpsc::channel::<()>();
    let watched = Arc::clone(check);
    let dog = crate::threads::spawn(move || {
        if watch.recv_timeout(PATIENCE) == Err(RecvTimeoutError::Timeout) {
            eprintln!("no end after {PATIENCE:?}:\n{}{}", watched.describe(), watched.dot());
            std::process::abort();
        }
    });
    let stop = AtomicBool::new(false);
    let result = std::thread::scope(|scope| {
        let stop = &stop;
        for mut disturb in disturbers {
            crate::threads::spawn_in(scope, move || {
                while !stop.load(Ordering::Relaxed) {
                    disturb();
                    std::thread::yield_now();
                }
            });
        }
        let workers: Vec<_> =
            workers.into_iter().map(|work| crate::threads::spawn_in(scope, work)).collect();
        let results: Vec<_> = workers.into_iter().map(|worker| worker.join()).collect();
        stop.store(true, Ordering::Relaxed);
        results.into_iter().find_map(Result::err)
    });
    drop(done);
    dog.join().expect("the watchdog");
    if let Some(panic) = result {
        std::panic::resume_unwind(panic);
    }
}
