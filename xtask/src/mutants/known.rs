//! `tests/mutants.toml`: survivors that cannot be killed because they change nothing that can be
//! observed.
//!
//! An entry finds its mutant by what is changed and not by where, so that it outlives moved lines
//! and not changed code. An entry without a mutant, or whose mutant is killed, is stale, and that
//! is an error.

#![forbid(unsafe_code)]

use std::path::Path;

use anyhow::{Context, Result};
use serde::Deserialize;

use super::list::Mutant;
use super::run::Fate;

/// The list.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Known {
    #[serde(default)]
    equivalent: Vec<Entry>,
}

/// A mutant that is equivalent to the original.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    file: String,
    /// cargo-mutants' name without the place.
    mutant: String,
    /// The trimmed source line.
    code: String,
    /// Which of several alike on the line, from 1.
    nth: Option<usize>,
    /// What observable behaviour cannot change.
    reason: String,
}

impl Entry {
    fn is(&self, mutant: &Mutant) -> bool {
        self.file == mutant.file
            && self.mutant == mutant.name
            && self.code == mutant.code
            && self.nth.is_none_or(|nth| nth == mutant.nth)
    }

    fn title(&self) -> String {
        let nth = self.nth.map(|nth| format!(", number {nth}")).unwrap_or_default();
        format!("{}: {} (`{}`{nth})", self.file, self.mutant, self.code)
    }
}

impl Known {
    /// Reads the list; there need not be one.
    pub(super) fn read(path: &Path) -> Result<Self> {
        match std::fs::read_to_string(path) {
            Ok(text) => Self::parse(&text).with_context(|| path.display().to_string()),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Self::default()),
            Err(error) => Err(error).with_context(|| path.display().to_string()),
        }
    }

    pub(super) fn parse(text: &str) -> Result<Self> {
        Ok(toml::from_str(text)?)
    }

    /// Whether a survivor is listed.
    pub(super) fn lists(&self, mutant: &Mutant) -> bool {
        self.equivalent.iter().any(|entry| entry.is(mutant))
    }

    /// What is wrong with the list. `fates` has all mutants there are, with `None` for those that
    /// were not judged.
    pub(super) fn complaints(&self, fates: &[(&Mutant, Option<Fate>)]) -> Vec<String> {
        let mut found = Vec::new();
        for entry in &self.equivalent {
            let title = entry.title();
            let meant: Vec<_> = fates.iter().filter(|(mutant, _)| entry.is(mutant)).collect();
            if entry.reason.trim().is_empty() {
                found.push(format!("no reason: {title}"));
            }
            match &meant[..] {
                [] => found.push(format!("stale, there is no such mutant: {title}")),
                [(_, fate)] => match fate {
                    None | Some(Fate::Survived | Fate::NotReached | Fate::LeftOut) => {}
                    Some(other) => found.push(format!("stale, {other:?}: {title}")),
                },
                several => found.push(format!("{} mutants alike, say nth: {title}", several.len())),
            }
        }
        found
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mutants::list::{Extent, Genre, Spot};

    fn mutant(nth: usize) -> Mutant {
        let spot = Spot { line: 7, column: 8 + nth };
        Mutant {
            id: 1,
            package: "p".into(),
            file: "a.rs".into(),
            genre: Genre::BinaryOperator,
            extent: Extent { start: spot, end: spot },
            replacement: "<=".into(),
            name: "replace < with <= in f".into(),
            code: "if a < b {".into(),
            nth,
        }
    }

    fn known(more: &str) -> Known {
        let text = format!(
            "[[equivalent]]\nfile = 'a.rs'\nmutant = 'replace < with <= in f'\ncode = 'if a < b {{'\n{more}\n"
        );
        Known::parse(&text).expect("the list is well formed")
    }

    #[test]
    fn a_survivor_with_a_reason_is_in_order() {
        let known = known("reason = 'equal means empty'");
        assert!(known.lists(&mutant(1)));
        assert_eq!(known.complaints(&[(&mutant(1), Some(Fate::Survived))]), [""; 0]);
        assert_eq!(known.complaints(&[(&mutant(1), None)]), [""; 0]);
    }

    #[test]
    fn an_entry_without_a_mutant_or_with_a_killed_one_is_stale() {
        let known = known("reason = 'equal means empty'");
        assert!(known.complaints(&[])[0].contains("no such mutant"));
        let killed = known.complaints(&[(&mutant(1), Some(Fate::Killed))]);
        assert!(killed[0].contains("stale, Killed"), "{killed:?}");
        let changed = Mutant { code: "if a < c {".into(), ..mutant(1) };
        assert!(!known.lists(&changed));
        assert!(known.complaints(&[(&changed, Some(Fate::Survived))])[0].contains("stale"));
    }

    #[test]
    fn mutants_alike_must_be_told_apart_and_reasons_must_be_given() {
        let both = [(&mutant(1), None), (&mutant(2), None)];
        assert!(known("reason = 'x'").complaints(&both)[0].contains("say nth"));
        assert_eq!(known("reason = 'x'\nnth = 2").complaints(&both), [""; 0]);
        assert!(known("reason = ''\nnth = 2").complaints(&both)[0].contains("no reason"));
    }
}
