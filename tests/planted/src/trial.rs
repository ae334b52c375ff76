//! The tests of a planted bug: they pass without it, and fail with it.

#![forbid(unsafe_code)]

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use crate::copy::Folders;
use crate::list::Plant;
use faultless_tools::child::{self, Ending};
use faultless_tools::process::capture;

/// Tests without a bug may take this long.
const MOST_SOUND: Duration = Duration::from_secs(600);
/// Seconds of a wait that the host's watchdog takes for a deadlock: a bug that hangs is found
/// sooner.
const WATCHDOG: (&str, &str) = ("FAULTLESS_WATCHDOG", "10");
/// Says which bug is active.
const SWITCH: &str = "FAULTLESS_SWITCH";
/// The seed of every run.
const SEED: (&str, &str) = ("FAULTLESS_SEED", "1");

/// The arguments of a `cargo test`, as they stand in the list.
struct Tail<'a> {
    package: &'a str,
    /// A test program; `None` is the library.
    test: Option<&'a str>,
    filters: Vec<&'a str>,
}

impl<'a> Tail<'a> {
    fn parse(text: &'a str) -> Result<Self> {
        let mut words = text.split_whitespace().peekable();
        let (mut package, mut test, mut lib) = (None, None, false);
        while let Some(option) = words.next_if(|word| word.starts_with('-')) {
            match option {
                "-p" => package = words.next(),
                "--test" => test = words.next(),
                "--lib" => lib = true,
                other => bail!("{text:?}: {other} is not understood"),
            }
        }
        let package = package.with_context(|| format!("{text:?} names no package"))?;
        if lib == test.is_some() {
            bail!("{text:?}: either --lib or --test NAME");
        }
        Ok(Self { package, test, filters: words.collect() })
    }
}

/// The arguments with which cargo builds the tests of all these bugs.
pub(super) fn build_arguments(plants: &[Plant]) -> Result<Vec<&str>> {
    let mut parts = BTreeSet::new();
    for tail in plants.iter().flat_map(|plant| &plant.tests) {
        let tail = Tail::parse(tail)?;
        parts.insert(["-p", tail.package]);
        match tail.test {
            Some(test) => parts.insert(["--test", test]),
            None => parts.insert(["--lib", ""]),
        };
    }
    let parts = parts.into_iter().flatten().filter(|part| !part.is_empty());
    Ok(["test", "--no-run"].into_iter().chain(parts).collect())
}

/// The tests that a tail means.
#[derive(Clone, Debug)]
pub(super) struct Program {
    pub(super) tail: String,
    program: PathBuf,
    folder: PathBuf,
    tests: Vec<String>,
    /// How long they take without a bug.
    took: Duration,
}

impl Program {
    /// Among the programs that were built, with the folders that they run in.
    pub(super) fn find(
        tail: &str,
        built: &[(PathBuf, PathBuf)],
        folders: &Folders,
        packages: &BTreeMap<String, String>,
    ) -> Result<Self> {
        let Tail { package, test, filters } = Tail::parse(tail)?;
        let folder = packages.get(package).with_context(|| format!("no package {package}"))?;
        let folder = folders.workspace.join(folder);
        let name = test.unwrap_or(package).replace('-', "_");
        let is_it = |(program, at): &&(PathBuf, PathBuf)| {
            let file = program.file_stem().unwrap_or_default().to_string_lossy().into_owned();
            let stem = file.rsplit_once('-').map_or("", |(stem, _)| stem).replace('-', "_");
            at.components().eq(folder.components()) && stem == name
        };
        let (program, folder) = built.iter().find(is_it).with_context(|| format!("no {tail}"))?;
        let mut list = Command::new(program);
        let listed = capture(list.args(["--list", "--format", "terse"]))?.output;
        let tests = listed.lines().filter_map(|line| line.strip_suffix(": test"));
        let wanted =
            |test: &&str| filters.is_empty() || filters.iter().any(|filter| test.contains(filter));
        let tests: Vec<String> = tests.filter(wanted).map(str::to_owned).collect();
        if tests.is_empty() {
            bail!("no test is meant by {tail}");
        }
        let (program, folder) = (program.clone(), folder.clone());
        Ok(Self { tail: tail.to_owned(), program, folder, tests, took: Duration::ZERO })
    }

    /// Sees that the tests pass without a bug, and takes their time.
    pub(super) fn passes(mut self, log: &Path) -> Result<Self> {
        let begin = Instant::now();
        let played = child::play(&mut self.command(0, &self.tests), log, MOST_SOUND)?;
        if played.ending != Ending::Passed {
            bail!("without a planted bug this fails: {}\n{}", self.tail, played.output);
        }
        self.took = begin.elapsed();
        Ok(self)
    }

    /// What the tests say of a bug: they run one by one, until the first that does not pass.
    fn finds(&self, id: u32, log: &Path) -> Result<Found> {
        // Generous, for a machine that is busy with other things meanwhile.
        let limit = Duration::from_secs(30) + self.took * 10;
        // The time without the bug was that of all tests, on a machine that may have been busy.
        let cpu = Duration::from_secs(3) + self.took * 10;
        for test in &self.tests {
            let mut command = self.command(id, std::slice::from_ref(test));
            child::limit_cpu(&mut command, cpu);
            let played = child::play(&mut command, log, limit)?;
            match played.ending {
                Ending::Passed => {}
                Ending::Failed => return Ok(Found::Failed(played.what())),
                Ending::TimedOut => return Ok(Found::Hung),
            }
        }
        Ok(Found::Not)
    }

    /// Runs these tests with this bug; 0 is none.
    fn command(&self, id: u32, tests: &[String]) -> Command {
        let mut command = Command::new(&self.program);
        command
            .arg("--exact")
            .args(tests)
            .arg("--test-threads=1")
            .current_dir(&self.folder)
            .env("CARGO_MANIFEST_DIR", &self.folder)
            .envs([(SWITCH, &*id.to_string()), WATCHDOG, SEED]);
        command
    }
}

/// What the tests of a bug said, one for each tail.
#[derive(Debug)]
pub(super) struct Verdict(Vec<(String, Found)>);

/// What the tests of a tail said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Found {
    /// A test failed, with these words.
    Failed(String),
    /// It was ended, because it did not end.
    Hung,
    /// All passed.
    Not,
}

/// Runs all tests of a bug with the bug. `sound` are the programs by tail.
pub(super) fn try_plant(
    plant: &Plant,
    id: u32,
    sound: &BTreeMap<String, Program>,
    log: &Path,
) -> Result<Verdict> {
    let mut verdict = Vec::new();
    for tail in &plant.tests {
        let program = sound.get(tail).with_context(|| format!("no {tail}"))?;
        verdict.push((tail.clone(), program.finds(id, log)?));
    }
    Ok(Verdict(verdict))
}

impl Verdict {
    /// Whether every tail found it.
    pub(super) fn is_found(&self) -> bool {
        self.0.iter().all(|(_, found)| *found != Found::Not)
    }

    pub(super) fn short(&self) -> &'static str {
        if self.is_found() { "found" } else { "NOT FOUND" }
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (nth, (tail, found)) in self.0.iter().enumerate() {
            if nth > 0 {
                writeln!(f)?;
            }
            match found {
                Found::Failed(what) if what.starts_with("watchdog") => {
                    write!(f, "{tail}: a hang, which the watchdog ended")?;
                }
                Found::Failed(what) => {
                    write!(f, "{tail}: {}", what.chars().take(90).collect::<String>())?;
                }
                Found::Hung => write!(f, "{tail}: a hang, which was ended")?,
                Found::Not => write!(f, "NOT FOUND by {tail}")?,
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tail_names_a_package_a_program_and_filters() {
        let tail = Tail::parse("-p faultless-tests --test sync f5_ p1_").expect("a tail");
        assert_eq!((tail.package, tail.test), ("faultless-tests", Some("sync")));
        assert_eq!(tail.filters, ["f5_", "p1_"]);
        assert!(Tail::parse("-p faultless-page --lib").expect("a tail").filters.is_empty());
        for bad in ["--lib x", "-p faultless-tests x", "-p a --lib --test b", "-p a --bins"] {
            assert!(Tail::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_hang_is_told_as_one() {
        let verdict = |found| Verdict(vec![("-p a --lib x".into(), found)]);
        let fired = verdict(Found::Failed("watchdog: waited 10s for P".into()));
        assert_eq!(fired.to_string(), "-p a --lib x: a hang, which the watchdog ended");
        assert!(fired.is_found() && verdict(Found::Hung).is_found());
        assert!(!verdict(Found::Not).is_found());
        assert_eq!(verdict(Found::Not).to_string(), "NOT FOUND by -p a --lib x");
    }
}
