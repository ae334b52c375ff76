//! Running programs: their output captured in the order in which it was written.

#![forbid(unsafe_code)]

use std::ffi::OsStr;
use std::io::Read;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::LazyLock;

use anyhow::{Context, Result};

/// This program's path as it was at the start: a build that runs meanwhile may replace the file.
pub static SELF: LazyLock<PathBuf> =
    LazyLock::new(|| std::env::current_exe().unwrap_or_else(|_| PathBuf::from("xtask")));

/// How a program ended, and what it said.
#[derive(Debug)]
pub struct Finished {
    /// Whether it exited with zero.
    pub success: bool,
    /// Standard output and standard error, interleaved as they were written.
    pub output: String,
}

/// A `cargo` that runs in the root of the workspace.
pub fn cargo<S: AsRef<OsStr>>(args: impl IntoIterator<Item = S>) -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.args(args).current_dir(crate::workspace::root());
    command
}

/// Runs a program to its end and keeps what it printed.
///
/// # Errors
/// It cannot be run, or what it prints cannot be read.
pub fn capture(command: &mut Command) -> Result<Finished> {
    let what = format!("{command:?}");
    let (mut reader, writer) = std::io::pipe().context("pipe")?;
    command.stdin(Stdio::null());
    command.stdout(writer.try_clone()?);
    command.stderr(writer);
    let mut child = command.spawn().with_context(|| format!("cannot run {what}"))?;
    // The command still owns the writing ends; while it does, the pipe has no end.
    command.stdout(Stdio::null()).stderr(Stdio::null());
    let mut bytes = Vec::new();
    reader.read_to_end(&mut bytes)?;
    let status = child.wait()?;
    let mut output = String::from_utf8_lossy(&bytes).into_owned();
    if !status.success() {
        output.push_str(&format!("({what}: {status})\n"));
    }
    Ok(Finished { success: status.success(), output })
}

/// Whether a program can be found on the search path.
#[must_use]
pub fn on_path(program: &str) -> bool {
    std::env::var_os("PATH")
        .is_some_and(|path| std::env::split_paths(&path).any(|dir| dir.join(program).is_file()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn output_is_captured_in_order_and_failure_is_seen() {
        let finished =
            capture(Command::new("sh").args(["-c", "echo one; echo two >&2; echo three; exit 3"]))
                .expect("sh runs");
        assert!(!finished.success);
        assert!(finished.output.starts_with("one\ntwo\nthree\n"), "{}", finished.output);
    }

    #[test]
    fn a_program_that_does_not_exist_is_an_error() {
        assert!(capture(&mut Command::new("no-such-program-anywhere")).is_err());
        assert!(!on_path("no-such-program-anywhere"));
        assert!(on_path("sh"));
    }
}
