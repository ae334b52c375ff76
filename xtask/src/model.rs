//! `cargo xtask model`: the code that ships under two model checkers, and the bugs that they must
//! find.
//!
//! The work is done by the binary of `faultless-model`, which runs each model in a process of its
//! own and prints, for each, the executions explored, the bound and the time; for each planted bug
//! how it was found, and the schedule to replay.

#![forbid(unsafe_code)]

use std::process::ExitCode;

use anyhow::Result;
use clap::Args;

use faultless_tools::process;

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
    // The profile of the tests: optimised a little, with debug assertions.
    let build = ["run", "--quiet", "--profile", "test", "--package", "faultless-model", "--"];
    let mut command = process::cargo(build);
    if options.arguments.is_empty() {
        command.arg("all");
        if options.long {
            command.arg("--long");
        }
        if let Some(only) = &options.only {
            command.args(["--only", only]);
        }
    } else {
        command.args(&options.arguments);
    }
    let status = command.status()?;
    Ok(if status.success() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
