//! Rules about comments: their width, and their words.

#![forbid(unsafe_code)]

use super::facts::{Facts, Violation};
use faultless_tools::workspace::TextFile;

/// Columns of a comment.
const WIDTH: usize = 100;

/// Where comments and documents speak of code only.
const WORDED: &[&str] = &[
    "crates/page/src/",
    "crates/usercopy/src/",
    "crates/filemap/src/",
    "crates/parts/src/",
    "crates/faultless/",
    "crates/host/src/",
    "crates/example-kernel/",
    "tests/controls/",
    "tests/fuzzing/",
    "tests/oracle/",
    "docs/",
    "README.md",
    "ARCHITECTURE.md",
    "CHANGELOG.md",
];

/// Words for persons. Code is not one.
const PERSONS: &[&str] = &[
    "who",
    "whom",
    "whoever",
    "somebody",
    "someone",
    "nobody",
    "anybody",
    "anyone",
    "everybody",
    "everyone",
];

/// Lines of a Rust file that are comments, with their numbers.
fn comments(file: &TextFile) -> impl Iterator<Item = (usize, &str)> {
    let numbered = file.text.lines().enumerate().map(|(at, line)| (at + 1, line));
    numbered.filter(|(_, line)| line.trim_start().starts_with("//"))
}

/// A comment that could be wrapped is no wider than [`WIDTH`] columns. Tables are left alone.
pub(super) fn narrow(facts: &Facts) -> Vec<Violation> {
    let mut found = Vec::new();
    for file in facts.files.iter().filter(|file| file.extension() == "rs") {
        for (number, line) in comments(file) {
            let text = line.trim_start().trim_start_matches(['/', '!']).trim_start();
            let before: String = line.chars().take(WIDTH + 1).collect();
            let indent = line.len() - text.len();
            let can_wrap = before.get(indent..).is_some_and(|text| text.trim().contains(' '));
            if line.chars().count() > WIDTH && can_wrap && !text.starts_with(['|', '/']) {
                let what = format!("a comment of more than {WIDTH} columns");
                found.push(Violation::at_line(file, number, what));
            }
        }
    }
    found
}

/// Comments of the core, and documents, speak of threads, callers and locks, not of persons.
pub(super) fn no_persons(facts: &Facts) -> Vec<Violation> {
    let mut found = Vec::new();
    let of_tests =
        |file: &TextFile| file.path.contains("/tests") || file.path.contains("/testing/");
    let worded = |file: &&TextFile| {
        WORDED.iter().any(|folder| file.path.starts_with(folder)) && !of_tests(file)
    };
    for file in facts.files.iter().filter(worded) {
        let lines: Vec<(usize, &str)> = match file.extension() {
            "rs" => comments(file).collect(),
            "md" => file.text.lines().enumerate().map(|(at, line)| (at + 1, line)).collect(),
            _ => continue,
        };
        for (number, line) in lines {
            let mut words = line.split(|c: char| !c.is_alphanumeric() && c != '_');
            if let Some(word) = words.find(|word| PERSONS.contains(&word.to_lowercase().as_str())) {
                let what = format!("\"{word}\": name the thread, the caller or the lock");
                found.push(Violation::at_line(file, number, what));
            }
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::facts::testing::{file, objects};

    #[test]
    fn a_comment_that_is_too_wide_is_found_and_a_table_or_an_address_is_not() {
        let wide = format!("/// {}\nfn f() {{}}\n", "word ".repeat(22));
        objects(
            &narrow(&file("crates/page/src/a.rs", &wide)),
            "a.rs:1: a comment of more than 100",
        );
        let table = format!("//! | {} |\n", "word ".repeat(22));
        assert_eq!(narrow(&file("crates/page/src/a.rs", &table)), []);
        let address = format!("// https://example.org/{}\n", "a".repeat(100));
        assert_eq!(narrow(&file("crates/page/src/a.rs", &address)), []);
        let code = format!("let s = \"{}\";\n", "word ".repeat(22));
        assert_eq!(narrow(&file("crates/page/src/a.rs", &code)), []);
    }

    #[test]
    fn a_person_in_a_comment_or_a_document_is_found_and_in_a_test_is_not() {
        let comment = "/// Whoever holds it.\nfn whoever() {}\n";
        objects(&no_persons(&file("crates/page/src/a.rs", comment)), "a.rs:1: \"Whoever\"");
        objects(&no_persons(&file("docs/a.md", "Then nobody waits.")), "a.md:1: \"nobody\"");
        assert_eq!(no_persons(&file("crates/page/src/tests/a.rs", comment)), []);
        assert_eq!(no_persons(&file("crates/page/src/a.rs", "fn who() {} // whole")), []);
    }
}
