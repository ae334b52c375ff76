//! `cargo xtask model`: the code that ships under two model checkers, and the bugs that they must
//! find.
//!
//! The work is done by the binary of `faultless-model`, which runs each model in a process of its
//! own and prints, for each, the executions explored, the bound and the time; for each planted bug
//! how it was found, and the schedule to replay. Here its options are put into words.

#![forbid(unsafe_code)]

use std::process::ExitCode;

use anyhow::Result;
use clap::Args;

use crate::programs::{Arguments, MODEL};

/// How much to explore.
#[derive(Args)]
pub(crate) struct Options {
    /// Deeper bounds and more schedules: an hour or so instead of two minutes.
    #[arg(long)]
    long: bool,
    /// Only models whose name contains this.
    #[arg(long)]
    only: Option<String>,
    /// Replay one: `run MODEL --plant BUG --replay SCHEDULE`, as it was printed.
    #[arg(last = true)]
    arguments: Vec<String>,
}

/// Runs the models.
pub(crate) fn run(options: &Options) -> Result<ExitCode> {
    let mut words: Vec<&str> = options.arguments.iter().map(String::as_str).collect();
    if words.is_empty() {
        words.push("all");
        words.extend(options.long.then_some("--long"));
        words.extend(options.only.iter().flat_map(|only| ["--only", only]));
    }
    MODEL.run(&words, &Arguments { words: Vec::new() })
}
