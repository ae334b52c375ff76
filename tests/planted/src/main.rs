//! `cargo xtask planted`, as a program. All of it is the library's.

#![forbid(unsafe_code)]

use std::process::ExitCode;

use clap::Parser;
use faultless_planted::Options;

fn main() -> ExitCode {
    faultless_tools::command::main(|| faultless_planted::run(&Options::parse()))
}
