//! The run of `cargo xtask test`: the same inputs on every machine and every day.
//!
//! libFuzzer makes the same inputs from the same seed, the same list of first inputs and the same
//! coverage. The bodies are deterministic, so a finding is found again by running again.

#![forbid(unsafe_code)]

use std::fs;
use std::path::PathBuf;

use anyhow::{Context, Result};
use faultless_fuzzing::Target;

use super::places::Places;

/// Seed of libFuzzer's generator.
pub(super) const SEED: u32 = 1;

/// Inputs for each target: about a minute for all, two at a time on two cores. The
/// slow targets, which run whole system calls, get most of the time.
const RUNS: &[(&str, u64)] = &[
    ("partial_copy", 180_000),
    ("tail", 160_000),
    ("ops", 28_000),
    ("concurrency", 32_000),
    ("index", 100_000),
    ("extable", 160_000),
];

/// Inputs for a target.
pub(super) fn runs(target: &Target) -> Result<u64> {
    let entry = RUNS.iter().find(|(name, _)| *name == target.name);
    entry.map(|(_, runs)| *runs).with_context(|| format!("no number of inputs for {}", target.name))
}

/// Writes the list of the committed seeds of a target, sorted by name.
pub(super) fn list(places: &Places, target: &Target) -> Result<PathBuf> {
    let entries = fs::read_dir(places.seeds(target))?;
    let mut files =
        entries.map(|entry| Ok(entry?.path().display().to_string())).collect::<Result<Vec<_>>>()?;
    files.sort();
    let list = places.scratch(&format!("seeds-{}", target.name))?;
    fs::write(&list, files.join(","))?;
    Ok(list)
}

#[cfg(test)]
mod tests {
    use faultless_fuzzing::TARGETS;

    use super::*;

    #[test]
    fn every_target_has_a_number_of_inputs() {
        for target in TARGETS {
            assert!(runs(target).is_ok_and(|runs| runs > 1_000), "{}", target.name);
        }
        assert_eq!(RUNS.len(), TARGETS.len(), "a number for a target that is gone");
    }
}
