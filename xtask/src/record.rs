//! What a run of `cargo xtask test` found out, kept in a file under the target folder as it goes,
//! so that a run that was cut off leaves what it had. `test` writes it, `report` reads it.

#![forbid(unsafe_code)]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};
use faultless_tools::process::{capture, cargo};
use faultless_tools::workspace;
use serde::{Deserialize, Serialize};

/// A run.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct Record {
    /// When it began, as the date is written.
    pub(crate) begun: String,
    /// The commit that was tested, and whether files were changed since.
    pub(crate) commit: String,
    /// The compiler and the machine.
    pub(crate) tools: String,
    /// Names of the steps that were to be run.
    pub(crate) planned: Vec<String>,
    /// Names of the steps that were left out.
    pub(crate) left_out: Vec<String>,
    /// Those that have ended.
    pub(crate) steps: Vec<Step>,
}

/// A step that has ended.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Step {
    pub(crate) name: String,
    /// What it checks.
    pub(crate) about: String,
    /// "passed", "failed" or "skipped".
    pub(crate) outcome: String,
    pub(crate) seconds: f64,
    /// Its counts, why it was skipped, or all that it printed when it failed.
    pub(crate) said: String,
}

impl Record {
    /// Of a run that begins.
    pub(crate) fn begin(planned: Vec<String>, left_out: Vec<String>) -> Self {
        let said = |command: &mut Command| {
            capture(command).map(|finished| finished.output.trim().to_owned()).unwrap_or_default()
        };
        let git =
            |words: &[&str]| said(Command::new("git").args(words).current_dir(workspace::root()));
        let changed = git(&["status", "--porcelain"]).lines().count();
        let with = if changed == 0 { String::new() } else { format!(", {changed} files changed") };
        Self {
            begun: said(Command::new("date").args(["-u", "+%Y-%m-%d %H:%M UTC"])),
            commit: format!("{}{with}", git(&["rev-parse", "--short", "HEAD"])),
            tools: format!(
                "{}; {}",
                said(&mut cargo(["--version"])),
                said(Command::new("uname").arg("-srm"))
            ),
            planned,
            left_out,
            steps: Vec::new(),
        }
    }

    /// Of the last run.
    pub(crate) fn read() -> Result<Self> {
        let path = path()?;
        let text = fs::read_to_string(&path).context("no run of cargo xtask test is on record")?;
        serde_json::from_str(&text).with_context(|| format!("{}", path.display()))
    }

    /// Keeps it in place of the last one.
    pub(crate) fn write(&self) -> Result<()> {
        let path = path()?;
        fs::create_dir_all(path.parent().unwrap_or(Path::new(".")))?;
        // A reader sees all of it or what was there before.
        let fresh = path.with_extension("new");
        fs::write(&fresh, serde_json::to_string_pretty(self)?)?;
        Ok(fs::rename(fresh, path)?)
    }

    /// The steps that were to be run and have not ended.
    pub(crate) fn missing(&self) -> impl Iterator<Item = &str> {
        let ended = |name: &str| self.steps.iter().any(|step| step.name == name);
        self.planned.iter().map(String::as_str).filter(move |name| !ended(name))
    }
}

fn path() -> Result<PathBuf> {
    Ok(workspace::target_dir()?.join("xtask/last-test.json"))
}
