//! `cargo xtask fuzz --planted`: each bug that can be planted is found, and by fuzzing. No seed
//! that shows the bug takes part.

#![forbid(unsafe_code)]

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::Result;
use faultless_fuzzing::{Plant, Target, search};
use indicatif::MultiProgress;

use super::places::Places;
use super::session::{self, Ending, Report, Search, Until};

/// How long a planted bug may take to be found.
const TIME: Duration = Duration::from_secs(60);

/// What the fuzzer begins from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Begin {
    /// The committed seeds that do not show the bug.
    Seeds,
    /// Nothing.
    Nothing,
}

/// Plants each bug; how many were not found, or not by what they do.
pub(super) fn find(places: &Places, targets: &[&'static Target], begin: Begin) -> Result<usize> {
    let (mut found, mut failures) = (0, 0);
    let screen = MultiProgress::new();
    for target in targets {
        for plant in target.plants() {
            let seeds = Seeds::of(places, target, plant, begin)?;
            let corpus = places.fresh("planted-corpus")?;
            let mut session = places.session(target, &screen);
            session.artifacts = places.fresh("planted-artifacts")?;
            let report = session.run(Search {
                begin: session::Begin::Folders(&[&corpus, &seeds.folder]),
                until: Until::Time(TIME),
                seed: None,
                plant,
            })?;
            let how = verdict(&report, plant);
            match how {
                Ok(_) => found += 1,
                Err(_) => failures += 1,
            }
            let (Ok(how) | Err(how)) = how;
            println!("{:<26} {:>2} seeds left out  {how}", plant.name(), seeds.left_out);
        }
    }
    println!("Summary: {found} planted bugs found, {failures} not");
    Ok(failures)
}

/// How a bug was found, or what went wrong.
fn verdict(report: &Report, plant: Plant) -> Result<String, String> {
    match &report.ending {
        Ending::Crashed { what, .. } if plant.is_shown_by(what) => {
            let (seconds, runs) = (report.took.as_secs_f64(), report.runs());
            Ok(format!("found {seconds:5.1} s {runs:>8} inputs  {what}"))
        }
        Ending::Crashed { what, .. } => Err(format!("MISTAKEN: not what this bug does: {what}")),
        Ending::Nothing => Err(format!("MISSED  {}", report.line())),
    }
}

/// What the search for a bug begins from.
struct Seeds {
    folder: PathBuf,
    /// Seeds that would have shown it at once.
    left_out: usize,
}

impl Seeds {
    fn of(places: &Places, target: &Target, plant: Plant, begin: Begin) -> Result<Self> {
        let folder = places.fresh("planted-seeds")?;
        let mut left_out = 0;
        for entry in fs::read_dir(places.seeds(target))? {
            let path = entry?.path();
            let Some(name) = path.file_name() else { continue };
            let shows = search::attempt(target, &fs::read(&path)?, plant).is_err();
            left_out += usize::from(shows);
            if !shows && begin == Begin::Seeds {
                fs::copy(&path, folder.join(name))?;
            }
        }
        Ok(Self { folder, left_out })
    }
}
