//! What `llvm-cov export` says, as lines and branches of each source file.
//!
//! Per file it lists *segments*: from this line and column on, up to the next segment, code ran so
//! often. Instances of generic code have been added up in them. Branches are listed once for each
//! instance; they are added up here, by their place.

#![forbid(unsafe_code)]

use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::path::Path;

use anyhow::{Context, Result};
use serde::Deserialize;

/// What was counted in one source file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Source {
    /// Path from the root of the workspace, with `/` between the parts.
    pub(super) path: String,
    /// How often each line with code ran.
    pub(super) lines: BTreeMap<usize, u64>,
    /// How often each condition was true, and false.
    pub(super) branches: BTreeMap<Place, [u64; 2]>,
}

/// Line and column where a condition begins, and where it ends.
pub(super) type Place = [usize; 4];

/// Part of a whole.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Share {
    pub(super) covered: usize,
    pub(super) total: usize,
}

impl Share {
    /// Both added up.
    pub(super) fn and(self, other: Self) -> Self {
        Self { covered: self.covered + other.covered, total: self.total + other.total }
    }

    fn of(counts: impl Iterator<Item = u64>) -> Self {
        counts.fold(Self::default(), |sum, count| {
            sum.and(Self { covered: usize::from(count > 0), total: 1 })
        })
    }
}

impl Source {
    /// Lines that ran.
    pub(super) fn lines(&self) -> Share {
        Share::of(self.lines.values().copied())
    }

    /// Outcomes of conditions that occurred: each condition has two.
    pub(super) fn branches(&self) -> Share {
        Share::of(self.branches.values().flatten().copied())
    }
}

#[derive(Deserialize)]
struct Export {
    data: Vec<Data>,
}

#[derive(Deserialize)]
struct Data {
    files: Vec<File>,
}

#[derive(Deserialize)]
struct File {
    filename: String,
    segments: Vec<Segment>,
    #[serde(default)]
    branches: Vec<Branch>,
}

/// From a place on, up to the next segment.
#[derive(Clone, Copy, Deserialize)]
#[serde(from = "(usize, usize, u64, bool, bool, bool)")]
struct Segment {
    line: usize,
    /// How often it ran; `None` without code.
    count: Option<u64>,
    /// Whether a region begins here, or an outer one goes on.
    begins: bool,
    /// Whether it is what lies between two regions.
    is_gap: bool,
}

impl From<(usize, usize, u64, bool, bool, bool)> for Segment {
    fn from(raw: (usize, usize, u64, bool, bool, bool)) -> Self {
        let (line, _column, count, has_count, begins, is_gap) = raw;
        Self { line, count: has_count.then_some(count), begins, is_gap }
    }
}

/// A condition.
#[derive(Deserialize)]
#[serde(from = "(usize, usize, usize, usize, u64, u64, u64, u64, u64)")]
struct Branch {
    place: Place,
    counts: [u64; 2],
}

impl From<(usize, usize, usize, usize, u64, u64, u64, u64, u64)> for Branch {
    fn from(raw: (usize, usize, usize, usize, u64, u64, u64, u64, u64)) -> Self {
        let (line, column, end_line, end_column, yes, no, ..) = raw;
        Self { place: [line, column, end_line, end_column], counts: [yes, no] }
    }
}

/// Reads an export; of the files, those below `root` whose path from there `wanted` says yes to, in
/// order.
pub(super) fn parse(text: &str, root: &Path, wanted: fn(&str) -> bool) -> Result<Vec<Source>> {
    let export: Export = serde_json::from_str(text).context("the export of llvm-cov")?;
    let mut sources = BTreeMap::new();
    for file in export.data.into_iter().flat_map(|data| data.files) {
        let Ok(path) = Path::new(&file.filename).strip_prefix(root) else { continue };
        let parts: Vec<_> = path.iter().map(|part| part.to_string_lossy()).collect();
        let path = parts.join("/");
        if wanted(&path) {
            let source: &mut Source = sources.entry(path.clone()).or_default();
            source.path = path;
            source.add(&file);
        }
    }
    Ok(sources.into_values().collect())
}

impl Source {
    fn add(&mut self, file: &File) {
        for (line, count) in lines(&file.segments) {
            *self.lines.entry(line).or_default() += count;
        }
        for branch in &file.branches {
            let counts = self.branches.entry(branch.place).or_default();
            counts[0] += branch.counts[0];
            counts[1] += branch.counts[1];
        }
    }

    /// Leaves lines out, and the conditions that begin in them.
    pub(super) fn leave_out(&mut self, lines: &[RangeInclusive<usize>]) {
        let out = |line: &usize| lines.iter().any(|range| range.contains(line));
        self.lines.retain(|line, _| !out(line));
        self.branches.retain(|place, _| !out(&place[0]));
    }
}

/// How often each line with code ran: as often as the most frequent of the regions that reach into
/// it or begin in it.
fn lines(segments: &[Segment]) -> Vec<(usize, u64)> {
    let mut found = Vec::new();
    let (Some(first), Some(last)) = (segments.first(), segments.last()) else { return found };
    let mut rest = segments;
    let mut open: Option<Segment> = None;
    for line in first.line..=last.line {
        let here = rest.iter().take_while(|segment| segment.line == line).count();
        let (begun, left) = rest.split_at(here);
        rest = left;
        found.extend(count(begun, open).map(|count| (line, count)));
        open = begun.last().copied().or(open);
    }
    found
}

/// How often a line ran in which these segments begin, and into which the last one before it
/// reaches. `None` without code.
fn count(begun: &[Segment], open: Option<Segment>) -> Option<u64> {
    let skipped = begun.first().is_some_and(|segment| segment.begins && segment.count.is_none());
    let reaching = open.and_then(|segment| segment.count);
    let regions = || begun.iter().filter(|segment| segment.begins && segment.count.is_some());
    if regions().next().is_none() && (skipped || reaching.is_none()) {
        return None;
    }
    let beginning = regions().filter(|segment| !segment.is_gap).filter_map(|segment| segment.count);
    Some(beginning.chain(reaching).max().unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Two instances of a generic function: the second condition was never false in either.
    const CANNED: &str = r#"{ "type": "llvm.coverage.json.export", "version": "3.0.1", "data": [{ "files": [
        { "filename": "/r/crates/page/src/a.rs", "branches": [
            [2, 8, 2, 12, 3, 0, 0, 0, 4], [2, 8, 2, 12, 0, 2, 0, 0, 4],
            [3, 8, 3, 12, 1, 0, 0, 0, 4], [3, 8, 3, 12, 0, 0, 0, 0, 4]
          ], "segments": [
            [1, 1, 5, true, true, false], [2, 13, 3, true, true, false], [2, 20, 5, true, false, false],
            [4, 9, 0, true, true, false], [6, 10, 5, true, false, false], [8, 2, 0, false, false, false],
            [12, 1, 0, true, true, false], [12, 30, 0, false, false, false]
          ], "summary": {} },
        { "filename": "/r/crates/page/src/tests/b.rs", "segments": [[1, 1, 1, true, true, false]] },
        { "filename": "/elsewhere/c.rs", "segments": [[1, 1, 1, true, true, false]] }
    ], "functions": [] }] }"#;

    fn canned() -> Vec<Source> {
        parse(CANNED, Path::new("/r"), |path| !path.contains("/tests/")).expect("an export")
    }

    #[test]
    fn only_wanted_files_below_the_root_count() {
        let paths: Vec<String> = canned().into_iter().map(|source| source.path).collect();
        assert_eq!(paths, ["crates/page/src/a.rs"]);
    }

    #[test]
    fn a_line_is_covered_if_any_region_of_it_ran() {
        let source = &canned()[0];
        let counts: Vec<(usize, u64)> = source.lines.clone().into_iter().collect();
        // The region that begins in line 4 reaches into line 6, where the outer one goes on only
        // behind it. Lines 9 to 11 have no code.
        let expected = [(1, 5), (2, 5), (3, 5), (4, 5), (5, 0), (6, 0), (7, 5), (8, 5), (12, 0)];
        assert_eq!(counts, expected);
        assert_eq!(source.lines(), Share { covered: 6, total: 9 });
    }

    #[test]
    fn instances_of_a_condition_are_added_up() {
        let source = &canned()[0];
        assert_eq!(source.branches[&[2, 8, 2, 12]], [3, 2]);
        assert_eq!(source.branches[&[3, 8, 3, 12]], [1, 0]);
        assert_eq!(source.branches(), Share { covered: 3, total: 4 });
    }

    #[test]
    fn nonsense_is_an_error() {
        assert!(parse("{}", Path::new("/r"), |_| true).is_err());
    }
}
