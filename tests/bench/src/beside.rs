//! Threads that do something over and over beside the one that measures.

#![forbid(unsafe_code)]

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;

use super::memory::{self, Cpus};

/// Some threads, until this is dropped.
pub(super) struct Beside {
    stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
}

impl Beside {
    /// Starts `count` threads on the other CPU, if there is one: each calls `work` with its number,
    /// again and again.
    pub(super) fn start(
        cpus: Cpus,
        count: usize,
        work: impl FnMut(usize) + Clone + Send + 'static,
    ) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let thread = |number| {
            let (stop, mut work) = (stop.clone(), work.clone());
            std::thread::spawn(move || {
                let pinned = memory::pin(cpus.other.unwrap_or(cpus.own));
                assert!(pinned.is_ok(), "{pinned:?}");
                while !stop.load(Ordering::Relaxed) {
                    work(number);
                }
            })
        };
        let threads = (0..count).map(thread).collect();
        Self { stop, threads }
    }
}

impl Drop for Beside {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            let ended = thread.join();
            assert!(ended.is_ok() || std::thread::panicking(), "a thread beside the measured one");
        }
    }
}
