//! What there is to see: the main job on a real file ([`demo`]), and the deadlocks that other write
//! paths have ([`deadlocks`]).
//!
//! Both run on the host shim's real MMU, tell what happened in a table, and fail if it is not what
//! should happen. The scenarios, the machine and the algorithms are the host's; here are the input,
//! the order of events and the report.

#![forbid(unsafe_code)]

use std::process::ExitCode;

use anyhow::Result;

pub mod deadlocks;
pub mod demo;

/// What there is to see.
#[derive(clap::Parser, Debug)]
#[command(bin_name = "cargo xtask")]
pub enum Command {
    /// Rewrite a real file from its own cold mapping, with real page faults, and compare the
    /// result.
    Demo(demo::Options),
    /// Stage the deadlocks DL1 to DL4 on every write path, and say which hang and why.
    Deadlocks(deadlocks::Options),
}

impl Command {
    /// Shows it.
    ///
    /// # Errors
    /// Files cannot be read or written, or the machine cannot be set up.
    pub fn run(&self) -> Result<ExitCode> {
        match self {
            Self::Demo(options) => demo::run(options),
            Self::Deadlocks(options) => deadlocks::run(options),
        }
    }
}
