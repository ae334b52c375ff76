//! Checkers that run the shuttle models with schedules by chance and with PCT schedules, in turns.

#![forbid(unsafe_code)]

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::Result;

use super::checker::{Checker, Find, Pace, Round};
use super::programs;
use faultless_tools::child::{Ending, Played};
use faultless_tools::process::capture;

/// Schedules that are longer are not printed: the search is, which finds it again.
const LONGEST_SCHEDULE: usize = 4000;

/// A model under shuttle.
pub(super) struct Model {
    name: String,
    model: String,
    plant: Option<String>,
    program: PathBuf,
    pace: Pace,
    rounds: u64,
}

/// All models under shuttle. Those that have a twin with this bug run with the bug.
pub(super) fn all(program: &Path, bug: Option<&str>) -> Result<Vec<Model>> {
    let listed = capture(Command::new(program).arg("list"))?.output;
    Ok(models(&listed).map(|(model, bugs)| Model::new(program, model, bugs, bug)).collect())
}

/// Names and bugs of the shuttle models in what `faultless-model list` prints.
fn models(listed: &str) -> impl Iterator<Item = (&str, Vec<&str>)> {
    listed.lines().filter_map(|line| {
        let (model, bugs) = line.strip_prefix("shuttle ")?.split_once(" finds")?;
        Some((model.trim(), bugs.split(',').map(str::trim).collect()))
    })
}

impl Model {
    fn new(program: &Path, model: &str, bugs: Vec<&str>, bug: Option<&str>) -> Self {
        Self {
            name: format!("model {model}"),
            model: model.to_owned(),
            plant: bug.filter(|bug| bugs.contains(bug)).map(str::to_owned),
            program: program.to_owned(),
            pace: Pace::new(50),
            rounds: 0,
        }
    }
}

impl Checker for Model {
    fn name(&self) -> &str {
        &self.name
    }

    fn round(&mut self, seed: u32, slice: Duration) -> Result<Round> {
        let (begin, inputs) = (Instant::now(), self.pace.inputs());
        let kind = if self.rounds.is_multiple_of(2) { "pct" } else { "random" };
        self.rounds += 1;
        let mut run = format!("run {}", self.model);
        if let Some(plant) = &self.plant {
            run.push_str(&format!(" --plant {plant}"));
        }
        let search = format!("{run} --search {kind}:{inputs} --seed {seed}");
        let mut command = Command::new(&self.program);
        let played = programs::play(command.args(search.split(' ')), &self.name)?;
        if played.ending == Ending::Passed {
            self.pace.learn(begin.elapsed(), slice);
            return Ok(Round { inputs, find: None });
        }
        let replay = match schedule(&played) {
            Some(schedule) => format!("cargo xtask model -- {run} --replay {schedule}"),
            None => format!("cargo xtask model -- {search}"),
        };
        Ok(Round { inputs, find: Some(Find { what: played.what(), replay }) })
    }
}

/// The schedule that shuttle printed, if it fits on a line.
fn schedule(played: &Played) -> Option<String> {
    let (_, rest) = played.output.split_once("failing schedule:\n\"\n")?;
    let schedule = rest.split_once("\n\"")?.0.replace('\n', "");
    (schedule.len() <= LONGEST_SCHEDULE).then_some(schedule)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shuttle_models_and_their_bugs_are_read_from_the_list() {
        let listed = "loom     a-model   bound 3  finds x\n\
            shuttle  b-model        finds no-zap, lost-wake\nshuttle  c-model   finds \n";
        let expected = [("b-model", vec!["no-zap", "lost-wake"]), ("c-model", vec![""])];
        assert_eq!(models(listed).collect::<Vec<_>>(), expected);
    }

    #[test]
    fn a_schedule_is_put_on_one_line_or_left_out() {
        let played = |schedule: &str| Played {
            ending: Ending::Failed,
            output: format!("failing schedule:\n\"\n{schedule}\n\"\npass"),
        };
        assert_eq!(schedule(&played("91\n02")).as_deref(), Some("9102"));
        assert_eq!(schedule(&played(&"9".repeat(LONGEST_SCHEDULE + 1))), None);
    }
}
