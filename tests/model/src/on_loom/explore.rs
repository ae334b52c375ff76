//! Runs a model under loom: set-up, threads, tear-down; and counts.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use crate::on_loom::words::{self, Phase};

/// What was done.
#[derive(Clone, Copy, Debug)]
pub struct Explored {
    /// Executions.
    pub executions: u64,
    /// Words that were explored; the others did not change.
    pub hot_words: usize,
}

/// One execution: built anew each time.
pub struct Run {
    /// The threads beside the main one, up to four.
    pub threads: Vec<Box<dyn FnOnce() + Send>>,
    /// Looks at the end, once they are done.
    pub end: Box<dyn FnOnce()>,
}

impl std::fmt::Debug for Run {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Run").field("threads", &self.threads.len()).finish_non_exhaustive()
    }
}

/// Bytes of stack for a thread.
const STACK: usize = 128 * 1024;

/// Explores all executions of what `set_up` builds that have at most so many preemptions.
///
/// # Panics
/// With what an execution panicked with. A deadlock ends the process.
pub fn explore(preemptions: usize, set_up: fn() -> Run) -> Explored {
    let executions = Arc::new(AtomicU64::new(0));
    let counter = Arc::clone(&executions);
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(preemptions);
    builder.max_branches = 20_000;
    builder.check(move || execute(set_up, &counter));
    Explored { executions: executions.load(Relaxed), hot_words: words::hot_words() }
}

fn execute(set_up: fn() -> Run, executions: &AtomicU64) {
    executions.fetch_add(1, Relaxed);
    words::enter(Phase::SetUp);
    loom::stop_exploring();
    let run = set_up();
    loom::explore();
    words::enter(Phase::Threads);
    let spawn = |thread: Box<dyn FnOnce() + Send>| {
        let builder = loom::thread::Builder::new().stack_size(STACK);
        builder.spawn(thread).expect("loom spawns")
    };
    let handles: Vec<_> = run.threads.into_iter().map(spawn).collect();
    for handle in handles {
        handle.join().expect("a thread of the model panicked");
    }
    words::enter(Phase::TearDown);
    (run.end)();
}
