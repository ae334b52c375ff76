//! Runs a scenario under shuttle's schedulers.
#![forbid(unsafe_code)]

use shuttle::scheduler::{DfsScheduler, PctScheduler, RandomScheduler, ReplayScheduler, Scheduler};
use shuttle::{Config, MaxSteps, Runner};

use crate::on_shuttle::held::forget_locks;
use crate::on_shuttle::words::{self, Points};

/// How to choose schedules.
#[derive(Clone, Debug)]
pub enum Search {
    /// At random.
    Random {
        /// Of the generator.
        seed: u64,
        /// Executions.
        executions: usize,
    },
    /// Probabilistic concurrency testing: random priorities, a few changes.
    Pct {
        /// Of the generator.
        seed: u64,
        /// Changes of priority, and one.
        depth: usize,
        /// Executions.
        executions: usize,
    },
    /// Every one, switching threads at locks and waits only.
    All {
        /// To give up after; a search that ends before was complete.
        executions: usize,
    },
    /// The one that a failure printed.
    Replay {
        /// As it was printed.
        schedule: String,
        /// Where threads were switched then.
        points: Points,
    },
}

/// Steps of one execution after which it is taken for a livelock (W6).
const MAX_STEPS: usize = 200_000;

/// Explores; returns the number of executions.
///
/// # Panics
/// With what an execution panicked with, a deadlock among it, after the schedule was printed.
pub fn explore(search: Search, scenario: fn()) -> usize {
    match search {
        Search::Random { seed, executions } => {
            run(RandomScheduler::new_from_seed(seed, executions), Points::Words, scenario)
        }
        Search::Pct { seed, depth, executions } => {
            run(PctScheduler::new_from_seed(seed, depth, executions), Points::Words, scenario)
        }
        Search::All { executions } => {
            run(DfsScheduler::new(Some(executions), false), Points::Locks, scenario)
        }
        Search::Replay { schedule, points } => {
            run(ReplayScheduler::new_from_encoded(&schedule), points, scenario)
        }
    }
}

fn run<S: Scheduler + 'static>(scheduler: S, points: Points, scenario: fn()) -> usize {
    let mut config = Config::new();
    config.stack_size = 0x4_0000;
    config.max_steps = MaxSteps::FailAfter(MAX_STEPS);
    config.silence_warnings = true;
    Runner::new(scheduler, config).run(move || {
        words::begin(points);
        forget_locks();
        scenario();
    })
}
