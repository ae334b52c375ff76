//! `cargo xtask coverage`: cargo-llvm-cov over the core's tests, with the least that they have to
//! cover.
//!
//! The core is the source of `page`, `usercopy` and `filemap`; tests and their helpers are left
//! out. Branches are counted by a nightly compiler only, whose counters are read by LLVM's own
//! tools, of the same major version. Table, thresholds and pages are cargo-llvm-cov's.

#![forbid(unsafe_code)]

use std::ffi::OsString;
use std::path::Path;
use std::process::ExitCode;

use anyhow::{Context, Result, bail};
use faultless_tools::nightly::{self, Nightly};
use faultless_tools::process::{capture, on_path};

use crate::programs::become_it;

/// Packages whose tests exercise the core. The seeds of the fuzz targets are replayed in the last
/// one.
const PACKAGES: [&str; 4] =
    ["faultless-page", "faultless-usercopy", "faultless-filemap", "faultless-tests"];

/// Files that are not the core, by a regular expression.
const NOT_CORE: &str =
    r"crates/(faultless|host|parts)/|/(tests|testing)/|/(tests|testing)\.rs$|/rustc/|\.cargo/";

/// Tests that run the compiler, and nothing of the core.
const COMPILES: &str = "the_deadlocks_do_not_compile";

/// LLVM's tools, with the variables that name them to cargo-llvm-cov.
const LLVM: [(&str, &str); 2] = [("LLVM_COV", "llvm-cov"), ("LLVM_PROFDATA", "llvm-profdata")];

/// What to show.
#[derive(clap::Args, Debug)]
pub(crate) struct Options {
    /// Fail if fewer lines, in percent, are run. Threads of stress tests get to a few by chance.
    #[arg(long, value_name = "PERCENT", default_value_t = 97.0)]
    fail_under_lines: f64,
    /// What cargo-llvm-cov understands besides, such as --html or --show-missing-lines.
    #[arg(value_name = "OPTIONS", trailing_var_arg = true, allow_hyphen_values = true)]
    others: Vec<OsString>,
}

/// `cargo xtask coverage`.
pub(crate) fn run(options: &Options) -> Result<ExitCode> {
    if !on_path("cargo-llvm-cov") {
        bail!("cargo-llvm-cov is not installed: cargo install cargo-llvm-cov --locked");
    }
    let nightly = Nightly::find().context(nightly::HOW_TO_GET)?;
    let variables = tools(&nightly)?;
    let mut command = nightly.command(["cargo", "llvm-cov", "--branch", "--locked"]);
    command.args(["--lib", "--tests", "--ignore-filename-regex", NOT_CORE]);
    command.args(["--fail-under-lines", &options.fail_under_lines.to_string()]);
    command.args(PACKAGES.iter().flat_map(|package| ["--package", package]));
    command.args(&options.others).args(["--", "--skip", COMPILES]);
    become_it(command.envs(variables))
}

/// Where LLVM's tools are, if cargo-llvm-cov does not find them by itself.
fn tools(nightly: &Nightly) -> Result<Vec<(&'static str, String)>> {
    let version = capture(&mut nightly.command(["rustc", "-vV"]))?.output;
    let field = |name| version.lines().find_map(|line| line.strip_prefix(name));
    let host = field("host: ").context("rustc -vV names no host")?;
    let sysroot = capture(&mut nightly.command(["rustc", "--print", "sysroot"]))?.output;
    let own = Path::new(sysroot.trim()).join("lib/rustlib").join(host).join("bin");
    let is_set = LLVM.iter().all(|(variable, _)| std::env::var_os(variable).is_some());
    if is_set || LLVM.iter().all(|(_, program)| own.join(program).is_file()) {
        return Ok(Vec::new());
    }
    let major = field("LLVM version: ").and_then(|version| version.split('.').next());
    let major = major.context("rustc -vV names no version of LLVM")?;
    if !LLVM.iter().all(|(_, program)| on_path(&format!("{program}-{major}"))) {
        bail!(
            "LLVM's tools are not installed: rustup component add llvm-tools --toolchain nightly \
             (or: apt-get install llvm-{major})"
        );
    }
    Ok(LLVM.map(|(variable, program)| (variable, format!("{program}-{major}"))).into())
}
