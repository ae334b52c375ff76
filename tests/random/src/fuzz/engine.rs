//! libFuzzer for `cargo xtask soak`: one round of one target at a time.

#![forbid(unsafe_code)]

use std::time::Duration;

use anyhow::{Result, bail};
use faultless_fuzzing::{Plant, Target};
use indicatif::{MultiProgress, ProgressDrawTarget};

use super::places::{Places, missing};
use super::session::{Begin, Ending, Search, Until};

/// The built programs.
pub(crate) struct Engine {
    places: Places,
    screen: MultiProgress,
}

/// What a round was: inputs, and what was found, with the input.
pub(crate) struct Fuzzed {
    pub(crate) inputs: u64,
    pub(crate) found: Option<(String, Option<Vec<u8>>)>,
}

impl Engine {
    /// Builds the programs.
    pub(crate) fn build() -> Result<Self> {
        if let Some(missing) = missing() {
            bail!("{missing}");
        }
        let places = Places::find()?;
        places.build("none")?;
        let screen = MultiProgress::with_draw_target(ProgressDrawTarget::hidden());
        Ok(Self { places, screen })
    }

    /// Fuzzes a target for so long, or until something is found. What reaches new code is kept for
    /// the next round.
    pub(crate) fn round(
        &self,
        target: &'static Target,
        seed: u32,
        time: Duration,
        plant: Plant,
    ) -> Result<Fuzzed> {
        let session = self.places.session(target, &self.screen);
        let folders = [&*self.places.corpus(target)?, &*self.places.seeds(target)];
        let report = session.run(Search {
            begin: Begin::Folders(&folders),
            until: Until::Time(time),
            seed: Some(seed.max(1)),
            plant,
        })?;
        let inputs = report.runs();
        let found = match report.ending {
            Ending::Nothing => None,
            Ending::Crashed { what, input } => Some((what, input)),
        };
        Ok(Fuzzed { inputs, found })
    }
}
