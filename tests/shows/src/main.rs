//! `cargo xtask demo` and `cargo xtask deadlocks`, as a program. All of them are the library's.

#![forbid(unsafe_code)]

use std::process::ExitCode;

use clap::Parser;
use faultless_shows::Command;

fn main() -> ExitCode {
    faultless_tools::command::main(|| Command::parse().run())
}
