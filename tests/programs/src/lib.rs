//! Unmodified Linux programs with their files in Faultless.
//!
//! | module | what it does |
//! |---|---|
//! | [`run`] | `cargo xtask run`: one program |
//! | [`suite`], `list` | `cargo xtask programs`: many programs, compared with Linux alone |
//! | `speed` | how long some of them take |
//! | `tools` | the library, the small programs and scripts, and how one is run |
//! | [`machine`] | the folder, the memory and the environment that a program gets |
//! | `witness` | what programs ask of the outside: what is in Linux's own files |
//! | `suitable` | whether the dynamic linker would load a library into a program |
#![forbid(unsafe_code)]

use std::process::ExitCode;

use anyhow::Result;
use clap::Parser;

mod list;
pub mod machine;
pub mod run;
mod speed;
mod suitable;
pub mod suite;
mod tools;
mod witness;

/// The commands.
#[derive(Debug, Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask", disable_help_subcommand = true)]
pub enum Command {
    /// Run a Linux program with its files in Faultless.
    Run(run::Options),
    /// Run many programs with their files in Faultless, and compare them with Linux alone.
    Programs(suite::Options),
}

impl Command {
    /// Runs the command.
    ///
    /// # Errors
    /// What could not be done, in a line.
    pub fn run(&self) -> Result<ExitCode> {
        match self {
            Self::Run(options) => run::run(options),
            Self::Programs(options) => suite::run(options),
        }
    }
}
