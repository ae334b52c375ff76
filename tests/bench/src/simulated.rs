//! The rows that a simulator answers: hit ratios of reclaim, and the rate of a cold read.

#![forbid(unsafe_code)]

use std::io;

use faultless_simulator::readahead::table::{RATE_MUST, RATE_STRETCH, rates};
use faultless_simulator::reclaim::{Contestant, Layout, Trace, run};
use rayon::prelude::*;

use super::board::{Judged, Line, Sense};
use super::reclaim::{SIZES, cache_sizes, made};

/// Where pages of a trace lie: neighbours in one leaf, each in its own, anyhow.
const LAYOUTS: [(Contestant, &str); 3] = [
    (Contestant::Faultless(Layout::Natural), "natural"),
    (Contestant::Faultless(Layout::Scattered), "scattered"),
    (Contestant::Faultless(Layout::Shuffled), "shuffled"),
];

/// Row 22: one line a generated trace, of the layout and cache size with the smallest lead.
pub(super) fn hit_ratios() -> io::Result<Vec<Line>> {
    Ok(made().par_iter().map(|(name, trace)| hit_ratio(name, trace)).collect())
}

fn hit_ratio(name: &str, trace: &Trace) -> Line {
    let percent = |policy, pages| run(policy, trace, pages).hit_percent();
    let sweeps = name == "zigzag";
    let (mut lead, mut further, mut of_lru) = (f64::MAX, f64::MAX, f64::MAX);
    let mut place = String::new();
    for pages in cache_sizes(None, &SIZES, trace) {
        let lru = percent(Contestant::Lru, pages).max(f64::MIN_POSITIVE);
        let clock = percent(Contestant::Clock2QPlus, pages);
        let base = percent(Contestant::S3Fifo, pages);
        for (layout, of_layout) in LAYOUTS {
            let hits = percent(layout, pages);
            if hits - base < lead {
                lead = hits - base;
                place = format!("{of_layout}, {pages} pages");
            }
            further = further.min(hits - clock);
            of_lru = of_lru.min(hits / lru);
        }
    }
    let judged = |against, found, must, stretch| {
        let value = Judged::value(found, Sense::AtLeast, 0.0, 0.0);
        Judged { against, must, stretch, ..value }
    };
    let mut goals = vec![judged("points over Clock2Q+", further, None, Some(0.0))];
    let figure = if sweeps {
        goals.push(judged("of LRU's", of_lru, Some(0.5), Some(0.9)));
        format!("{of_lru:.2} of LRU's")
    } else {
        goals.push(judged("points over S3-FIFO", lead, Some(-1.0), None));
        format!("{lead:+.2} points ({place})")
    };
    let first = goals.remove(1);
    let mut line = Line::exact(22, &format!("reclaim: least lead in hits, {name}"), figure, first);
    line.goals.extend(goals);
    line.values = vec![("points_over_s3_fifo", lead), ("points_over_clock2q_plus", further)];
    if sweeps {
        line.values.push(("of_lru", of_lru));
    }
    line
}

/// Row 28: the slowest of all stores and sizes of reads.
pub(super) fn cold_reads() -> io::Result<Vec<Line>> {
    let shares = rates().into_iter().map(|rate| rate.share);
    let worst = shares.fold(f64::INFINITY, f64::min);
    let title = "sequential cold read with readahead, of the store's rate";
    let goal = Judged::value(worst, Sense::AtLeast, RATE_MUST, RATE_STRETCH);
    Ok(vec![Line::exact(28, title, format!("{worst:.4}"), goal)])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::board::Verdict;

    #[test]
    fn a_sweep_is_held_against_lru_and_all_else_against_s3_fifo() {
        let trace = Trace::of((0..4000).map(|at| at % 100));
        let against = |name| hit_ratio(name, &trace).goals.iter().map(|g| g.against).collect();
        let (sweep, other): (Vec<&str>, Vec<&str>) = (against("zigzag"), against("loop"));
        assert_eq!(sweep, ["of LRU's", "points over Clock2Q+"]);
        assert_eq!(other, ["points over S3-FIFO", "points over Clock2Q+"]);
    }

    #[test]
    fn a_cold_read_has_the_rate_that_a_release_needs() {
        for line in cold_reads().expect("no I/O") {
            assert_ne!(line.verdict(), Verdict::Missed, "{}: {}", line.title, line.figure);
        }
    }
}
