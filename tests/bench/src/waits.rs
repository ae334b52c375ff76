//! How long single writes take beside other threads: the longest, and the longest of 10,000.
//!
//! The writer has a CPU for itself, the others share another. What a write took while its thread
//! was made to give up the CPU says nothing of the write, and is left out. So is, of two that write
//! to one page, a wait for the other while that was away for as long: its CPU was taken from it.
//! Who starves waits while others go on.

#![forbid(unsafe_code)]

use std::io;
use std::sync::{Arc, Mutex, PoisonError};
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

/// What takes longer than this is long.
const LONG: Duration = Duration::from_millis(1);

/// When something began and ended.
type Interval = (Instant, Instant);

/// Whether the most of a wait is in one of these.
fn is_mostly_in(wait: Interval, intervals: &[Interval]) -> bool {
    let inside = |&(began, ended): &Interval| {
        let shared = ended.min(wait.1).saturating_duration_since(began.max(wait.0));
        2 * shared > wait.1 - wait.0
    };
    intervals.iter().any(inside)
}

/// Nanoseconds of single writes.
#[derive(Debug)]
struct Waits {
    /// In ascending order.
    ns: Vec<u64>,
    /// When the long ones were.
    long: Vec<Interval>,
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
        let (mut ns, mut long, mut dropped) = (Vec::with_capacity(MOST), Vec::new(), 0);
        let mut switches = involuntary_switches();
        let mut began = Instant::now();
        let end = began + effort.0;
        while began < end && ns.len() < MOST {
            let pos = dice.below(pages) * PAGE_SIZE as u64;
            began = Instant::now();
            rig.write(&WriteOptions::at(pos), len);
            let ended = Instant::now();
            let took = (ended - began).as_nanos() as u64;
            if took > SUSPECT_NS {
                let before = std::mem::replace(&mut switches, involuntary_switches());
                if before != switches {
                    dropped += 1;
                    continue;
                }
            }
            if ended - began > LONG {
                long.push((began, ended));
            }
            ns.push(took);
        }
        ns.sort_unstable();
        Self { ns, long, dropped }
    }

    /// Leaves out the long ones for which `other` says yes.
    fn leave_out(&mut self, other: impl Fn(Interval) -> bool) {
        for wait in self.long.extract_if(.., |wait| other(*wait)) {
            let took = (wait.1 - wait.0).as_nanos() as u64;
            if let Ok(at) = self.ns.binary_search(&took) {
                self.ns.remove(at);
                self.dropped += 1;
            }
        }
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
    let away = Arc::new(Mutex::new(Vec::new()));
    let (other, absences) = (rig.clone(), away.clone());
    let other = Beside::start(cpus, 1, move |_| {
        let began = Instant::now();
        other.write_from(MIB, &WriteOptions::at(0), PAGE_SIZE);
        let ended = Instant::now();
        if ended - began > LONG {
            absences.lock().unwrap_or_else(PoisonError::into_inner).push((began, ended));
        }
    });
    let mut waits = Waits::of(&rig, 1, PAGE_SIZE, effort);
    // With the last one noted.
    drop(other);
    let away = away.lock().unwrap_or_else(PoisonError::into_inner);
    waits.leave_out(|wait| is_mostly_in(wait, &away));
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
        let waits = Waits { ns: (1..=100_001).collect(), long: vec![], dropped: 0 };
        assert_eq!((waits.median(), waits.longest()), (50_001.0, 100_001.0));
        assert_eq!(waits.at(9_999, 10_000), 99_991.0);
        assert!(Waits { ns: vec![], long: vec![], dropped: 0 }.longest().is_nan());
    }

    #[test]
    fn a_wait_is_left_out_if_the_other_thread_was_away_for_the_most_of_it() {
        let zero = Instant::now();
        let at = |from: u64, to: u64| {
            (zero + Duration::from_millis(from), zero + Duration::from_millis(to))
        };
        let away = [at(10, 20), at(50, 52)];
        assert!(is_mostly_in(at(11, 21), &away));
        assert!(is_mostly_in(at(12, 14), &away));
        assert!(!is_mostly_in(at(18, 30), &away), "it went on, and this one did not");
        assert!(!is_mostly_in(at(30, 40), &away));
        assert!(!is_mostly_in(at(45, 60), &away));
        let long = vec![at(11, 21), at(30, 40)];
        let mut waits = Waits { ns: vec![100, 10_000_000, 10_000_000], long, dropped: 0 };
        waits.leave_out(|wait| is_mostly_in(wait, &away));
        assert_eq!((waits.ns.as_slice(), waits.dropped), ([100, 10_000_000].as_slice(), 1));
        assert_eq!(waits.long, [at(30, 40)]);
    }

    #[test]
    fn times_are_printed_in_their_unit() {
        assert_eq!((time(40.0), time(1500.0), time(2.5e6)), {
            ("40 ns".into(), "1.5 µs".into(), "2.5 ms".into())
        });
    }
}
