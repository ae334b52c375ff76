//! What a program does on this machine's own kernel, and whether it came to the same on ours.

#![forbid(unsafe_code)]

use std::env;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::process::Command;

use anyhow::{Result, ensure};

use faultless_tools::process::capture;

use super::many::{Line, Outcome};
use super::run::result;

/// Seconds that a program may take.
pub(super) const PATIENCE: u64 = 60;

/// Whether a program came to the same on Linux and here.
pub(super) fn compare(control: &Outcome, here: &Outcome) -> Result<(), String> {
    let tell = |outcome: &Outcome| format!("{}{}", outcome.output, result(outcome));
    if control == here {
        return Ok(());
    }
    Err(format!("on Linux:\n{}\nhere:\n{}", tell(control), tell(here)))
}

/// The same program on this machine's own kernel, in a folder, with tools that are in others.
pub(super) fn on_linux(line: &Line, folder: &Path, tools: &[&Path]) -> Result<Outcome> {
    // Killed after a while, as there.
    let mut command = Command::new("timeout");
    command.arg("--signal=KILL").arg(PATIENCE.to_string()).arg(&line.program);
    command.args(&line.arguments).current_dir(folder);
    if !tools.is_empty() {
        let mut path = env::join_paths(tools)?;
        path.push(":/usr/bin");
        command.env("PATH", path);
    }
    let finished = capture(&mut command)?;
    ensure!(finished.success, "on Linux: {}", finished.output);
    Ok(Outcome { output: finished.output, status: Some(0) })
}

/// Whether this machine's programs are run as root.
pub(super) fn is_root() -> bool {
    Path::new("/proc/self").metadata().is_ok_and(|told| told.uid() == 0)
}
