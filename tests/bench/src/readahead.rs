//! `cargo xtask bench readahead`: what readahead avoids and wastes, on generated streams.

#![forbid(unsafe_code)]

use comfy_table::{Table, presets};
use faultless_simulator::readahead::table::{
    Line, RATE_MUST, RATE_STRETCH, Rate, SETUP, lines, rates,
};
use serde_json::{Value, json};

/// Replays every workload, and prints what came out.
pub(super) fn print() {
    let mut table = Table::new();
    table.load_style(presets::ASCII_MARKDOWN);
    table.set_header(["workload", "coverage", "accuracy", "stall", "calls/1000", "bars", ""]);
    for line in lines() {
        let found = figures(&line);
        let part = |at: usize| format!("{:.4}", found[at]);
        let calls = format!("{:.1}", found[3]);
        let row =
            [line.name.clone(), part(0), part(1), part(2), calls, bars(&line), verdict(&line)];
        table.add_row(row);
    }
    println!("{table}\n");
    println!(
        "Coverage: misses avoided. Accuracy: pages used of those read. Stall: time waited, of that \
         without readahead.\nStore: {} ns, {} ns a page, depth {}; the reader takes {} ns a page.\n",
        SETUP.speed.latency_ns, SETUP.speed.page_ns, SETUP.speed.depth, SETUP.use_ns
    );
    let mut table = Table::new();
    table.load_style(presets::ASCII_MARKDOWN);
    table.set_header(["latency", "pages a read", "window", "rate", "without", ""]);
    for rate in rates() {
        table.add_row([
            format!("{} us", rate.speed.latency_ns / 1000),
            rate.pages.to_string(),
            rate.window.to_string(),
            format!("{:.4}", rate.share),
            format!("{:.4}", rate.without),
            reached(&rate).to_owned(),
        ]);
    }
    println!("{table}\n");
    println!(
        "Row 28: a sequential reader four times as fast as the store (2 GB/s, depth 8), of the \
         store's rate.\nMust {RATE_MUST}, stretch {RATE_STRETCH}."
    );
}

/// Coverage, accuracy, stall, and calls of the policy for each 1,000 pages used.
fn figures(line: &Line) -> [f64; 4] {
    let (with, without) = (&line.with, &line.without);
    let calls = with.calls as f64 * 1000.0 / with.uses.max(1) as f64;
    [with.coverage(without), with.accuracy(), with.stall(without), calls]
}

fn bars(line: &Line) -> String {
    let bar = |sign: &str, bar: Option<f64>| bar.map(|bar| format!("{sign} {bar}"));
    let of = [
        bar("coverage ≥", line.bars.coverage),
        bar("accuracy ≥", line.bars.accuracy),
        bar("stall ≤", line.bars.stall),
    ];
    of.into_iter().flatten().collect::<Vec<_>>().join(", ")
}

fn verdict(line: &Line) -> String {
    let bars = line.bars;
    let none = bars.coverage.is_none() && bars.accuracy.is_none() && bars.stall.is_none();
    let word = match (none, line.is_reached()) {
        (true, _) => "–",
        (false, true) => "must",
        (false, false) => "MISSED",
    };
    word.to_owned()
}

fn reached(rate: &Rate) -> &'static str {
    if rate.share >= RATE_STRETCH {
        "stretch"
    } else if rate.share >= RATE_MUST {
        "must"
    } else {
        "MISSED"
    }
}

/// The same for programs.
pub(super) fn json() -> Value {
    let workloads: Vec<Value> = lines()
        .iter()
        .map(|line| {
            let [coverage, accuracy, stall, calls] = figures(line);
            json!({
                "workload": line.name,
                "coverage": coverage,
                "accuracy": accuracy,
                "stall": stall,
                "calls_per_1000_pages": calls,
                "must": {
                    "coverage": line.bars.coverage,
                    "accuracy": line.bars.accuracy,
                    "stall": line.bars.stall,
                },
                "verdict": verdict(line),
            })
        })
        .collect();
    let rates: Vec<Value> = rates()
        .iter()
        .map(|rate| {
            json!({
                "row": 28,
                "latency_ns": rate.speed.latency_ns,
                "pages_per_read": rate.pages,
                "window": rate.window,
                "rate": rate.share,
                "without": rate.without,
                "must": RATE_MUST,
                "stretch": RATE_STRETCH,
                "verdict": reached(rate),
            })
        })
        .collect();
    json!({ "workloads": workloads, "rates": rates })
}
