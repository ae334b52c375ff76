//! `cargo xtask fuzz`, `oracle` and `soak`, as a program. All of them are the library's.

#![forbid(unsafe_code)]

use std::process::ExitCode;

use clap::Parser;
use faultless_random::Command;

fn main() -> ExitCode {
    faultless_tools::command::main(|| Command::parse().run())
}
