//! `cargo xtask bench reclaim`: page traces through the replacement policy and its rivals.
//!
//! What is printed are counts, the same on each machine. The policies are the simulator's.

#![forbid(unsafe_code)]

use std::fs::File;
use std::io::{BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, Result, bail};
use comfy_table::{ContentArrangement, Table, presets};
use faultless_simulator::reclaim::{Contestant, Report, Trace, generated, run as replay};
use flate2::read::MultiGzDecoder;
use rayon::prelude::*;
use serde_json::{Map, Value, json};

/// Cache sizes without `--pages`, in per cent of the trace's distinct pages.
pub(super) const SIZES: [usize; 4] = [1, 10, 20, 40];
/// The one of them for `--json`.
const JSON_SIZE: usize = 10;
/// What a file compressed by gzip begins with.
const GZIP: [u8; 2] = [0x1f, 0x8b];

/// Replay page traces through the replacement policy and its rivals.
#[derive(clap::Args, Debug)]
pub(super) struct Options {
    /// Replay this file, one page number a line, which may be compressed by gzip. Without it,
    /// generated traces.
    #[arg(long, value_name = "FILE")]
    trace: Option<PathBuf>,
    /// Pages of the cache. Without it, 1, 10, 20 and 40 % of the trace's distinct pages.
    #[arg(long, value_name = "N")]
    pages: Option<usize>,
    /// Print one JSON object instead of tables, by default with a cache of 10 %.
    #[arg(long)]
    json: bool,
}

/// A trace through every policy, at one size.
struct Round<'t> {
    name: &'t str,
    trace: &'t Trace,
    pages: usize,
    reports: Vec<(Contestant, Report)>,
}

/// `cargo xtask bench reclaim`.
///
/// # Errors
/// The trace cannot be read or is none, or the cache has no pages.
pub(super) fn run(options: &Options) -> Result<ExitCode> {
    if options.pages == Some(0) {
        bail!("a cache of 0 pages holds nothing");
    }
    let traces = match &options.trace {
        Some(path) => {
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            let trace = read(path).with_context(|| format!("cannot replay {}", path.display()))?;
            vec![(name, trace)]
        }
        None => made(),
    };
    let sizes: &[usize] = if options.json { &[JSON_SIZE] } else { &SIZES };
    let mut rounds = Vec::new();
    for (name, trace) in &traces {
        for pages in cache_sizes(options.pages, sizes, trace) {
            rounds.push(round(name, trace, pages));
        }
    }
    if options.json {
        println!("{:#}", json(&rounds));
    } else {
        println!("{}\n{}", hits(&rounds), costs(&rounds));
        println!(
            "Hits in per cent of the requests. Visits: leaves looked at for each page dropped, and \
             for the page that took most.\nWrites: hits that set a mark, in per cent of the hits. \
             Marks, and beside them shadows and queues: bytes for each page of the cache."
        );
    }
    Ok(ExitCode::SUCCESS)
}

/// The sizes to replay with, without those that would be the same.
pub(super) fn cache_sizes(pages: Option<usize>, percents: &[usize], trace: &Trace) -> Vec<usize> {
    let of = |percent: &usize| (trace.pages() * percent / 100).max(1);
    let mut sizes = pages.map_or_else(|| percents.iter().map(of).collect(), |pages| vec![pages]);
    sizes.dedup();
    sizes
}

fn round<'t>(name: &'t str, trace: &'t Trace, pages: usize) -> Round<'t> {
    let replay = |contestant: &Contestant| (*contestant, replay(*contestant, trace, pages));
    Round { name, trace, pages, reports: Contestant::ALL.par_iter().map(replay).collect() }
}

/// Reads a trace.
fn read(path: &Path) -> Result<Trace> {
    let mut bytes = Vec::new();
    BufReader::new(File::open(path)?).read_to_end(&mut bytes)?;
    if bytes.starts_with(&GZIP) {
        let mut plain = Vec::new();
        MultiGzDecoder::new(bytes.as_slice())
            .read_to_end(&mut plain)
            .context("the gzip stream is damaged")?;
        bytes = plain;
    }
    Ok(Trace::parse(&String::from_utf8(bytes).context("not a text")?)?)
}

/// Generated traces, each with what no other has.
pub(super) fn made() -> Vec<(String, Trace)> {
    let (pages, requests) = (20_000, 200_000);
    let zipf = |skew| generated::zipf(pages, skew, requests, 1);
    let scanned = |skew| generated::zipf_with_scans(pages, skew, requests / 2, 2);
    let traces = [
        ("loop", generated::repeated_loop(2_000, 40_000)),
        ("zigzag", generated::zigzag(2_000, 40_000)),
        ("zipf 1.0", zipf(1.0)),
        ("zipf 0.7", zipf(0.7)),
        ("zipf 1.0, scans", scanned(1.0)),
        ("zipf 0.7, scans", scanned(0.7)),
        ("zipf 1.0, four times", zipf(1.0).repeated(4)),
    ];
    traces.map(|(name, trace)| (name.to_owned(), trace)).into()
}

fn table() -> Table {
    let mut table = Table::new();
    table.load_style(presets::UTF8_BORDERS_ONLY);
    table.set_content_arrangement(ContentArrangement::Disabled);
    table
}

/// Hit ratios: a line a round, a column a policy.
fn hits(rounds: &[Round<'_>]) -> Table {
    let mut table = table();
    let head = ["trace", "requests", "cache"].map(str::to_owned);
    table.set_header(head.into_iter().chain(Contestant::ALL.map(|policy| policy.name().into())));
    for round in rounds {
        let head = [
            round.name.to_owned(),
            round.trace.requests().len().to_string(),
            round.pages.to_string(),
        ];
        let percent = |(_, report): &(_, Report)| format!("{:.1}", report.hit_percent());
        table.add_row(head.into_iter().chain(round.reports.iter().map(percent)));
    }
    table
}

/// What the policy that ships took.
fn costs(rounds: &[Round<'_>]) -> Table {
    let mut table = table();
    let head = [
        "trace",
        "cache",
        "policy",
        "hits",
        "writes",
        "evictions",
        "visits",
        "most",
        "marks",
        "beside",
    ];
    table.set_header(head);
    for round in rounds {
        for (contestant, report) in &round.reports {
            let Some(costs) = report.costs else { continue };
            table.add_row([
                round.name.to_owned(),
                round.pages.to_string(),
                contestant.name().to_owned(),
                costs.hits.to_string(),
                format!("{:.1}", costs.writes as f64 * 100.0 / costs.hits.max(1) as f64),
                costs.evictions.to_string(),
                format!("{:.2}", costs.visits_per_eviction()),
                costs.longest.to_string(),
                format!("{:.2}", costs.marks_per_page),
                format!("{:.2}", costs.beside_per_page),
            ]);
        }
    }
    table
}

/// One trace as an object, or several as a list in one.
fn json(rounds: &[Round<'_>]) -> Value {
    match rounds {
        [round] => object(round),
        rounds => json!({ "traces": rounds.iter().map(object).collect::<Vec<_>>() }),
    }
}

fn object(round: &Round<'_>) -> Value {
    let mut percents = Map::new();
    let mut costs = Map::new();
    for (contestant, report) in &round.reports {
        percents.insert(contestant.name().into(), report.hit_percent().into());
        if let Some(found) = report.costs {
            let value = json!({
                "hits": found.hits,
                "hits_that_wrote": found.writes,
                "evictions": found.evictions,
                "leaf_visits": found.visits,
                "leaf_visits_per_eviction": found.visits_per_eviction(),
                "longest_eviction_visits": found.longest,
                "mark_bytes_per_page": found.marks_per_page,
                "shadow_and_queue_bytes_per_page": found.beside_per_page,
            });
            costs.insert(contestant.name().into(), value);
        }
    }
    json!({
        "trace": round.name,
        "requests": round.trace.requests().len(),
        "distinct_pages": round.trace.pages(),
        "pages": round.pages,
        "hit_percent": percents,
        "costs": costs,
    })
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use flate2::Compression;
    use flate2::write::GzEncoder;

    use super::*;

    fn file(bytes: &[u8]) -> tempfile::NamedTempFile {
        let mut file = tempfile::NamedTempFile::new().expect("a temporary file");
        file.write_all(bytes).expect("space");
        file
    }

    #[test]
    fn a_compressed_trace_is_known_by_its_first_bytes() {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
        encoder.write_all(b"7\n8\n7\n").expect("memory");
        let compressed = file(&encoder.finish().expect("memory"));
        let plain = file(b"7\n8\n7\n");
        let trace = read(plain.path()).expect("a trace");
        assert_eq!(trace.requests(), [0, 1, 0]);
        assert_eq!(read(compressed.path()).expect("a trace"), trace);
    }

    #[track_caller]
    fn refused(bytes: &[u8], why: &str) {
        let error = read(file(bytes).path()).expect_err("no trace");
        assert!(format!("{error:#}").contains(why), "{error:#}");
    }

    #[test]
    fn what_is_no_trace_is_refused() {
        refused(b"", "no requests");
        refused(b"1\nx\n", "line 2 is not a page number");
        refused(b"1\n-2\n", "line 2 is not a page number");
        refused(&[0x1f, 0x8b, 8, 0], "gzip stream is damaged");
        refused(&[0xff, 0xfe], "not a text");
        assert!(read(Path::new("/nowhere")).is_err());
    }

    #[test]
    fn the_object_of_one_trace_has_the_hits_of_every_policy() {
        let trace = generated::repeated_loop(100, 1000);
        let object = json(&[round("loop", &trace, 50)]);
        for contestant in Contestant::ALL {
            assert!(object["hit_percent"][contestant.name()].is_f64(), "{}", contestant.name());
        }
        assert_eq!(object["hit_percent"]["lru"], 0.0);
    }

    #[test]
    fn a_cache_may_be_larger_than_any_memory() {
        let trace = Trace::of([1, 2, 3, 1]);
        let round = round("three", &trace, usize::MAX);
        assert!(round.reports.iter().all(|(_, report)| report.hits == 1));
    }

    #[test]
    fn small_traces_have_no_size_twice_and_none_is_empty() {
        let trace = Trace::of([1, 2, 3]);
        assert_eq!(cache_sizes(None, &SIZES, &trace), [1]);
        assert_eq!(cache_sizes(Some(9), &SIZES, &trace), [9]);
    }
}
