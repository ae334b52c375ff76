//! How long single writes take beside other threads: the longest, and the longest of 10,000.
//!
//! The writer has a CPU for itself, the others share another. What a write took while its thread
//! was made to give up the CPU says nothing of the write, and is left out.

#![forbid(unsafe_code)]

use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use faultless_filemap::WriteOptions;
use faultless_host::stores::MemoryStore;
use faultless_page::PAGE_SIZE;

use super::beside::Beside;
use super::board::{Judged, Line, Sense};
use super::frames::Layout;
use super::kernel::Rig;
use super::memory::{Arena, Cpus, involuntary_switches};
use super::stats::Dice;

/// How long each scene lasts.
#[derive(Clone, Copy, Debug)]
pub(super) struct Effort(pub(super) Duration);

const MIB: usize = 1 << 20;
/// Pages that the measured writer and the small ones write to.
const PAGES: u64 = 256;
/// Bytes of the file: what a truncation cuts lies behind those pages.
const FILE: u64 = 4 * MIB as u64;
/// The most writes of a scene.
const MOST: usize = 4_000_000;
/// What takes longer is looked at more closely.
const SUSPECT_NS: u64 = 5_000;

/// Nanoseconds of single writes.
#[derive(Debug)]
struct Waits {
    /// In ascending order.
    ns: Vec<u64>,
    dropped: usize,
}

impl Waits {
    fn median(&self) -> f64 {
        self.at(1, 2)
    }

    /// The value below which `part` of `whole` lie.
    fn at(&self, part: usize, whole: usize) -> f64 {
        let last = self.ns.len().saturating_sub(1);
        self.ns.get(last * part / whole).map_or(f64::NAN, |ns| *ns as f64)
    }

    fn longest(&self) -> f64 {
        self.ns.last().map_or(f64::NAN, |ns| *ns as f64)
    }

    /// Writes `len` bytes to random pages of the first `pages`, again and again.
    fn of(rig: &Rig, pages: u64, len: usize, effort: Effort) -> Self {
        let mut dice = Dice::new(30);
        let (mut ns, mut dropped) = (Vec::with_capacity(MOST), 0);
        let mut switches = involuntary_switches();
        let mut began = Instant::now();
        let end = began + effort.0;
        while began < end && ns.len() < MOST {
            let pos = dice.below(pages) * PAGE_SIZE as u64;
            began = Instant::now();
            rig.write(&WriteOptions::at(pos), len);
            let took = began.elapsed().as_nanos() as u64;
            if took > SUSPECT_NS {
                let before = std::mem::replace(&mut switches, involuntary_switches());
                if before != switches {
                    dropped += 1;
                    continue;
                }
            }
            ns.push(took);
        }
        ns.sort_unstable();
        Self { ns, dropped }
    }

    fn line(&self, number: u32, title: &str, goal: Judged) -> Line {
        let (median, rare, longest) = (self.median(), self.at(9_999, 10_000), self.longest());
        let figure = format!("{}, {}, {}", time(median), time(rare), time(longest));
        let mut line = Line::exact(number, title, figure, goal);
        line.values = vec![("median_ns", median), ("p9999_ns", rare), ("longest_ns", longest)];
        line.dropped = self.dropped;
        if self.ns.len() < 1000 {
            line.void = Some("too few writes were left alone".into());
        }
        line
    }
}

/// A time for people.
fn time(ns: f64) -> String {
    match ns {
        ns if ns < 1e3 => format!("{ns:.0} ns"),
        ns if ns < 1e6 => format!("{:.1} µs", ns / 1e3),
        ns => format!("{:.1} ms", ns / 1e6),
    }
}

/// A file that is cached whole, in a store that keeps its bytes.
fn rig() -> io::Result<Arc<Rig>> {
    let memory = Arc::new(Arena::new(2 * MIB)?);
    let frames = Arena::new(32 * MIB)?;
    let rig = Rig::over(MemoryStore::new(), frames, Layout::Contiguous, memory);
    for pos in (0..FILE).step_by(MIB) {
        rig.write(&WriteOptions::at(pos), MIB);
    }
    Ok(Arc::new(rig))
}

/// Row 12: no writer starves where two write to one page.
pub(super) fn same_page(cpus: Cpus, effort: Effort) -> io::Result<Vec<Line>> {
    const STARVED_MS: f64 = 10.0;
    let rig = rig()?;
    let other = rig.clone();
    let _other = Beside::start(cpus, 1, move |_| {
        other.write_from(MIB, &WriteOptions::at(0), PAGE_SIZE);
    });
    let waits = Waits::of(&rig, 1, PAGE_SIZE, effort);
    let goal = Judged {
        against: "ms",
        ..Judged::value(waits.longest() / 1e6, Sense::AtMost, STARVED_MS, STARVED_MS)
    };
    let title = "4 KiB write to a page that another writes to: median, p99.99, longest";
    Ok(vec![waits.line(12, title, goal)])
}

/// What goes on beside the writer of row 30.
type Scene = (&'static str, fn(&Arc<Rig>, Cpus) -> Option<Beside>);

const SCENES: &[Scene] = &[
    ("alone", |_, _| None),
    ("beside a flusher", |rig, cpus| {
        let rig = rig.clone();
        Some(Beside::start(cpus, 1, move |_| rig.flush(PAGES as u32)))
    }),
    ("beside a truncation", |rig, cpus| {
        let rig = rig.clone();
        Some(Beside::start(cpus, 1, move |_| {
            rig.set_size(FILE / 2);
            rig.set_size(FILE);
            rig.write_from(MIB, &WriteOptions::at(FILE / 2), MIB);
        }))
    }),
    ("beside 8 small writers", |rig, cpus| {
        let rig = rig.clone();
        let mut dice = Dice::new(8);
        Some(Beside::start(cpus, 8, move |number| {
            let at = (dice.below(PAGES) + number as u64) % PAGES * PAGE_SIZE as u64;
            rig.write_from(MIB, &WriteOptions::at(at), 64);
        }))
    }),
];

/// Row 30: the longest waits of a 4 KiB write.
pub(super) fn beside(cpus: Cpus, effort: Effort) -> io::Result<Vec<Line>> {
    let mut lines = Vec::new();
    for (name, start) in SCENES {
        let rig = rig()?;
        let _others = start(&rig, cpus);
        let waits = Waits::of(&rig, PAGES, PAGE_SIZE, effort);
        let goal = Judged {
            against: "medians",
            must: None,
            ..Judged::value(waits.longest() / waits.median(), Sense::AtMost, 10.0, 10.0)
        };
        let title = format!("4 KiB write {name}: median, p99.99, longest");
        lines.push(waits.line(30, &title, goal));
    }
    Ok(lines)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_in_ten_thousand_is_told_from_the_longest() {
        let waits = Waits { ns: (1..=100_001).collect(), dropped: 0 };
        assert_eq!((waits.median(), waits.longest()), (50_001.0, 100_001.0));
        assert_eq!(waits.at(9_999, 10_000), 99_991.0);
        assert!(Waits { ns: vec![], dropped: 0 }.longest().is_nan());
    }

    #[test]
    fn times_are_printed_in_their_unit() {
        assert_eq!((time(40.0), time(1500.0), time(2.5e6)), {
            ("40 ns".into(), "1.5 µs".into(), "2.5 ms".into())
        });
    }
}
