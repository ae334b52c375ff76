//! `cargo xtask soak`: every random checker of the repository with fresh seeds, in turns, until the
//! time is over.
//!
//! `cargo xtask test` always plays the same inputs; this command looks further. A find is printed
//! with one command that plays it again, the others go on, and the exit code is 1 at the end.
//!
//! | module | what it does |
//! |---|---|
//! | `checker` | what a checker is, and what a round of it tells |
//! | `rounds` | the turns |
//! | `roster` | all checkers that there are |
//! | `fuzzing`, `oracle`, `models`, `seeded` | the kinds of checkers |
//! | `scan` | which tests draw a seed |
//! | `programs` | building and running programs |
//! | `report` | the table, and the file of finds |

#![forbid(unsafe_code)]

use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Result, bail};
use faultless_host::rng;

use self::checker::Bug;
use self::rounds::Plan;

mod checker;
mod fuzzing;
mod models;
mod oracle;
mod programs;
mod report;
mod roster;
mod rounds;
mod scan;
mod seeded;

/// How long, and what.
#[derive(clap::Args, Debug)]
pub struct Options {
    /// Seconds in all, without what is built first. Rounds that have begun are played to their end.
    #[arg(long, value_name = "S", default_value_t = 300)]
    time: u64,
    /// Seed that all others come from. Without it the clock decides.
    #[arg(long, value_name = "N")]
    seed: Option<u64>,
    /// Checkers at a time. Default: one for each processor.
    #[arg(long, value_name = "N")]
    jobs: Option<usize>,
    /// Only checkers whose name contains this (see --list). May be given several times.
    #[arg(long, value_name = "TEXT")]
    only: Vec<String>,
    /// List the checkers and stop.
    #[arg(long)]
    list: bool,
    /// Plant a bug, to see that it is found: fuzz=BUG, oracle=BUG or model=BUG.
    #[arg(long, value_name = "KIND=BUG", hide = true)]
    plant: Option<Bug>,
    /// Fuzz without libFuzzer.
    #[arg(long, hide = true)]
    stable: bool,
}

/// `cargo xtask soak`.
///
/// # Errors
/// A checker cannot be built or run, or none is wanted.
pub fn run(options: &Options) -> Result<ExitCode> {
    let seed = options.seed.unwrap_or_else(rng::fresh_seed);
    let mut checkers = roster::checkers(&roster::Wanted {
        only: &options.only,
        plant: options.plant.as_ref(),
        stable: options.stable,
    })?;
    if checkers.is_empty() {
        bail!("no checker has a name with {}", options.only.join(" or "));
    }
    if options.list {
        for checker in &mut checkers {
            println!("{}", checker.name());
        }
        return Ok(ExitCode::SUCCESS);
    }
    let processors = || std::thread::available_parallelism().map_or(1, usize::from);
    let jobs = options.jobs.unwrap_or_else(processors).clamp(1, checkers.len());
    let time = Duration::from_secs(options.time);
    println!("{} checkers, {jobs} at a time, seed {seed}, {} s", checkers.len(), options.time);
    let outcome = rounds::play(checkers, Plan { seed, time, jobs });
    report::print(&outcome);
    report::keep(&outcome.finds)?;
    let good = outcome.finds.is_empty() && outcome.errors.is_empty();
    Ok(if good { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
