//! `cargo xtask prove`, as a program. All of it is the library's.

#![forbid(unsafe_code)]

use std::process::ExitCode;

use clap::Parser;
use faultless_prover::Options;

fn main() -> ExitCode {
    faultless_tools::command::main(|| faultless_prover::run(&Options::parse()))
}
