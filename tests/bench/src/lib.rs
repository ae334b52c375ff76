//! `cargo xtask bench`: the scoreboard against plain copies, a `BTreeMap` cache, and Linux tmpfs.
//!
//! Ratios are medians over paired, shuffled rounds; every row has an A/A control that voids it when
//! it is off by more than 3 %. The smallest real kernel (`kernel`) is measured, optimised as a
//! release would be: a build that is not optimised starts one that is.

use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::rc::Rc;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use faultless_tools::process::cargo;
use indicatif::{ProgressBar, ProgressStyle};

use board::{Goal, Line, Unit};
use measure::{Measured, Sampled, measure};
use memory::Cpus;
use report::Style;
use rows::{Kind, ROWS, Row};
use stats::Dice;
use teams::{Helper, Team};
use waits::Effort;

mod beside;
mod board;
mod charts;
mod counts;
mod curves;
mod document;
mod frames;
mod growth;
mod instructions;
mod kernel;
mod limit;
mod measure;
mod memory;
mod preemption;
mod readahead;
mod reclaim;
mod recorder;
mod report;
mod rivals;
mod rows;
mod simulated;
mod stack;
mod stats;
mod stepper;
mod teams;
mod throttle;
mod tmpfs;
mod waits;

/// Measure against plain copies, a BTreeMap cache and Linux tmpfs.
#[derive(clap::Parser, Debug)]
#[command(bin_name = "cargo xtask bench", args_conflicts_with_subcommands = true)]
#[command(disable_help_subcommand = true)]
pub struct Options {
    /// Something that is counted or simulated instead.
    #[command(subcommand)]
    what: Option<What>,
    /// Only these rows of the scoreboard.
    #[arg(value_name = "ROW")]
    rows: Vec<u32>,
    /// The same. May be given several times.
    #[arg(long, value_name = "NUMBER")]
    row: Vec<u32>,
    /// Rounds a row, at least: there are more where they differ much.
    #[arg(long, default_value_t = 101, value_parser = clap::value_parser!(u16).range(3..))]
    rounds: u16,
    /// Few rounds and short scenes: a look, not a measurement.
    #[arg(long, conflicts_with = "rounds")]
    quick: bool,
    /// Seed of the order in which contestants run.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Measure no time, but how much stack each call of the core takes.
    #[arg(long, conflicts_with_all = ["rows", "row", "json", "markdown"])]
    stack: bool,
    /// Print one JSON object instead of a table.
    #[arg(long)]
    json: bool,
    /// Write charts into this folder, as SVG files.
    #[arg(long, value_name = "DIR")]
    plot: Option<PathBuf>,
    /// Put the table, the growth and the instructions into the places of this document.
    #[arg(long, value_name = "FILE", conflicts_with = "json")]
    markdown: Option<PathBuf>,
}

/// What is counted or simulated instead of timed: it is the same on each machine, but for the
/// instructions, which are the compiler's.
#[derive(clap::Subcommand, Debug)]
enum What {
    /// Replay page traces through the replacement policy and its rivals.
    Reclaim(reclaim::Options),
    /// Coverage, accuracy and stalls of readahead on generated streams.
    Readahead(Simulated),
    /// Throughput, fairness and pauses of writers on simulated stores.
    Throttle(Simulated),
    /// Count the instructions of hot calls, function by function.
    Instructions(Simulated),
    /// What calls cost on more memory and more cores: a model of what is measured here.
    Growth(Simulated),
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
            Self::Instructions(_) if cfg!(debug_assertions) => return optimised(),
            Self::Instructions(Simulated { json: true }) => println!("{:#}", instructions::json()?),
            Self::Instructions(_) => println!("{}", instructions::text()?),
            Self::Growth(_) if cfg!(debug_assertions) => return optimised(),
            Self::Growth(Simulated { json: true }) => {
                println!("{:#}", growth::json(Cpus::take()?)?)
            }
            Self::Growth(_) => println!("{}", growth::text(Cpus::take()?)?),
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
    let asked: Vec<u32> = options.rows.iter().chain(&options.row).copied().collect();
    if let Some(unknown) = asked.iter().find(|asked| ROWS.iter().all(|row| row.number != **asked)) {
        bail!("row {unknown} is not measured here");
    }
    let wanted = |row: &&Row| asked.is_empty() || asked.contains(&row.number);
    let rows: Vec<&Row> = ROWS.iter().filter(wanted).collect();
    let session = Session::begin(options, &rows)?;
    let lines = session.lines(&rows)?;
    if let Some(folder) = &options.plot {
        session.plot(folder, &lines)?;
    }
    if let Some(path) = &options.markdown {
        session.write_into(path, &lines).with_context(|| format!("{}", path.display()))?;
    }
    if options.json {
        println!("{:#}", report::json(&lines));
    } else {
        println!("{}\n\n{}", report::table(&lines, Style::Terminal), report::NOTES);
        println!("{}", session.says());
    }
    Ok(ExitCode::SUCCESS)
}

/// What the rows of one run share.
struct Session {
    cpus: Cpus,
    /// The second thread, if there is a CPU for it.
    helper: Option<Rc<Helper>>,
    rounds: usize,
    effort: Effort,
    seed: u64,
    quick: &'static str,
    bar: ProgressBar,
}

/// Rounds of a quick run.
const QUICK_ROUNDS: usize = 11;
/// Rounds of each point of a curve.
const PLOT_ROUNDS: usize = 31;

impl Session {
    fn begin(options: &Options, rows: &[&Row]) -> Result<Self> {
        let cpus = Cpus::take().context("cannot pin the thread")?;
        let helper = cpus.other.map(Helper::start).transpose().context("no second thread")?;
        let (rounds, scene, quick) = if options.quick {
            (QUICK_ROUNDS, Duration::from_millis(200), "Quick: a look, not a measurement. ")
        } else {
            (usize::from(options.rounds), Duration::from_secs(2), "")
        };
        let steps = rows.iter().map(|row| match row.kind {
            Kind::Timed(..) | Kind::Paired(..) => rounds as u64,
            Kind::Waits(_) | Kind::Exact(_) => 1,
        });
        let bar = progress(steps.sum());
        Ok(Self { cpus, helper, rounds, effort: Effort(scene), seed: options.seed, quick, bar })
    }

    fn lines(&self, rows: &[&Row]) -> Result<Vec<Line>> {
        let mut dice = Dice::new(self.seed);
        let mut lines = Vec::new();
        for row in rows {
            self.bar.set_message(row.title);
            lines.extend(self.row(row, &mut dice).context(row.title)?);
        }
        self.bar.finish_and_clear();
        Ok(lines)
    }

    /// Puts all that is measured into a document.
    fn write_into(&self, path: &Path, lines: &[Line]) -> Result<()> {
        let table = report::table(lines, Style::Markdown);
        let table = format!("{table}\n\n{}\n\n{}", report::NOTES, self.says());
        let mut document = std::fs::read_to_string(path)?;
        document = document::filled(&document, "table", &table)?;
        document = document::filled(&document, "growth", &growth::text(self.cpus)?)?;
        document = document::filled(&document, "instructions", &instructions::text()?)?;
        Ok(std::fs::write(path, document)?)
    }

    /// Draws the lines, and what is measured for charts only.
    fn plot(&self, folder: &Path, lines: &[Line]) -> Result<()> {
        let mut dice = Dice::new(self.seed);
        let rounds = self.rounds.min(PLOT_ROUNDS);
        let cost = curves::cost(rounds, &mut dice).context("no curve of costs")?;
        let flat = curves::flatness(rounds, &mut dice).context("no curve of offsets")?;
        charts::write(folder, lines, &cost, &flat, &curves::hits())
    }

    fn row(&self, row: &Row, dice: &mut Dice) -> std::io::Result<Vec<Line>> {
        let no_second = || Ok(vec![Line::void(row.number, row.title, "only one CPU")]);
        match row.kind {
            Kind::Timed(goals, contestants) => {
                let all = contestants(self.cpus)?;
                Ok(vec![self.rounds(row, Unit::Nanoseconds, goals, all, dice)])
            }
            Kind::Paired(goals, teams) => {
                let Some(helper) = &self.helper else { return no_second() };
                let all = teams()?.into_iter().map(|team: Team| team.with(helper)).collect();
                Ok(vec![self.rounds(row, Unit::Threads, goals, all, dice)])
            }
            Kind::Waits(_) if self.cpus.other.is_none() => no_second(),
            Kind::Waits(lines) => {
                self.bar.inc(1);
                lines(self.cpus, self.effort)
            }
            Kind::Exact(lines) => {
                self.bar.inc(1);
                lines()
            }
        }
    }

    fn rounds<S: Sampled>(
        &self,
        row: &Row,
        unit: Unit,
        goals: &[Goal],
        mut all: Vec<S>,
        dice: &mut Dice,
    ) -> Line {
        let is_clear = |measured: &Measured| board::is_clear(goals, measured);
        let measured = measure(&mut all, self.rounds, dice, is_clear, |is_planned| {
            if !is_planned {
                self.bar.inc_length(1);
            }
            self.bar.inc(1);
        });
        Line::measured(row.number, row.title, unit, goals, &measured)
    }

    /// How it was measured.
    fn says(&self) -> String {
        let Self { rounds, seed, cpus, quick, .. } = self;
        let other =
            cpus.other.map_or_else(String::new, |cpu| format!(", threads beside it on {cpu}"));
        let missing = tmpfs::refused().map_or_else(String::new, |why| {
            format!("\n\nNOT MEASURED, tmpfs with huge pages, which could not be had: {why}.")
        });
        let (own, most) = (cpus.own, rounds * measure::REPEATS);
        let cold = memory::cold_bytes() >> 20;
        format!(
            "{quick}{rounds} rounds a row and up to {most} where they differ, seed {seed}, CPU {own}{other}; cold memory: {cold} MiB.{missing}"
        )
    }
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
