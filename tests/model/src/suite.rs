//! Runs models as child processes, since a deadlock under loom ends its process, and judges how
//! they ended.
//!
//! The suite lists what there is to run: each model by itself, and each with every bug that it must
//! find. `main.rs` prints them, the integration tests assert them.
#![forbid(unsafe_code)]

use std::path::Path;
use std::process::{Command, Output};
use std::time::{Duration, Instant};

use crate::catalogue::{Extent, LOOM, SHUTTLE};
use crate::plant::Plant;

/// How thorough to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effort {
    /// Under three minutes on one core, in a debug build.
    Everyday,
    /// Deeper bounds, more schedules: an hour or so.
    Long,
}

/// One child process.
#[derive(Clone, Debug)]
pub struct Case {
    /// The model.
    pub model: &'static str,
    /// What is planted; [`Plant::Nothing`] must pass, everything else must fail.
    pub plant: Plant,
    /// How schedules are chosen: an argument of `--search`.
    pub search: String,
}

/// How it ended.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// Whether it ended as it must.
    pub verdict: Verdict,
    /// What it explored, or how it failed.
    pub summary: String,
    /// The schedule to replay, if shuttle printed one.
    pub schedule: Option<String>,
    /// Wall-clock time.
    pub time: Duration,
}

/// Whether a case ended as it must.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Yes.
    Good,
    /// A model failed, or a planted bug was not found.
    Bad,
}

/// The shipped code, under loom.
#[must_use]
pub fn loom_cases(effort: Effort) -> Vec<Case> {
    let bound = |model: &crate::catalogue::LoomModel| match effort {
        Effort::Everyday => model.bound,
        Effort::Long => model.long,
    };
    let case = |model: &crate::catalogue::LoomModel| Case {
        model: model.name,
        plant: Plant::Nothing,
        search: format!("bound:{}", bound(model)),
    };
    LOOM.iter().map(case).collect()
}

/// Planted bugs, under loom.
#[must_use]
pub fn loom_twins() -> Vec<Case> {
    let twins = LOOM.iter().flat_map(|model| model.twins.iter().map(move |plant| (model, plant)));
    // A bug may need one preemption more than the everyday bound, as it is found long before the
    // bound is exhausted.
    twins
        .map(|(model, plant)| Case {
            model: model.name,
            plant: *plant,
            search: format!("bound:{}", model.bound.max(3)),
        })
        .collect()
}

/// The shipped code, under shuttle.
#[must_use]
pub fn shuttle_cases(effort: Effort) -> Vec<Case> {
    let (sampled, exhaustive) = match effort {
        Effort::Everyday => (2_000, 200_000),
        Effort::Long => (200_000, 10_000_000),
    };
    let mut cases = Vec::new();
    for model in SHUTTLE {
        let mut add = |search| {
            cases.push(Case { model: model.name, plant: Plant::Nothing, search });
        };
        add(format!("random:{sampled}"));
        add(format!("pct:{sampled}"));
        if model.extent == Extent::Exhaustive {
            add(format!("all:{exhaustive}"));
        }
    }
    cases
}

/// Planted bugs and historical controls, under shuttle.
#[must_use]
pub fn shuttle_twins() -> Vec<Case> {
    let twins =
        SHUTTLE.iter().flat_map(|model| model.twins.iter().map(move |plant| (model, plant)));
    twins
        .map(|(model, plant)| Case {
            model: model.name,
            plant: *plant,
            search: "pct:20000".to_owned(),
        })
        .collect()
}

impl Case {
    /// Runs the case in a process of `program`, which is this crate's binary.
    ///
    /// # Panics
    /// If the process cannot be started.
    #[must_use]
    pub fn run(&self, program: &Path) -> Outcome {
        let start = Instant::now();
        let output = Command::new(program)
            .args(["run", self.model, "--plant", self.plant.name(), "--search", &self.search])
            .env("RUST_BACKTRACE", "0")
            .output()
            .expect("this crate's binary runs");
        let failed = !output.status.success();
        let expected = self.plant != Plant::Nothing;
        let summary = if failed { failure(&output) } else { last_line(&output.stdout) };
        Outcome {
            // A twin must fail by what the model asserts, not by a mistake in calling it.
            verdict: if failed == expected && !summary.is_empty() {
                Verdict::Good
            } else {
                Verdict::Bad
            },
            summary,
            schedule: schedule(&output.stderr),
            time: start.elapsed(),
        }
    }
}

fn last_line(text: &[u8]) -> String {
    String::from_utf8_lossy(text).lines().last().unwrap_or_default().to_owned()
}

/// The first line of the first panic's message. Empty if there was none.
fn failure(output: &Output) -> String {
    let text = String::from_utf8_lossy(&output.stderr);
    let mut lines = text.lines().skip_while(|line| !line.contains("panicked at"));
    let place = lines.next().unwrap_or_default();
    let message = lines.find(|line| !line.trim().is_empty()).unwrap_or_default();
    if place.is_empty() { String::new() } else { message.chars().take(110).collect() }
}

fn schedule(stderr: &[u8]) -> Option<String> {
    let text = String::from_utf8_lossy(stderr);
    let (_, rest) = text.split_once("failing schedule:\n\"\n")?;
    let (schedule, _) = rest.split_once("\n\"")?;
    Some(schedule.replace('\n', ""))
}
