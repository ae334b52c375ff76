//! `cargo xtask bench`: the scoreboard against plain copies, a `BTreeMap` cache, and Linux tmpfs.
//!
//! Ratios are medians over paired, shuffled rounds; every row has an A/A control that voids it when
//! it is off by more than 3 %. The smallest real kernel (`kernel`) is measured, optimised as a
//! release would be: a build that is not optimised starts one that is.

use std::os::unix::process::CommandExt;
use std::process::ExitCode;

use anyhow::{Context, Result, bail};
use faultless_tools::process::cargo;
use indicatif::{ProgressBar, ProgressStyle};

use report::Line;
use rows::{ROWS, Row};
use stats::Dice;

mod counts;
mod kernel;
mod measure;
mod memory;
mod readahead;
mod reclaim;
mod report;
mod rivals;
mod rows;
mod stack;
mod stats;
mod throttle;

/// Measure against plain copies, a BTreeMap cache and Linux tmpfs.
#[derive(clap::Parser, Debug)]
#[command(bin_name = "cargo xtask bench", args_conflicts_with_subcommands = true)]
#[command(disable_help_subcommand = true)]
pub struct Options {
    /// A policy in a simulator instead.
    #[command(subcommand)]
    what: Option<What>,
    /// Only these rows of the scoreboard. May be given several times.
    #[arg(long, value_name = "NUMBER")]
    row: Vec<u32>,
    /// Rounds a row.
    #[arg(long, default_value_t = 101, value_parser = clap::value_parser!(u16).range(3..))]
    rounds: u16,
    /// Seed of the order in which contestants run.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Measure no time, but how much stack each call of the core takes.
    #[arg(long, conflicts_with_all = ["row", "json"])]
    stack: bool,
    /// Print one JSON object instead of a table.
    #[arg(long)]
    json: bool,
}

/// What is simulated instead of measured. Counts and simulated time are the same on each machine.
#[derive(clap::Subcommand, Debug)]
enum What {
    /// Replay page traces through the replacement policy and its rivals.
    Reclaim(reclaim::Options),
    /// Coverage, accuracy and stalls of readahead on generated streams.
    Readahead(Simulated),
    /// Throughput, fairness and pauses of writers on simulated stores.
    Throttle(Simulated),
}

#[derive(clap::Args, Debug)]
struct Simulated {
    /// Print one JSON object instead of a table.
    #[arg(long)]
    json: bool,
}

impl What {
    fn run(&self) -> Result<ExitCode> {
        match self {
            // The traces are long.
            Self::Reclaim(_) if cfg!(debug_assertions) => return optimised(),
            Self::Reclaim(options) => return reclaim::run(options),
            Self::Readahead(Simulated { json: true }) => println!("{:#}", readahead::json()),
            Self::Readahead(_) => readahead::print(),
            Self::Throttle(Simulated { json: true }) => println!("{:#}", throttle::json()),
            Self::Throttle(_) => throttle::print(),
        }
        Ok(ExitCode::SUCCESS)
    }
}

/// `cargo xtask bench`.
///
/// # Errors
/// No optimised build can be started, a row does not exist, a contestant cannot be set up, or the
/// simulation fails.
pub fn run(options: &Options) -> Result<ExitCode> {
    if let Some(what) = &options.what {
        return what.run();
    }
    if cfg!(debug_assertions) {
        return optimised();
    }
    if options.stack {
        stack::print()?;
        return Ok(ExitCode::SUCCESS);
    }
    let known = |number: &u32| {
        ROWS.iter().any(|row| row.number == *number) || (18..=21).contains(number) || *number == 24
    };
    if let Some(unknown) = options.row.iter().find(|number| !known(number)) {
        bail!("row {unknown} is not measured here");
    }
    let wanted = |number: u32| options.row.is_empty() || options.row.contains(&number);
    let cpu = memory::pin().context("cannot pin the thread")?;
    let chosen: Vec<&'static Row> = ROWS.iter().filter(|row| wanted(row.number)).collect();
    let bar = progress(chosen.len() as u64 * u64::from(options.rounds));
    let mut dice = Dice::new(options.seed);
    let mut lines = Vec::new();
    for row in chosen {
        bar.set_message(row.title);
        let mut contestants = (row.contestants)().context(row.title)?;
        let rounds = usize::from(options.rounds);
        let measured = measure::measure(&mut contestants, rounds, &mut dice, || bar.inc(1));
        lines.push(Line { row, measured });
    }
    bar.finish_and_clear();
    let mut counted = counts::all()?;
    counted.retain(|count| wanted(count.number));
    if options.json {
        println!("{:#}", report::json(&lines, &counted));
    } else {
        report::table(&lines, &counted);
        println!("{} rounds a row, seed {}, CPU {cpu}.", options.rounds, options.seed);
    }
    Ok(ExitCode::SUCCESS)
}

/// Becomes the same in an optimised build.
fn optimised() -> Result<ExitCode> {
    let package = ["--package", env!("CARGO_PKG_NAME"), "--"];
    let mut command = cargo(["run", "--quiet", "--profile", "bench"]);
    let error = command.args(package).args(std::env::args_os().skip(1)).exec();
    Err(error).context("cannot run cargo")
}

fn progress(rounds: u64) -> ProgressBar {
    let style = ProgressStyle::with_template("{bar:30} {percent:>3} % {msg}")
        .unwrap_or_else(|_| ProgressStyle::default_bar());
    ProgressBar::new(rounds).with_style(style)
}
