//! `cargo xtask run` as a program. All of it is the library's.

#![forbid(unsafe_code)]

use std::process::ExitCode;

use clap::Parser;
use faultless_programs::Command;

fn main() -> ExitCode {
    faultless_tools::command::main(|| Command::parse().run())
}
