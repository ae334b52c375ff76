//! What is measured or replayed for charts only: cost by size, flatness by offset, hits by size of
//! the cache.

#![forbid(unsafe_code)]

use std::io;

use faultless_simulator::reclaim::{Contestant as Policy, Layout, Trace, run};
use rayon::prelude::*;

use super::measure::{Role, measure};
use super::reclaim::made;
use super::rows::{FLAT, flat_at, hot};
use super::stats::Dice;

/// A line of a chart.
#[derive(Clone, Debug)]
pub(super) struct Curve {
    pub(super) name: &'static str,
    pub(super) points: Vec<(f64, f64)>,
}

/// A chart with lines.
#[derive(Clone, Debug)]
pub(super) struct Panel {
    pub(super) title: &'static str,
    pub(super) across: &'static str,
    pub(super) up: &'static str,
    /// Labels on the axis across.
    pub(super) labels: usize,
    pub(super) curves: Vec<Curve>,
}

/// A trace, with a line for each policy.
#[derive(Clone, Debug)]
pub(super) struct Hits {
    pub(super) name: String,
    pub(super) curves: Vec<Curve>,
}

/// Those that have a line in the chart of costs.
const DRAWN: [Role; 7] = [
    Role::Subject,
    Role::Limit,
    Role::Memcpy,
    Role::Tree,
    Role::TreeWithBounce,
    Role::Tmpfs,
    Role::HugeTmpfs,
];
/// Bytes of hot overwrites.
const SIZES: [usize; 9] = [1, 8, 64, 512, 4 << 10, 16 << 10, 64 << 10, 128 << 10, 256 << 10];
/// Offsets at which the pages of a sparse file are.
const OFFSETS: [u64; 6] = [1 << 27, 1 << 30, 1 << 34, 1 << 37, 1 << 39, 1 << 42];

/// What a hot overwrite takes, by its size.
///
/// # Errors
/// The system's.
pub(super) fn cost(rounds: usize, dice: &mut Dice) -> io::Result<Panel> {
    let mut curves = DRAWN.map(|role| Curve { name: role.name(), points: Vec::new() });
    for len in SIZES {
        let measured = measure(&mut hot(len)?, rounds, dice, |_| true, |_| ());
        for (role, curve) in DRAWN.into_iter().zip(&mut curves) {
            let time = measured.time(role).map(|time| (len as f64, time.median));
            curve.points.extend(time);
        }
    }
    Ok(Panel {
        title: "A hot overwrite by its size: less is better",
        across: "bytes",
        up: "nanoseconds",
        labels: 10,
        curves: curves.into_iter().filter(|curve| !curve.points.is_empty()).collect(),
    })
}

/// What a 4 KiB overwrite takes far behind in a file, against the same at its beginning.
///
/// # Errors
/// The system's.
pub(super) fn flatness(rounds: usize, dice: &mut Dice) -> io::Result<Vec<Curve>> {
    let mut curves = Vec::new();
    for (name, slots) in [("hot", 1), ("cold", FLAT / 4096)] {
        let mut points = Vec::new();
        for offset in OFFSETS {
            let measured = measure(&mut flat_at(offset, slots)?, rounds, dice, |_| true, |_| ());
            points.extend(measured.ratio(Role::Twin).map(|ratio| (offset as f64, ratio.median)));
        }
        curves.push(Curve { name, points });
    }
    Ok(curves)
}

/// Hits of every generated trace.
pub(super) fn hits() -> Vec<Hits> {
    hits_of(&made())
}

fn hits_of(traces: &[(String, Trace)]) -> Vec<Hits> {
    /// Cache sizes, in per cent of the trace's pages.
    const PERCENTS: [usize; 8] = [1, 2, 5, 10, 20, 30, 40, 60];
    const POLICIES: [(&str, Policy); 5] = [
        ("Faultless", Policy::Faultless(Layout::Natural)),
        ("S3-FIFO", Policy::S3Fifo),
        ("Clock2Q+", Policy::Clock2QPlus),
        ("LRU", Policy::Lru),
        ("Belady", Policy::Belady),
    ];
    let curves = |trace: &Trace| {
        let curve = |(name, policy)| {
            let hits = |percent| {
                let pages = trace.pages() * percent / 100;
                (percent as f64, run(policy, trace, pages).hit_percent())
            };
            Curve { name, points: PERCENTS.map(hits).into() }
        };
        POLICIES.map(curve).into()
    };
    traces
        .par_iter()
        .map(|(name, trace)| Hits { name: name.clone(), curves: curves(trace) })
        .collect()
}

#[cfg(test)]
mod tests {
    use faultless_simulator::reclaim::generated;

    use super::*;

    #[test]
    fn every_policy_has_a_line_for_every_trace_and_none_beats_the_optimum() {
        let traces = [
            ("loop".to_owned(), generated::repeated_loop(200, 2_000)),
            ("zipf".to_owned(), generated::zipf(500, 0.8, 5_000, 1)),
        ];
        for Hits { name, curves } in hits_of(&traces) {
            let best = &curves[4];
            assert_eq!(best.name, "Belady");
            for curve in &curves {
                assert_eq!(curve.points.len(), 8, "{name}");
                let all = curve.points.iter().zip(&best.points);
                assert!(all.into_iter().all(|(one, most)| one.1 <= most.1 + 1e-9), "{name}");
            }
        }
    }
}
