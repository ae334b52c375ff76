//! All checkers that there are on this machine.

#![forbid(unsafe_code)]

use std::sync::{Arc, LazyLock};

use anyhow::{Context, Result};
use faultless_fuzzing::TARGETS;

use super::checker::{Bug, Checker, Kind};
use super::{fuzzing, models, oracle, programs, seeded};
use crate::fuzz::{self, Engine};
use faultless_tools::process::SELF;

/// Which checkers are wanted, and how.
#[derive(Clone, Copy, Debug)]
pub(super) struct Wanted<'a> {
    /// Parts of their names; all if there are none.
    pub(super) only: &'a [String],
    pub(super) plant: Option<&'a Bug>,
    /// Whether the fuzz targets do without libFuzzer.
    pub(super) stable: bool,
}

impl Wanted<'_> {
    fn wants(&self, name: &str) -> bool {
        self.only.is_empty() || self.only.iter().any(|part| name.contains(part.as_str()))
    }

    /// Whether a model or a test may be wanted. Their names are known when they are built.
    fn wants_programs(&self) -> bool {
        let others = |part: &String| part.starts_with("fuzz ") || part == "oracle";
        self.only.is_empty() || !self.only.iter().all(others)
    }
}

/// The wanted checkers; what they need is built.
pub(super) fn checkers(wanted: &Wanted<'_>) -> Result<Vec<Box<dyn Checker>>> {
    // A build may replace this program's file.
    LazyLock::force(&SELF);
    let mut kinds: Vec<Vec<Box<dyn Checker>>> = vec![fuzzing(wanted)?];
    if wanted.wants("oracle") {
        kinds.push(vec![Box::new(oracle::Oracle::new(Bug::of(wanted.plant, Kind::Oracle)))]);
    }
    if wanted.wants_programs() {
        let built = programs::build()?;
        let model = built.models.context("there is no binary of faultless-model")?;
        kinds.push(boxed(models::all(&model, Bug::of(wanted.plant, Kind::Model))?));
        kinds.push(boxed(seeded::all(&built.tests)?));
    }
    let mut checkers = in_turns(kinds);
    checkers.retain(|checker| wanted.wants(checker.name()));
    Ok(checkers)
}

fn boxed<C: Checker + 'static>(checkers: Vec<C>) -> Vec<Box<dyn Checker>> {
    checkers.into_iter().map(|checker| Box::new(checker) as Box<dyn Checker>).collect()
}

fn fuzzing(wanted: &Wanted<'_>) -> Result<Vec<Box<dyn Checker>>> {
    let bug = Bug::of(wanted.plant, Kind::Fuzz);
    let targets = TARGETS.iter().filter(|target| wanted.wants(&format!("fuzz {}", target.name)));
    let targets: Vec<_> = targets.collect();
    let guided = match (targets.is_empty() || wanted.stable, fuzz::missing()) {
        (true, _) => false,
        (false, None) => true,
        (false, Some(missing)) => {
            println!("{missing}");
            println!("without it, the fuzz targets play inputs that no coverage guides");
            false
        }
    };
    if !guided {
        let new = |target| Ok(Box::new(fuzzing::Unguided::new(target, bug)?) as Box<dyn Checker>);
        return targets.into_iter().map(new).collect();
    }
    let engine = Arc::new(Engine::build()?);
    let new = |target| {
        let checker = fuzzing::Guided::new(target, Arc::clone(&engine), bug)?;
        Ok(Box::new(checker) as Box<dyn Checker>)
    };
    targets.into_iter().map(new).collect()
}

/// One of each kind, again and again, so that a short run has some of each.
fn in_turns<T>(kinds: Vec<Vec<T>>) -> Vec<T> {
    let mut kinds: Vec<_> = kinds.into_iter().map(Vec::into_iter).collect();
    let mut all = Vec::new();
    loop {
        let before = all.len();
        all.extend(kinds.iter_mut().filter_map(Iterator::next));
        if all.len() == before {
            return all;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_take_turns() {
        assert_eq!(in_turns(vec![vec![1, 2, 3], vec![], vec![4]]), [1, 4, 2, 3]);
    }

    #[test]
    fn what_is_not_wanted_is_not_built() {
        let wanted = |only: &[&str]| {
            let only: Vec<String> = only.iter().map(|part| (*part).to_owned()).collect();
            let wanted = Wanted { only: &only, plant: None, stable: true };
            checkers(&wanted)
                .expect("nothing to build")
                .iter()
                .map(|c| c.name().to_owned())
                .collect()
        };
        let names: Vec<String> = wanted(&["oracle", "fuzz index"]);
        assert_eq!(names, ["fuzz index", "oracle"]);
    }
}
