//! `cargo xtask deadlocks`: the deadlock theatre, played before the user's eyes.
//!
//! Every deadlock of `docs/semantics.md` is played by every write path there is, with real page
//! faults and real threads; then a table says which hang, each cycle is told in words, and, if
//! asked for, drawn (`svg`). The exit code is 1 if a scene ends in another way than it should. The
//! scenes are the host's ([`theatre`]).

#![forbid(unsafe_code)]

use std::fs;
use std::panic::PanicHookInfo;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, Result};
use faultless_host::controls::theatre::{self, Act, Algorithm, Ending, Scene};

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
    let (acts, limit) = (play(), theatre::LIMIT.as_secs());
    println!("Scenes on the real MMU; a thread that waits for a lock for {limit} s hangs.");
    println!("{}", report::table(&acts));
    for scene in Scene::ALL {
        println!("{}", report::story(scene, &acts));
    }
    if let Some(folder) = &options.svg {
        draw(folder, &acts)?;
    }
    let wrong: Vec<&Act> = acts.iter().filter(|act| !is_right(act)).collect();
    println!("{}", report::summary(&acts, &wrong));
    Ok(if wrong.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Plays everything, without the noise of the threads that are taken down.
fn play() -> Vec<Act> {
    let before = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic: &PanicHookInfo<'_>| {
        let story = panic.payload_as_str().unwrap_or_default();
        if !story.starts_with("watchdog") {
            before(panic);
        }
    }));
    let acts = theatre::play_all(theatre::LIMIT);
    drop(std::panic::take_hook());
    acts
}

/// Whether the act ended as it should, seen by both detectors or by neither.
fn is_right(act: &Act) -> bool {
    let seen = match act.ending {
        Ending::Hangs => act.cycle().is_some() && !act.fires.is_empty(),
        Ending::Finishes => act.reports.is_empty() && act.fires.is_empty(),
    };
    seen && act.ending == act.algorithm.expected()
}

fn draw(folder: &Path, acts: &[Act]) -> Result<()> {
    fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
    for scene in Scene::ALL {
        for algorithm in Algorithm::ALL {
            let cycle = report::find(acts, scene, algorithm).and_then(Act::cycle);
            let Some(cycle) = cycle else { continue };
            let path = folder.join(svg::file_name(scene, algorithm));
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
    use faultless_host::controls::theatre::Destination;

    use super::*;

    fn act(algorithm: Algorithm, ending: Ending) -> Act {
        Act {
            scene: Scene::Dl1,
            algorithm,
            destination: Destination::Uptodate,
            ending,
            reports: Vec::new(),
            fires: Vec::new(),
        }
    }

    #[test]
    fn production_that_hangs_is_wrong_and_so_is_a_control_that_finishes() {
        assert!(is_right(&act(Algorithm::FaultlessB, Ending::Finishes)));
        assert!(!is_right(&act(Algorithm::FaultlessB, Ending::Hangs)));
        assert!(!is_right(&act(Algorithm::Linux2623, Ending::Finishes)));
    }

    #[test]
    fn a_hang_that_only_one_detector_saw_is_wrong() {
        let mut seen_by_nobody = act(Algorithm::Linux2623, Ending::Hangs);
        assert!(!is_right(&seen_by_nobody));
        seen_by_nobody.fires.push("watchdog: waited".into());
        assert!(!is_right(&seen_by_nobody));
    }
}
