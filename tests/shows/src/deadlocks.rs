//! `cargo xtask deadlocks`: the staged deadlocks, played before the user's eyes.
//!
//! Every deadlock of `docs/semantics.md` is played by every write path there is, with real page
//! faults and real threads; then a table says which hang, each cycle is told in words, and, if
//! asked for, drawn (`svg`). The exit code is 1 if a scenario ends in another way than it should.
//! The scenarios are the host's ([`deadlocks`]).

#![forbid(unsafe_code)]

use std::fs;
use std::panic::PanicHookInfo;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, Result};
use faultless_controls::deadlocks::{self, Algorithm, Ending, Scenario, Trial};

mod report;
mod svg;

/// What to do with what was found.
#[derive(clap::Args, Debug)]
pub struct Options {
    /// Draw the lock graph of each hang as an SVG file in DIR, which is made if need be.
    #[arg(long, value_name = "DIR")]
    svg: Option<PathBuf>,
}

/// `cargo xtask deadlocks`.
///
/// # Errors
/// A drawing cannot be made or written.
pub fn run(options: &Options) -> Result<ExitCode> {
    let (trials, limit) = (play(), deadlocks::LIMIT.as_secs());
    println!("Scenes on the real MMU; a thread that waits for a lock for {limit} s hangs.");
    println!("{}", report::table(&trials));
    for scenario in Scenario::ALL {
        println!("{}", report::story(scenario, &trials));
    }
    if let Some(folder) = &options.svg {
        draw(folder, &trials)?;
    }
    let wrong: Vec<&Trial> = trials.iter().filter(|trial| !is_right(trial)).collect();
    println!("{}", report::summary(&trials, &wrong));
    Ok(if wrong.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Plays everything, without the noise of the threads that are taken down.
fn play() -> Vec<Trial> {
    let before = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic: &PanicHookInfo<'_>| {
        let story = panic.payload_as_str().unwrap_or_default();
        if !story.starts_with("watchdog") {
            before(panic);
        }
    }));
    let trials = deadlocks::play_all(deadlocks::LIMIT);
    drop(std::panic::take_hook());
    trials
}

/// Whether the trial ended as it should, seen by both detectors or by neither.
fn is_right(trial: &Trial) -> bool {
    let seen = match trial.ending {
        Ending::Hangs => trial.cycle().is_some() && !trial.fires.is_empty(),
        Ending::Finishes => trial.reports.is_empty() && trial.fires.is_empty(),
    };
    seen && trial.ending == trial.algorithm.expected()
}

fn draw(folder: &Path, trials: &[Trial]) -> Result<()> {
    fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
    for scenario in Scenario::ALL {
        for algorithm in Algorithm::ALL {
            let cycle = report::find(trials, scenario, algorithm).and_then(Trial::cycle);
            let Some(cycle) = cycle else { continue };
            let path = folder.join(svg::file_name(scenario, algorithm));
            let drawing = svg::draw(&cycle.dot)?;
            fs::write(&path, drawing)
                .with_context(|| format!("cannot write {}", path.display()))?;
            println!("drawn: {}", path.display());
        }
    }
    println!();
    Ok(())
}

#[cfg(test)]
mod tests {
    use faultless_controls::deadlocks::Destination;

    use super::*;

    fn trial(algorithm: Algorithm, ending: Ending) -> Trial {
        Trial {
            scenario: Scenario::Dl1,
            algorithm,
            destination: Destination::Uptodate,
            ending,
            reports: Vec::new(),
            fires: Vec::new(),
        }
    }

    #[test]
    fn production_that_hangs_is_wrong_and_so_is_a_control_that_finishes() {
        assert!(is_right(&trial(Algorithm::FaultlessB, Ending::Finishes)));
        assert!(!is_right(&trial(Algorithm::FaultlessB, Ending::Hangs)));
        assert!(!is_right(&trial(Algorithm::Linux2623, Ending::Finishes)));
    }

    #[test]
    fn a_hang_that_only_one_detector_saw_is_wrong() {
        let mut seen_by_nobody = trial(Algorithm::Linux2623, Ending::Hangs);
        assert!(!is_right(&seen_by_nobody));
        seen_by_nobody.fires.push("watchdog: waited".into());
        assert!(!is_right(&seen_by_nobody));
    }
}
