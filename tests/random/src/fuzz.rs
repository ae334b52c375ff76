//! `cargo xtask fuzz`: the fuzz targets under libFuzzer, with a live summary; `--planted` shows
//! that each finds its bugs.
//!
//! Programs are built by cargo-fuzz on nightly from `fuzz/`; their bodies are in
//! `faultless_fuzzing`. They begin from the committed seeds (`fuzz/seeds`) and from the corpus
//! of earlier runs, which lies under `target/fuzz`. The seeds are replayed on stable Rust by
//! `cargo test`, without any of this; `--replay` plays one input so.

#![forbid(unsafe_code)]

use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use faultless_fuzzing::{Plant, TARGETS, Target};
use indicatif::MultiProgress;

use self::input::from_hex;
use self::places::Places;
use self::planted::Begin;
use self::session::{Ending, Report, Search, Until};
use faultless_tools::pool;

mod engine;
mod fixed;
mod input;
mod places;
mod planted;
mod progress;
mod search;
mod session;

pub(crate) use self::engine::Engine;
pub(crate) use self::input::replay;

pub(crate) fn missing() -> Option<&'static str> {
    places::missing()
}

/// What to fuzz.
#[derive(clap::Args, Debug)]
pub struct Options {
    /// Only these targets (see --list).
    #[arg(value_name = "TARGET")]
    targets: Vec<String>,
    /// Seconds for each target.
    #[arg(long, value_name = "S", default_value_t = 60)]
    time: u64,
    /// Seed of the fuzzer's generator. Without it the clock decides.
    #[arg(long, value_name = "N", conflicts_with = "planted")]
    seed: Option<u32>,
    /// A fixed number of inputs from a fixed seed, in place of a time: always the same inputs.
    #[arg(long, conflicts_with_all = ["planted", "time", "seed", "replay"])]
    fixed: bool,
    /// Targets that are fuzzed at the same time.
    #[arg(long, value_name = "N", default_value_t = 1, conflicts_with = "planted")]
    jobs: usize,
    /// Plant each bug in turn, and see that it is found within a minute, by fuzzing: no seed that
    /// shows it takes part.
    #[arg(long, conflicts_with = "time")]
    planted: bool,
    /// With --planted: begin without any seed.
    #[arg(long, requires = "planted")]
    no_seeds: bool,
    /// Play one input of one target, without a fuzzer (FAULTLESS_SHOW=1 prints its steps,
    /// FAULTLESS_PLANT plants a bug).
    #[arg(long, value_name = "HEX", conflicts_with_all = ["planted", "time", "jobs"])]
    replay: Option<String>,
    /// Play so many inputs made by chance, without a fuzzer: for machines without a nightly
    /// toolchain.
    #[arg(long, value_name = "N", conflicts_with_all = ["planted", "time", "fixed", "replay"])]
    search: Option<u64>,
    /// Build with this sanitizer, for example address. (Much slower.)
    #[arg(long, value_name = "NAME", default_value = "none")]
    sanitizer: String,
    /// List the targets and their planted bugs, and stop.
    #[arg(long)]
    list: bool,
    /// Say what this machine lacks for libFuzzer and how to get it, and stop.
    #[arg(long)]
    missing: bool,
}

/// `cargo xtask fuzz`.
///
/// # Errors
/// The programs cannot be built or run, or there is no such target.
pub fn run(options: &Options) -> Result<ExitCode> {
    let targets = choose(&options.targets)?;
    if options.list {
        list(&targets);
        return Ok(ExitCode::SUCCESS);
    }
    if options.missing {
        missing().into_iter().for_each(|line| println!("missing: {line}"));
        return Ok(ExitCode::SUCCESS);
    }
    if let Some(input) = &options.replay {
        let [target] = options.targets.as_slice() else { bail!("--replay needs one target") };
        faultless_fuzzing::play(target, &from_hex(input)?);
        println!("{target}: nothing is wrong with this input");
        return Ok(ExitCode::SUCCESS);
    }
    if let Some(runs) = options.search {
        return search::search(&targets, runs, options.seed);
    }
    if let Some(missing) = missing() {
        bail!("{missing}");
    }
    let places = Places::find()?;
    places.build(&options.sanitizer)?;
    let begin = if options.no_seeds { Begin::Nothing } else { Begin::Seeds };
    let failures = match options.planted {
        true => planted::find(&places, &targets, begin)?,
        false => fuzz(&places, &targets, options)?,
    };
    Ok(if failures == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn choose(names: &[String]) -> Result<Vec<&'static Target>> {
    if names.is_empty() {
        return Ok(TARGETS.iter().collect());
    }
    let find = |name: &String| {
        let known = || TARGETS.iter().map(|target| target.name).collect::<Vec<_>>().join(", ");
        Target::find(name)
            .with_context(|| format!("there is no target {name}; there are {}", known()))
    };
    names.iter().map(find).collect()
}

fn list(targets: &[&Target]) {
    for target in targets {
        println!("{:<14} {}", target.name, target.about);
        for plant in target.plants() {
            println!("{:<14} planted: {}", "", plant.name());
        }
    }
}

/// Fuzzes each target, `jobs` of them at a time; how many found something.
fn fuzz(places: &Places, targets: &[&'static Target], options: &Options) -> Result<usize> {
    let screen = MultiProgress::new();
    let reports = pool::each(targets, options.jobs, |_, target| {
        let session = places.session(target, &screen);
        let report = match options.fixed {
            true => session.run(Search {
                begin: session::Begin::Listed(&fixed::list(places, target)?),
                until: Until::Runs(fixed::runs(target)?),
                seed: Some(fixed::SEED),
                plant: Plant::None,
            })?,
            false => session.run(Search {
                begin: session::Begin::Folders(&[&places.corpus(target)?, &places.seeds(target)]),
                until: Until::Time(Duration::from_secs(options.time)),
                seed: options.seed,
                plant: Plant::None,
            })?,
        };
        screen.suspend(|| tell(target, &report));
        Ok((*target, report))
    })?;
    let found = |report: &Report| matches!(report.ending, Ending::Crashed { .. });
    let failures = reports.iter().filter(|(_, report)| found(report)).count();
    let seed = if options.fixed { format!("; seed {}", fixed::SEED) } else { String::new() };
    println!("Summary: {}{seed}", summary(&reports, failures));
    Ok(failures)
}

fn tell(target: &Target, report: &Report) {
    println!("{:<14} {}", target.name, report.line());
    let Ending::Crashed { what, input } = &report.ending else { return };
    println!("    {what}");
    if let Some(input) = input {
        println!("    again, step by step, on stable Rust, by this input:");
        println!("    FAULTLESS_SHOW=1 {}", replay(target, input, Plant::None));
    }
}

fn summary(reports: &[(&Target, Report)], failures: usize) -> String {
    let inputs: u64 = reports.iter().map(|(_, report)| report.runs()).sum();
    let speed =
        |(target, report): &(&Target, Report)| format!("{} {:.0}", target.name, report.speed());
    let speeds: Vec<String> = reports.iter().map(speed).collect();
    format!(
        "{} targets, {failures} with findings; {inputs} inputs; in a second of one core: {}",
        reports.len(),
        speeds.join(", ")
    )
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use faultless_tools::workspace;

    #[test]
    fn an_unknown_target_is_an_error_that_names_the_known_ones() {
        let error = choose(&["nonsense".into()]).expect_err("refused").to_string();
        assert!(error.contains("nonsense") && error.contains("partial_copy"), "{error}");
        assert_eq!(choose(&[]).expect("all").len(), TARGETS.len());
    }

    #[test]
    fn every_target_has_a_program_and_a_planted_bug() {
        let manifest = fs::read_to_string(workspace::root().join("fuzz/Cargo.toml")).expect("one");
        for target in TARGETS {
            assert!(manifest.contains(&format!("name = \"{}\"", target.name)), "{}", target.name);
            assert!(target.plants().next().is_some(), "{} has no planted bug", target.name);
        }
    }
}
