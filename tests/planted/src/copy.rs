//! The copy of the workspace that holds the changed sources, in the target folder. Only what
//! changed is written, so that what did not is not built again.

#![forbid(unsafe_code)]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use faultless_tools::workspace;

/// The crate with the switch.
pub(crate) const SWITCH: &str = include_str!("switch.rs");
pub(crate) const SWITCH_MANIFEST: &str =
    "[package]\nname = \"faultless_switch\"\nversion = \"0.0.0\"\nedition = \"2024\"\n";
pub(crate) const SWITCH_FOLDER: &str = "crates/switch";

/// What every manifest of the workspace says of lints; changed code is not pretty.
const LINTS: &str = "[lints]\nworkspace = true\n";

/// The folders of a run.
#[derive(Clone, Debug)]
pub(crate) struct Folders {
    /// The copy of the workspace.
    pub(crate) workspace: PathBuf,
    /// What is built from it.
    pub(crate) target: PathBuf,
    /// Everything else that is written.
    pub(crate) scratch: PathBuf,
}

impl Folders {
    /// All inside `base`.
    pub(crate) fn new(base: &Path) -> Result<Self> {
        let folder = |name: &str| {
            let path = base.join(name);
            std::fs::create_dir_all(&path)
                .with_context(|| format!("cannot make {}", path.display()))?;
            Ok::<_, anyhow::Error>(path)
        };
        Ok(Self {
            workspace: folder("workspace")?,
            target: folder("target")?,
            scratch: folder("tmp")?,
        })
    }

    /// Writes a file of the copy, unless it is there already.
    pub(crate) fn write(&self, path: &str, text: &[u8]) -> Result<()> {
        let to = self.workspace.join(path);
        if std::fs::read(&to).is_ok_and(|there| there == text) {
            return Ok(());
        }
        if let Some(folder) = to.parent() {
            std::fs::create_dir_all(folder)?;
        }
        std::fs::write(&to, text).with_context(|| format!("cannot write {}", to.display()))
    }
}

/// Copies everything but Rust sources, and adds the crate with the switch to the dependencies of
/// `packages`. Returns the Rust sources; [`Folders::write`] is for them.
pub(crate) fn copy(folders: &Folders, packages: &[&str]) -> Result<BTreeMap<String, String>> {
    let mut sources = BTreeMap::new();
    let files = workspace::tracked_files()?;
    for path in &files {
        // A file that was deleted but not yet committed is listed and cannot be read.
        let Ok(bytes) = std::fs::read(workspace::root().join(path)) else { continue };
        match String::from_utf8(bytes) {
            Ok(text) if path.ends_with(".rs") => {
                sources.insert(path.clone(), text);
            }
            Ok(text) if path.ends_with("Cargo.toml") => {
                folders.write(path, manifest(&text, packages).as_bytes())?;
            }
            Ok(text) => folders.write(path, text.as_bytes())?,
            Err(binary) => folders.write(path, binary.as_bytes())?,
        }
    }
    folders.write(&format!("{SWITCH_FOLDER}/src/lib.rs"), SWITCH.as_bytes())?;
    folders.write(&format!("{SWITCH_FOLDER}/Cargo.toml"), SWITCH_MANIFEST.as_bytes())?;
    remove_others(&folders.workspace, &files)?;
    Ok(sources)
}

/// A manifest without lints, and with the switch if the package has bugs.
fn manifest(text: &str, packages: &[&str]) -> String {
    let text = text.replace("\r\n", "\n").replace(LINTS, "");
    if packages.iter().any(|package| text.contains(&format!("name = \"{package}\""))) {
        let switch = "[dependencies]\nfaultless_switch = { path = \"../switch\" }\n";
        if text.contains("[dependencies]\n") {
            return text.replacen("[dependencies]\n", switch, 1);
        }
        return format!("{text}\n{switch}");
    }
    text
}

/// Removes what an earlier run copied and the workspace no longer has, with the folders that are
/// left empty: cargo takes a folder in the place of a package for one.
fn remove_others(copy: &Path, files: &[String]) -> Result<()> {
    remove_others_in(copy, copy, files)
}

fn remove_others_in(folder: &Path, copy: &Path, files: &[String]) -> Result<()> {
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        let relative = path.strip_prefix(copy)?.to_string_lossy().into_owned();
        if relative == SWITCH_FOLDER || relative == "Cargo.lock" {
            continue;
        }
        if path.is_dir() {
            remove_others_in(&path, copy, files)?;
            if std::fs::read_dir(&path)?.next().is_none() {
                std::fs::remove_dir(&path)?;
            }
        } else if files.binary_search(&relative).is_err() {
            std::fs::remove_file(&path)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_package_that_is_gone_leaves_no_folder() {
        let name = format!("faultless-planted-copy-{}", std::process::id());
        let copy = std::env::temp_dir().join(name);
        for file in ["crates/old/src/lib.rs", "crates/new/src/lib.rs", "Cargo.lock"] {
            let path = copy.join(file);
            std::fs::create_dir_all(path.parent().expect("a folder")).expect("made");
            std::fs::write(path, "").expect("written");
        }
        remove_others(&copy, &["crates/new/src/lib.rs".to_owned()]).expect("removed");
        let is_there = |path: &str| copy.join(path).exists();
        let found = ["crates/old", "crates/new/src/lib.rs", "Cargo.lock"].map(is_there);
        std::fs::remove_dir_all(&copy).expect("ours");
        assert_eq!(found, [false, true, true]);
    }

    #[test]
    fn manifests_lose_their_lints_and_only_packages_with_bugs_get_the_switch() {
        let text =
            "[package]\nname = \"a\"\n\n[lints]\nworkspace = true\n\n[dependencies]\nx = \"1\"\n";
        let other = manifest(text, &["b"]);
        assert!(!other.contains("lints") && !other.contains("switch"), "{other}");
        let planted = manifest(text, &["a"]);
        assert!(planted.contains("[dependencies]\nfaultless_switch = {"), "{planted}");
        assert!(manifest("[package]\nname = \"a\"\n", &["a"]).contains("faultless_switch"));
    }
}
