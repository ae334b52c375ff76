//! The mutants that cargo-mutants finds. It generates; how they are built and run is this module's
//! neighbours' business.

#![forbid(unsafe_code)]

use std::collections::BTreeMap;

use anyhow::{Context, Result, bail};
use serde::Deserialize;

use super::source::Source;
use faultless_tools::process;

/// What kind of change a mutant is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Deserialize)]
pub(super) enum Genre {
    /// A function returns something at once.
    FnValue,
    /// Another binary operator.
    BinaryOperator,
    /// An operator in front is gone.
    UnaryOperator,
    /// A match arm is gone.
    MatchArm,
    /// A match guard is true, or false.
    MatchArmGuard,
    /// A field of a struct expression with a base is gone.
    StructField,
}

/// Line and column, both from 1; columns count characters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
pub(super) struct Spot {
    pub(super) line: usize,
    pub(super) column: usize,
}

/// From, and up to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
pub(super) struct Extent {
    pub(super) start: Spot,
    pub(super) end: Spot,
}

/// One change of the source.
#[derive(Clone, Debug)]
pub(super) struct Mutant {
    /// Its place in cargo-mutants' list, from 1.
    pub(super) id: u32,
    /// The package that is changed.
    pub(super) package: String,
    /// The file, from the root of the workspace.
    pub(super) file: String,
    pub(super) genre: Genre,
    /// What is replaced.
    pub(super) extent: Extent,
    /// What stands there instead.
    pub(super) replacement: String,
    /// cargo-mutants' name, without the place.
    pub(super) name: String,
    /// The source line where it begins, trimmed.
    pub(super) code: String,
    /// Which of the mutants with the same file, name and code it is, from 1.
    pub(super) nth: usize,
}

impl Mutant {
    /// Place and name, as cargo-mutants prints it.
    pub(super) fn title(&self) -> String {
        let start = self.extent.start;
        format!("{}:{}:{}: {}", self.file, start.line, start.column, self.name)
    }
}

/// An element of the output of `cargo mutants --list --json`.
#[derive(Deserialize)]
struct Listed {
    package: String,
    file: String,
    genre: Genre,
    span: Extent,
    replacement: String,
    name: String,
}

/// All mutants of these packages. `sources` holds the text of each file.
pub(super) fn mutants(
    packages: &[&str],
    sources: &BTreeMap<String, Source>,
) -> Result<Vec<Mutant>> {
    let mut command = process::cargo(["mutants", "--list", "--json"]);
    for package in packages {
        command.args(["--package", package]);
    }
    let output = command.output().context("cannot run cargo mutants")?;
    if !output.status.success() {
        bail!("cargo mutants --list: {}", String::from_utf8_lossy(&output.stderr));
    }
    parse(&output.stdout, sources)
}

fn parse(json: &[u8], sources: &BTreeMap<String, Source>) -> Result<Vec<Mutant>> {
    let listed: Vec<Listed> =
        serde_json::from_slice(json).context("cargo mutants prints another form of list")?;
    let mut seen: BTreeMap<(String, String, String), usize> = BTreeMap::new();
    let mut mutants = Vec::new();
    for (at, one) in listed.into_iter().enumerate() {
        let source = sources.get(&one.file).with_context(|| format!("no file {}", one.file))?;
        let start = one.span.start;
        let place = format!("{}:{}:{}: ", one.file, start.line, start.column);
        let name = one.name.strip_prefix(&place).unwrap_or(&one.name).to_owned();
        let code = source.line(start.line).trim().to_owned();
        let nth = seen.entry((one.file.clone(), name.clone(), code.clone())).or_default();
        *nth += 1;
        mutants.push(Mutant {
            id: u32::try_from(at + 1)?,
            package: one.package,
            file: one.file,
            genre: one.genre,
            extent: one.span,
            replacement: one.replacement,
            name,
            code,
            nth: *nth,
        });
    }
    Ok(mutants)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mutants_alike_on_one_line_are_told_apart_by_number() {
        let text = "fn f() -> u8 {\n    1 + 2 + 3\n}\n";
        let sources = BTreeMap::from([("a.rs".to_owned(), Source::new(text.to_owned()))]);
        let one = |column| {
            format!(
                r#"{{"package":"p","file":"a.rs","genre":"BinaryOperator","replacement":"-",
                "name":"a.rs:2:{column}: replace + with - in f","diff":"",
                "span":{{"start":{{"line":2,"column":{column}}},"end":{{"line":2,"column":{}}}}}}}"#,
                column + 1
            )
        };
        let json = format!("[{},{}]", one(7), one(11));
        let mutants = parse(json.as_bytes(), &sources).expect("the list is well formed");
        assert_eq!(mutants[1].id, 2);
        assert_eq!(mutants[1].name, "replace + with - in f");
        assert_eq!(mutants[1].code, "1 + 2 + 3");
        assert_eq!((mutants[0].nth, mutants[1].nth), (1, 2));
    }
}
