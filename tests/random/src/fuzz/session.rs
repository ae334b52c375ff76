//! One run of one fuzz program.

#![forbid(unsafe_code)]

use std::fs;
use std::io::{BufRead, BufReader, IsTerminal};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use anyhow::{Context, Result};
use faultless_fuzzing::{Plant, Target};
use indicatif::{MultiProgress, ProgressBar, ProgressStyle};

use super::progress::{Status, finding, played};
use faultless_tools::child as programs;

/// A program, and where it leaves what it finds.
pub(super) struct Session<'s> {
    pub(super) target: &'static Target,
    pub(super) program: PathBuf,
    pub(super) artifacts: PathBuf,
    /// Where the numbers are shown while it runs.
    pub(super) screen: &'s MultiProgress,
}

/// What a run begins from, and when it ends.
#[derive(Clone, Copy, Debug)]
pub(super) struct Search<'a> {
    pub(super) begin: Begin<'a>,
    pub(super) until: Until,
    /// Seed of libFuzzer's generator. Without one the clock decides.
    pub(super) seed: Option<u32>,
    pub(super) plant: Plant,
}

/// The inputs that are there before the first is made.
#[derive(Clone, Copy, Debug)]
pub(super) enum Begin<'a> {
    /// All files of these folders. Inputs that reach new code are added to the first.
    Folders(&'a [&'a Path]),
    /// The files that a text names, with commas between them, in that order. Nothing is added.
    ///
    /// The order in which a folder lists its files differs between machines, and the whole run with
    /// it.
    Listed(&'a Path),
}

/// When a run without a finding ends.
#[derive(Clone, Copy, Debug)]
pub(super) enum Until {
    Time(Duration),
    /// So many inputs were played, those of the beginning included.
    Runs(u64),
}

/// How a run ended.
#[derive(Debug)]
pub(super) enum Ending {
    /// Nothing was found.
    Nothing,
    /// Something was: what, and by which input.
    Crashed { what: String, input: Option<Vec<u8>> },
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

impl Session<'_> {
    /// Runs the program to its end, or to the first finding.
    pub(super) fn run(&self, search: Search<'_>) -> Result<Report> {
        let Search { begin, until, seed, plant } = search;
        fs::create_dir_all(&self.artifacts)?;
        let mut command = Command::new(&self.program);
        command
            .arg(match until {
                Until::Time(time) => format!("-max_total_time={}", time.as_secs().max(1)),
                Until::Runs(runs) => format!("-runs={runs}"),
            })
            .arg(format!("-max_len={}", self.target.max_len))
            .arg(format!("-artifact_prefix={}/", self.artifacts.display()))
            // Other runs may add to a folder meanwhile: a reload would depend on the time.
            .args(["-len_control=0", "-report_slow_units=60", "-timeout=60", "-reload=0"])
            .arg("-print_final_stats=1");
        if let Some(seed) = seed {
            command.arg(format!("-seed={seed}"));
        }
        match begin {
            Begin::Folders(folders) => command.args(folders),
            Begin::Listed(list) => command.arg(format!("-seed_inputs=@{}", list.display())),
        };
        command
            .env("RUST_BACKTRACE", "0")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped());
        // Else the environment may name one.
        if plant != Plant::None {
            command.env("FAULTLESS_PLANT", plant.name());
        }
        programs::fix_addresses(&mut command);
        let (began, clock) = (Instant::now(), SystemTime::now());
        let name = self.program.display();
        let mut child = command.spawn().with_context(|| format!("cannot run {name}"))?;
        let output = child.stderr.take().context("a pipe")?;
        let (status, told) = self.watch(BufReader::new(output), plant)?;
        let processor = processor_time(child.id());
        let success = child.wait()?.success();
        let took = began.elapsed();
        let ending = match success {
            true => Ending::Nothing,
            false => {
                let last = || told.lines().last().unwrap_or("it ended without a word").to_owned();
                let what = finding(&told).unwrap_or_else(last);
                Ending::Crashed { what, input: self.artifact(clock) }
            }
        };
        Ok(Report { ending, took, status, processor })
    }

    /// What the program has left since a time.
    fn artifact(&self, since: SystemTime) -> Option<Vec<u8>> {
        let files = fs::read_dir(&self.artifacts).ok()?.filter_map(Result::ok);
        let times = files.filter_map(|file| Some((file.metadata().ok()?.modified().ok()?, file)));
        let (time, newest) = times.max_by_key(|(time, _)| *time)?;
        // File systems tell the time less finely than clocks.
        let recent = time + Duration::from_secs(1) >= since;
        recent.then(|| fs::read(newest.path()).ok())?
    }

    /// Shows the numbers as they come; returns the last ones, and what else was said.
    fn watch(&self, output: impl BufRead, plant: Plant) -> Result<(Status, String)> {
        let bar = match std::io::stderr().is_terminal() {
            true => ProgressBar::new_spinner(),
            false => ProgressBar::hidden(),
        };
        let style = ProgressStyle::with_template("{prefix:<14} {spinner} {elapsed:>4}  {msg}")?;
        bar.set_style(style);
        let bar = self.screen.add(bar);
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
            } else if let Some(runs) = played(&line) {
                status.runs = runs;
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
    /// Inputs played.
    pub(super) fn runs(&self) -> u64 {
        self.status.runs
    }

    /// Inputs played in a second of one core: of processor time, where the system tells.
    pub(super) fn speed(&self) -> f64 {
        self.rate(self.processor.unwrap_or(self.took))
    }

    fn rate(&self, time: Duration) -> f64 {
        self.status.runs as f64 / time.as_secs_f64().max(0.01)
    }

    /// The summary of the run.
    pub(super) fn line(&self) -> String {
        let Status { runs, coverage, corpus, .. } = self.status;
        let mut line = format!("{runs} inputs, {:.0}/s", self.rate(self.took));
        if self.processor.is_some() {
            line.push_str(&format!(" ({:.0}/s of processor time)", self.speed()));
        }
        let crashes = usize::from(matches!(self.ending, Ending::Crashed { .. }));
        line.push_str(&format!(", coverage {coverage}, corpus {corpus}, {crashes} crashes"));
        line
    }
}

/// Processor time of a child that is about to end and has not been waited for, where the system
/// tells.
fn processor_time(id: u32) -> Option<Duration> {
    /// Ticks of the clock that the system counts in, a second: fixed in Linux's interface.
    const TICKS: u64 = 100;
    /// How often to look whether it has ended, a millisecond apart.
    const LOOKS: u32 = 10_000;
    for _ in 0..LOOKS {
        let stat = fs::read_to_string(format!("/proc/{id}/stat")).ok()?;
        // The name may hold blanks; it ends with the last parenthesis. Fields are counted from the
        // one after it.
        let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
        if fields.first() == Some(&"Z") {
            let ticks = |field: usize| fields.get(field)?.parse::<u64>().ok();
            return Some(Duration::from_millis((ticks(11)? + ticks(12)?) * 1000 / TICKS));
        }
        thread::sleep(Duration::from_millis(1));
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn processor_time_of_a_child_is_its_own() {
        let play = |script: &str| {
            let mut sh = Command::new("sh");
            let mut child = sh.args(["-c", script]).stdout(Stdio::piped()).spawn().expect("sh");
            // As its output does, it ends.
            let output = child.stdout.take().expect("a pipe");
            assert_eq!(BufReader::new(output).lines().count(), 0);
            let time = processor_time(child.id());
            assert!(child.wait().expect("an end").success());
            time
        };
        let busy = play("i=0; while [ $i -lt 400000 ]; do i=$((i+1)); done");
        let idle = play("exit 0");
        assert!(busy > idle || (busy, idle) == (None, None), "{busy:?} {idle:?}");
    }
}
