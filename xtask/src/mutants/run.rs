//! Runs for each mutant the tests that reach it, quickest first, until one fails.

#![forbid(unsafe_code)]

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use anyhow::Result;
use indicatif::ProgressBar;
use serde::Serialize;

use super::copy::Folders;
use super::known::Known;
use super::list::Mutant;
use super::reach::Test;
use faultless_tools::child::{self, Ending};
use faultless_tools::pool;

/// Tests of one program that run together take about this long, unless one alone takes longer.
const BATCH_SECONDS: f64 = 0.5;
/// Tests in one process at most: a mutant is often killed by the first.
const MOST_IN_BATCH: usize = 16;

/// Names the mutant that is active, by its id, in a woven program: see `switch.rs`.
pub(crate) const MUTANT: &str = "FAULTLESS_MUTANT";
/// The id of no mutant.
pub(super) const NONE: &str = "0";

/// Where there is no terminal for a bar, a line tells of so many mutants.
const PROGRESS_STEP: u64 = 50;
/// Seconds of tests for a mutant that is listed as equivalent.
const LISTED_SECONDS: f64 = 10.0;
/// A failure of a batch that takes longer than this must be seen twice.
const SLOW_SECONDS: f64 = 1.0;

/// What became of a mutant.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub(super) enum Fate {
    /// A test failed or crashed.
    Killed,
    /// A test did not end.
    TimedOut,
    /// All tests that reach it passed.
    Survived,
    /// No test reaches it.
    NotReached,
    /// It does not compile.
    Unviable,
    /// Its file is not compiled for this machine.
    Elsewhere,
    /// It must be built by itself, and was not.
    LeftOut,
}

/// A fate, and how long it took to know.
#[derive(Clone, Copy, Debug)]
pub(super) struct Judged {
    pub(super) fate: Fate,
    pub(super) seconds: f64,
}

/// Settings of a run.
#[derive(Clone, Copy, Debug)]
pub(super) struct Setting<'a> {
    pub(super) folders: &'a Folders,
    pub(super) seed: u64,
    pub(super) jobs: usize,
    /// Tests of one mutant take this long at most when they pass, in seconds; then it survives.
    pub(super) patience: f64,
}

impl Setting<'_> {
    /// The same, for a mutant: of one that is listed as equivalent it is expected that it survives,
    /// and the quicker tests are enough to see whether it does.
    pub(super) fn with_patience_for(mut self, mutant: &Mutant, known: &Known) -> Self {
        if known.lists(mutant) {
            self.patience = self.patience.min(LISTED_SECONDS);
        }
        self
    }

    /// Runs tests of a program with the run's seed; all of them if `tests` is empty. `switch` is
    /// for the woven programs.
    pub(super) fn test(
        &self,
        (program, folder): (&Path, &Path),
        tests: &[&str],
        switch: (&str, &str),
        limit: Duration,
    ) -> Result<Ending> {
        let seed = self.seed.to_string();
        let environment = [
            switch,
            ("FAULTLESS_SEED", &seed),
            ("TMPDIR", &self.folders.scratch.to_string_lossy()),
        ];
        child::run(program, folder, tests, &environment, limit)
    }
}

/// How often a test program killed a mutant of a file: what killed a neighbour is asked first.
#[derive(Debug, Default)]
pub(super) struct Kills(Mutex<HashMap<(String, PathBuf), u32>>);

impl Kills {
    fn count(&self, file: &str, program: &Path) -> u32 {
        let kills = self.0.lock().expect("no worker panics");
        kills.get(&(file.to_owned(), program.to_owned())).copied().unwrap_or(0)
    }

    fn add(&self, file: &str, program: &Path) {
        let mut kills = self.0.lock().expect("no worker panics");
        *kills.entry((file.to_owned(), program.to_owned())).or_default() += 1;
    }
}

/// Judges all these mutants, several at a time.
pub(super) fn judge(
    mutants: &[&Mutant],
    known: &Known,
    tests: &[Test],
    setting: Setting<'_>,
    bar: &ProgressBar,
) -> Result<BTreeMap<u32, Judged>> {
    bar.set_length(mutants.len() as u64);
    let kills = Kills::default();
    let judged = pool::each(mutants, setting.jobs, |_, mutant| {
        let reaching: Vec<&Test> =
            tests.iter().filter(|test| test.reached.contains(&mutant.id)).collect();
        let setting = setting.with_patience_for(mutant, known);
        let verdict = judge_one(mutant.id, &mutant.file, &reaching, &kills, setting)?;
        if matches!(verdict.fate, Fate::Survived | Fate::NotReached) {
            let line = format!("{:?}: {}", verdict.fate, mutant.title());
            bar.suspend(|| eprintln!("{line}"));
        }
        bar.inc(1);
        if bar.is_hidden() && bar.position().is_multiple_of(PROGRESS_STEP) {
            eprintln!("{} of {} mutants", bar.position(), mutants.len());
        }
        Ok((mutant.id, verdict))
    })?;
    Ok(judged.into_iter().collect())
}

/// Runs these tests with the mutant of this file active. Id 0 is no mutant.
pub(super) fn judge_one(
    id: u32,
    file: &str,
    tests: &[&Test],
    kills: &Kills,
    setting: Setting<'_>,
) -> Result<Judged> {
    let begin = Instant::now();
    let judged = |fate| Judged { fate, seconds: begin.elapsed().as_secs_f64() };
    if tests.is_empty() {
        return Ok(judged(Fate::NotReached));
    }
    let id = id.to_string();
    let mut batches = batches(tests);
    batches.sort_by_cached_key(|batch| {
        // Quick batches take about as long as each other.
        let slow = if batch.is_slow() { batch.seconds.ceil() as u64 } else { 0 };
        (slow, u32::MAX - kills.count(file, batch.program))
    });
    let mut passed = 0.0;
    for batch in batches {
        passed += batch.seconds;
        if passed > setting.patience {
            break;
        }
        let limit = batch.limit();
        let program = (batch.program, batch.folder);
        let run = || setting.test(program, &batch.names, (MUTANT, &id), limit);
        let ending = match run()? {
            // A slow test may have failed because the machine is slow; then it will not fail again.
            Ending::Failed if batch.seconds > SLOW_SECONDS => run()?,
            ending => ending,
        };
        match ending {
            Ending::Passed => {}
            Ending::Failed => {
                kills.add(file, batch.program);
                return Ok(judged(Fate::Killed));
            }
            Ending::TimedOut => return Ok(judged(Fate::TimedOut)),
        }
    }
    Ok(judged(Fate::Survived))
}

/// Tests that run in one process.
struct Batch<'a> {
    program: &'a Path,
    folder: &'a Path,
    names: Vec<&'a str>,
    seconds: f64,
}

impl Batch<'_> {
    fn is_slow(&self) -> bool {
        self.seconds > BATCH_SECONDS
    }

    /// Time after which it hangs. Generous, for a machine that is busy with other things meanwhile.
    fn limit(&self) -> Duration {
        Duration::from_secs_f64(5.0 + (10.0 * self.seconds).min(60.0 + 3.0 * self.seconds))
    }
}

/// Puts tests of one program together, and the batches in the order in which they should run. All
/// slow tests of a program are one batch: they often share what makes them slow, and whoever comes
/// to them has mostly come to stay.
fn batches<'a>(tests: &[&'a Test]) -> Vec<Batch<'a>> {
    let mut tests = tests.to_vec();
    tests.sort_by(|a, b| a.program.cmp(&b.program).then(a.seconds.total_cmp(&b.seconds)));
    let mut batches: Vec<Batch<'_>> = Vec::new();
    for test in tests {
        let fits = |batch: &Batch<'_>| {
            let quick =
                batch.names.len() < MOST_IN_BATCH && batch.seconds + test.seconds <= BATCH_SECONDS;
            batch.program == test.program && (quick || batch.is_slow())
        };
        match batches.last_mut() {
            Some(batch) if fits(batch) => {
                batch.names.push(&test.name);
                batch.seconds += test.seconds;
            }
            _ => batches.push(Batch {
                program: &test.program,
                folder: &test.folder,
                names: vec![&test.name],
                seconds: test.seconds,
            }),
        }
    }
    batches.sort_by(|a, b| a.seconds.total_cmp(&b.seconds));
    batches
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mutants::reach::Steadiness;

    fn test(program: &str, name: &str, seconds: f64) -> Test {
        Test {
            program: program.into(),
            folder: "f".into(),
            name: name.into(),
            seconds,
            reached: Default::default(),
            steadiness: Steadiness::Steady,
        }
    }

    #[test]
    fn quick_tests_of_a_program_run_together_and_slow_ones_last() {
        let tests = [
            test("a", "slow", 3.0),
            test("a", "slower", 4.0),
            test("b", "one", 0.15),
            test("a", "quick", 0.1),
            test("a", "too", 0.1),
        ];
        let batches = batches(&tests.iter().collect::<Vec<_>>());
        let names: Vec<&[&str]> = batches.iter().map(|batch| &*batch.names).collect();
        assert_eq!(names, [&["one"][..], &["quick", "too"], &["slow", "slower"]]);
    }
}
