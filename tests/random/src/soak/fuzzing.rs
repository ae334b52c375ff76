//! Checkers that make inputs for the fuzz targets: with libFuzzer where it is there, else by
//! chance.

#![forbid(unsafe_code)]

use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use faultless_fuzzing::{Plant, Target};

use super::checker::{Checker, Find, Pace, Round};
use super::programs;
use crate::fuzz::{self, Engine};
use faultless_tools::child::Ending;
use faultless_tools::process::SELF;

/// A target, and the bug that is planted in it.
struct Planted {
    name: String,
    target: &'static Target,
    plant: Plant,
}

impl Planted {
    fn new(target: &'static Target, bug: Option<&str>) -> Result<Self> {
        let plant = bug.map(|bug| Plant::find(bug).context("no such bug")).transpose()?;
        let here = plant.filter(|plant| plant.target() == target.name);
        let name = format!("fuzz {}", target.name);
        Ok(Self { name, target, plant: here.unwrap_or(Plant::None) })
    }

    /// A command that begins with the environment that plants the bug.
    fn command(&self, command: &str) -> String {
        match self.plant {
            Plant::None => format!("cargo xtask fuzz {} {command}", self.target.name),
            plant => {
                let (bug, target) = (plant.name(), self.target.name);
                format!("FAULTLESS_PLANT={bug} cargo xtask fuzz {target} {command}")
            }
        }
    }
}

/// By libFuzzer, which coverage guides.
pub(super) struct Guided {
    planted: Planted,
    engine: Arc<Engine>,
}

impl Guided {
    pub(super) fn new(
        target: &'static Target,
        engine: Arc<Engine>,
        bug: Option<&str>,
    ) -> Result<Self> {
        Ok(Self { planted: Planted::new(target, bug)?, engine })
    }
}

impl Checker for Guided {
    fn name(&self) -> &str {
        &self.planted.name
    }

    fn round(&mut self, seed: u32, slice: Duration) -> Result<Round> {
        let Planted { target, plant, .. } = self.planted;
        let fuzzed = self.engine.round(target, seed, slice, plant)?;
        let find = fuzzed.found.map(|(what, input)| Find {
            what,
            replay: match input {
                Some(input) => fuzz::replay(target, &input, plant),
                None => self.planted.command(&format!("--time {} --seed {seed}", slice.as_secs())),
            },
        });
        Ok(Round { inputs: fuzzed.inputs, find })
    }
}

/// By chance, on stable Rust.
pub(super) struct Unguided {
    planted: Planted,
    pace: Pace,
}

impl Unguided {
    pub(super) fn new(target: &'static Target, bug: Option<&str>) -> Result<Self> {
        Ok(Self { planted: Planted::new(target, bug)?, pace: Pace::new(500) })
    }
}

impl Checker for Unguided {
    fn name(&self) -> &str {
        &self.planted.name
    }

    fn round(&mut self, seed: u32, slice: Duration) -> Result<Round> {
        let (begin, inputs) = (Instant::now(), self.pace.inputs());
        let mut command = Command::new(SELF.as_path());
        let arguments = format!("--search {inputs} --seed {seed}");
        command.args(["fuzz", self.planted.target.name]).args(arguments.split(' '));
        if self.planted.plant != Plant::None {
            command.env("FAULTLESS_PLANT", self.planted.plant.name());
        }
        let played = programs::play(&mut command, &self.planted.name)?;
        if played.ending == Ending::Passed {
            self.pace.learn(begin.elapsed(), slice);
            return Ok(Round { inputs, find: None });
        }
        let what = played.after("Found by ").map_or_else(|| played.what(), str::to_owned);
        let replay = played.after("Again: ").map(str::to_owned);
        let replay = replay.unwrap_or_else(|| self.planted.command(&arguments));
        Ok(Round { inputs, find: Some(Find { what, replay }) })
    }
}
