//! The checker that compares with the running Linux kernel: `cargo xtask oracle`, a few cases at a
//! time.

#![forbid(unsafe_code)]

use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::Result;

use super::checker::{Checker, Find, Pace, Round};
use super::programs;
use faultless_tools::child::Ending;
use faultless_tools::process::SELF;

pub(super) struct Oracle {
    /// The defect of the control that runs in place of Faultless.
    defect: Option<String>,
    pace: Pace,
}

impl Oracle {
    pub(super) fn new(defect: Option<&str>) -> Self {
        Self { defect: defect.map(str::to_owned), pace: Pace::new(200) }
    }
}

impl Checker for Oracle {
    fn name(&self) -> &str {
        "oracle"
    }

    fn round(&mut self, seed: u32, slice: Duration) -> Result<Round> {
        let (begin, inputs) = (Instant::now(), self.pace.inputs());
        let mut arguments = format!("oracle --cases {inputs} --seed {seed}");
        if let Some(defect) = &self.defect {
            arguments.push_str(&format!(" --planted={defect}"));
        }
        let mut command = Command::new(SELF.as_path());
        let played = programs::play(command.args(arguments.split(' ')), self.name())?;
        if played.ending == Ending::Passed {
            self.pace.learn(begin.elapsed(), slice);
            return Ok(Round { inputs, find: None });
        }
        let what = played.after("A difference, ").map_or_else(|| played.what(), str::to_owned);
        let replay = played.after("Again: ").map(str::to_owned);
        let replay = replay.unwrap_or_else(|| format!("cargo xtask {arguments}"));
        Ok(Round { inputs, find: Some(Find { what, replay }) })
    }
}
