//! `cargo xtask oracle`: the same random operations through Faultless and through the running Linux
//! kernel.
//!
//! The work is the host's ([`faultless_oracle`]); this is the loop, the progress bar and the
//! report. The exit code is 1 if there is a difference, which is made small and printed with the
//! seed that brings it back.

#![forbid(unsafe_code)]

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use comfy_table::{Table, presets};
use faultless_controls::{Defect, Defects};
use faultless_oracle::{Case, Difference, Oracle, Tally};
use indicatif::{ProgressBar, ProgressStyle};

/// How many cases, and which.
#[derive(clap::Args, Debug)]
pub struct Options {
    /// Cases to run.
    #[arg(long, default_value_t = 20_000)]
    cases: u64,
    /// Seed of the first case; the others count up from it. Without it, FAULTLESS_SEED, else 1.
    #[arg(long)]
    seed: Option<u64>,
    /// Folder on the disk file system to compare with, in place of the one for temporary files.
    #[arg(long, value_name = "DIR")]
    folder: Option<PathBuf>,
    /// Run the historical control 2.6.24-rc1 with this defect in place of Faultless, to see that it
    /// is found.
    #[arg(long, value_name = "DEFECT", num_args = 0..=1, default_missing_value = "all")]
    planted: Option<Planted>,
}

/// A defect of the control that can be seen from outside and without a signal.
#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum Planted {
    /// All of them.
    All,
    /// An empty first segment and a bad second one: an endless loop.
    S1,
    /// The size grows by what was asked.
    S2,
    /// A source that ends midway is refused as a whole.
    S3,
}

impl Planted {
    const fn name(self) -> &'static str {
        match self {
            Self::All => "all",
            Self::S1 => "s1",
            Self::S2 => "s2",
            Self::S3 => "s3",
        }
    }

    const fn defects(self) -> Defects {
        match self {
            Self::All => Defects::ALL,
            Self::S1 => Defects::only(Defect::EmptySegmentLoop),
            Self::S2 => Defects::only(Defect::GrowsByAsked),
            Self::S3 => Defects::only(Defect::WholeChunkRefused),
        }
    }
}

/// `cargo xtask oracle`.
///
/// # Errors
/// The files to compare cannot be made.
pub fn run(options: &Options) -> Result<ExitCode> {
    let folder = options.folder.clone().unwrap_or_else(std::env::temp_dir);
    let mut oracle = match options.planted {
        None => Oracle::new(&folder),
        Some(planted) => Oracle::planted(&folder, planted.defects()),
    }
    .with_context(|| format!("cannot make files in {}", folder.display()))?;
    let seed = options.seed.unwrap_or_else(faultless_host::rng::seed);
    let systems: Vec<&str> = oracle.systems().collect();
    println!(
        "Faultless against {}; {} cases from seed {seed}.",
        systems.join(" and "),
        options.cases
    );
    let (started, bar) = (Instant::now(), bar(options.cases));
    let mut found = None;
    for seed in seed..seed.saturating_add(options.cases) {
        let case = match options.planted {
            None => Case::generate(seed),
            Some(_) => Case::generate(seed).for_control(),
        };
        if let Err(difference) = oracle.run(&case) {
            found = Some((case, *difference));
            break;
        }
        bar.inc(1);
    }
    bar.finish_and_clear();
    println!("{}", summary(oracle.tally(), started.elapsed()));
    let Some((case, difference)) = found else {
        println!("0 differences.");
        return Ok(ExitCode::SUCCESS);
    };
    report(&mut oracle, &case, difference, options.planted);
    Ok(ExitCode::FAILURE)
}

fn bar(cases: u64) -> ProgressBar {
    let bar = ProgressBar::new(cases);
    let style = "{bar:40} {human_pos} of {human_len} cases, {per_sec}, {eta} left";
    if let Ok(style) = ProgressStyle::with_template(style) {
        bar.set_style(style);
    }
    bar
}

fn report(oracle: &mut Oracle, case: &Case, difference: Difference, planted: Option<Planted>) {
    println!("A difference, after {} cases: {difference}\n", oracle.tally().cases);
    let (small, difference) = oracle.shrink(case, difference);
    println!("The smallest case found that differs, of {} operations:\n{small}", small.ops.len());
    println!("{difference}\n");
    let planted =
        planted.map(|planted| format!(" --planted={}", planted.name())).unwrap_or_default();
    println!("Again: cargo xtask oracle --cases 1 --seed {}{planted}", case.seed);
}

fn summary(tally: &Tally, took: Duration) -> String {
    let mut table = Table::new();
    table.load_style(presets::UTF8_BORDERS_ONLY);
    let per_second = tally.cases as f64 / took.as_secs_f64().max(0.001);
    let overlaps = format!("{}, of which {} differed", tally.overlaps, tally.overlaps_differed);
    for (what, count) in [
        (
            "cases",
            format!("{} in {:.1} s, {per_second:.0} a second", tally.cases, took.as_secs_f64()),
        ),
        ("operations", tally.ops.to_string()),
        ("reads and writes", format!("{}, of which {} were short", tally.transfers, tally.short)),
        ("errors", format!("{}, of which {} came with SIGXFSZ", tally.errors, tally.over_limit)),
        ("loads and stores that got a signal", tally.signals.to_string()),
        ("left out: would look at junk past the end", tally.left_out.to_string()),
        ("whitelist: overlap in one page", overlaps),
        ("whitelist: tmpfs showed the case's own junk", tally.junk_shown.to_string()),
        ("whitelist: Linux grew the file in a failed write", tally.grown_by_failure.to_string()),
    ] {
        table.add_row([what.to_owned(), count]);
    }
    table.to_string()
}
