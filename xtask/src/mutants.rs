//! `cargo xtask mutants`: cargo-mutants over the core, with what it has to know of this workspace.
//!
//! What is changed, which tests must notice, and which mutants cannot be noticed stands in
//! `.cargo/mutants.toml`. All options are cargo-mutants' own: `--file`, `--re`, `--shard 1/16`,
//! `--list`, `--help`. It writes to `target/mutants.out`, where `missed.txt` has the survivors.
//! They make the exit code 2; mutants that did not end, and no survivor, make it 3.

#![forbid(unsafe_code)]

use std::process::ExitCode;

use anyhow::{Result, ensure};
use faultless_tools::child::limit_memory;
use faultless_tools::process::{cargo, on_path};

use crate::programs::{Arguments, become_it};

/// How to get it.
const INSTALL: &str = "cargo install cargo-mutants --locked";

/// `cargo xtask mutants`.
pub(crate) fn run(arguments: &Arguments) -> Result<ExitCode> {
    ensure!(on_path("cargo-mutants"), "cargo-mutants is not installed: {INSTALL}");
    // Random tests take the same seed each time; a wait that a mutant makes endless ends soon.
    let mut command = cargo(["mutants"]);
    command.env("FAULTLESS_SEED", "1").env("FAULTLESS_WATCHDOG", "10");
    // One that never stops allocating must not take the machine along.
    limit_memory(&mut command);
    become_it(command.args(&arguments.words))
}
