//! `cargo xtask planted`: hand-written bugs in the code that ships, each of which named tests must
//! find.
//!
//! cargo-mutants changes one operator; these are the mistakes of a programmer: an order that is
//! wrong, a wait that is left out, a page that is told clean too early. `tests/planted.toml` lists
//! them, with the tests.
//!
//! All of them are put into one copy of the workspace, each behind a switch in the environment,
//! so that the copy is built once. The real sources are never touched.
//!
//! | step | module |
//! |---|---|
//! | the list | `list` |
//! | a copy of the workspace | `copy`, with the switch, `switch.rs` |
//! | all bugs in one copy | `insert` |
//! | the copy's test programs | `build` |
//! | which tests are meant, and what they say | `trial` |

#![forbid(unsafe_code)]

use std::collections::{BTreeMap, BTreeSet};
use std::process::ExitCode;
use std::time::Instant;

use anyhow::{Context, Result, bail};
use comfy_table::{Table, presets};
use faultless_tools::{pool, workspace};
use indicatif::{ProgressBar, ProgressStyle};

use self::copy::Folders;
use self::list::Plant;
use self::trial::{Program, Verdict};

mod build;
mod copy;
mod insert;
mod list;
#[cfg(test)]
mod tests;
mod trial;

/// The list.
const LIST: &str = "tests/planted.toml";

/// The packages that bugs are planted in.
const PACKAGES: &[&str] = &[
    "faultless-page",
    "faultless-usercopy",
    "faultless-filemap",
    "faultless-policy",
    "faultless-parts",
    "faultless-posix",
    "faultless-ext2",
];

/// Plant hand-written bugs in the code that ships, and see that the tests that are named find each.
#[derive(clap::Parser, Debug)]
#[command(bin_name = "cargo xtask planted")]
pub struct Options {
    /// Only bugs whose name contains this.
    #[arg(long, value_name = "NAME")]
    only: Option<String>,
    /// Test programs at a time. Default: one for each processor, and one more: some hang asleep.
    #[arg(long, value_name = "N")]
    jobs: Option<usize>,
    /// List the bugs and stop.
    #[arg(long)]
    list: bool,
}

/// `cargo xtask planted`.
///
/// # Errors
/// The list, or an entry of it, does not fit the code; or a program cannot be run.
pub fn run(options: &Options) -> Result<ExitCode> {
    let mut plants = list::read(&workspace::root().join(LIST))?;
    if let Some(part) = &options.only {
        plants.retain(|plant| plant.name.contains(part.as_str()));
    }
    if options.list {
        for plant in &plants {
            println!("{:<44} {}", plant.name, plant.why);
        }
        return Ok(ExitCode::SUCCESS);
    }
    if plants.is_empty() {
        bail!("{LIST} has no such bug");
    }
    let begin = Instant::now();
    let folders = Folders::new(&workspace::target_dir()?.join("planted"))?;
    let sources = copy::copy(&folders, PACKAGES)?;
    let processors = || std::thread::available_parallelism().map_or(1, usize::from);
    let jobs = options.jobs.unwrap_or_else(|| processors() + 1);
    let packages = packages()?;
    let found = try_all(&plants, &sources, &folders, &packages, jobs)?;
    println!("{}", table(&plants, &found));
    let missed = found.iter().filter(|verdict| !verdict.is_found()).count();
    println!(
        "{} planted bugs found, {missed} not; {:.0} s",
        found.len() - missed,
        begin.elapsed().as_secs_f64()
    );
    Ok(if missed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// The folder of each package, from the root of the workspace.
fn packages() -> Result<BTreeMap<String, String>> {
    let mut packages = BTreeMap::new();
    for package in workspace::metadata()?.packages {
        let folder = package.manifest_path.parent().context("a manifest in a folder")?;
        let folder = folder.as_std_path().strip_prefix(workspace::root())?.to_string_lossy();
        packages.insert(package.name.to_string(), folder.into_owned());
    }
    Ok(packages)
}

/// Puts the bugs into the copy, builds it, and runs the tests of each: what became of them, in
/// their order.
fn try_all(
    plants: &[Plant],
    sources: &BTreeMap<String, String>,
    folders: &Folders,
    packages: &BTreeMap<String, String>,
    jobs: usize,
) -> Result<Vec<Verdict>> {
    let changed = insert::insert(plants, sources)?;
    for (path, text) in &changed {
        folders.write(path, text.as_bytes())?;
    }
    eprintln!("building {} planted bugs in one copy ...", plants.len());
    let made = build::cargo(folders, &trial::build_arguments(plants)?)?;
    if !made.success {
        bail!("the copy with the planted bugs does not build:\n{}", made.errors());
    }
    let wanted: BTreeSet<_> = plants.iter().flat_map(|plant| &plant.tests).collect();
    let programs: Result<Vec<_>> = wanted
        .into_iter()
        .map(|tail| Program::find(tail, &made.programs, folders, packages))
        .collect();
    let bar = bar(programs.as_ref().map_or(0, Vec::len) + plants.len());
    let sound = pool::each(&programs?, jobs, |worker, program| {
        let sound = program.clone().passes(&folders.scratch.join(format!("log-{worker}")))?;
        bar.inc(1);
        Ok((sound.tail.clone(), sound))
    })?;
    let sound: BTreeMap<_, _> = sound.into_iter().collect();
    let numbered: Vec<_> = plants.iter().zip(1_u32..).collect();
    let verdicts = pool::each(&numbered, jobs, |worker, (plant, id)| {
        let log = folders.scratch.join(format!("log-{worker}"));
        let verdict = trial::try_plant(plant, *id, &sound, &log)?;
        bar.suspend(|| eprintln!("{}: {}", plant.name, verdict.short()));
        bar.inc(1);
        Ok(verdict)
    });
    bar.finish_and_clear();
    verdicts
}

fn table(plants: &[Plant], verdicts: &[Verdict]) -> String {
    let mut table = Table::new();
    table.load_style(presets::UTF8_BORDERS_ONLY);
    table.set_header(["bug", "why", "found by"]);
    for (plant, verdict) in plants.iter().zip(verdicts) {
        table.add_row([plant.name.clone(), plant.why.clone(), verdict.to_string()]);
    }
    table.to_string()
}

fn bar(length: usize) -> ProgressBar {
    let bar = ProgressBar::new(length as u64);
    let style = "{bar:40} {human_pos} of {human_len} runs, {elapsed} gone, {eta} left";
    if let Ok(style) = ProgressStyle::with_template(style) {
        bar.set_style(style);
    }
    bar
}
