//! What the rules look at, and what they find.

#![forbid(unsafe_code)]

use std::fmt;

use anyhow::Result;
use cargo_metadata::camino::Utf8Path;
use faultless_tools::workspace::{self, TextFile};

/// What the rules look at.
#[derive(Debug, Default)]
pub(super) struct Facts {
    /// Every text file of the repository.
    pub(super) files: Vec<TextFile>,
    /// The workspace's packages.
    pub(super) packages: Vec<Package>,
}

/// A package of the workspace, as far as the rules care.
#[derive(Clone, Debug, Default)]
pub(super) struct Package {
    pub(super) name: String,
    /// Its folder from the root of the workspace, with `/` between the parts and at the end.
    pub(super) folder: String,
    pub(super) license: Option<String>,
    /// Names of all packages that it needs to build, tests excluded.
    pub(super) needs: Vec<String>,
    /// Names of all packages that its tests need besides.
    pub(super) needs_for_tests: Vec<String>,
}

/// Something that a rule forbids.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Violation {
    pub(super) place: String,
    pub(super) what: String,
}

impl Violation {
    pub(super) fn new(place: impl Into<String>, what: impl Into<String>) -> Self {
        Self { place: place.into(), what: what.into() }
    }

    pub(super) fn at_line(file: &TextFile, line: usize, what: impl Into<String>) -> Self {
        Self::new(format!("{}:{line}", file.path), what)
    }
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.place, self.what)
    }
}

impl Facts {
    /// Of the workspace as it is.
    pub(super) fn gather() -> Result<Self> {
        let packages = workspace::metadata()?
            .packages
            .into_iter()
            .map(|package| {
                let (tests, build): (Vec<_>, Vec<_>) = package
                    .dependencies
                    .iter()
                    .partition(|d| d.kind == cargo_metadata::DependencyKind::Development);
                let names = |list: Vec<&cargo_metadata::Dependency>| {
                    list.into_iter().map(|d| d.name.clone()).collect()
                };
                Package {
                    name: package.name.to_string(),
                    folder: folder(&package.manifest_path),
                    license: package.license,
                    needs: names(build),
                    needs_for_tests: names(tests),
                }
            })
            .collect();
        Ok(Self { files: workspace::text_files()?, packages })
    }
}

/// The folder of a manifest, from the root of the workspace.
fn folder(manifest: &Utf8Path) -> String {
    let folder = manifest.parent().unwrap_or(manifest).as_std_path();
    let folder = folder.strip_prefix(workspace::root()).unwrap_or(folder);
    format!("{}/", folder.display())
}

#[cfg(test)]
pub(super) mod testing {
    //! Helpers for the rules' tests.

    use super::*;

    /// Facts of one file.
    pub(in crate::check) fn file(path: &str, text: &str) -> Facts {
        Facts { files: vec![TextFile { path: path.into(), text: text.into() }], packages: vec![] }
    }

    /// Asserts that a rule objects to a file, in words that contain `what`.
    #[track_caller]
    pub(in crate::check) fn objects(found: &[Violation], what: &str) {
        assert!(found.iter().any(|v| v.to_string().contains(what)), "not found: {what}: {found:?}");
    }
}
