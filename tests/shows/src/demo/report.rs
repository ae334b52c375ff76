//! What the demo found, as a table and as JSON.

#![forbid(unsafe_code)]

use comfy_table::{CellAlignment, ContentArrangement, Table, presets};
use indicatif::{HumanBytes, HumanCount};
use serde_json::{Value, json};

use super::input::Input;
use super::replay::{Rewritten, Way};

/// Differences of one run that are shown.
const SHOWN: usize = 5;

/// A way and what came of it.
#[derive(Debug)]
pub(super) struct Run {
    pub(super) way: Way,
    pub(super) rewritten: Rewritten,
}

impl Run {
    /// Whether the file on disk is what it should be, and no fault was taken under a page lock.
    pub(super) fn is_right(&self) -> bool {
        self.rewritten.differences.is_empty()
            && self.rewritten.cost.counters.faults_under_page_lock == 0
    }

    fn bytes_per_second(&self) -> f64 {
        let cost = &self.rewritten.cost;
        cost.bytes as f64 / cost.took.as_secs_f64().max(f64::MIN_POSITIVE)
    }
}

/// Prints what was found for people.
pub(super) fn table(input: &Input, runs: &[Run]) {
    let size = HumanBytes(input.bytes.len() as u64);
    println!("{} ({size}), rewritten from its own cold mapping", input.name);
    println!("with strategy A (temporary page) and B (write_begin, write_end):");
    let mut table = Table::new();
    table.load_style(presets::UTF8_BORDERS_ONLY);
    table.set_content_arrangement(ContentArrangement::Disabled);
    table.set_header([
        "bytes a\nwrite",
        "KiB",
        "fast path\npages",
        "short\ncopies",
        "retries",
        "page\nfaults",
        "under\na lock",
        "temp.\npages",
        "MiB/s",
        "on disk",
    ]);
    for run in runs {
        let (cost, counted) = (&run.rewritten.cost, &run.rewritten.cost.counters);
        table.add_row([
            format!("{} {:>9}", run.way.letter(), HumanCount(run.way.chunk as u64).to_string()),
            kib(cost.bytes),
            HumanCount(counted.fast_path_pages).to_string(),
            HumanCount(counted.short_copies).to_string(),
            HumanCount(counted.fault_ins).to_string(),
            HumanCount(counted.faults).to_string(),
            HumanCount(counted.faults_under_page_lock).to_string(),
            HumanCount(counted.temporary_pages).to_string(),
            format!("{:.1}", run.bytes_per_second() / f64::from(1 << 20)),
            if run.is_right() { "right" } else { "WRONG" }.to_owned(),
        ]);
    }
    for column in table.column_iter_mut() {
        column.set_cell_alignment(CellAlignment::Right);
        column.set_padding((0, 1));
    }
    println!("{table}");
    for run in runs.iter().filter(|run| !run.is_right()) {
        let found = &run.rewritten.differences;
        println!("Strategy {}, {} B a write:", run.way.letter(), run.way.chunk);
        found.iter().take(SHOWN).for_each(|difference| println!("  {difference}"));
        if found.len() > SHOWN {
            println!("  and {} more", found.len() - SHOWN);
        }
    }
    println!("{}", conclusion(runs));
}

fn kib(bytes: u64) -> String {
    HumanCount(bytes.div_ceil(1 << 10)).to_string()
}

fn conclusion(runs: &[Run]) -> String {
    let sum = |of: fn(&Run) -> u64| HumanCount(runs.iter().map(of).sum());
    let faults = sum(|run| run.rewritten.cost.counters.faults);
    let under_lock = sum(|run| run.rewritten.cost.counters.faults_under_page_lock);
    let wrong = runs.iter().filter(|run| !run.is_right()).count();
    if wrong == 0 {
        let runs = runs.len();
        format!("{faults} page faults, none under a page lock. All {runs} files are right on disk.")
    } else {
        let runs = runs.len();
        format!(
            "{faults} page faults, {under_lock} under a page lock. {wrong} of {runs} runs are WRONG."
        )
    }
}

/// The same for programs.
pub(super) fn json(input: &Input, runs: &[Run]) -> Value {
    let all: Vec<Value> = runs
        .iter()
        .map(|run| {
            let (cost, counted) = (&run.rewritten.cost, &run.rewritten.cost.counters);
            let differences: Vec<String> =
                run.rewritten.differences.iter().map(ToString::to_string).collect();
            json!({
                "strategy": run.way.letter().to_string(),
                "chunk_bytes": run.way.chunk,
                "writes": cost.writes,
                "bytes": cost.bytes,
                "fast_path_pages": counted.fast_path_pages,
                "short_copies": counted.short_copies,
                "retries": counted.fault_ins,
                "faults": counted.faults,
                "faults_under_page_lock": counted.faults_under_page_lock,
                "temporary_pages": counted.temporary_pages,
                "temporary_page_bytes": counted.bounced,
                "seconds": cost.took.as_secs_f64(),
                "bytes_per_second": run.bytes_per_second(),
                "differences": differences,
            })
        })
        .collect();
    json!({
        "ok": runs.iter().all(Run::is_right),
        "input": input.name,
        "input_bytes": input.bytes.len(),
        "runs": all,
    })
}
