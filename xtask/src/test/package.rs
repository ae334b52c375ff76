//! The crates for embedders, each built from what would be published of it and of those before it.
//!
//! Cargo takes a package that it has unpacked or built before for the same one if name and version
//! are the same: a second run in the same folder would build against the crates of the first. The
//! step therefore starts with an empty folder for its output, and with a home of its own there:
//! downloads and settings are those of the user, and what is unpacked is not kept.

#![forbid(unsafe_code)]

use std::env;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use faultless_tools::process::cargo;
use faultless_tools::workspace;

/// The crates that are made to be published. Cargo finds their order.
const PUBLISHED: [&str; 6] = [
    "faultless-page",
    "faultless-usercopy",
    "faultless-policy",
    "faultless-filemap",
    "faultless-parts",
    "faultless",
];

/// What the user's home and that of the step share.
const SHARED: &[&str] =
    &["config", "config.toml", "git", "registry/index", "registry/cache", "registry/CACHEDIR.TAG"];

/// Makes the packages, and builds each with those before it in place of a registry. What they need
/// from outside is there by now.
pub(super) fn command() -> Result<Command> {
    let output = workspace::target_dir()?.join("packages");
    if output.exists() {
        fs::remove_dir_all(&output)
            .with_context(|| format!("cannot remove {}", output.display()))?;
    }
    let home = output.join("home");
    lend(&users_home()?, &home)?;
    let mut command = cargo(["package", "--quiet", "--offline", "--locked", "--allow-dirty"]);
    command.env("CARGO_HOME", home).arg("--target-dir").arg(output);
    command.args(PUBLISHED.iter().flat_map(|name| ["--package", name]));
    Ok(command)
}

fn users_home() -> Result<PathBuf> {
    match env::var_os("CARGO_HOME") {
        Some(home) => Ok(home.into()),
        None => Ok(env::home_dir().context("no home directory")?.join(".cargo")),
    }
}

/// A new home at `to` that has the downloads and the settings of `from`.
fn lend(from: &Path, to: &Path) -> Result<()> {
    fs::create_dir_all(to.join("registry"))?;
    for name in SHARED {
        let (original, link) = (from.join(name), to.join(name));
        if original.exists() {
            symlink(&original, &link).with_context(|| format!("cannot link {}", link.display()))?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lent_home_has_the_downloads_and_nothing_that_was_unpacked() {
        let folder = tempfile::tempdir().expect("a folder");
        let (from, to) = (folder.path().join("from"), folder.path().join("to"));
        fs::create_dir_all(from.join("registry/cache/x")).expect("made");
        fs::create_dir_all(from.join("registry/src/page-0.1.0")).expect("made");
        lend(&from, &to).expect("lent");
        assert!(to.join("registry/cache/x").exists());
        assert!(!to.join("registry/src").exists());
        fs::remove_dir_all(&to).expect("removed");
        assert!(from.join("registry/cache/x").exists(), "a removed link is not what it leads to");
    }
}
