//! `tests/coverage.toml`: the lines of the core that no test can run, each with its reason.
//!
//! An entry stands for one run of uncovered lines. A run without an entry is a test that is
//! missing, or a reason that nobody has given; an entry without a run is stale. Both are
//! complaints.

#![forbid(unsafe_code)]

use std::fmt;

use anyhow::{Context, Result};
use serde::Deserialize;

use super::export::Source;

/// Where the entries are, from the root of the workspace.
pub(super) const FILE: &str = "tests/coverage.toml";

/// The file as a whole.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Entries {
    uncovered: Vec<Entry>,
}

/// Why a run of lines is not covered.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Entry {
    /// The source file, from the root of the workspace.
    pub(super) file: String,
    /// The run's first line, without the white space around it.
    pub(super) code: String,
    /// How many uncovered lines the run has.
    #[serde(default = "one")]
    pub(super) lines: usize,
    /// Whether every run of the tests leaves the lines out.
    #[serde(default)]
    pub(super) when: When,
    /// Why no test runs them, or not each time.
    pub(super) reason: String,
}

/// How often lines are left out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum When {
    /// Always: an entry that matches nothing is stale.
    #[default]
    Always,
    /// Threads of a stress test get there by chance.
    Mostly,
}

const fn one() -> usize {
    1
}

/// Uncovered lines that follow each other, with nothing but lines without code in between.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Run {
    pub(super) file: String,
    /// Each with its number and its text.
    pub(super) lines: Vec<(usize, String)>,
}

/// What is wrong between the runs and the entries.
#[derive(Debug)]
pub(super) enum Complaint {
    /// Nobody says why.
    Unexplained(Run),
    /// Nothing to explain.
    Stale(Entry),
}

impl fmt::Display for Complaint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unexplained(run) => write!(f, "not covered and not explained: {run}"),
            Self::Stale(entry) => write!(
                f,
                "stale entry of {FILE}: no {} uncovered lines from `{}` on in {}",
                entry.lines, entry.code, entry.file
            ),
        }
    }
}

impl fmt::Display for Run {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}, {} lines", self.file, self.lines.len())?;
        self.lines.iter().try_for_each(|(number, text)| write!(f, "\n{number:8} | {text}"))
    }
}

/// A run, and the reason that was given for it.
pub(super) type Explained = (Run, Option<String>);

/// Reads the entries.
pub(super) fn parse(text: &str) -> Result<Vec<Entry>> {
    let entries: Entries = toml::from_str(text).context(FILE)?;
    let empty = entries.uncovered.iter().find(|entry| entry.reason.trim().is_empty());
    if let Some(entry) = empty {
        anyhow::bail!("{FILE}: `{}` in {} has no reason", entry.code, entry.file);
    }
    Ok(entries.uncovered)
}

/// The runs of uncovered lines of a file, whose text is needed to tell what stands between them.
pub(super) fn runs(source: &Source, text: &str) -> Vec<Run> {
    let text: Vec<&str> = text.lines().collect();
    let line = |number: usize| text.get(number.wrapping_sub(1)).copied().unwrap_or_default();
    let mut runs: Vec<Run> = Vec::new();
    let mut last = None;
    for (&number, _) in source.lines.iter().filter(|&(_, &count)| count == 0) {
        let belongs = last.is_some_and(|last| {
            let mut between = last + 1..number;
            between.all(|between| {
                !source.lines.contains_key(&between) && !line(between).trim().is_empty()
            })
        });
        let here = (number, line(number).to_owned());
        match runs.last_mut() {
            Some(run) if belongs => run.lines.push(here),
            _ => runs.push(Run { file: source.path.clone(), lines: vec![here] }),
        }
        last = Some(number);
    }
    runs
}

/// Gives each run its reason, and says what does not fit.
pub(super) fn explain(runs: Vec<Run>, entries: Vec<Entry>) -> (Vec<Explained>, Vec<Complaint>) {
    let mut left = entries;
    let mut complaints = Vec::new();
    let mut explained = Vec::new();
    for run in runs {
        let found = left.iter().position(|entry| entry.is_about(&run));
        let reason = found.map(|at| left.remove(at).reason);
        if reason.is_none() {
            complaints.push(Complaint::Unexplained(run.clone()));
        }
        explained.push((run, reason));
    }
    let stale = left.into_iter().filter(|entry| entry.when == When::Always);
    complaints.extend(stale.map(Complaint::Stale));
    (explained, complaints)
}

impl Entry {
    fn is_about(&self, run: &Run) -> bool {
        let first = run.lines.first().map(|(_, text)| text.trim());
        self.file == run.file && first == Some(self.code.trim()) && self.lines == run.lines.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str =
        "fn a() {\n    one();\n    // why\n    two();\n}\n\nfn b() {\n    one();\n}\n";

    fn source(counts: &[(usize, u64)]) -> Source {
        Source { path: "x.rs".into(), lines: counts.iter().copied().collect(), ..Source::default() }
    }

    fn entry(code: &str, lines: usize) -> Entry {
        Entry {
            file: "x.rs".into(),
            code: code.into(),
            lines,
            when: When::Always,
            reason: "because".into(),
        }
    }

    /// Runs of `TEXT` where only the first line of `a` is covered.
    fn uncovered() -> Vec<Run> {
        runs(&source(&[(1, 5), (2, 0), (4, 0), (5, 0), (7, 0), (8, 0), (9, 0)]), TEXT)
    }

    #[test]
    fn a_run_goes_over_comments_and_ends_at_a_blank_or_a_covered_line() {
        let lengths: Vec<usize> = uncovered().iter().map(|run| run.lines.len()).collect();
        assert_eq!(lengths, [3, 3]);
        let split = runs(&source(&[(1, 0), (2, 1), (4, 0)]), TEXT);
        assert_eq!(split.len(), 2);
        assert_eq!(split[1].lines, [(4, "    two();".to_owned())]);
    }

    #[test]
    fn an_unexplained_line_is_reported() {
        let (_, complaints) = explain(uncovered(), vec![entry("one();", 3)]);
        assert_eq!(complaints.len(), 1);
        let text = complaints[0].to_string();
        assert!(text.contains("not explained: x.rs") && text.contains("7 | fn b()"), "{text}");
    }

    #[test]
    fn a_stale_explanation_is_reported() {
        let entries = vec![entry("one();", 3), entry("fn b() {", 3), entry("gone();", 1)];
        let (explained, complaints) = explain(uncovered(), entries);
        assert!(explained.iter().all(|(_, reason)| reason.as_deref() == Some("because")));
        assert_eq!(complaints.len(), 1);
        let text = complaints[0].to_string();
        assert!(text.contains("stale") && text.contains("gone();"), "{text}");
    }

    #[test]
    fn what_threads_reach_by_chance_is_not_stale_when_they_did() {
        let text = "[[uncovered]]\nfile = \"x.rs\"\ncode = \"two();\"\nwhen = \"mostly\"\nreason = \"a race\"\n";
        let entries = parse(text).expect("an entry");
        let (_, complaints) = explain(Vec::new(), entries.clone());
        assert!(complaints.is_empty());
        let (explained, complaints) = explain(runs(&source(&[(4, 0)]), TEXT), entries);
        assert_eq!((explained[0].1.as_deref(), complaints.len()), (Some("a race"), 0));
    }

    #[test]
    fn a_run_that_grew_is_not_explained_any_more() {
        let (_, complaints) = explain(uncovered(), vec![entry("one();", 2), entry("fn b() {", 3)]);
        assert_eq!(complaints.len(), 2, "the run, and the entry that was about it");
    }

    #[test]
    fn an_entry_explains_one_run_only() {
        let twice = runs(&source(&[(2, 0), (4, 1), (8, 0)]), TEXT);
        let (_, complaints) = explain(twice, vec![entry("one();", 1)]);
        assert_eq!(complaints.len(), 1);
    }

    #[test]
    fn an_entry_needs_a_reason() {
        let text = "[[uncovered]]\nfile = \"x.rs\"\ncode = \"one();\"\nreason = \" \"\n";
        assert!(parse(text).is_err());
        let read = parse(&text.replace("\" \"", "\"so\"")).expect("an entry");
        assert_eq!((read[0].lines, read[0].reason.as_str()), (1, "so"));
    }
}
