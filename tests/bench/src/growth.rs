//! `cargo xtask bench growth`: what a call costs on more memory and more cores than there are here.
//!
//! The model adds up what a call does: loads of index nodes that are in a cache of the CPU or not,
//! two locked operations, lines that travel between cores, the copy, and a rest. What each takes is
//! measured here, and how many lines travel is counted (row 27). The model is held against two
//! cores, which are there.

#![forbid(unsafe_code)]

use std::io;

use comfy_table::{Table, presets};
use serde_json::{Value, json};

use super::memory::Cpus;
use super::teams::Helper;

mod measured;
mod model;

use measured::Parts;
use model::{Check, Primitives, Sharing};

const GIB: u64 = 1 << 30;
/// Bytes that are cached.
const SIZES: [u64; 5] = [GIB, 16 * GIB, 256 * GIB, 4096 * GIB, 16384 * GIB];
/// Cores that are busy.
const CORES: [u32; 6] = [1, 2, 8, 16, 32, 128];
/// What the model assumes, beside what it measures.
const ASSUMPTIONS: &str = "\
- Random 4 KiB overwrites of one file, each page as likely as any other. A load of a node takes what \
a load takes among as many bytes as are copied until the same line is used again: copies push the \
index out of the caches. Loads are measured from 16 KiB to 1 GiB, and a copy is as cold as its page. \
All memory is mapped in huge pages.\n\
- The parts of a call add up, as a hot call shows how much of them the CPU does at the same time: a \
rest below 0. Cold parts overlap no better.\n\
- More cores than one hold each other up as two do here, where all parts are measured beside a core \
that does the same: each further pair of cores brings as much bandwidth of memory and of the last \
cache as the first. Where it does not, plain copies slow down as much: compare with them.\n\
- Apart: each core has a part of the file for itself. Anywhere: all cores write to all of it, so a \
leaf that is in a cache at all is in another core's, and its line travels.\n\
- One line travels for each overwrite of a leaf that another core has written to last (row 27), and \
none else. Between two sockets a line takes longer than was measured here.\n\
- Cores that read one page share 16 counters: from 17 cores on two lines' worth of changes travel \
for a read, in turns with the cores of the same counter.";

const BENDS: &str = "\
Where the design bends: a frame number has 32 bits, so 16 TiB of 4 KiB pages are the most. Beyond 16 \
cores the counters of read sections are shared; a kernel with more of them has RCU for its read \
sections, or raises the number of counters.";

/// A call by size and cores.
type Column = (&'static str, fn(&Primitives, u64, u32) -> f64);

const COLUMNS: [Column; 3] = [
    ("overwrite, apart", |p, bytes, cores| p.overwrite(bytes, cores, Sharing::Apart)),
    ("overwrite, anywhere", |p, bytes, cores| p.overwrite(bytes, cores, Sharing::Anywhere)),
    ("read of one page", |p, bytes, cores| p.read(bytes, cores)),
];

/// Measures the primitives, and holds the model against two cores.
fn model(cpus: Cpus) -> io::Result<(Primitives, Vec<Check>)> {
    let Some(other) = cpus.other else {
        return Err(io::Error::new(io::ErrorKind::Unsupported, "only one CPU: no line travels"));
    };
    Ok(Parts::new(&Helper::start(other)?)?.measure())
}

/// The model, as Markdown.
///
/// # Errors
/// The system's; there is only one CPU.
pub(super) fn text(cpus: Cpus) -> io::Result<String> {
    let (found, checks) = model(cpus)?;
    let rows = found.named().map(|(name, values)| {
        let [alone, beside] = values.map(|value| format!("{value:.1}"));
        vec![name.to_owned(), alone, beside]
    });
    let mut text = table(&["measured here, ns", "alone", "beside another core"], rows);
    let cores = CORES.map(|cores| format!("{cores} cores"));
    for (what, call) in COLUMNS {
        let what = format!("{what}, ns");
        let head: Vec<&str> =
            [what.as_str()].into_iter().chain(cores.iter().map(String::as_str)).collect();
        let rows = SIZES.map(|bytes| {
            let cells = CORES.map(|cores| format!("{:.0}", call(&found, bytes, cores)));
            [size(bytes)].into_iter().chain(cells).collect()
        });
        text += &table(&head, rows);
    }
    let rows = checks.into_iter().map(|Check { what, modelled, measured, ratio }| {
        let off = |ratio: f64| format!("{:+.0} %", (ratio - 1.0) * 100.0);
        vec![
            what.to_owned(),
            format!("{modelled:.0}"),
            format!("{measured:.0}"),
            off(ratio.median),
            format!("{} to {}", off(ratio.p10), off(ratio.p90)),
        ]
    });
    let head = ["2 cores, 1 GiB", "modelled ns", "measured ns", "off by", "p10 to p90"];
    text += &table(&head, rows);
    Ok(format!("{text}Assumed:\n\n{ASSUMPTIONS}\n\n{BENDS}"))
}

fn table(head: &[&str], rows: impl IntoIterator<Item = Vec<String>>) -> String {
    let mut table = Table::new();
    table.load_style(presets::ASCII_MARKDOWN);
    table.set_header(head);
    table.add_rows(rows);
    format!("{table}\n\n")
}

fn size(bytes: u64) -> String {
    match bytes / GIB {
        gib if gib < 1024 => format!("{gib} GiB"),
        gib => format!("{} TiB", gib / 1024),
    }
}

/// The same for programs.
///
/// # Errors
/// As of [`text`].
pub(super) fn json(cpus: Cpus) -> io::Result<Value> {
    let (found, checks) = model(cpus)?;
    let mut rows = Vec::new();
    for (what, call) in COLUMNS {
        for bytes in SIZES {
            for cores in CORES {
                let nanoseconds = call(&found, bytes, cores);
                rows.push(json!({
                    "call": what, "bytes": bytes, "cores": cores, "nanoseconds": nanoseconds,
                }));
            }
        }
    }
    let checks: Vec<Value> = checks
        .iter()
        .map(|check| {
            json!({
                "call": check.what, "modelled": check.modelled, "measured": check.measured,
                "ratio": { "p10": check.ratio.p10, "median": check.ratio.median, "p90": check.ratio.p90 },
            })
        })
        .collect();
    let primitives: serde_json::Map<String, Value> = found
        .named()
        .into_iter()
        .map(|(name, [alone, beside])| {
            (name.to_owned(), json!({ "alone": alone, "beside": beside }))
        })
        .collect();
    Ok(json!({ "primitives": primitives, "model": rows, "two_cores": checks }))
}

#[cfg(test)]
mod tests {
    use super::model::Costs;
    use super::*;

    const ALONE: Costs = Costs {
        loads: [(1 << 14, 1.0), (1 << 18, 1.0), (1 << 22, 1.0), (1 << 25, 1.0), (1 << 28, 100.0)],
        locked: 5.0,
        hot_copy: 30.0,
        cold_copy: 200.0,
        rest: 4.0,
        read_rest: -2.0,
    };
    const MADE_UP: Primitives = Primitives {
        alone: ALONE,
        beside: Costs { hot_copy: 40.0, cold_copy: 350.0, ..ALONE },
        transfer: 50.0,
        lines: [0, 1],
    };

    #[test]
    fn what_fits_in_the_cache_costs_its_parts() {
        // 16 MiB: 64 leaves, one node above them, and the root.
        let expected = 2.0 + 2.0 * 5.0 + 30.0 + 4.0;
        assert_eq!(MADE_UP.overwrite(16 << 20, 1, Sharing::Apart), expected);
        let beside = expected + 10.0;
        assert_eq!(MADE_UP.overwrite(16 << 20, 128, Sharing::Apart), beside, "no line travels");
        let anywhere = MADE_UP.overwrite(16 << 20, 2, Sharing::Anywhere);
        assert_eq!(anywhere, beside + 25.0, "every other leaf was the other core's");
    }

    #[test]
    fn cores_that_go_to_memory_hold_each_other_up() {
        let costs = [1, 2, 8].map(|cores| MADE_UP.overwrite(1 << 40, cores, Sharing::Apart));
        assert_eq!(costs[1] - costs[0], 150.0);
        assert_eq!(costs[2], costs[1]);
    }

    #[test]
    fn copies_push_the_index_out_of_the_caches() {
        // 32768 leaves of 8 GiB are used again after as many copies: after 128 MiB.
        let leaf = ALONE.load(1 << 27) - ALONE.hot_load();
        assert!((60.0..70.0).contains(&leaf), "{leaf}");
        // The nodes above them are, in lines of eight, after 16 MiB.
        let parts = ALONE.hot_lookup(1 << 15) + leaf + 2.0 * 5.0 + 200.0 + 4.0;
        assert_eq!(MADE_UP.overwrite(8 << 30, 1, Sharing::Apart), parts);
    }

    #[test]
    fn a_load_between_two_measured_ones_takes_what_is_between() {
        let loads = [1 << 14, 1 << 25, (1 << 26) + (1 << 25), 1 << 28, 1 << 60];
        let times = loads.map(|bytes| ALONE.load(bytes));
        assert_eq!((times[0], times[1], times[3], times[4]), (1.0, 1.0, 100.0, 100.0));
        assert!((40.0..60.0).contains(&times[2]), "{times:?}");
        assert_eq!((ALONE.coldness(1), ALONE.coldness(1 << 40)), (0.0, 1.0));
    }

    #[test]
    fn larger_files_cost_more_and_never_less() {
        for (_, call) in COLUMNS {
            for cores in CORES {
                let costs = SIZES.map(|bytes| call(&MADE_UP, bytes, cores));
                assert!(costs.is_sorted(), "{costs:?}");
            }
        }
    }

    #[test]
    fn reads_share_counters_beyond_sixteen_cores() {
        assert_eq!(MADE_UP.read(GIB, 16), MADE_UP.read(GIB, 1) + 10.0);
        assert_eq!(MADE_UP.read(GIB, 32), MADE_UP.read(GIB, 16) + 100.0);
    }

    #[test]
    fn sizes_have_their_unit() {
        assert_eq!(SIZES.map(size), ["1 GiB", "16 GiB", "256 GiB", "4 TiB", "16 TiB"]);
    }
}
