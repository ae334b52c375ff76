//! `cargo xtask fuzz`: the fuzz targets under libFuzzer, with a live summary; `--planted` shows that each finds its bugs.
//!
//! Programs are built by cargo-fuzz on nightly from `fuzz/`; their bodies are in `faultless_host::fuzz`. They begin from the
//! committed seeds (`fuzz/seeds`) and from the corpus of earlier runs, which lies under `target/fuzz`. The seeds are
//! replayed on stable Rust by `cargo test`, without any of this.

#![forbid(unsafe_code)]

use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use faultless_host::fuzz::{Plant, TARGETS, Target};

use self::session::{Ending, Session};
use crate::process::{capture, on_path};
use crate::workspace;

mod progress;
mod session;

/// How long a planted bug may take to be found.
const PLANTED: Duration = Duration::from_secs(60);

/// What to fuzz.
#[derive(clap::Args, Debug)]
pub(crate) struct Options {
    /// Only these targets (see --list).
    #[arg(value_name = "TARGET")]
    targets: Vec<String>,
    /// Seconds for each target.
    #[arg(long, value_name = "S", default_value_t = 60)]
    time: u64,
    /// Plant each bug in turn, and see that it is found within a minute.
    #[arg(long, conflicts_with = "time")]
    planted: bool,
    /// Build with this sanitizer, for example address. (Much slower.)
    #[arg(long, value_name = "NAME", default_value = "none")]
    sanitizer: String,
    /// List the targets and their planted bugs, and stop.
    #[arg(long)]
    list: bool,
}

/// Where things lie.
struct Places {
    /// The folder of the fuzz package.
    fuzz: PathBuf,
    /// Where its build output and the corpus of earlier runs are.
    output: PathBuf,
    /// The built programs.
    programs: PathBuf,
}

/// `cargo xtask fuzz`.
pub(crate) fn run(options: &Options) -> Result<ExitCode> {
    let targets = choose(&options.targets)?;
    if options.list {
        list(&targets);
        return Ok(ExitCode::SUCCESS);
    }
    if let Some(missing) = missing() {
        bail!("{missing}");
    }
    let places = Places::find()?;
    build(&places, &options.sanitizer)?;
    let failures = match options.planted {
        true => find_planted(&places, &targets)?,
        false => fuzz(&places, &targets, Duration::from_secs(options.time))?,
    };
    Ok(if failures == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn choose(names: &[String]) -> Result<Vec<&'static Target>> {
    if names.is_empty() {
        return Ok(TARGETS.iter().collect());
    }
    let find = |name: &String| {
        let known = || TARGETS.iter().map(|target| target.name).collect::<Vec<_>>().join(", ");
        Target::find(name)
            .with_context(|| format!("there is no target {name}; there are {}", known()))
    };
    names.iter().map(find).collect()
}

fn list(targets: &[&Target]) {
    for target in targets {
        println!("{:<14} {}", target.name, target.about);
        for plant in target.plants() {
            println!("{:<14} planted: {}", "", plant.name());
        }
    }
}

/// What has to be installed first, and how.
pub(crate) fn missing() -> Option<&'static str> {
    if !on_path("cargo-fuzz") {
        return Some("cargo-fuzz is not installed: cargo install cargo-fuzz --locked");
    }
    let nightly = Command::new("rustup").args(["run", "nightly", "rustc", "--version"]).output();
    if !nightly.is_ok_and(|output| output.status.success()) {
        return Some("there is no nightly toolchain: rustup toolchain install nightly");
    }
    None
}

fn nightly<S: AsRef<OsStr>>(args: impl IntoIterator<Item = S>) -> Command {
    let mut command = Command::new("rustup");
    command.args(["run", "nightly"]).args(args).current_dir(workspace::root());
    // What the cargo of this command said of itself is not true of nightly's.
    for name in ["CARGO", "RUSTC", "RUSTUP_TOOLCHAIN"] {
        command.env_remove(name);
    }
    command
}

impl Places {
    fn find() -> Result<Self> {
        let output = workspace::target_dir()?.join("fuzz");
        let version = capture(&mut nightly(["rustc", "-vV"]))?.output;
        let host = version.lines().find_map(|line| line.strip_prefix("host: "));
        let host = host.context("rustc -vV names no host")?;
        let programs = output.join(host).join("release");
        Ok(Self { fuzz: workspace::root().join("fuzz"), output, programs })
    }

    fn session(&self, target: &'static Target) -> Session {
        let artifacts = self.fuzz.join("artifacts").join(target.name);
        Session { target, program: self.programs.join(target.name), artifacts }
    }

    fn seeds(&self, target: &Target) -> PathBuf {
        self.fuzz.join("seeds").join(target.name)
    }

    /// An empty folder below the output.
    fn fresh(&self, name: &str) -> Result<PathBuf> {
        let folder = self.output.join(name);
        if folder.exists() {
            fs::remove_dir_all(&folder)?;
        }
        fs::create_dir_all(&folder)?;
        Ok(folder)
    }
}

fn build(places: &Places, sanitizer: &str) -> Result<()> {
    let target_dir = places.output.display().to_string();
    println!("building the fuzz programs ...");
    let args = ["cargo", "fuzz", "build", "--no-trace-compares", "--sanitizer", sanitizer];
    let built = capture(nightly(args).args(["--target-dir", &target_dir]))?;
    if !built.success {
        bail!("the fuzz programs cannot be built:\n{}", built.output);
    }
    Ok(())
}

/// Fuzzes each target for a while; how many found something.
fn fuzz(places: &Places, targets: &[&'static Target], time: Duration) -> Result<usize> {
    let mut failures = 0;
    for target in targets {
        let corpus = places.output.join("corpus").join(target.name);
        fs::create_dir_all(&corpus)?;
        let session = places.session(target);
        let report = session.run(&[&corpus, &places.seeds(target)], time, Plant::None)?;
        println!("{:<14} {}", target.name, report.line());
        if let Ending::Crashed { what, input } = &report.ending {
            failures += 1;
            println!("    {what}");
            if let Some(input) = input {
                let program = session.program.display();
                println!("    again, step by step: FAULTLESS_SHOW=1 {program} {}", input.display());
            }
        }
    }
    println!("Summary: {} targets, {failures} with findings", targets.len());
    Ok(failures)
}

/// Plants each bug; how many were not found, or not by what they do.
fn find_planted(places: &Places, targets: &[&'static Target]) -> Result<usize> {
    let (mut found, mut failures) = (0, 0);
    for target in targets {
        let seeds = common_seeds(places, target)?;
        for plant in target.plants() {
            let corpus = places.fresh("planted-corpus")?;
            let mut session = places.session(target);
            session.artifacts = places.fresh("planted-artifacts")?;
            let report = session.run(&[&corpus, &seeds], PLANTED, plant)?;
            let verdict = match &report.ending {
                Ending::Crashed { what, .. } if plant.is_shown_by(what) => {
                    found += 1;
                    format!("found   {:6.1} s  {what}", report.took.as_secs_f64())
                }
                Ending::Crashed { what, .. } => {
                    failures += 1;
                    format!("MISTAKEN: not what this bug does: {what}")
                }
                Ending::TimeIsUp => {
                    failures += 1;
                    format!("MISSED  {}", report.line())
                }
            };
            println!("{:<14} {:<26} {verdict}", target.name, plant.name());
        }
    }
    println!("Summary: {found} planted bugs found, {failures} not");
    Ok(failures)
}

/// The seeds of a target but for those that were kept because they show a planted bug.
fn common_seeds(places: &Places, target: &Target) -> Result<PathBuf> {
    let folder = places.fresh(&format!("planted-seeds-{}", target.name))?;
    for entry in fs::read_dir(places.seeds(target))? {
        let path = entry?.path();
        let name = path.file_name().and_then(OsStr::to_str).unwrap_or_default();
        if !name.starts_with("plant-") {
            fs::copy(&path, folder.join(name))?;
        }
    }
    Ok(folder)
}

/// The newest file of a folder.
fn newest(folder: &Path) -> Option<PathBuf> {
    let files = fs::read_dir(folder).ok()?.filter_map(|entry| entry.ok().map(|entry| entry.path()));
    files.max_by_key(|path| fs::metadata(path).and_then(|file| file.modified()).ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unknown_target_is_an_error_that_names_the_known_ones() {
        let error = choose(&["nonsense".into()]).expect_err("refused").to_string();
        assert!(error.contains("nonsense") && error.contains("partial_copy"), "{error}");
        assert_eq!(choose(&[]).expect("all").len(), TARGETS.len());
    }

    #[test]
    fn every_target_has_a_program_and_a_planted_bug() {
        let manifest = fs::read_to_string(workspace::root().join("fuzz/Cargo.toml")).expect("one");
        for target in TARGETS {
            assert!(manifest.contains(&format!("name = \"{}\"", target.name)), "{}", target.name);
            assert!(target.plants().next().is_some(), "{} has no planted bug", target.name);
        }
    }
}
