//! `cargo xtask run`: one program.
#![forbid(unsafe_code)]

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, Result, ensure};
use clap::Args;

use crate::machine::{Machine, Setting, build_library, exit_code};
use crate::suitable;

/// What a user can say.
#[derive(Args, Debug)]
pub struct Options {
    /// The folder whose files are in Faultless, and in which the program runs. A new one, which is
    /// removed afterwards, if it is not said
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
    /// Memory in pages of 4 KiB; what does not fit is reclaimed
    #[arg(long, value_name = "N", default_value_t = 65_536, value_parser = clap::value_parser!(u64).range(64..1 << 26))]
    frames: u64,
    /// A thread writes back, evicts and steals page-table entries so often a second
    #[arg(long, value_name = "HZ", default_value_t = 0)]
    chaos: u64,
    /// The write algorithm
    #[arg(long, value_parser = ["a", "b"], default_value = "b")]
    strategy: String,
    /// Where files keep their contents
    #[arg(long, value_parser = ["ram", "file", "block:512", "block:1024", "block:4096"])]
    store: Option<String>,
    /// One of so many calls of a store fails, with EIO or ENOSPC
    #[arg(long, value_name = "N", default_value_t = 0)]
    fail: u64,
    /// How long a call of a store takes, in microseconds
    #[arg(long, value_name = "MICROSECONDS", default_value_t = 0)]
    latency: u64,
    /// Tell calls on files and memory as they happen
    #[arg(long)]
    trace: bool,
    /// Check the order of locks
    #[arg(long)]
    check_locks: bool,
    /// Plant a bug
    #[arg(long, value_name = "BUG", value_parser = ["short-copies", "no-write-protect", "no-unmap", "fault-under-lock", "lost-dirty"])]
    plant: Option<String>,
    /// The program and its arguments
    #[arg(trailing_var_arg = true, required = true, value_name = "PROGRAM")]
    program: Vec<OsString>,
}

impl Options {
    fn setting(&self) -> Setting {
        // What is in a folder of the user's stays there; a new one is gone afterwards.
        let store = self.dir.as_ref().map_or("ram", |_| "file");
        Setting {
            frames: self.frames,
            store: self.store.as_deref().unwrap_or(store).to_owned(),
            strategy: self.strategy.clone(),
            fail: self.fail,
            latency: self.latency,
            chaos: self.chaos,
            trace: self.trace,
            check_locks: self.check_locks,
            plant: self.plant.clone(),
        }
    }
}

/// Runs the program; its exit status.
///
/// # Errors
/// The program or the folder cannot be used, or what was written could not be kept.
pub fn run(options: &Options) -> Result<ExitCode> {
    let (name, arguments) = options.program.split_first().context("no program")?;
    let program = suitable::find(Path::new(name))?;
    let machine = Machine::new(&build_library()?, options.setting(), options.dir.as_deref())?;
    let mut command = machine.command(&program);
    let status =
        command.args(arguments).status().with_context(|| format!("{}", program.display()))?;
    let proof = machine.finish()?;
    eprintln!("{}", proof.text);
    // A store that is made to fail may fail there.
    ensure!(proof.is_synced || options.fail > 0, "what was written could not all be kept");
    Ok(ExitCode::from(exit_code(status)))
}
