//! Mutants that no switch can choose, because what they change must be known at compile time. Each
//! is built by itself.

#![forbid(unsafe_code)]

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use anyhow::{Result, bail};

use super::build::{self, Loom};
use super::known::Known;
use super::list::Mutant;
use super::reach::Test;
use super::run::{Fate, Judged, Kills, MUTANT, NONE, Setting, judge_one};
use super::{LIBRARIES, TESTS};
use faultless_tools::child::Ending;

/// All tests of a test program of the changed package, one after the other, may take this long.
const OWN_LIMIT: Duration = Duration::from_secs(300);

/// Judges these mutants one at a time, each with all tests unless it is listed. `tests` tells how
/// long each takes.
pub(super) fn judge(
    wanted: &[&Mutant],
    all: &[Mutant],
    known: &Known,
    loom: &mut Loom,
    tests: &[Test],
    setting: Setting<'_>,
    say: &dyn Fn(&str),
) -> Result<BTreeMap<u32, Judged>> {
    let mut judged = BTreeMap::new();
    let packages: BTreeSet<&str> = wanted.iter().map(|mutant| mutant.package.as_str()).collect();
    loom.weave(all, None, setting.folders)?;
    for package in packages {
        if own_tests(package, setting)? != Some(Fate::Survived) {
            bail!("with no mutant, a test of {package} fails");
        }
    }
    for mutant in wanted {
        say(&mutant.title());
        let begin = Instant::now();
        loom.weave(all, Some(mutant), setting.folders)?;
        let fate = fate(&mutant.package, tests, setting.with_patience_for(mutant, known))?;
        let seconds = begin.elapsed().as_secs_f64();
        judged.insert(mutant.id, Judged { fate, seconds });
        if fate == Fate::Survived {
            say(&format!("{fate:?}: {}", mutant.title()));
        }
    }
    loom.weave(all, None, setting.folders)?;
    Ok(judged)
}

fn fate(package: &str, tests: &[Test], setting: Setting<'_>) -> Result<Fate> {
    if !build::cargo(setting.folders, LIBRARIES)?.success {
        return Ok(Fate::Unviable);
    }
    // Most constants are missed at once, and a few programs are quicker built than all.
    match own_tests(package, setting)? {
        Some(Fate::Survived) => {}
        Some(fate) => return Ok(fate),
        // The libraries compile and a test does not: an assertion at compile time.
        None => return Ok(Fate::Killed),
    }
    let made = build::cargo(setting.folders, TESTS)?;
    if !made.success {
        return Ok(Fate::Killed);
    }
    // The same programs under the same names: only what is in them differs.
    let tests: Vec<&Test> = tests
        .iter()
        .filter(|test| made.programs.iter().any(|(program, _)| *program == test.program))
        .collect();
    Ok(judge_one(0, "", &tests, &Kills::default(), setting)?.fate)
}

/// What the package's own tests say; `None` if they do not compile.
fn own_tests(package: &str, setting: Setting<'_>) -> Result<Option<Fate>> {
    let made =
        build::cargo(setting.folders, &["test", "--no-run", "--lib", "--tests", "-p", package])?;
    if !made.success {
        return Ok(None);
    }
    for (program, folder) in &made.programs {
        match setting.test((program, folder), &[], (MUTANT, NONE), OWN_LIMIT)? {
            Ending::Passed => {}
            Ending::Failed => return Ok(Some(Fate::Killed)),
            Ending::TimedOut => return Ok(Some(Fate::TimedOut)),
        }
    }
    Ok(Some(Fate::Survived))
}
