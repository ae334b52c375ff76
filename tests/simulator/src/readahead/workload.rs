//! Generated sequences of reads.

#![forbid(unsafe_code)]

use faultless_policy::readahead::Run;

use crate::random::Random;

/// Reads of one open file, one after the other.
#[derive(Clone, Debug)]
pub struct Workload {
    /// What it is.
    pub name: String,
    /// Pages of the file.
    pub file_pages: u64,
    /// Pages that the cache has room for. `None` for all.
    pub memory_pages: Option<usize>,
    /// The reads, in pages.
    pub accesses: Vec<Run>,
}

impl Workload {
    fn new(name: impl Into<String>, file_pages: u64, accesses: Vec<Run>) -> Self {
        Self { name: name.into(), file_pages, memory_pages: None, accesses }
    }

    /// The same in a cache with room for `pages` pages.
    pub fn in_memory(self, pages: usize) -> Self {
        let name = format!("{}, {pages} pages of memory", self.name);
        Self { name, memory_pages: Some(pages), ..self }
    }
}

/// From the first page to the last, `pages` pages at a time.
pub fn sequential(file_pages: u64, pages: u64) -> Workload {
    let name = format!("sequential, {pages} pages a read");
    Workload::new(name, file_pages, forward(0, file_pages, pages))
}

/// From the first byte to the last, `bytes` bytes at a time, which is no multiple of a page.
pub fn unaligned(file_pages: u64, bytes: u64) -> Workload {
    let reads = (0..file_pages * 4096 / bytes).map(|at| {
        let (first, last) = (at * bytes / 4096, (at * bytes + bytes - 1) / 4096);
        Run::between(first, last + 1)
    });
    Workload::new(format!("sequential, {bytes} B a read"), file_pages, reads.collect())
}

/// `streams` readers that take turns, each with `each` pages of its own.
pub fn interleaved(streams: u64, each: u64, pages: u64) -> Workload {
    let all: Vec<_> = (0..streams).map(|stream| forward(stream * each, each, pages)).collect();
    let name = format!("{streams} streams, {pages} pages a read");
    Workload::new(name, streams * each, in_turns(&all))
}

/// As [`interleaved`], and after each turn a read of a random page of a large file.
pub fn interleaved_with_noise(streams: u64, each: u64) -> Workload {
    let file_pages = 1 << 20;
    let mut all: Vec<_> = (0..streams).map(|stream| forward(stream * each, each, 1)).collect();
    let mut random = Random::new(3);
    all.push((0..each).map(|_| Run::new(random.below(file_pages), 1)).collect());
    let name = format!("{streams} streams and random pages");
    Workload::new(name, file_pages, in_turns(&all))
}

/// From the last page to the first, `pages` pages at a time.
pub fn backward(file_pages: u64, pages: u64) -> Workload {
    let mut accesses = forward(0, file_pages, pages);
    accesses.reverse();
    Workload::new(format!("backward, {pages} pages a read"), file_pages, accesses)
}

/// `pages` pages, then a gap, `stride` pages from one read to the next.
pub fn strided(reads: u64, stride: u64, pages: u64) -> Workload {
    let name = format!("stride {stride}, {pages} pages a read");
    let accesses = (0..reads).map(|at| Run::new(7 + at * stride, pages)).collect();
    Workload::new(name, 7 + reads * stride, accesses)
}

/// Two strided readers and a backward strided one, far from each other, that take turns.
pub fn strided_interleaved(reads: u64) -> Workload {
    let far = 1 << 20;
    let up = |base: u64, stride: u64| (0..reads).map(move |at| Run::new(base + at * stride, 2));
    let down = (0..reads).map(|at| Run::new(3 * far - at * 20, 2));
    let all = [up(5, 10).collect(), up(far, 33).collect(), down.collect()];
    Workload::new("3 strided streams", 4 * far, in_turns(&all))
}

/// Random reads of `pages` pages each.
pub fn random(file_pages: u64, reads: u64, pages: u64) -> Workload {
    let mut random = Random::new(1);
    let one = |_| Run::new(random.below(file_pages - pages), pages);
    let name = format!("random, {pages} pages a read, file of {file_pages}");
    Workload::new(name, file_pages, (0..reads).map(one).collect())
}

/// Random places, at each of which `pages` pages are read one after the other.
pub fn short_runs(file_pages: u64, runs: u64, pages: u64) -> Workload {
    let mut random = Random::new(2);
    let starts = (0..runs).map(|_| random.below(file_pages - pages));
    let accesses = starts.flat_map(|first| forward(first, pages, 1)).collect();
    Workload::new(format!("random runs of {pages} pages"), file_pages, accesses)
}

/// Long sequential parts and phases of random reads, in turns.
pub fn phases(file_pages: u64, phases: u64, pages_a_phase: u64) -> Workload {
    let mut random = Random::new(4);
    let mut accesses = Vec::new();
    for phase in 0..phases {
        accesses.extend(forward(phase * pages_a_phase, pages_a_phase, 4));
        let reads = pages_a_phase / 4;
        accesses.extend((0..reads).map(|_| Run::new(random.below(file_pages - 1), 1)));
    }
    Workload::new("sequential and random phases", file_pages, accesses)
}

/// Single pages, a few of them often (Zipf), spread over the file.
pub fn zipf(file_pages: u64, reads: u64) -> Workload {
    let mut random = Random::new(5);
    let one = |_| {
        let rank = random.skewed(file_pages);
        Run::new(rank.wrapping_mul(0x9e37_79b9_7f4a_7c15) % file_pages, 1)
    };
    Workload::new("Zipf, 1 page a read", file_pages, (0..reads).map(one).collect())
}

/// A sequential reader beside one that draws pages as [`zipf`] does.
pub fn zipf_mix(file_pages: u64, reads: u64) -> Workload {
    let all = [zipf(file_pages, reads).accesses, forward(0, reads * 2, 2)];
    Workload::new("Zipf beside a sequential reader", file_pages, in_turns(&all))
}

fn forward(first: u64, pages: u64, step: u64) -> Vec<Run> {
    let end = first + pages;
    (first..end).step_by(step as usize).map(|at| Run::between(at, end.min(at + step))).collect()
}

fn in_turns(all: &[Vec<Run>]) -> Vec<Run> {
    let longest = all.iter().map(Vec::len).max().unwrap_or(0);
    (0..longest).flat_map(|turn| all.iter().filter_map(move |one| one.get(turn).copied())).collect()
}
