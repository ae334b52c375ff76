//! Traces: read from text, or generated.

use std::collections::HashMap;
use std::fmt;

/// A sequence of page requests. Pages are numbered anew from 0, in the order of first use.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Trace {
    requests: Vec<u32>,
    numbers: Vec<u64>,
}

/// Why a text is no trace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TraceError {
    /// A line, counted from 1, is not a page number.
    NotANumber(usize),
    /// There is no request.
    Empty,
}

impl fmt::Display for TraceError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotANumber(line) => write!(f, "line {line} is not a page number"),
            Self::Empty => f.write_str("the trace has no requests"),
        }
    }
}

impl std::error::Error for TraceError {}

impl Trace {
    /// A trace of these page numbers.
    pub fn of(numbers: impl IntoIterator<Item = u64>) -> Self {
        let mut trace = Self::default();
        let mut known = HashMap::new();
        for number in numbers {
            let page = *known.entry(number).or_insert_with(|| {
                trace.numbers.push(number);
                trace.numbers.len() as u32 - 1
            });
            trace.requests.push(page);
        }
        trace
    }

    /// Reads one page number a line. Blank lines are skipped, and lines of a single `*`, which
    /// separate phases in the traces of the LIRS paper.
    ///
    /// # Errors
    /// A line is something else, or there is none.
    pub fn parse(text: &str) -> Result<Self, TraceError> {
        let lines = text.lines().enumerate().filter(|(_, line)| !matches!(line.trim(), "" | "*"));
        let number = |(at, line): (usize, &str)| {
            line.trim().parse().map_err(|_| TraceError::NotANumber(at + 1))
        };
        let numbers = lines.map(number).collect::<Result<Vec<u64>, _>>()?;
        if numbers.is_empty() {
            return Err(TraceError::Empty);
        }
        Ok(Self::of(numbers))
    }

    /// The requests, by new number.
    #[must_use]
    pub fn requests(&self) -> &[u32] {
        &self.requests
    }

    /// How many pages there are.
    #[must_use]
    pub fn pages(&self) -> usize {
        self.numbers.len()
    }

    /// The trace's own number of each page.
    #[must_use]
    pub fn numbers(&self) -> &[u64] {
        &self.numbers
    }

    /// Each request so many times in a row.
    #[must_use]
    pub fn repeated(&self, times: usize) -> Self {
        let requests = self.requests.iter().flat_map(|page| std::iter::repeat_n(*page, times));
        Self { requests: requests.collect(), numbers: self.numbers.clone() }
    }
}

/// Traces that are made, the same in each run.
pub mod generated {
    use super::{Dice, Trace};

    /// Pages `0..pages` in order, again and again.
    #[must_use]
    pub fn repeated_loop(pages: u64, requests: u64) -> Trace {
        Trace::of((0..requests).map(|at| at % pages))
    }

    /// Sweeps over pages `0..pages`, forward and backward in turns.
    #[must_use]
    pub fn zigzag(pages: u64, requests: u64) -> Trace {
        let period = 2 * (pages - 1).max(1);
        let place = |at: u64| if at < pages { at } else { period - at };
        Trace::of((0..requests).map(|at| place(at % period)))
    }

    /// Random pages; the n-th most popular is used in proportion to `n.powf(-skew)`.
    #[must_use]
    pub fn zipf(pages: u64, skew: f64, requests: u64, seed: u64) -> Trace {
        Trace::of(zipf_numbers(pages, skew, requests, seed))
    }

    /// As [`zipf`], interrupted by scans over pages that are used once, which are as many requests
    /// again.
    #[must_use]
    pub fn zipf_with_scans(pages: u64, skew: f64, requests: u64, seed: u64) -> Trace {
        let scan = pages / 2;
        let mut numbers = Vec::new();
        let mut fresh = pages;
        for (at, number) in zipf_numbers(pages, skew, requests, seed).into_iter().enumerate() {
            if at as u64 % scan == scan - 1 {
                numbers.extend(fresh..fresh + scan);
                fresh += scan;
            }
            numbers.push(number);
        }
        Trace::of(numbers)
    }

    fn zipf_numbers(pages: u64, skew: f64, requests: u64, seed: u64) -> Vec<u64> {
        let mut sum = 0.0;
        let sums: Vec<f64> = (1..=pages)
            .map(|rank| {
                sum += (rank as f64).powf(-skew);
                sum
            })
            .collect();
        let mut dice = Dice::new(seed);
        let mut places: Vec<u64> = (0..pages).collect();
        dice.shuffle(&mut places);
        let draw = |_| {
            let point = dice.fraction() * sum;
            places[sums.partition_point(|bound| *bound <= point).min(places.len() - 1)]
        };
        (0..requests).map(draw).collect()
    }
}

/// Pseudo-random numbers (SplitMix64).
#[derive(Clone, Debug)]
pub(super) struct Dice(u64);

impl Dice {
    pub(super) const fn new(seed: u64) -> Self {
        Self(seed)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let x = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        x ^ (x >> 31)
    }

    /// A number from 0 to 1, without 1.
    fn fraction(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1_u64 << 53) as f64
    }

    /// Puts the items in a random order.
    pub(super) fn shuffle<T>(&mut self, items: &mut [T]) {
        for at in (1..items.len()).rev() {
            let other = (u128::from(self.next()) * (at as u128 + 1)) >> 64;
            items.swap(at, other as usize);
        }
    }
}
