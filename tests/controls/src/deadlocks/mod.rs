//! The deadlocks DL1 to DL4, set up on the real MMU, with real threads, for each write path there
//! is.
//!
//! A [`Trial`] is one [`Scenario`] with one [`Algorithm`] on a machine of its own. The same setup
//! serves all: threads meet at gates that open when a thread is where it has to be (it holds its
//! page; it is about to wait for a page with M held) or is done, so that a path which cannot get
//! there does not wait for ever. Nothing sleeps to synchronise. The source is stolen just before
//! the first copy, which is what makes "prefault only" fail and what Faultless has to survive.
//!
//! A scenario that hangs is found twice: by the lock checker, as a cycle, before a thread waits;
//! and by the watchdog of the machine, which panics in the threads that wait. They unwind, give
//! their locks back, and the trial goes on to check that the machine is as good as new: Faultless
//! writes the same file, and every frame comes back.
//!
//! Key types: [`Scenario`], [`Algorithm`], [`Destination`], [`Trial`]; [`play`], [`play_all`].
//! `trial` says what is tried, `setup` owns machine and threads, `scenarios` what the threads do,
//! `flavor` the hooks, `gate` the meeting points, `store` DL4's store.

#![forbid(unsafe_code)]

mod flavor;
mod gate;
mod scenarios;
mod setup;
mod store;
mod trial;

use std::time::Duration;

use self::setup::Setup;

pub use self::trial::{Algorithm, Destination, Ending, Scenario, Trial};

/// How long a wait for a lock may last before it counts as a hang. A scenario that does not hang
/// waits for microseconds.
pub const LIMIT: Duration = Duration::from_secs(8);

/// Plays one scenario. A wait for a lock that lasts longer than `limit` counts as a hang. Blocks
/// until all threads have ended.
///
/// # Panics
/// If the trial ends with wrong bytes, an error, or anything left behind.
#[must_use]
pub fn play(
    scenario: Scenario,
    algorithm: Algorithm,
    destination: Destination,
    limit: Duration,
) -> Trial {
    let setup = Setup::new(algorithm.path(), destination, limit);
    let expecting = setup.machine().check().expect();
    let fires = match scenario {
        Scenario::Dl1 => scenarios::dl1(&setup),
        Scenario::Dl2 => scenarios::dl2(&setup),
        Scenario::Dl3 => scenarios::dl3(&setup),
        Scenario::Dl3Prime => scenarios::dl3_prime(&setup),
        Scenario::Dl4 => scenarios::dl4(&setup),
    };
    let reports = expecting.reports();
    setup.finish();
    let ending = if fires.is_empty() { Ending::Finishes } else { Ending::Hangs };
    Trial { scenario, algorithm, destination, ending, reports, fires }
}

/// Plays every scenario with every algorithm from both beginnings, at the same time, so that the
/// hangs are waited for together. In the order of the enums.
///
/// # Panics
/// As [`play`].
#[must_use]
pub fn play_all(limit: Duration) -> Vec<Trial> {
    std::thread::scope(|scope| {
        let mut trials = Vec::new();
        for scenario in Scenario::ALL {
            for algorithm in Algorithm::ALL {
                for destination in Destination::ALL {
                    trials.push(scope.spawn(move || play(scenario, algorithm, destination, limit)));
                }
            }
        }
        trials
            .into_iter()
            .map(|trial| trial.join().unwrap_or_else(|p| std::panic::resume_unwind(p)))
            .collect()
    })
}
