//! What came out, as a table, as a list of survivors, and as JSON.

#![forbid(unsafe_code)]

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context, Result};
use comfy_table::{CellAlignment, Table, presets};
use serde::Serialize;

use super::known::Known;
use super::list::Mutant;
use super::run::{Fate, Judged};

/// Percentage of the viable mutants that should be killed.
const ASKED: f64 = 95.0;

/// Sums over some mutants.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Sums {
    mutants: usize,
    unviable: usize,
    elsewhere: usize,
    left_out: usize,
    killed: usize,
    timed_out: usize,
    listed: usize,
    pub(super) survived: usize,
}

impl Sums {
    fn add(&mut self, fate: Fate, listed: Listed) {
        self.mutants += 1;
        match (fate, listed) {
            (Fate::Unviable, _) => self.unviable += 1,
            (Fate::Elsewhere, _) => self.elsewhere += 1,
            (Fate::LeftOut, _) => self.left_out += 1,
            (Fate::Killed, _) => self.killed += 1,
            (Fate::TimedOut, _) => {
                self.killed += 1;
                self.timed_out += 1;
            }
            (Fate::Survived | Fate::NotReached, Listed::Yes) => self.listed += 1,
            (Fate::Survived | Fate::NotReached, Listed::No) => self.survived += 1,
        }
    }

    /// Killed in a hundred viable mutants; and in a hundred of those that are not listed as
    /// equivalent.
    fn scores(&self) -> (f64, f64) {
        let percent = |of: usize| {
            if of == 0 { 100.0 } else { 100.0 * self.killed as f64 / of as f64 }
        };
        (percent(self.killed + self.listed + self.survived), percent(self.killed + self.survived))
    }

    /// One line.
    pub(super) fn line(&self) -> String {
        let (score, _) = self.scores();
        format!(
            "{} of {} viable mutants killed ({score:.1} %), {} listed as equivalent, {} survived; {} unviable, {} not for this machine, {} left out",
            self.killed,
            self.killed + self.listed + self.survived,
            self.listed,
            self.survived,
            self.unviable,
            self.elsewhere,
            self.left_out
        )
    }
}

/// Whether a mutant is listed as equivalent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Listed {
    Yes,
    No,
}

fn listed(known: &Known, mutant: &Mutant) -> Listed {
    if known.lists(mutant) { Listed::Yes } else { Listed::No }
}

/// Sums over all.
pub(super) fn sums(judged: &[(&Mutant, Judged)], known: &Known) -> Sums {
    let mut sums = Sums::default();
    for (mutant, judged) in judged {
        sums.add(judged.fate, listed(known, mutant));
    }
    sums
}

/// The table, a line for each package.
pub(super) fn table(judged: &[(&Mutant, Judged)], known: &Known) -> String {
    let mut packages: BTreeMap<&str, Sums> = BTreeMap::new();
    for (mutant, judged) in judged {
        packages.entry(&mutant.package).or_default().add(judged.fate, listed(known, mutant));
    }
    let mut table = Table::new();
    table.load_style(presets::UTF8_HORIZONTAL_ONLY);
    table.set_header([
        "package",
        "mutants",
        "unviable",
        "elsewhere",
        "left out",
        "killed",
        "by time-out",
        "equivalent",
        "survived",
        "score",
        "without equivalent",
    ]);
    let all = sums(judged, known);
    for (name, sums) in packages.iter().map(|(name, sums)| (*name, sums)).chain([("all", &all)]) {
        let (score, without) = sums.scores();
        let mut row = vec![name.to_owned()];
        row.extend(
            [
                sums.mutants,
                sums.unviable,
                sums.elsewhere,
                sums.left_out,
                sums.killed,
                sums.timed_out,
                sums.listed,
                sums.survived,
            ]
            .map(|count| count.to_string()),
        );
        row.extend([format!("{score:.1} %"), format!("{without:.1} %")]);
        table.add_row(row);
    }
    for column in table.column_iter_mut().skip(1) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    let (score, _) = all.scores();
    let verdict = if score >= ASKED { "reached" } else { "missed" };
    format!("{table}\nasked: {ASKED} % of the viable mutants killed: {verdict}")
}

/// Survivors that are not listed, each with its place and its line.
pub(super) fn survivors(judged: &[(&Mutant, Judged)], known: &Known) -> Vec<String> {
    let survived = judged.iter().filter(|(mutant, judged)| {
        matches!(judged.fate, Fate::Survived | Fate::NotReached) && !known.lists(mutant)
    });
    survived
        .map(|(mutant, judged)| {
            let unreached = if judged.fate == Fate::NotReached { " (not reached)" } else { "" };
            format!("{}{unreached}\n    {}", mutant.title(), mutant.code)
        })
        .collect()
}

#[derive(Serialize)]
struct Record<'a> {
    package: &'a str,
    file: &'a str,
    line: usize,
    column: usize,
    mutant: &'a str,
    code: &'a str,
    nth: usize,
    fate: Fate,
    listed: bool,
    seconds: f64,
    complaint: Option<&'a String>,
}

/// Writes everything as JSON. `complaints` are the compiler's, of unviable mutants.
pub(super) fn write_json(
    path: &Path,
    seed: u64,
    judged: &[(&Mutant, Judged)],
    known: &Known,
    complaints: &BTreeMap<u32, String>,
) -> Result<()> {
    let records = judged.iter().map(|(mutant, judged)| Record {
        package: &mutant.package,
        file: &mutant.file,
        line: mutant.extent.start.line,
        column: mutant.extent.start.column,
        mutant: &mutant.name,
        code: &mutant.code,
        nth: mutant.nth,
        fate: judged.fate,
        listed: known.lists(mutant),
        seconds: judged.seconds,
        complaint: complaints.get(&mutant.id),
    });
    let records: Vec<_> = records.collect();
    let value = serde_json::json!({ "seed": seed, "mutants": records });
    std::fs::write(path, serde_json::to_vec_pretty(&value)?)
        .with_context(|| format!("cannot write {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_score_counts_the_viable_and_a_time_out_is_a_kill() {
        let mut sums = Sums::default();
        for fate in [Fate::Killed, Fate::TimedOut, Fate::Unviable, Fate::Elsewhere, Fate::LeftOut] {
            sums.add(fate, Listed::No);
        }
        assert_eq!(sums.scores(), (100.0, 100.0));
        sums.add(Fate::Survived, Listed::Yes);
        sums.add(Fate::NotReached, Listed::No);
        assert_eq!((sums.killed, sums.timed_out, sums.listed, sums.survived), (2, 1, 1, 1));
        assert_eq!(sums.scores(), (50.0, 200.0 / 3.0));
    }
}
