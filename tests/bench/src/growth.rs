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

use model::{Check, Primitives, Sharing};

const GIB: u64 = 1 << 30;
/// Bytes that are cached.
const SIZES: [u64; 5] = [GIB, 16 * GIB, 256 * GIB, 4096 * GIB, 16384 * GIB];
/// Cores that are busy.
const CORES: [u32; 6] = [1, 2, 8, 16, 32, 128];
/// What the model assumes, beside what it measures.
const ASSUMPTIONS: &str = "\
- Random 4 KiB overwrites of one file, each page as likely as any other. A load of a node takes what \
a load among as many bytes takes as its level of the index has, measured from 16 KiB to 256 MiB, and \
a copy is as cold as its page.\n\
- Apart: each core has a part of the file for itself. Anywhere: all cores write to all of it, so a \
leaf that is in a cache at all is in another core's, and its line travels.\n\
- One line travels for each overwrite of a leaf that another core has written to last (row 27), and \
none else. Between two sockets a line takes longer than was measured here.\n\
- Cores that read one page share 16 counters: from 17 cores on two lines' worth of changes travel \
for a read, in turns with the cores of the same counter.\n\
- Memory bandwidth has no end. Where it ends, plain copies end there too: compare with them.";

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
    let (rig, helper) = (measured::filled()?, Helper::start(other)?);
    let found = measured::primitives(&rig, &helper)?;
    let checks = measured::checks(&rig, &helper, &found);
    Ok((found, checks))
}

/// The model, as Markdown.
///
/// # Errors
/// The system's; there is only one CPU.
pub(super) fn text(cpus: Cpus) -> io::Result<String> {
    let (found, checks) = model(cpus)?;
    let rows = found.named().map(|(name, value)| vec![name.to_owned(), format!("{value:.1}")]);
    let mut text = table(&["measured here", "ns"], rows);
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
    let rows = checks.into_iter().map(|Check { what, modelled, measured }| {
        let off = (modelled / measured - 1.0) * 100.0;
        vec![
            what.to_owned(),
            format!("{modelled:.0}"),
            format!("{measured:.0}"),
            format!("{off:+.0} %"),
        ]
    });
    text += &table(&["2 cores, 256 MiB", "modelled ns", "measured ns", "off by"], rows);
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
            })
        })
        .collect();
    let primitives: serde_json::Map<String, Value> =
        found.named().into_iter().map(|(name, value)| (name.to_owned(), json!(value))).collect();
    Ok(json!({ "primitives": primitives, "model": rows, "two_cores": checks }))
}

#[cfg(test)]
mod tests {
    use super::*;

    const MADE_UP: Primitives = Primitives {
        loads: [(1 << 14, 1.0), (1 << 18, 1.0), (1 << 22, 1.0), (1 << 25, 1.0), (1 << 28, 100.0)],
        locked: 5.0,
        transfer: 50.0,
        hot_copy: 30.0,
        cold_copy: 200.0,
        rest: 4.0,
        read_rest: 2.0,
        lines: [0, 1],
    };

    #[test]
    fn what_fits_in_the_cache_costs_its_parts() {
        // 16 MiB: 64 leaves, one node above them, and the root.
        let expected = 2.0 + 2.0 * 5.0 + 30.0 + 4.0;
        assert_eq!(MADE_UP.overwrite(16 << 20, 1, Sharing::Apart), expected);
        assert_eq!(MADE_UP.overwrite(16 << 20, 128, Sharing::Apart), expected, "no line travels");
        let anywhere = MADE_UP.overwrite(16 << 20, 2, Sharing::Anywhere);
        assert_eq!(anywhere, expected + 25.0, "every other leaf was the other core's");
    }

    #[test]
    fn a_load_between_two_measured_ones_takes_what_is_between() {
        let loads = [1 << 14, 1 << 25, (1 << 26) + (1 << 25), 1 << 28, 1 << 60];
        let times = loads.map(|bytes| MADE_UP.load(bytes));
        assert_eq!((times[0], times[1], times[3], times[4]), (1.0, 1.0, 100.0, 100.0));
        assert!((40.0..60.0).contains(&times[2]), "{times:?}");
        assert_eq!((MADE_UP.coldness(1), MADE_UP.coldness(1 << 40)), (0.0, 1.0));
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
        assert_eq!(MADE_UP.read(GIB, 16), MADE_UP.read(GIB, 1));
        assert_eq!(MADE_UP.read(GIB, 32), MADE_UP.read(GIB, 16) + 100.0);
    }

    #[test]
    fn sizes_have_their_unit() {
        assert_eq!(SIZES.map(size), ["1 GiB", "16 GiB", "256 GiB", "4 TiB", "16 TiB"]);
    }
}
