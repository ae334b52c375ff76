//! What a step of `cargo xtask test` is, and how it may end. Which there are is the business of
//! `steps`.

#![forbid(unsafe_code)]

use std::process::Command;

use anyhow::Result;
use faultless_tools::process::capture;

/// How a step ended.
#[derive(Debug)]
pub(super) enum Outcome {
    /// All is well; a remark such as a count, or nothing.
    Passed(String),
    /// What was wrong, to be shown in full.
    Failed(String),
    /// Why it could not be run here.
    Skipped(String),
}

/// One thing to check.
pub(super) struct Step {
    pub(super) name: &'static str,
    pub(super) about: &'static str,
    pub(super) pace: Pace,
    pub(super) company: Company,
    pub(super) run: fn() -> Result<Outcome>,
}

/// Whether `--quick` leaves a step out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Pace {
    Quick,
    Slow,
}

/// Whether a step runs while others do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Company {
    /// It keeps all processors busy by itself.
    Alone,
    /// Two at a time, with those that stand next to it.
    Two,
}

/// Runs a command: passed with no remark, or failed with all that it printed.
pub(super) fn passes(command: &mut Command) -> Result<Outcome> {
    let finished = capture(command)?;
    Ok(if finished.success {
        Outcome::Passed(String::new())
    } else {
        Outcome::Failed(finished.output)
    })
}
