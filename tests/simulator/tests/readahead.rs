//! The bars of readahead, and policies with a planted bug that miss them.

#![forbid(unsafe_code)]

use faultless_policy::readahead::{File, Readahead, Run, Window};
use faultless_simulator::readahead::replay::Policy;
use faultless_simulator::readahead::store::Speed;
use faultless_simulator::readahead::table::{
    Line, RATE_MUST, RATE_STRETCH, Rate, line, lines, rate, rates, workloads,
};

/// A change to the policy that ships.
struct Planted {
    policy: Readahead,
    bug: Bug,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Bug {
    /// The cache sets no markers: each window is read when the reader is stuck.
    NoMarkers,
    /// Pages that were dropped unused are not reported.
    NeverShrinks,
    /// Every miss reads on, whether or not it is in a stream.
    ReadsOnAfterEachMiss,
}

impl Policy for Planted {
    fn miss(&mut self, asked: Run, file: &File<'_>) -> Option<Window> {
        if self.bug == Bug::ReadsOnAfterEachMiss {
            return <Readahead>::new().marker(asked, file);
        }
        self.policy.miss(asked, &self.report(file))
    }

    fn marker(&mut self, asked: Run, file: &File<'_>) -> Option<Window> {
        if self.bug == Bug::NoMarkers {
            return None;
        }
        self.policy.marker(asked, &self.report(file))
    }
}

impl Planted {
    fn new(bug: Bug) -> Self {
        Self { policy: Readahead::new(), bug }
    }

    fn report<'l>(&self, file: &File<'l>) -> File<'l> {
        if self.bug == Bug::NeverShrinks { File { dropped_unused: 0, ..*file } } else { *file }
    }
}

fn with(policy: &mut impl Policy, name: &str) -> Line {
    let all = workloads();
    let found = all.iter().find(|(workload, _)| workload.name == name);
    let (workload, bars) = found.expect("a workload of that name");
    line(workload, *bars, policy)
}

#[test]
fn every_workload_reaches_its_bars() {
    for line in lines() {
        let (coverage, accuracy) = (line.with.coverage(&line.without), line.with.accuracy());
        let stall = line.with.stall(&line.without);
        assert!(line.is_reached(), "{}: {coverage:.4} {accuracy:.4} {stall:.4}", line.name);
    }
}

#[test]
fn without_readahead_every_page_that_is_read_is_used() {
    for line in lines() {
        assert_eq!(line.without.unused, 0, "{}", line.name);
    }
}

#[test]
fn a_hit_without_a_marker_costs_no_call() {
    let line = with(&mut <Readahead>::new(), "sequential, 1 pages a read");
    assert!(line.with.calls * 100 < line.with.uses, "{} calls", line.with.calls);
}

#[test]
fn a_sequential_reader_gets_the_rate_of_the_store() {
    for rate in rates() {
        assert!(rate.share >= RATE_MUST, "{rate:?}");
        let short = rate.speed.latency_ns <= 200_000;
        assert!(!short || rate.share >= RATE_STRETCH, "{rate:?}");
    }
}

#[test]
fn a_policy_without_markers_stalls_and_misses_the_rate_of_the_store() {
    let speed = Speed { latency_ns: 500_000, page_ns: 2_000, depth: 8 };
    let found: Rate = rate(speed, 1, &mut Planted::new(Bug::NoMarkers));
    assert!(found.share < RATE_MUST, "{found:?}");
}

#[test]
fn a_policy_that_reads_on_after_each_miss_is_caught_by_random_reads() {
    let name = "random, 1 pages a read, file of 100000";
    assert!(!with(&mut Planted::new(Bug::ReadsOnAfterEachMiss), name).is_reached());
}

#[test]
fn a_policy_that_knows_one_stream_is_caught_by_eight() {
    assert!(!with(&mut Readahead::<1>::new(), "8 streams, 1 pages a read").is_reached());
}

#[test]
fn a_policy_that_never_shrinks_reads_twice_as_much_when_memory_is_short() {
    let name = "8 streams, 1 pages a read, 256 pages of memory";
    let (ships, planted) =
        (with(&mut <Readahead>::new(), name), with(&mut Planted::new(Bug::NeverShrinks), name));
    assert!(ships.with.accuracy() >= 0.8, "{:?}", ships.with);
    assert!(planted.with.accuracy() < 0.7, "{:?}", planted.with);
    assert!(planted.with.missed > ships.with.missed, "{:?}", planted.with);
}
