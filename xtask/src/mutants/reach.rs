//! Which test reaches which mutants: every test runs once by itself, with no mutant active.
//!
//! What was found is kept in the scratch folder for as long as the test programs and the seed stay
//! the same.

#![forbid(unsafe_code)]

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant, UNIX_EPOCH};

use anyhow::{Context, Result, bail};
use indicatif::ProgressBar;
use serde::{Deserialize, Serialize};

use super::run::Setting;
use faultless_tools::child::Ending;
use faultless_tools::pool;

/// A test alone may take this long with no mutant active.
const MOST_ALONE: Duration = Duration::from_secs(300);
/// Ids that fit in a record: `MOST` in `switch.rs`.
const RECORD_BYTES: usize = 1 << 16;
/// A test that fails with no mutant is tried so often, before the run is given up.
const ATTEMPTS: usize = 3;

/// A test and what it reaches.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Test {
    pub(super) program: PathBuf,
    /// Where it runs.
    pub(super) folder: PathBuf,
    pub(super) name: String,
    pub(super) seconds: f64,
    pub(super) reached: BTreeSet<u32>,
    pub(super) steadiness: Steadiness,
}

/// Whether a test that passes has always passed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Steadiness {
    Steady,
    /// It failed with no mutant: its failures say nothing.
    Shaky,
}

/// Reach data with what it was made from.
#[derive(Serialize, Deserialize)]
struct Kept {
    key: Vec<String>,
    tests: Vec<Test>,
}

/// What all the tests of these programs reach. `jobs` of them run at a time.
pub(super) fn reach(
    programs: &[(PathBuf, PathBuf)],
    setting: Setting<'_>,
    bar: &ProgressBar,
) -> Result<Vec<Test>> {
    let kept = setting.folders.scratch.with_file_name("reach.json");
    let key = key(programs, setting.seed)?;
    if let Ok(text) = std::fs::read(&kept)
        && let Ok(data) = serde_json::from_slice::<Kept>(&text)
        && data.key == key
    {
        return Ok(data.tests);
    }
    let tests = list(programs)?;
    bar.set_length(tests.len() as u64);
    let tests = pool::each(&tests, setting.jobs, |worker, test| {
        let file = setting.folders.scratch.join(format!("reach-{worker}"));
        let test = record(test.clone(), &file, setting)?;
        bar.inc(1);
        Ok(test)
    })?;
    let data = Kept { key, tests };
    std::fs::write(&kept, serde_json::to_vec(&data)?)?;
    Ok(data.tests)
}

/// Names the programs as they are now.
fn key(programs: &[(PathBuf, PathBuf)], seed: u64) -> Result<Vec<String>> {
    let mut key = vec![seed.to_string()];
    for (program, _) in programs {
        let data = std::fs::metadata(program)?;
        let changed = data.modified()?.duration_since(UNIX_EPOCH)?.as_nanos();
        key.push(format!("{} {} {changed}", program.display(), data.len()));
    }
    // Cargo names the programs in the order in which they come to be ready.
    key[1..].sort();
    Ok(key)
}

fn list(programs: &[(PathBuf, PathBuf)]) -> Result<Vec<Test>> {
    let mut tests = Vec::new();
    for (program, folder) in programs {
        let output = Command::new(program)
            .args(["--list", "--format", "terse"])
            .current_dir(folder)
            .stdin(Stdio::null())
            .output()
            .with_context(|| format!("cannot run {}", program.display()))?;
        for line in String::from_utf8(output.stdout)?.lines() {
            let Some(name) = line.strip_suffix(": test") else { continue };
            tests.push(Test {
                program: program.clone(),
                folder: folder.clone(),
                name: name.to_owned(),
                seconds: 0.0,
                reached: BTreeSet::new(),
                steadiness: Steadiness::Steady,
            });
        }
    }
    Ok(tests)
}

fn record(mut test: Test, file: &Path, setting: Setting<'_>) -> Result<Test> {
    std::fs::write(file, [0; RECORD_BYTES])
        .with_context(|| format!("cannot write {}", file.display()))?;
    let record = ("FAULTLESS_REACH", &*file.to_string_lossy());
    for _ in 0..ATTEMPTS {
        let begin = Instant::now();
        let program = (&*test.program, &*test.folder);
        let ending = setting.test(program, &[&test.name], record, MOST_ALONE)?;
        test.seconds = begin.elapsed().as_secs_f64();
        if ending == Ending::Passed {
            return Ok(Test { reached: read(file)?, ..test });
        }
        test.steadiness = Steadiness::Shaky;
    }
    bail!("with no mutant this fails: {} --exact {}", test.program.display(), test.name)
}

/// The ids whose byte is set.
fn read(file: &Path) -> Result<BTreeSet<u32>> {
    let bytes = std::fs::read(file)?.into_iter().zip(0_u32..);
    Ok(bytes.filter(|(byte, _)| *byte == 1).map(|(_, id)| id).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kept_data_is_known_again_whatever_the_order_and_not_for_another_seed() {
        let folder = std::env::temp_dir();
        let base = format!("xtask-reach-{}", std::process::id());
        let programs =
            ["a", "b"].map(|name| (folder.join(format!("{base}-{name}")), folder.clone()));
        for (program, _) in &programs {
            std::fs::write(program, []).expect("a file");
        }
        let mut turned = programs.clone();
        turned.reverse();
        let first = key(&programs, 1).expect("the files are there");
        assert_eq!(first, key(&turned, 1).expect("the files are there"));
        assert_ne!(first, key(&programs, 2).expect("the files are there"));
        std::fs::write(&programs[0].0, [1]).expect("another content");
        assert_ne!(first, key(&programs, 1).expect("the files are there"));
        for (program, _) in &programs {
            std::fs::remove_file(program).expect("cleaned up");
        }
    }
}
