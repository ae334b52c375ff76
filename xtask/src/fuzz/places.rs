//! Where the fuzz programs lie, and how they are built: by cargo-fuzz, with a nightly toolchain.

#![forbid(unsafe_code)]

use std::ffi::OsStr;
use std::fs;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result, bail};
use faultless_host::fuzz::Target;
use indicatif::MultiProgress;

use super::session::Session;
use crate::process::{capture, cargo, on_path};
use crate::workspace;

/// Where things lie.
pub(super) struct Places {
    /// The folder of the fuzz package.
    fuzz: PathBuf,
    /// Where its build output and the corpus of earlier runs are.
    output: PathBuf,
    /// The built programs.
    programs: PathBuf,
    /// The toolchain that builds them.
    toolchain: String,
}

/// What has to be installed first, and how.
pub(super) fn missing() -> Option<&'static str> {
    if !on_path("cargo-fuzz") {
        return Some("cargo-fuzz is not installed: cargo install cargo-fuzz --locked");
    }
    if toolchain().is_err() {
        return Some(
            "there is no nightly toolchain: rustup toolchain install nightly --profile minimal",
        );
    }
    None
}

/// The nightly toolchain.
fn toolchain() -> Result<String> {
    let listed = capture(Command::new("rustup").args(["toolchain", "list"]))?;
    choose(&listed.output).context("rustup has no nightly toolchain")
}

/// Of the toolchains that rustup lists, the one that is called nightly, else the nightly with the latest date.
fn choose(listed: &str) -> Option<String> {
    let names = listed.lines().filter_map(|line| line.split_whitespace().next());
    // Dates begin with a digit, hosts do not: the name without a date comes last.
    let nightly = names.filter(|name| *name == "nightly" || name.starts_with("nightly-"));
    let rank = |name: &&str| {
        let date: String =
            name.chars().skip("nightly-".len()).take_while(|c| !c.is_ascii_alphabetic()).collect();
        (date.is_empty(), date)
    };
    nightly.max_by_key(rank).map(str::to_owned)
}

impl Places {
    /// Looks for all that is needed.
    pub(super) fn find() -> Result<Self> {
        let output = workspace::target_dir()?.join("fuzz");
        let fuzz = workspace::root().join("fuzz");
        let mut places = Self { fuzz, programs: output.clone(), output, toolchain: toolchain()? };
        let version = capture(&mut places.nightly(["rustc", "-vV"]))?.output;
        let host = version.lines().find_map(|line| line.strip_prefix("host: "));
        places.programs.push(host.context("rustc -vV names no host")?);
        places.programs.push("release");
        Ok(places)
    }

    fn nightly<S: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = S>) -> Command {
        let mut command = Command::new("rustup");
        command.args(["run", &self.toolchain]).args(args).current_dir(workspace::root());
        // What the cargo of this command said of itself is not true of nightly's.
        for name in ["CARGO", "RUSTC", "RUSTUP_TOOLCHAIN"] {
            command.env_remove(name);
        }
        command
    }

    /// Builds the programs.
    pub(super) fn build(&self, sanitizer: &str) -> Result<()> {
        println!("building the fuzz programs ({}, sanitizer {sanitizer}) ...", self.toolchain);
        // cargo-fuzz does not pass --locked on. Where the lock file is complete, a build does not change it.
        let manifest = self.fuzz.join("Cargo.toml");
        let mut metadata = cargo(["metadata", "--locked", "--format-version=1"]);
        let locked = capture(metadata.arg("--manifest-path").arg(manifest))?;
        if !locked.success {
            bail!("fuzz/Cargo.lock does not fit fuzz/Cargo.toml:\n{}", locked.output);
        }
        let target_dir = self.output.display().to_string();
        let args = ["cargo", "fuzz", "build", "--no-trace-compares", "--sanitizer", sanitizer];
        let built = capture(self.nightly(args).args(["--target-dir", &target_dir]))?;
        if !built.success {
            bail!("the fuzz programs cannot be built:\n{}", built.output);
        }
        Ok(())
    }

    pub(super) fn session<'s>(
        &self,
        target: &'static Target,
        screen: &'s MultiProgress,
    ) -> Session<'s> {
        let artifacts = self.fuzz.join("artifacts").join(target.name);
        Session { target, program: self.programs.join(target.name), artifacts, screen }
    }

    /// The committed seeds of a target.
    pub(super) fn seeds(&self, target: &Target) -> PathBuf {
        self.fuzz.join("seeds").join(target.name)
    }

    /// What earlier runs have gathered for a target.
    pub(super) fn corpus(&self, target: &Target) -> Result<PathBuf> {
        let folder = self.output.join("corpus").join(target.name);
        fs::create_dir_all(&folder)?;
        Ok(folder)
    }

    /// An empty folder below the output.
    pub(super) fn fresh(&self, name: &str) -> Result<PathBuf> {
        let folder = self.output.join(name);
        if folder.exists() {
            fs::remove_dir_all(&folder)?;
        }
        fs::create_dir_all(&folder)?;
        Ok(folder)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_nightly_may_be_named_by_its_date() {
        let plain = "stable-x86_64-unknown-linux-gnu (active, default)\n\
                     nightly-2026-03-01-x86_64-unknown-linux-gnu\n\
                     nightly-x86_64-unknown-linux-gnu\n";
        assert_eq!(choose(plain).as_deref(), Some("nightly-x86_64-unknown-linux-gnu"));
        let dated = "nightly-2026-03-01-x86_64-unknown-linux-gnu\n\
                     nightly-2026-11-20-x86_64-unknown-linux-gnu (default)\n\
                     1.95.0-x86_64-unknown-linux-gnu\n";
        let latest = Some("nightly-2026-11-20-x86_64-unknown-linux-gnu");
        assert_eq!(choose(dated).as_deref(), latest);
        assert_eq!(choose("stable-x86_64-unknown-linux-gnu\nno installed toolchains\n"), None);
    }
}
