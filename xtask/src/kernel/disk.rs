//! Images of disks: made, checked and read by the tools of e2fsprogs.

#![forbid(unsafe_code)]

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use anyhow::{Context, Result, ensure};
use tempfile::TempDir;

use faultless_tools::process::on_path;

/// Where a user's search path may not lead to.
const FOLDERS: &str = "/usr/sbin:/sbin";

/// What this machine lacks, and how to get it; `None` if nothing.
pub(super) fn missing() -> Option<String> {
    let there = FOLDERS.split(':').any(|folder| Path::new(folder).join("mke2fs").is_file());
    (!there && !on_path("mke2fs"))
        .then(|| "mke2fs is missing: apt-get install e2fsprogs".to_owned())
}

/// An image with an ext2 file system, in a file that goes with it.
pub(super) struct Image(TempDir);

impl Image {
    /// An empty file system of so many MiB.
    pub(super) fn new(mib: u32) -> Result<Self> {
        let image = Self(tempfile::tempdir()?);
        let path = image.path();
        let made = run("mke2fs", &["-q", "-F", "-t", "ext2"], &path, &[&format!("{mib}M")])?;
        ensure!(made.status.success(), "mke2fs: {}", text(&made));
        Ok(image)
    }

    /// The file.
    pub(super) fn path(&self) -> PathBuf {
        self.0.path().join("disk")
    }

    /// `e2fsck` finds nothing wrong.
    ///
    /// # Errors
    /// What it has found.
    pub(super) fn check(&self) -> Result<(), String> {
        self.fsck("-fn", 0)
    }

    /// Repairs what a power cut has left.
    ///
    /// # Errors
    /// What could not be repaired.
    pub(super) fn repair(&self) -> Result<(), String> {
        self.fsck("-fy", 1)
    }

    fn fsck(&self, how: &str, most: i32) -> Result<(), String> {
        let checked = run("e2fsck", &[how], &self.path(), &[]).map_err(|why| why.to_string())?;
        let is_good = checked.status.code().is_some_and(|code| code <= most);
        is_good.then_some(()).ok_or_else(|| format!("e2fsck {how}: {}", text(&checked)))
    }

    /// The contents of a file; empty if there is none.
    pub(super) fn read(&self, path: &str) -> Result<Vec<u8>> {
        let read = run("debugfs", &["-R", &format!("cat {path}")], &self.path(), &[])?;
        ensure!(read.status.success(), "debugfs: {}", text(&read));
        Ok(read.stdout)
    }

    /// Copies a folder of the image, as a folder of the same name in `into`.
    pub(super) fn copy_out(&self, folder: &str, into: &Path) -> Result<()> {
        let request = format!("rdump {folder} {}", into.display());
        let copied = run("debugfs", &["-R", &request], &self.path(), &[])?;
        ensure!(copied.status.success(), "debugfs: {}", text(&copied));
        Ok(())
    }
}

fn run(tool: &str, options: &[&str], image: &Path, behind: &[&str]) -> Result<Output> {
    let path = std::env::var("PATH").unwrap_or_default();
    let mut command = Command::new(tool);
    command.args(options).arg(image).args(behind).env("PATH", format!("{path}:{FOLDERS}"));
    command.output().with_context(|| tool.to_owned())
}

fn text(output: &Output) -> String {
    let [out, err] = [&output.stdout, &output.stderr].map(|bytes| String::from_utf8_lossy(bytes));
    format!("{}\n{out}{err}", output.status)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_image_is_clean_and_a_damaged_one_is_not() {
        let image = Image::new(4).expect("an image");
        image.check().expect("nothing is wrong");
        let mut bytes = std::fs::read(image.path()).expect("the image");
        // The free blocks of the first group.
        bytes[2048 + 12] ^= 1;
        std::fs::write(image.path(), bytes).expect("the image");
        assert!(image.check().is_err());
        image.repair().expect("repaired");
        image.check().expect("nothing is wrong");
        assert_eq!(image.read("/none").expect("no file"), b"");
    }
}
