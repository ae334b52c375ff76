//! Where the fuzz programs lie, and how they are built: by cargo-fuzz, with a nightly toolchain.

#![forbid(unsafe_code)]

use std::fs;
use std::path::PathBuf;

use anyhow::{Context, Result, bail};
use faultless_fuzzing::Target;
use indicatif::MultiProgress;

use super::session::Session;
use faultless_tools::nightly::{self, Nightly};
use faultless_tools::process::{capture, cargo, on_path};
use faultless_tools::workspace;

/// Where things lie.
pub(super) struct Places {
    /// The folder of the fuzz package.
    fuzz: PathBuf,
    /// Where its build output and the corpus of earlier runs are.
    output: PathBuf,
    /// The built programs.
    programs: PathBuf,
    /// The toolchain that builds them.
    nightly: Nightly,
}

/// What has to be installed first, and how.
pub(super) fn missing() -> Option<&'static str> {
    if !on_path("cargo-fuzz") {
        return Some("cargo-fuzz is not installed: cargo install cargo-fuzz --locked");
    }
    Nightly::find().is_none().then_some(nightly::HOW_TO_GET)
}

impl Places {
    /// Looks for all that is needed.
    pub(super) fn find() -> Result<Self> {
        let output = workspace::target_dir()?.join("fuzz");
        let fuzz = workspace::root().join("fuzz");
        let nightly = Nightly::find().context(nightly::HOW_TO_GET)?;
        let mut places = Self { fuzz, programs: output.clone(), output, nightly };
        let version = capture(&mut places.nightly.command(["rustc", "-vV"]))?.output;
        let host = version.lines().find_map(|line| line.strip_prefix("host: "));
        places.programs.push(host.context("rustc -vV names no host")?);
        places.programs.push("release");
        Ok(places)
    }

    /// Builds the programs.
    pub(super) fn build(&self, sanitizer: &str) -> Result<()> {
        println!("building the fuzz programs ({}, sanitizer {sanitizer}) ...", self.nightly);
        // cargo-fuzz does not pass --locked on. Where the lock file is complete, a build does not
        // change it.
        let manifest = self.fuzz.join("Cargo.toml");
        let mut metadata = cargo(["metadata", "--locked", "--format-version=1"]);
        let locked = capture(metadata.arg("--manifest-path").arg(manifest))?;
        if !locked.success {
            bail!("fuzz/Cargo.lock does not fit fuzz/Cargo.toml:\n{}", locked.output);
        }
        let target_dir = self.output.display().to_string();
        let args = ["cargo", "fuzz", "build", "--no-trace-compares", "--sanitizer", sanitizer];
        let built = capture(self.nightly.command(args).args(["--target-dir", &target_dir]))?;
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

    /// The path of a file below the output.
    pub(super) fn scratch(&self, name: &str) -> Result<PathBuf> {
        fs::create_dir_all(&self.output)?;
        Ok(self.output.join(name))
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
