//! The tools that measure, and how they are run.
//!
//! The compiler counts branches on nightly only. Its counters are read by LLVM's own tools, of the
//! same major version.

#![forbid(unsafe_code)]

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use faultless_tools::nightly::{self, Nightly};
use faultless_tools::process::{capture, on_path};
use faultless_tools::tally::{Tally, tally};

/// Packages whose tests exercise the core. The seeds of the fuzz targets are replayed in the last
/// one.
const PACKAGES: [&str; 4] =
    ["faultless-page", "faultless-usercopy", "faultless-filemap", "faultless-tests"];

/// Tests that run the compiler, and nothing of the core.
const COMPILES: &str = "the_deadlocks_do_not_compile";

/// The toolchain, and LLVM's tools where they are not its own.
#[derive(Debug)]
pub(super) struct Tools {
    nightly: Nightly,
    /// Variables that name them to cargo-llvm-cov.
    variables: Vec<(&'static str, PathBuf)>,
}

impl Tools {
    /// Finds what is needed.
    ///
    /// # Errors
    /// What is missing, and how to get it.
    pub(super) fn find() -> Result<Self> {
        if !on_path("cargo-llvm-cov") {
            bail!("cargo-llvm-cov is not installed: cargo install cargo-llvm-cov --locked");
        }
        let nightly = Nightly::find().context(nightly::HOW_TO_GET)?;
        let version = capture(&mut nightly.command(["rustc", "-vV"]))?;
        let field = |name| version.output.lines().find_map(|line| line.strip_prefix(name));
        let major = field("LLVM version: ").and_then(|version| version.split('.').next());
        let major = major.context("rustc -vV names no version of LLVM")?;
        let host = field("host: ").context("rustc -vV names no host")?;
        let names = [("LLVM_COV", "llvm-cov"), ("LLVM_PROFDATA", "llvm-profdata")];
        if names.iter().all(|(variable, _)| std::env::var_os(variable).is_some()) {
            return Ok(Self { nightly, variables: Vec::new() });
        }
        let sysroot = capture(&mut nightly.command(["rustc", "--print", "sysroot"]))?.output;
        let own = Path::new(sysroot.trim()).join("lib/rustlib").join(host).join("bin");
        if names.iter().all(|(_, program)| own.join(program).is_file()) {
            return Ok(Self { nightly, variables: Vec::new() });
        }
        if !names.iter().all(|(_, program)| on_path(&format!("{program}-{major}"))) {
            bail!(
                "LLVM's tools are not installed: apt-get install llvm-{major} \
                 (or: rustup component add llvm-tools --toolchain nightly)"
            );
        }
        let named = |(variable, program)| (variable, PathBuf::from(format!("{program}-{major}")));
        Ok(Self { nightly, variables: names.map(named).into() })
    }

    /// Runs the tests under instrumentation and has what was counted written to `export`. How many
    /// passed.
    ///
    /// # Errors
    /// A test failed, or something could not be built or run.
    pub(super) fn measure(&self, export: &Path) -> Result<Tally> {
        // What an earlier run counted goes, and what it built stays.
        let clean = ["cargo", "llvm-cov", "clean", "--profraw-only"];
        let cleaned = capture(&mut self.nightly.command(clean))?;
        if !cleaned.success {
            bail!("{}", cleaned.output);
        }
        let measure = ["cargo", "llvm-cov", "--no-clean", "--branch", "--json"];
        let mut command = self.nightly.command(measure);
        command.arg("--locked");
        command.arg("--output-path").arg(export).args(["--lib", "--tests"]);
        command.args(PACKAGES.iter().flat_map(|package| ["--package", package]));
        command.args(["--", "--skip", COMPILES]);
        command.envs(self.variables.iter().map(|(name, program)| (name, program)));
        let finished = capture(&mut command)?;
        let sum = tally(&finished.output);
        if !finished.success || sum.failed > 0 || sum.passed == 0 {
            bail!("the tests do not pass under instrumentation:\n{}", finished.output);
        }
        Ok(sum)
    }
}
