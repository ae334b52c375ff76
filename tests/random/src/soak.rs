//! `cargo xtask soak`: every random checker of the repository with fresh seeds, in turns, until the
//! time is over.
//!
//! `cargo xtask test` always plays the same inputs; this command looks further. A find is printed
//! with one command that plays it again, and the others go on. The exit code tells a find from a
//! checker that could not be built or run.
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
use self::rounds::{Outcome, Plan};

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

/// The exit code after a find.
const FOUND: u8 = 1;
/// The exit code if something could not be built or run, whatever else was found.
const COULD_NOT_RUN: u8 = 2;

/// How long, and what.
#[derive(clap::Args, Debug)]
pub struct Options {
    /// Seconds in all, without what is built first. Rounds that have begun are played to their end.
    /// With 0, everything is built and nothing is played.
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

/// `cargo xtask soak`. An error is told here: it has an exit code of its own.
pub fn run(options: &Options) -> ExitCode {
    ExitCode::from(soak(options).unwrap_or_else(|error| {
        eprintln!("error: {error:#}");
        COULD_NOT_RUN
    }))
}

/// Plays the checkers; the exit code. Fails if a checker cannot be built, or none is wanted.
fn soak(options: &Options) -> Result<u8> {
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
        return Ok(0);
    }
    let processors = || std::thread::available_parallelism().map_or(1, usize::from);
    let jobs = options.jobs.unwrap_or_else(processors).clamp(1, checkers.len());
    let time = Duration::from_secs(options.time);
    println!("{} checkers, {jobs} at a time, seed {seed}, {} s", checkers.len(), options.time);
    let outcome = rounds::play(checkers, Plan { seed, time, jobs });
    report::print(&outcome);
    report::keep(&outcome.finds)?;
    Ok(exit_code(&outcome))
}

fn exit_code(outcome: &Outcome) -> u8 {
    match (outcome.errors.is_empty(), outcome.finds.is_empty()) {
        (true, true) => 0,
        (true, false) => FOUND,
        (false, _) => COULD_NOT_RUN,
    }
}

#[cfg(test)]
mod tests {
    use super::checker::Find;
    use super::*;

    #[test]
    fn a_checker_that_could_not_go_on_counts_more_than_a_find() {
        let mut outcome = Outcome::default();
        assert_eq!(exit_code(&outcome), 0);
        outcome.finds.push(Find { what: "W1".into(), replay: "x".into() });
        assert_eq!(exit_code(&outcome), FOUND);
        outcome.errors.push("planted".into());
        assert_eq!(exit_code(&outcome), COULD_NOT_RUN);
    }
}
