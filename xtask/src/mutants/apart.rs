//! Mutants that no switch can choose, because what they change must be known at compile time. Each is built by itself.

#![forbid(unsafe_code)]

use std::collections::BTreeMap;
use std::time::Instant;

use anyhow::Result;

use super::build::{self, Loom};
use super::list::Mutant;
use super::reach::Test;
use super::run::{Fate, Judged, Kills, Setting, judge_one};
use super::{LIBRARIES, TESTS, UNIT_TESTS, is_wanted};

/// Judges these mutants one at a time, with all tests. `tests` tells how long each takes.
pub(super) fn judge(
    wanted: &[&Mutant],
    all: &[Mutant],
    loom: &mut Loom,
    tests: &[Test],
    setting: Setting<'_>,
    say: &dyn Fn(&str),
) -> Result<BTreeMap<u32, Judged>> {
    let mut judged = BTreeMap::new();
    for mutant in wanted {
        say(&mutant.title());
        let begin = Instant::now();
        loom.weave(all, Some(mutant), setting.folders)?;
        let fate = fate(tests, setting)?;
        let seconds = begin.elapsed().as_secs_f64();
        judged.insert(mutant.id, Judged { fate, seconds });
        if fate == Fate::Survived {
            say(&format!("{fate:?}: {}", mutant.title()));
        }
    }
    loom.weave(all, None, setting.folders)?;
    Ok(judged)
}

fn fate(tests: &[Test], setting: Setting<'_>) -> Result<Fate> {
    if !build::cargo(setting.folders, LIBRARIES)?.success {
        return Ok(Fate::Unviable);
    }
    // Most constants are missed at once, and few programs are quicker built than all.
    for programs in [UNIT_TESTS, TESTS] {
        let made = build::cargo(setting.folders, programs)?;
        if !made.success {
            // The libraries compile and a test does not: an assertion at compile time.
            return Ok(Fate::Killed);
        }
        let made: Vec<_> = made.programs.into_iter().filter(|(path, _)| is_wanted(path)).collect();
        // The same programs under the same names: only what is in them differs.
        let tests: Vec<&Test> = tests
            .iter()
            .filter(|test| made.iter().any(|(program, _)| *program == test.program))
            .collect();
        match judge_one(0, "", &tests, &Kills::default(), setting)?.fate {
            Fate::Survived | Fate::NotReached => {}
            fate => return Ok(fate),
        }
    }
    Ok(Fate::Survived)
}
