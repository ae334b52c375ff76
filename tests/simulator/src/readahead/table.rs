//! The workloads with their bars, and the results.

#![forbid(unsafe_code)]

use faultless_policy::readahead::{Limits, Readahead};

use super::replay::{Nothing, Outcome, Policy, Setup, replay};
use super::store::Speed;
use super::workload::{self, Workload};

/// What a workload must reach.
#[derive(Clone, Copy, Debug, Default)]
pub struct Bars {
    /// The least coverage.
    pub coverage: Option<f64>,
    /// The least accuracy.
    pub accuracy: Option<f64>,
    /// The most stall time, of that without readahead.
    pub stall: Option<f64>,
}

/// A workload with its result.
#[derive(Clone, Debug)]
pub struct Line {
    /// What it is.
    pub name: String,
    /// What it must reach.
    pub bars: Bars,
    /// Without readahead.
    pub without: Outcome,
    /// With the policy.
    pub with: Outcome,
}

impl Line {
    /// Whether every bar is reached.
    pub fn is_reached(&self) -> bool {
        let Bars { coverage, accuracy, stall } = self.bars;
        coverage.is_none_or(|bar| self.with.coverage(&self.without) >= bar)
            && accuracy.is_none_or(|bar| self.with.accuracy() >= bar)
            && stall.is_none_or(|bar| self.with.stall(&self.without) <= bar)
    }
}

/// A store of 100 µs and 2 GB/s with a queue of 8, and a reader that takes a quarter longer for a
/// page than the store.
pub const SETUP: Setup = Setup {
    speed: Speed { latency_ns: 100_000, page_ns: 2_000, depth: 8 },
    use_ns: 2_500,
    limits: Limits::DEFAULT,
};

const SEQUENTIAL: Bars = Bars { coverage: Some(0.98), accuracy: Some(0.95), stall: Some(0.05) };
const STREAMS: Bars = Bars { stall: None, ..SEQUENTIAL };
const STRIDED: Bars = Bars { coverage: Some(0.9), accuracy: Some(0.9), stall: None };
const RANDOM: Bars = Bars { coverage: None, accuracy: Some(0.99), stall: None };
const NONE: Bars = Bars { coverage: None, accuracy: None, stall: None };

/// Every workload with its bars.
pub fn workloads() -> Vec<(Workload, Bars)> {
    use workload::{
        backward, interleaved, interleaved_with_noise, phases, random, sequential, short_runs,
        strided, strided_interleaved, unaligned, zipf, zipf_mix,
    };
    const FILE: u64 = 16_384;
    vec![
        (sequential(FILE, 1), SEQUENTIAL),
        (sequential(FILE, 4), SEQUENTIAL),
        (sequential(FILE, 16), SEQUENTIAL),
        (sequential(FILE, 64), SEQUENTIAL),
        (sequential(4 * FILE, 300), SEQUENTIAL),
        (unaligned(FILE, 6_000), SEQUENTIAL),
        (interleaved(8, 4_096, 1), STREAMS),
        (interleaved(8, 4_096, 8), STREAMS),
        (interleaved_with_noise(8, 4_096), NONE),
        (backward(FILE, 1), STRIDED),
        (backward(FILE, 4), STRIDED),
        (strided(2_000, 2, 1), STRIDED),
        (strided(2_000, 8, 1), STRIDED),
        (strided(2_000, 100, 4), STRIDED),
        (strided(2_000, 2_000, 16), STRIDED),
        (strided_interleaved(2_000), STRIDED),
        (random(100_000, 20_000, 1), RANDOM),
        (random(100_000, 5_000, 4), RANDOM),
        (random(8_192, 2_048, 1), RANDOM),
        (zipf(100_000, 20_000), RANDOM),
        (zipf(100_000, 20_000).in_memory(2_000), RANDOM),
        (zipf_mix(100_000, 20_000), NONE),
        (phases(100_000, 4, 8_192), NONE),
        (short_runs(100_000, 1_000, 8), NONE),
        (short_runs(100_000, 1_000, 8).in_memory(2_000), NONE),
        (sequential(FILE, 4).in_memory(64), NONE),
        (interleaved(8, 4_096, 1).in_memory(2_048), NONE),
        (interleaved(8, 4_096, 1).in_memory(256), NONE),
    ]
}

/// Replays a workload without readahead and with `policy`.
pub fn line(workload: &Workload, bars: Bars, policy: &mut impl Policy) -> Line {
    let without = replay(&mut Nothing, workload, &SETUP);
    let with = replay(policy, workload, &SETUP);
    Line { name: workload.name.clone(), bars, without, with }
}

/// Replays every workload with the policy that ships.
pub fn lines() -> Vec<Line> {
    let one = |(workload, bars): &(Workload, Bars)| line(workload, *bars, &mut <Readahead>::new());
    workloads().iter().map(one).collect()
}

/// A sequential reader that is four times as fast as the store.
#[derive(Clone, Copy, Debug)]
pub struct Rate {
    /// The store.
    pub speed: Speed,
    /// Pages of the largest window.
    pub window: u32,
    /// Pages a read.
    pub pages: u64,
    /// The rate of the reader, of that of the store.
    pub share: f64,
    /// The same without readahead.
    pub without: f64,
}

/// The least rate of a sequential reader, of that of the store.
pub const RATE_MUST: f64 = 0.95;
/// The same, as hoped for.
pub const RATE_STRETCH: f64 = 0.99;

/// Sequential readers of a file of 256 MiB, on stores of several latencies and depth 8.
pub fn rates() -> Vec<Rate> {
    let latencies = [50_000, 100_000, 200_000, 500_000, 1_000_000];
    let all = latencies.into_iter().flat_map(|latency_ns| [1, 32].map(|pages| (latency_ns, pages)));
    all.map(|(latency_ns, pages)| {
        let speed = Speed { latency_ns, page_ns: 2_000, depth: 8 };
        rate(speed, pages, &mut <Readahead>::new())
    })
    .collect()
}

/// A sequential reader of a file of 256 MiB with `policy`.
pub fn rate(speed: Speed, pages: u64, policy: &mut impl Policy) -> Rate {
    const FILE: u64 = 65_536;
    let limits = Limits::for_store(speed.latency_ns, speed.page_ns, speed.depth as u32);
    let setup = Setup { speed, use_ns: speed.page_ns / 4, limits };
    let workload = workload::sequential(FILE, pages);
    let best = speed.time_for(FILE) as f64;
    let share = |out: Outcome| best / out.total_ns as f64;
    let with = share(replay(policy, &workload, &setup));
    let without = share(replay(&mut Nothing, &workload, &setup));
    Rate { speed, window: limits.most, pages, share: with, without }
}
