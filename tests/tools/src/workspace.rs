//! Where the workspace is, which files it has, and which packages.

#![forbid(unsafe_code)]

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};
use cargo_metadata::{Metadata, MetadataCommand};

/// The folder that holds the workspace's `Cargo.toml`.
#[must_use]
pub fn root() -> PathBuf {
    let manifest_dir = Path::new(env!("CARGO_MANIFEST_DIR"));
    manifest_dir.ancestors().nth(2).unwrap_or(manifest_dir).to_path_buf()
}

/// What cargo knows of the workspace, without its external dependencies.
///
/// # Errors
/// Those of `cargo metadata`.
pub fn metadata() -> Result<Metadata> {
    MetadataCommand::new()
        .manifest_path(root().join("Cargo.toml"))
        .no_deps()
        .exec()
        .context("cargo metadata")
}

/// What selects every package with tests. The preloaded library has none of its own, and its
/// allocator is of use in a program that it was loaded into only. Nor has the kernel, which links
/// with a script of its own: its tests boot it.
///
/// Cargo gives dependencies the features that the selected packages ask for together: commands
/// with another selection build many of them once more.
pub const PACKAGES: [&str; 5] =
    ["--workspace", "--exclude", "faultless-preload", "--exclude", "faultless-kernel"];

/// What selects every test of these packages but those in documentation.
pub const TESTS: [&str; 8] = {
    let [all, not, preload, nor, kernel] = PACKAGES;
    [all, not, preload, nor, kernel, "--lib", "--bins", "--tests"]
};

/// Where build output goes.
///
/// # Errors
/// Those of [`metadata`].
pub fn target_dir() -> Result<PathBuf> {
    Ok(metadata()?.target_directory.into_std_path_buf())
}

/// A text file of the repository.
#[derive(Clone, Debug)]
pub struct TextFile {
    /// Path from the root of the workspace, with `/` between the parts.
    pub path: String,
    /// What it holds.
    pub text: String,
}

impl TextFile {
    /// The extension, or nothing.
    #[must_use]
    pub fn extension(&self) -> &str {
        Path::new(&self.path).extension().and_then(|e| e.to_str()).unwrap_or("")
    }
}

/// Every file that git tracks or would track, sorted: paths from the root, with `/` between the
/// parts.
///
/// # Errors
/// git cannot be run, or this is no repository.
pub fn tracked_files() -> Result<Vec<String>> {
    let listed = Command::new("git")
        .args(["ls-files", "-z", "--cached", "--others", "--exclude-standard"])
        .current_dir(root())
        .output()
        .context("cannot run git")?;
    if !listed.status.success() {
        bail!("git ls-files: {}", String::from_utf8_lossy(&listed.stderr));
    }
    let text = String::from_utf8(listed.stdout)?;
    let mut paths: Vec<String> = text.split_terminator('\0').map(str::to_owned).collect();
    paths.sort();
    Ok(paths)
}

/// Every text file that git tracks or would track, sorted. Files that are not UTF-8 are left out.
///
/// # Errors
/// Those of [`tracked_files`].
pub fn text_files() -> Result<Vec<TextFile>> {
    let root = root();
    let mut files = Vec::new();
    for path in tracked_files()? {
        // A file that was deleted but not yet committed is listed and cannot be read.
        if let Ok(bytes) = std::fs::read(root.join(&path))
            && let Ok(text) = String::from_utf8(bytes)
        {
            files.push(TextFile { path, text });
        }
    }
    Ok(files)
}
