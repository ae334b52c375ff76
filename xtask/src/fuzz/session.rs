//! One run of one fuzz program.

#![forbid(unsafe_code)]

use std::fs;
use std::io::{BufRead, BufReader, IsTerminal};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use faultless_host::fuzz::{Plant, Target};
use indicatif::{ProgressBar, ProgressStyle};

use super::newest;
use super::progress::{Status, finding};

/// A program, and where it leaves what it finds.
pub(super) struct Session {
    pub(super) target: &'static Target,
    pub(super) program: PathBuf,
    pub(super) artifacts: PathBuf,
}

/// How a run ended.
#[derive(Debug)]
pub(super) enum Ending {
    /// Nothing was found.
    TimeIsUp,
    /// Something was: what, and by which input.
    Crashed { what: String, input: Option<PathBuf> },
}

/// A run.
#[derive(Debug)]
pub(super) struct Report {
    pub(super) ending: Ending,
    pub(super) took: Duration,
    status: Status,
    /// Processor time, where the system tells.
    processor: Option<Duration>,
}

impl Session {
    /// Runs for `time` at most; new inputs go to the first of `folders`.
    pub(super) fn run(&self, folders: &[&Path], time: Duration, plant: Plant) -> Result<Report> {
        fs::create_dir_all(&self.artifacts)?;
        let mut command = Command::new(&self.program);
        command
            .arg(format!("-max_total_time={}", time.as_secs()))
            .arg(format!("-max_len={}", self.target.max_len))
            .arg(format!("-artifact_prefix={}/", self.artifacts.display()))
            .args(["-len_control=0", "-report_slow_units=60", "-timeout=60"])
            .args(folders)
            .env("FAULTLESS_PLANT", plant.name())
            .env("RUST_BACKTRACE", "0")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped());
        let (began, processor) = (Instant::now(), children());
        let name = self.program.display();
        let mut child = command.spawn().with_context(|| format!("cannot run {name}"))?;
        let output = child.stderr.take().context("a pipe")?;
        let (status, told) = self.watch(BufReader::new(output), plant)?;
        let success = child.wait()?.success();
        let took = began.elapsed();
        let processor = children().zip(processor).map(|(after, before)| after - before);
        let ending = match success {
            true => Ending::TimeIsUp,
            false => {
                let last = || told.lines().last().unwrap_or("it ended without a word").to_owned();
                let what = finding(&told).unwrap_or_else(last);
                Ending::Crashed { what, input: newest(&self.artifacts) }
            }
        };
        Ok(Report { ending, took, status, processor })
    }

    /// Shows the numbers as they come; returns the last ones, and what else was said.
    fn watch(&self, output: impl BufRead, plant: Plant) -> Result<(Status, String)> {
        let bar = match std::io::stderr().is_terminal() {
            true => ProgressBar::new_spinner(),
            false => ProgressBar::hidden(),
        };
        let style = ProgressStyle::with_template("{prefix:<14} {spinner} {elapsed:>4}  {msg}")?;
        bar.set_style(style);
        let planted = if plant == Plant::None { "" } else { plant.name() };
        bar.set_prefix(format!("{} {planted}", self.target.name));
        bar.enable_steady_tick(Duration::from_millis(200));
        let (mut status, mut told) = (Status::default(), String::new());
        for line in output.split(b'\n') {
            let line = String::from_utf8_lossy(&line?).into_owned();
            if let Some(now) = Status::read(&line) {
                status = now;
                let Status { runs, coverage, corpus, speed } = now;
                bar.set_message(format!(
                    "{runs} inputs, {speed}/s, coverage {coverage}, corpus {corpus}"
                ));
            } else {
                told.push_str(&line);
                told.push('\n');
            }
        }
        bar.finish_and_clear();
        Ok((status, told))
    }
}

impl Report {
    /// The summary of the run.
    pub(super) fn line(&self) -> String {
        let Status { runs, coverage, corpus, .. } = self.status;
        let rate = |time: Duration| runs as f64 / time.as_secs_f64().max(0.01);
        let mut line = format!("{runs} inputs, {:.0}/s", rate(self.took));
        if let Some(processor) = self.processor {
            line.push_str(&format!(" ({:.0}/s of processor time)", rate(processor)));
        }
        let crashes = usize::from(matches!(self.ending, Ending::Crashed { .. }));
        line.push_str(&format!(", coverage {coverage}, corpus {corpus}, {crashes} crashes"));
        line
    }
}

/// Processor time of all children that have ended, where the system tells.
fn children() -> Option<Duration> {
    /// Ticks of the clock that the system counts in, a second: fixed in Linux's interface.
    const TICKS: u64 = 100;
    let stat = fs::read_to_string("/proc/self/stat").ok()?;
    // The name may hold blanks; it ends with the last parenthesis. Fields are counted from the one after it.
    let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
    let ticks = |field: usize| fields.get(field)?.parse::<u64>().ok();
    let (user, system) = (ticks(13)?, ticks(14)?);
    Some(Duration::from_millis((user + system) * 1000 / TICKS))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn processor_time_of_children_does_not_fall() {
        let before = children();
        let script = "i=0; while [ $i -lt 20000 ]; do i=$((i+1)); done";
        assert!(Command::new("sh").args(["-c", script]).status().is_ok_and(|s| s.success()));
        assert!(children() >= before);
    }
}
