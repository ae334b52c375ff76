//! Commands that are programs of their own: built if need be, then started in place of this one, so
//! that options, output, exit code and signals are theirs.
//!
//! Which command is which program stands in the crate's root; what they do is their crates'
//! business.

#![forbid(unsafe_code)]

use std::convert::Infallible;
use std::ffi::OsString;
use std::os::unix::process::CommandExt;
use std::process::{Command, ExitCode};

use anyhow::{Error, Result};
use faultless_tools::process::SELF;
use faultless_tools::workspace;

pub(crate) const BENCH: Program = Program { package: "faultless-bench", profile: "dev" };
pub(crate) const PLANTED: Program = Program { package: "faultless-planted", profile: "dev" };
pub(crate) const PROGRAMS: Program = Program { package: "faultless-programs", profile: "dev" };
pub(crate) const PROVER: Program = Program { package: "faultless-prover", profile: "dev" };
pub(crate) const RANDOM: Program = Program { package: "faultless-random", profile: "dev" };
pub(crate) const SHOWS: Program = Program { package: "faultless-shows", profile: "dev" };
/// In the profile of the tests: optimised a little, with debug assertions.
pub(crate) const MODEL: Program = Program { package: "faultless-model", profile: "test" };

/// A program of the workspace.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Program {
    package: &'static str,
    profile: &'static str,
}

/// Whatever the program understands, `--help` included.
#[derive(clap::Args, Debug)]
#[command(disable_help_flag = true)]
pub(crate) struct Arguments {
    #[arg(value_name = "OPTIONS", trailing_var_arg = true, allow_hyphen_values = true)]
    pub(crate) words: Vec<OsString>,
}

impl Program {
    /// Becomes the program, with these words before what the user said.
    pub(crate) fn run(self, words: &[&str], arguments: &Arguments) -> Result<ExitCode> {
        become_it(self.command().args(words).args(&arguments.words))
    }

    /// A cargo that builds and starts it. It runs where the user stands: files are named from
    /// there.
    fn command(self) -> Command {
        let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
        cargo.args(["run", "--quiet", "--profile", self.profile, "--package", self.package]);
        cargo.arg("--manifest-path").arg(workspace::root().join("Cargo.toml")).arg("--");
        cargo
    }
}

/// Becomes this program with other words.
pub(crate) fn again(words: &[&str]) -> Result<ExitCode> {
    become_it(Command::new(SELF.as_path()).args(words))
}

/// Becomes a command, if it can be started.
pub(crate) fn become_it<T>(command: &mut Command) -> Result<T> {
    let never: Result<Infallible> = Err(Error::new(command.exec()).context(format!("{command:?}")));
    never.map(|never| match never {})
}
