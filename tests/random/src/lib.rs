//! Checkers that draw their inputs: the fuzz targets under libFuzzer ([`fuzz`]), the same
//! operations through Faultless and through Linux ([`oracle`]), and all of them with fresh seeds in
//! turns ([`soak`]).
//!
//! What is checked is in `faultless_fuzzing` and `faultless_oracle`, in the models and the tests;
//! here are the drivers: seeds, times, processes, reports, and the commands that play a find again.

#![forbid(unsafe_code)]

use std::process::ExitCode;

use anyhow::Result;

pub mod fuzz;
pub mod oracle;
pub mod soak;

/// Which checkers to run.
#[derive(clap::Parser, Debug)]
#[command(bin_name = "cargo xtask")]
pub enum Command {
    /// Compare with the running Linux kernel: the same random operations, every result and every
    /// byte.
    Oracle(oracle::Options),
    /// Fuzz with libFuzzer, or show that each target finds its planted bugs.
    Fuzz(fuzz::Options),
    /// Run every random checker with fresh seeds, in turns, until the time is over.
    ///
    /// The exit code is 0 if nothing was found, 1 if something was, and 2 if a checker could not be
    /// built or run.
    Soak(soak::Options),
}

impl Command {
    /// Runs them.
    ///
    /// # Errors
    /// A program cannot be built or run, or an option names what does not exist.
    pub fn run(&self) -> Result<ExitCode> {
        match self {
            Self::Oracle(options) => oracle::run(options),
            Self::Fuzz(options) => fuzz::run(options),
            Self::Soak(options) => Ok(soak::run(options)),
        }
    }
}
