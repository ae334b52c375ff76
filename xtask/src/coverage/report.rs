//! What was covered, as a table, as JSON and line by line.

#![forbid(unsafe_code)]

use std::fmt::Write as _;

use comfy_table::{CellAlignment, ContentArrangement, Table, presets};
use serde_json::{Value, json};

use super::explain::Explained;
use super::export::{Share, Source};

/// The crate that a file belongs to: the folder below `crates`.
pub(super) fn crate_of(path: &str) -> &str {
    path.split('/').nth(1).unwrap_or(path)
}

/// Shares of lines and of branches.
type Shares = (Share, Share);

/// The crates in the order in which their files come, each with what its files add up to.
fn crates(sources: &[Source]) -> Vec<(&str, Shares)> {
    let mut sums: Vec<(&str, Shares)> = Vec::new();
    for source in sources {
        let name = crate_of(&source.path);
        if sums.last().is_none_or(|(last, _)| *last != name) {
            sums.push((name, Shares::default()));
        }
        if let Some((_, sum)) = sums.last_mut() {
            *sum = (sum.0.and(source.lines()), sum.1.and(source.branches()));
        }
    }
    sums
}

fn in_all(crates: &[(&str, Shares)]) -> Shares {
    crates.iter().fold(Shares::default(), |all, (_, sum)| (all.0.and(sum.0), all.1.and(sum.1)))
}

/// One row a file, one a crate, and one for all of them.
pub(super) fn table(sources: &[Source]) -> Table {
    let mut table = Table::new();
    table.load_style(presets::UTF8_BORDERS_ONLY);
    table.set_content_arrangement(ContentArrangement::Disabled);
    table.set_header(["file", "lines", "", "branches", ""]);
    let crates = crates(sources);
    for (name, sum) in &crates {
        for source in sources.iter().filter(|source| crate_of(&source.path) == *name) {
            table.add_row(row(&source.path, (source.lines(), source.branches())));
        }
        table.add_row(row(&format!("{name}, in all"), *sum));
        table.add_row([""; 5]);
    }
    table.add_row(row("the core, in all", in_all(&crates)));
    for column in table.column_iter_mut().skip(1) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    table
}

fn row(what: &str, (lines, branches): Shares) -> [String; 5] {
    [what.to_owned(), of(lines), percent(lines), of(branches), percent(branches)]
}

fn of(share: Share) -> String {
    if share.total == 0 { String::new() } else { format!("{}/{}", share.covered, share.total) }
}

/// Rounded down: 100 % means all.
fn percent(share: Share) -> String {
    match (share.covered * 1000).checked_div(share.total) {
        Some(tenths) => format!("{}.{} %", tenths / 10, tenths % 10),
        None => String::new(),
    }
}

/// Each uncovered run with its reason, then each condition that always had the same value.
pub(super) fn uncovered(explained: &[Explained], sources: &[(Source, String)]) -> String {
    let mut text = String::new();
    for (run, reason) in explained {
        let _ = writeln!(text, "{run}\n    why: {}", reason.as_deref().unwrap_or("nobody says"));
    }
    for (source, code) in sources {
        let one_sided = source.branches.iter().filter(|(_, counts)| counts.contains(&0));
        for (&[line, column, end_line, end_column], counts) in one_sided {
            let what = match counts {
                [0, 0] => "never evaluated",
                [0, _] => "never true",
                _ => "never false",
            };
            let condition = excerpt(code, (line, column), (end_line, end_column));
            let _ = writeln!(text, "{}:{line}:{column}: {what}: {condition}", source.path);
        }
    }
    text
}

/// The text from one place to another, or to the end of its line. Columns count bytes, from 1.
fn excerpt(code: &str, from: (usize, usize), to: (usize, usize)) -> &str {
    let line = code.lines().nth(from.0.saturating_sub(1)).unwrap_or_default();
    let end = if from.0 == to.0 { to.1.saturating_sub(1) } else { line.len() };
    line.get(from.1.saturating_sub(1)..end).unwrap_or(line).trim()
}

/// Everything that was found.
pub(super) fn json(sources: &[Source], explained: &[Explained]) -> Value {
    let share = |share: Share| json!({ "covered": share.covered, "total": share.total });
    let both =
        |(lines, branches): Shares| json!({ "lines": share(lines), "branches": share(branches) });
    let crates = crates(sources);
    let files = sources.iter().map(|source| {
        json!({
            "file": source.path,
            "lines": share(source.lines()),
            "branches": share(source.branches()),
        })
    });
    let uncovered = explained.iter().map(|(run, reason)| {
        let lines: Vec<usize> = run.lines.iter().map(|(number, _)| *number).collect();
        json!({ "file": run.file, "lines": lines, "reason": reason })
    });
    json!({
        "files": files.collect::<Vec<_>>(),
        "crates": crates.iter().map(|(name, sum)| ((*name).to_owned(), both(*sum))).collect::<serde_json::Map<_, _>>(),
        "total": both(in_all(&crates)),
        "uncovered": uncovered.collect::<Vec<_>>(),
    })
}

#[cfg(test)]
mod tests {
    use super::super::explain::Run;
    use super::*;

    fn source(path: &str, lines: &[u64], branches: &[[u64; 2]]) -> Source {
        let at = |(index, counts): (usize, &[u64; 2])| ([index + 1, 4, index + 1, 7], *counts);
        Source {
            path: path.into(),
            lines: lines.iter().enumerate().map(|(index, count)| (index + 1, *count)).collect(),
            branches: branches.iter().enumerate().map(at).collect(),
        }
    }

    fn two_crates() -> Vec<Source> {
        vec![
            source("crates/filemap/src/a.rs", &[1, 0], &[[1, 0], [0, 0]]),
            source("crates/filemap/src/b.rs", &[7], &[]),
            source("crates/page/src/c.rs", &[1, 1, 1], &[[2, 2]]),
        ]
    }

    #[test]
    fn files_add_up_to_crates_and_crates_to_the_core() {
        let found = json(&two_crates(), &[]);
        assert_eq!(found["crates"]["filemap"]["lines"], json!({ "covered": 2, "total": 3 }));
        assert_eq!(found["crates"]["filemap"]["branches"], json!({ "covered": 1, "total": 4 }));
        assert_eq!(found["total"]["lines"], json!({ "covered": 5, "total": 6 }));
        let table = table(&two_crates()).to_string();
        assert!(table.contains("filemap, in all") && table.contains("5/6"), "{table}");
    }

    #[test]
    fn a_share_is_rounded_down() {
        assert_eq!(percent(Share { covered: 1999, total: 2000 }), "99.9 %");
        assert_eq!(percent(Share { covered: 2000, total: 2000 }), "100.0 %");
        assert_eq!(percent(Share::default()), "");
    }

    #[test]
    fn what_is_not_covered_is_shown_with_its_text() {
        let run = Run { file: "a.rs".into(), lines: vec![(2, "    lost();".into())] };
        let code = "if one {\nif two {\n".to_owned();
        let shown =
            uncovered(&[(run, Some("no way there".into()))], &[(two_crates().remove(0), code)]);
        for expected in [
            "2 |     lost();",
            "why: no way there",
            ":1:4: never false: one",
            ":2:4: never evaluated: two",
        ] {
            assert!(shown.contains(expected), "{expected} is not in\n{shown}");
        }
    }
}
