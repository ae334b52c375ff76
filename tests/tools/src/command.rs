//! The `main` that the commands have in common. What a command does is its own crate's business.

#![forbid(unsafe_code)]

use std::process::ExitCode;

use anyhow::Result;

use crate::pipe;

/// Runs a command: an error is told in one line and is a failure, and a reader that closes the pipe
/// ends the program quietly.
pub fn main(run: impl FnOnce() -> Result<ExitCode>) -> ExitCode {
    pipe::end_quietly_when_closed();
    run().unwrap_or_else(|error| {
        eprintln!("error: {error:#}");
        ExitCode::FAILURE
    })
}
