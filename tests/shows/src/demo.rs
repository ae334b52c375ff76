//! `cargo xtask demo`: the main job on real input.
//!
//! A copy of a real file is rewritten from its own cold mapping, with real page faults, by both
//! strategies and in chunks of several sizes; then it is made durable and compared with what plain
//! bytes say (`plan`). The exit code is 1 for any difference, and 2 when there was nothing to
//! work on.

#![forbid(unsafe_code)]

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Result;
use clap::ValueEnum;
use faultless_filemap::Strategy;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use input::{Afterwards, Input, Workshop};
use replay::{Way, bytes_to_move, rewrite};
use report::Run;

mod input;
mod plan;
mod replay;
mod report;

/// What to rewrite, and how.
#[derive(clap::Args, Debug)]
pub struct Options {
    /// The file to work on; it is copied, never changed. Without one, the workspace's own sources.
    file: Option<PathBuf>,
    /// Work on the first BYTES of the file only.
    #[arg(long, value_name = "BYTES", requires = "file", value_parser = clap::value_parser!(u64).range(1..))]
    first: Option<u64>,
    /// Bytes of each write. May be a list.
    #[arg(long, value_name = "BYTES", value_delimiter = ',', default_value = "1000,4096,65536,1048576",
          value_parser = clap::value_parser!(u32).range(1..=1 << 30))]
    chunk: Vec<u32>,
    /// The algorithm: a, the temporary page of 2007; b, write_begin and write_end.
    #[arg(long, value_enum, default_value_t = Which::Both)]
    strategy: Which,
    /// Print one JSON object instead of a table.
    #[arg(long)]
    json: bool,
    /// Keep the rewritten copies, and say where they are.
    #[arg(long)]
    keep: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Which {
    A,
    B,
    Both,
}

impl Which {
    fn strategies(self) -> &'static [Strategy] {
        match self {
            Self::A => &[Strategy::PrepareCommit],
            Self::B => &[Strategy::BeginEnd],
            Self::Both => &[Strategy::PrepareCommit, Strategy::BeginEnd],
        }
    }
}

/// `cargo xtask demo`.
///
/// # Errors
/// The copies cannot be written, or the machine cannot be set up.
pub fn run(options: &Options) -> Result<ExitCode> {
    let input = match &options.file {
        Some(path) => input::named(path, options.first),
        None => input::own_sources(),
    };
    let input = match input {
        Ok(input) => input,
        Err(error) => return Ok(refuse(&error, options)),
    };
    let afterwards = if options.keep { Afterwards::Keep } else { Afterwards::Remove };
    let workshop = Workshop::new(afterwards)?;
    let runs = rewrite_all(&input, &workshop, options)?;
    let right = runs.iter().all(Run::is_right);
    if options.json {
        println!("{:#}", report::json(&input, &runs));
    } else {
        report::table(&input, &runs);
        if options.keep {
            println!("The rewritten copies are in {}.", workshop.path().display());
        }
    }
    Ok(if right { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// There is nothing to work on: says why.
fn refuse(error: &anyhow::Error, options: &Options) -> ExitCode {
    if options.json {
        println!("{:#}", serde_json::json!({ "ok": false, "refused": format!("{error:#}") }));
    } else {
        eprintln!("error: {error:#}");
    }
    ExitCode::from(2)
}

fn rewrite_all(input: &Input, workshop: &Workshop, options: &Options) -> Result<Vec<Run>> {
    let size = input.bytes.len();
    let ways: Vec<Way> = options
        .strategy
        .strategies()
        .iter()
        .flat_map(|&strategy| {
            options.chunk.iter().map(move |&chunk| Way { strategy, chunk: chunk as usize })
        })
        .collect();
    let bar = progress(ways.iter().map(|way| bytes_to_move(size, way.chunk)).sum(), options);
    let mut runs = Vec::new();
    for way in ways {
        bar.set_message(format!("strategy {}, {} B a write", way.letter(), way.chunk));
        let path = workshop.copy(&format!("{}-{}", way.letter(), way.chunk), &input.bytes)?;
        let rewritten = rewrite(&path, &input.bytes, way, &mut |bytes| bar.inc(bytes))?;
        workshop.done_with(&path);
        runs.push(Run { way, rewritten });
    }
    bar.finish_and_clear();
    Ok(runs)
}

fn progress(bytes: u64, options: &Options) -> ProgressBar {
    let style =
        ProgressStyle::with_template("{bar:30} {bytes}/{total_bytes} {binary_bytes_per_sec} {msg}")
            .unwrap_or_else(|_| ProgressStyle::default_bar());
    let target =
        if options.json { ProgressDrawTarget::hidden() } else { ProgressDrawTarget::stderr() };
    ProgressBar::with_draw_target(Some(bytes), target).with_style(style)
}
