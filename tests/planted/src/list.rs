//! The list of planted bugs.

#![forbid(unsafe_code)]

use std::collections::BTreeSet;
use std::path::Path;

use anyhow::{Context, Result, bail};
use serde::Deserialize;

/// A bug.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Plant {
    /// Its name: for people, and for `--only`.
    pub(super) name: String,
    /// The rule that it breaks, and how.
    pub(super) why: String,
    /// The tests that must find it, each by itself: the arguments of a `cargo test`.
    pub(super) tests: Vec<String>,
    /// What is changed, all at once.
    pub(super) change: Vec<Change>,
}

/// A change of one place.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Change {
    /// The file, from the root of the workspace.
    pub(super) file: String,
    /// The text that is replaced.
    pub(super) old: String,
    /// The text that stands there instead.
    pub(super) new: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct List {
    plant: Vec<Plant>,
}

/// Reads the list.
pub(super) fn read(path: &Path) -> Result<Vec<Plant>> {
    let text = std::fs::read_to_string(path).with_context(|| format!("{}", path.display()))?;
    parse(&text).with_context(|| format!("{}", path.display()))
}

fn parse(text: &str) -> Result<Vec<Plant>> {
    let list: List = toml::from_str(text)?;
    let mut names = BTreeSet::new();
    for plant in &list.plant {
        if !names.insert(&plant.name) {
            bail!("{} is there twice", plant.name);
        }
        if plant.tests.is_empty() || plant.change.is_empty() {
            bail!("{} has no test, or no change", plant.name);
        }
    }
    Ok(list.plant)
}

#[cfg(test)]
mod tests {
    use super::*;
    use faultless_tools::workspace;

    #[test]
    fn a_name_stands_for_one_bug_and_a_bug_has_tests() {
        let plant = "[[plant]]\nname = \"a\"\nwhy = \"W1\"\ntests = [\"-p x --lib f\"]\n\
            [[plant.change]]\nfile = \"f\"\nold = \"1\"\nnew = \"2\"\n";
        assert_eq!(parse(plant).expect("a list").len(), 1);
        assert!(parse(&plant.repeat(2)).is_err());
        assert!(parse(&plant.replace("\"-p x --lib f\"", "")).is_err());
        assert!(parse(&plant.replace("why", "reason")).is_err());
    }

    #[test]
    fn the_list_of_the_workspace_is_well_formed() {
        read(&workspace::root().join(crate::LIST)).expect("a list");
    }
}
