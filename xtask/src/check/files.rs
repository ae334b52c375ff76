//! Rules about files of any kind: length, machine paths, manifests, licences.

#![forbid(unsafe_code)]

use super::facts::{Facts, Violation};

/// Lines beyond which a source file gets a note.
const LONG: usize = 400;
/// Lines beyond which it is a violation.
const TOO_LONG: usize = 600;

/// The licence of every package.
const LICENSE: &str = "MIT OR Apache-2.0";

/// No source file is longer than [`TOO_LONG`].
pub(super) fn short(facts: &Facts) -> Vec<Violation> {
    lengths(facts)
        .filter(|(_, lines)| *lines > TOO_LONG)
        .map(|(path, lines)| Violation::new(path, format!("{lines} lines, more than {TOO_LONG}")))
        .collect()
}

/// Source files that are longer than most should be, as remarks.
pub(super) fn long_files(facts: &Facts) -> Vec<String> {
    lengths(facts)
        .filter(|(_, lines)| (LONG + 1..=TOO_LONG).contains(lines))
        .map(|(path, lines)| format!("{path} has {lines} lines; most have fewer than {LONG}"))
        .collect()
}

fn lengths(facts: &Facts) -> impl Iterator<Item = (&str, usize)> {
    let source = facts.files.iter().filter(|file| file.extension() == "rs");
    source.map(|file| (file.path.as_str(), file.text.lines().count()))
}

/// No file names a folder that exists on one machine only.
pub(super) fn no_machine_paths(facts: &Facts) -> Vec<Violation> {
    let mut prefixes: Vec<String> =
        ["work", "home", "root", "Users"].iter().map(|folder| format!("/{folder}/")).collect();
    prefixes.push(format!("{}/", faultless_tools::workspace::root().display()));
    prefixes.push(concat!("..", "/shared").to_owned());
    let mut found = Vec::new();
    for file in &facts.files {
        for (at, line) in file.text.lines().enumerate() {
            if let Some(prefix) = prefixes.iter().find(|prefix| has_path(line, prefix)) {
                found.push(Violation::at_line(file, at + 1, format!("names {prefix}")));
            }
        }
    }
    found
}

/// Whether the line has `prefix` at the beginning of a path, and not in the middle of one.
fn has_path(line: &str, prefix: &str) -> bool {
    line.match_indices(prefix).any(|(at, _)| {
        let before = line[..at].chars().next_back();
        !before.is_some_and(|c| c.is_alphanumeric() || "_-.}/".contains(c))
    })
}

/// Every manifest of the workspace inherits the workspace's lints.
pub(super) fn lints_inherited(facts: &Facts) -> Vec<Violation> {
    let manifests = facts.files.iter().filter(|file| {
        let member = ["crates/", "tests/", "xtask/"].iter().any(|f| file.path.starts_with(f));
        member && file.path.ends_with("/Cargo.toml") && !file.text.contains("[workspace]")
    });
    manifests
        .filter(|file| !file.text.replace("\r\n", "\n").contains("[lints]\nworkspace = true"))
        .map(|file| Violation::new(&file.path, "does not inherit the workspace's lints"))
        .collect()
}

/// Both licence texts are there, and every package names them.
pub(super) fn licences(facts: &Facts) -> Vec<Violation> {
    let mut found = Vec::new();
    for (path, phrase) in
        [("LICENSE-MIT", "Permission is hereby granted"), ("LICENSE-APACHE", "Apache License")]
    {
        let there = facts.files.iter().any(|f| f.path == path && f.text.contains(phrase));
        if !there {
            found.push(Violation::new(path, "missing, or not the licence"));
        }
    }
    for package in &facts.packages {
        if package.license.as_deref() != Some(LICENSE) {
            found.push(Violation::new(&package.name, format!("its licence is not {LICENSE}")));
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::facts::Package;
    use crate::check::facts::testing::{file, objects};

    #[test]
    fn a_file_of_601_lines_is_found_and_one_of_401_is_remarked_on() {
        objects(&short(&file("crates/page/src/x.rs", &"\n".repeat(601))), "601 lines");
        let long = file("crates/page/src/x.rs", &"\n".repeat(401));
        assert_eq!(short(&long), []);
        assert_eq!(long_files(&long).len(), 1);
        assert_eq!(long_files(&file("x.rs", &"\n".repeat(400))), Vec::<String>::new());
    }

    #[test]
    fn a_path_of_one_machine_is_found() {
        let planted = format!("see {}main/x", concat!("/wo", "rk/"));
        objects(&no_machine_paths(&file("README.md", &planted)), "README.md:1");
        let planted = format!("cd {}me", concat!("/ho", "me/"));
        objects(&no_machine_paths(&file(".ci/run", &planted)), ".ci/run:1");
        let fine = "https://docs.rs/work/latest and a/work/b";
        assert_eq!(no_machine_paths(&file("README.md", fine)), []);
    }

    #[test]
    fn a_manifest_with_lints_of_its_own_is_found() {
        let planted = "[package]\nname = \"x\"\n[lints.rust]\nmissing_docs = \"allow\"\n";
        objects(&lints_inherited(&file("crates/page/Cargo.toml", planted)), "lints");
        let fine = "[package]\n\n[lints]\nworkspace = true\n";
        assert_eq!(lints_inherited(&file("crates/page/Cargo.toml", fine)), []);
    }

    #[test]
    fn a_missing_licence_text_and_a_foreign_licence_are_found() {
        let mut facts = file("LICENSE-MIT", "Permission is hereby granted, free of charge");
        facts.packages.push(Package {
            name: "x".into(),
            license: Some("GPL-2.0".into()),
            ..Package::default()
        });
        let found = licences(&facts);
        objects(&found, "LICENSE-APACHE");
        objects(&found, "x: its licence");
        assert_eq!(found.len(), 2);
    }
}
