//! `cargo xtask mutants`: would a test notice if the code of the core crates did something else?
//!
//! cargo-mutants says what to change. To build and link every change by itself would take a day, so
//! all of them are woven into one copy of the workspace, each behind a switch in the environment
//! (*mutant schemata*); it is built once. Every test tells which switches it passes, and a mutant
//! costs the time of the tests that pass its own.
//!
//! | step | module |
//! |---|---|
//! | what to change | [`list`] |
//! | a copy of the workspace | [`copy`], with the switch, `switch.rs` |
//! | all changes in one text | [`weave`] |
//! | until it compiles | [`build`], [`learnt`] |
//! | which test reaches what | [`reach`] |
//! | whether a test fails | [`mod@run`], with [`faultless_tools::child`] |
//! | changes that must be known at compile time | [`apart`] |
//! | survivors that nobody could notice | [`known`] |
//! | the outcome | [`report`] |
//!
//! The real sources are never touched.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Instant;

use anyhow::{Result, bail};
use faultless_host::rng::{self, Rng};
use indicatif::{ProgressBar, ProgressStyle};

use build::Loom;
use copy::Folders;
use faultless_tools::{process, workspace};
use known::Known;
use list::Mutant;
use reach::{Steadiness, Test};
use run::{Fate, Judged, Setting};

mod apart;
pub(crate) mod build;
pub(crate) mod copy;
mod known;
mod learnt;
mod list;
mod reach;
mod report;
pub(crate) mod run;
pub(crate) mod source;
#[cfg(test)]
mod tests;
pub(crate) mod weave;

/// The packages that are changed.
pub(crate) const PACKAGES: &[&str] = &["faultless-page", "faultless-usercopy", "faultless-filemap"];
/// Where equivalent mutants are listed.
const KNOWN: &str = "tests/mutants.toml";
/// Checks the changed packages.
const LIBRARIES: &[&str] = &[
    "check",
    "--lib",
    "--keep-going",
    "-pfaultless-page",
    "-pfaultless-usercopy",
    "-pfaultless-filemap",
];
/// Builds their tests.
const TESTS: &[&str] = &[
    "test",
    "--no-run",
    "--lib",
    "--tests",
    "-pfaultless-page",
    "-pfaultless-usercopy",
    "-pfaultless-filemap",
    "-pfaultless-tests",
];
/// Checks the same.
const CHECKED_TESTS: &[&str] = &[
    "check",
    "--keep-going",
    "--tests",
    "-pfaultless-page",
    "-pfaultless-usercopy",
    "-pfaultless-filemap",
    "-pfaultless-tests",
];

/// What to change, and how to run it.
#[derive(clap::Args, Debug, Default)]
pub(crate) struct Options {
    /// Only mutants in files whose path contains this.
    #[arg(long)]
    file: Option<String>,
    /// Only mutants of this package, such as `page` or `faultless-page`.
    #[arg(long = "crate", value_name = "PACKAGE")]
    package: Option<String>,
    /// Only mutants whose name contains this.
    #[arg(long, value_name = "NAME")]
    only: Option<String>,
    /// Only so many mutants, chosen at random by the seed: none that is listed as equivalent, or
    /// that must be built by itself.
    #[arg(long, value_name = "N")]
    sample: Option<usize>,
    /// Leave out mutants that must be built by themselves, each of which takes minutes.
    #[arg(long)]
    switched_only: bool,
    /// Only mutants that must be built by themselves.
    #[arg(long, conflicts_with_all = ["switched_only", "sample"])]
    apart_only: bool,
    /// Seed of the random tests and of the sample. Without it, FAULTLESS_SEED, else 1.
    #[arg(long)]
    seed: Option<u64>,
    /// Test programs at a time. Default: one for each processor.
    #[arg(long)]
    jobs: Option<usize>,
    /// Seconds of tests that a mutant has to survive, quick tests first. Without it, all that reach
    /// it.
    #[arg(long, value_name = "SECONDS")]
    patience: Option<f64>,
    /// Write the fate of every mutant to this file.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

impl Options {
    fn wants(&self, mutant: &Mutant) -> bool {
        let package = |name: &String| {
            mutant.package == *name || mutant.package == format!("faultless-{name}")
        };
        self.file.as_ref().is_none_or(|part| mutant.file.contains(part))
            && self.package.as_ref().is_none_or(package)
            && self.only.as_ref().is_none_or(|part| mutant.name.contains(part))
    }
}

/// How to get the generator.
pub(crate) const INSTALL: &str = "cargo install cargo-mutants --locked";

/// Whether the generator is there.
pub(crate) fn is_installed() -> bool {
    process::on_path("cargo-mutants")
}

/// Whether a test program is to be run: the one that compiles other programs would not see the
/// switch.
fn is_wanted(program: &Path) -> bool {
    !program.file_name().is_some_and(|name| name.to_string_lossy().starts_with("compile_fail"))
}

/// `cargo xtask mutants`.
pub(crate) fn run(options: &Options) -> Result<ExitCode> {
    if !is_installed() {
        bail!("cargo-mutants is not installed: {INSTALL}");
    }
    let (begin, seed) = (Instant::now(), options.seed.unwrap_or_else(rng::seed));
    let jobs = options.jobs.or_else(|| std::thread::available_parallelism().ok().map(usize::from));
    let folders = Folders::new(&workspace::target_dir()?.join("mutants"))?;
    let setting = Setting {
        folders: &folders,
        seed,
        jobs: jobs.unwrap_or(1).max(1),
        patience: options.patience.unwrap_or(f64::INFINITY),
    };
    println!("seed {seed}, {} at a time", setting.jobs);

    let mut loom = Loom::new(copy::copy(&folders, PACKAGES)?);
    let mutants = list::mutants(PACKAGES, &loom.sources)?;
    let known = Known::read(&workspace::root().join(KNOWN))?;
    let chosen = choose(options, &mutants, &known, seed);
    println!("{} mutants, {} to be judged", mutants.len(), chosen.len());

    let judged = judge(options, &mutants, &chosen, &known, &mut loom, setting)?;
    if let Some(path) = &options.json {
        report::write_json(path, seed, &judged, &known, &loom.unviable)?;
    }
    let fates: BTreeMap<u32, Fate> = judged.iter().map(|(m, judged)| (m.id, judged.fate)).collect();
    let fates: Vec<_> = mutants.iter().map(|m| (m, fates.get(&m.id).copied())).collect();
    let (survivors, stale) = (report::survivors(&judged, &known), known.complaints(&fates));
    for survivor in &survivors {
        println!("SURVIVED {survivor}");
    }
    for complaint in &stale {
        println!("{KNOWN}: {complaint}");
    }
    println!("{}", report::table(&judged, &known));
    println!("{:.0} s in all", begin.elapsed().as_secs_f64());
    println!("{}", report::sums(&judged, &known).line());
    let good = survivors.is_empty() && stale.is_empty();
    Ok(if good { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// The mutants to be judged.
fn choose<'a>(
    options: &Options,
    mutants: &'a [Mutant],
    known: &Known,
    seed: u64,
) -> Vec<&'a Mutant> {
    let mut chosen: Vec<&Mutant> = mutants.iter().filter(|mutant| options.wants(mutant)).collect();
    if let Some(sample) = options.sample {
        // A survivor costs as much as a hundred others, and that these survive is known.
        chosen.retain(|mutant| !known.lists(mutant));
        let mut rng = Rng::new(seed);
        while chosen.len() > sample {
            chosen.swap_remove(rng.below(chosen.len() as u64) as usize);
        }
        chosen.sort_by_key(|mutant| mutant.id);
    }
    chosen
}

/// Builds, finds out what reaches what, and runs.
fn judge<'a>(
    options: &Options,
    mutants: &[Mutant],
    chosen: &[&'a Mutant],
    known: &Known,
    loom: &mut Loom,
    setting: Setting<'_>,
) -> Result<Vec<(&'a Mutant, Judged)>> {
    let folders = setting.folders;
    let phase =
        |name: &str, since: Instant| println!("{name}: {:.0} s", since.elapsed().as_secs_f64());
    let say = |what: &str| eprintln!("{what}");

    let begin = Instant::now();
    let learnt = folders.scratch.with_file_name("learnt.json");
    learnt::recall(loom, mutants, &learnt);
    loom.settle(mutants, folders, LIBRARIES, &say)?;
    loom.settle(mutants, folders, CHECKED_TESTS, &say)?;
    let made = loom.settle(mutants, folders, TESTS, &say)?;
    let programs: Vec<_> = made.programs.into_iter().filter(|(path, _)| is_wanted(path)).collect();
    let compiled = build::compiled_files(folders, &folders.workspace)?;
    learnt::keep(loom, mutants, &learnt)?;
    phase("build", begin);

    let begin = Instant::now();
    let tests = reach::reach(&programs, setting, &bar("tests"))?;
    let alone: f64 = tests.iter().map(|test| test.seconds).sum();
    println!(
        "{} tests in {} programs, {alone:.0} s one after the other",
        tests.len(),
        programs.len()
    );
    for test in tests.iter().filter(|test| test.steadiness == Steadiness::Shaky) {
        println!(
            "NOT STEADY, not used: {} failed without a mutant, and passed when it ran again",
            test.name
        );
    }
    let tests: Vec<Test> =
        tests.into_iter().filter(|test| test.steadiness == Steadiness::Steady).collect();
    phase("reach", begin);

    let begin = Instant::now();
    let mut judged = BTreeMap::new();
    let (mut switched, mut apart) = (Vec::new(), Vec::new());
    for mutant in chosen {
        let at_once = |fate| Judged { fate, seconds: 0.0 };
        if !compiled.contains(&mutant.file) {
            judged.insert(mutant.id, at_once(Fate::Elsewhere));
        } else if loom.unviable.contains_key(&mutant.id) {
            judged.insert(mutant.id, at_once(Fate::Unviable));
        } else if !loom.apart.contains(&mutant.id) {
            if options.apart_only {
                judged.insert(mutant.id, at_once(Fate::LeftOut));
            } else {
                switched.push(*mutant);
            }
        } else if options.sample.is_some() || options.switched_only {
            judged.insert(mutant.id, at_once(Fate::LeftOut));
        } else {
            apart.push(*mutant);
        }
    }
    judged.extend(run::judge(&switched, known, &tests, setting, &bar("mutants"))?);
    phase("mutants", begin);
    if !apart.is_empty() {
        let begin = Instant::now();
        println!("{} mutants are built by themselves", apart.len());
        judged.extend(apart::judge(&apart, mutants, known, loom, &tests, setting, &say)?);
        phase("mutants built by themselves", begin);
    }
    Ok(chosen.iter().filter_map(|mutant| Some((*mutant, *judged.get(&mutant.id)?))).collect())
}

fn bar(what: &str) -> ProgressBar {
    let bar = ProgressBar::new(0);
    let style =
        format!("{{bar:40}} {{human_pos}} of {{human_len}} {what}, {{elapsed}} gone, {{eta}} left");
    if let Ok(style) = ProgressStyle::with_template(&style) {
        bar.set_style(style);
    }
    bar
}
