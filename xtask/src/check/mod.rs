//! `cargo xtask check`: the house rules that a tool can check.
//!
//! Every rule is a function from [`Facts`] to violations, so that each has a test with a planted
//! violation. What clippy and rustdoc check is not repeated here.

#![forbid(unsafe_code)]

use std::process::ExitCode;

use anyhow::Result;

use facts::{Facts, Violation};

mod circles;
mod comments;
mod direction;
mod facts;
mod files;
mod imports;
mod links;
mod readme;
mod source;
mod tokens;

/// Which of the rules a run looks at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Part {
    /// Those about dependencies.
    Direction,
    /// Those about links in Markdown files.
    Links,
    /// The others.
    House,
}

/// A house rule.
struct Rule {
    part: Part,
    name: &'static str,
    find: fn(&Facts) -> Vec<Violation>,
}

const fn rule(part: Part, name: &'static str, find: fn(&Facts) -> Vec<Violation>) -> Rule {
    Rule { part, name, find }
}

const RULES: &[Rule] = &[
    rule(Part::Direction, "dependencies point downwards", direction::between_crates),
    rule(Part::Direction, "core crates use only the agreed crates", direction::to_the_outside),
    rule(Part::Direction, "modules import in one direction", circles::none),
    rule(Part::House, "core crates are no_std and need no alloc", source::no_std),
    rule(Part::House, "modules without unsafe forbid it", source::forbid_unsafe),
    rule(Part::House, "no bool parameters", source::no_bool_parameters),
    rule(Part::House, "nothing is postponed", source::nothing_postponed),
    rule(Part::House, "modules open with their purpose", source::module_docs),
    rule(Part::House, "comments wrap", comments::narrow),
    rule(Part::House, "code is not a person", comments::no_persons),
    rule(Part::House, "files are short", files::short),
    rule(Part::House, "no paths of one machine", files::no_machine_paths),
    rule(Part::House, "lints are inherited", files::lints_inherited),
    rule(Part::House, "licences are there", files::licences),
    rule(Part::House, "the README leads to the compiled example", readme::example_is_linked),
    rule(Part::Links, "links lead somewhere", links::check),
];

/// Violations of one rule that are shown.
const SHOWN: usize = 25;

/// `cargo xtask check`.
pub(crate) fn run() -> Result<ExitCode> {
    let facts = Facts::gather()?;
    let mut failed = 0;
    for rule in RULES {
        let violations = (rule.find)(&facts);
        println!("{:<6} {}", if violations.is_empty() { "ok" } else { "FAILED" }, rule.name);
        for line in some(&violations) {
            println!("       {line}");
        }
        failed += usize::from(!violations.is_empty());
    }
    for note in files::long_files(&facts) {
        println!("note   {note}");
    }
    println!("Rules: {} passed, {failed} failed", RULES.len() - failed);
    Ok(if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// The first violations in words, and how many more there are.
fn some(violations: &[Violation]) -> Vec<String> {
    let mut lines: Vec<String> = violations.iter().take(SHOWN).map(ToString::to_string).collect();
    if violations.len() > SHOWN {
        lines.push(format!("and {} more", violations.len() - SHOWN));
    }
    lines
}

/// What a part of the rules found: how many rules, and the violations with the rule's name.
pub(crate) fn part(part: Part) -> Result<(usize, Vec<String>)> {
    let facts = Facts::gather()?;
    let rules: Vec<&Rule> = RULES.iter().filter(|rule| rule.part == part).collect();
    let mut found = Vec::new();
    for rule in &rules {
        found.extend(some(&(rule.find)(&facts)).iter().map(|v| format!("{}: {v}", rule.name)));
    }
    Ok((rules.len(), found))
}
