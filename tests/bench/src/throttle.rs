//! `cargo xtask bench throttle`: how fast, how evenly and with which pauses simulated writers dirty
//! pages.

#![forbid(unsafe_code)]

use comfy_table::{Table, presets};
use faultless_simulator::throttle::table::{Bar, LONGEST_NS, Line, lines};
use serde_json::{Value, json};

/// Simulates every scene, and prints what came out.
pub(super) fn print() {
    let mut table = Table::new();
    table.load_style(presets::ASCII_MARKDOWN);
    table.set_header([
        "scene",
        "throughput",
        "2nd store",
        "slowest/fastest",
        "small",
        "longest pause",
        "most dirty",
        "hard limit",
        "bar",
        "",
    ]);
    for line in lines() {
        let part = |part: Option<f64>| part.map_or_else(|| "–".to_owned(), |p| format!("{p:.3}"));
        let hard = line.scene.limits.hard();
        table.add_row([
            line.scene.name.to_owned(),
            part(line.throughput(0)),
            part(line.throughput(1)),
            part(fairness(&line)),
            part(line.small()),
            format!("{:.1} ms", line.longest_ns() as f64 / 1e6),
            line.out.most_dirty.to_string(),
            hard.to_string(),
            bar(line.bar).to_owned(),
            verdict(&line).to_owned(),
        ]);
    }
    println!("{table}\n");
    println!(
        "Throughput: pages dirtied after the first second, of what the store writes. Small: of \
         what the small writer asks for.\nA pause is the sleep and the wait for pages. At most {} \
         ms are asked for. Limits are in pages of 4 KiB.",
        LONGEST_NS / 1_000_000
    );
}

/// The slowest writer against the fastest, where that is asked.
fn fairness(line: &Line) -> Option<f64> {
    (line.bar == Bar::Fair).then(|| line.fairness())
}

fn bar(bar: Bar) -> &'static str {
    match bar {
        Bar::Throughput => "throughput, pauses",
        Bar::Fair => "throughput, pauses, fair ≥ 0.9",
        Bar::Small => "throughput, pauses, small ≥ 0.95",
        Bar::Fast => "throughput, pauses",
        Bar::Crowd => "throughput and pauses of the 1st store",
        Bar::Pauses => "pauses",
        Bar::HardLimit => "hard limit",
    }
}

fn verdict(line: &Line) -> &'static str {
    if line.is_reached() { "must" } else { "MISSED" }
}

/// The same for programs.
pub(super) fn json() -> Value {
    let scenes: Vec<Value> = lines()
        .iter()
        .map(|line| {
            json!({
                "scene": line.scene.name,
                "throughput": line.throughput(0),
                "throughput_of_second_store": line.throughput(1),
                "slowest_to_fastest": fairness(line),
                "small": line.small(),
                "longest_pause_ns": line.longest_ns(),
                "most_dirty": line.out.most_dirty,
                "most_charged": line.out.most_charged,
                "hard_limit": line.scene.limits.hard(),
                "bar": bar(line.bar),
                "verdict": verdict(line),
            })
        })
        .collect();
    json!({ "scenes": scenes })
}
