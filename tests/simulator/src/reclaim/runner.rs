//! One trace through one policy.

use super::adaptive::Arc;
use super::belady::Belady;
use super::faultless::{Faultless, Layout};
use super::lirs::Lirs;
use super::policy::{Costs, Policy};
use super::queues::{Clock, OnHit, Queue, Sieve};
use super::s3_fifo::{Clock2QPlus, S3Fifo};
use super::trace::Trace;
use super::two_queues::TwoQueues;

/// The policies that are compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Contestant {
    /// The policy that ships, in a layout.
    Faultless(Layout),
    /// First in, first out.
    Fifo,
    /// Least recently used.
    Lru,
    /// FIFO with a second chance.
    Clock,
    /// 2Q.
    TwoQueues,
    /// ARC.
    Arc,
    /// LIRS.
    Lirs,
    /// S3-FIFO, the base of the bars.
    S3Fifo,
    /// Clock2Q+.
    Clock2QPlus,
    /// SIEVE.
    Sieve,
    /// The optimum, which knows the future.
    Belady,
}

impl Contestant {
    /// All of them.
    pub const ALL: [Self; 13] = [
        Self::Faultless(Layout::Natural),
        Self::Faultless(Layout::Scattered),
        Self::Faultless(Layout::Shuffled),
        Self::S3Fifo,
        Self::Clock2QPlus,
        Self::Lirs,
        Self::Arc,
        Self::TwoQueues,
        Self::Sieve,
        Self::Clock,
        Self::Lru,
        Self::Fifo,
        Self::Belady,
    ];

    /// Its name in reports.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Faultless(Layout::Natural) => "faultless",
            Self::Faultless(Layout::Scattered) => "faultless-scattered",
            Self::Faultless(Layout::Shuffled) => "faultless-shuffled",
            Self::Fifo => "fifo",
            Self::Lru => "lru",
            Self::Clock => "clock",
            Self::TwoQueues => "2q",
            Self::Arc => "arc",
            Self::Lirs => "lirs",
            Self::S3Fifo => "s3-fifo",
            Self::Clock2QPlus => "clock2q+",
            Self::Sieve => "sieve",
            Self::Belady => "belady",
        }
    }

    fn policy(self, trace: &Trace, capacity: usize) -> Box<dyn Policy> {
        let pages = trace.pages();
        match self {
            Self::Faultless(layout) => Box::new(Faultless::new(trace, capacity, layout)),
            Self::Fifo => Box::new(Queue::new(pages, capacity, OnHit::Stay)),
            Self::Lru => Box::new(Queue::new(pages, capacity, OnHit::Move)),
            Self::Clock => Box::new(Clock::new(pages, capacity)),
            Self::TwoQueues => Box::new(TwoQueues::new(pages, capacity)),
            Self::Arc => Box::new(Arc::new(pages, capacity)),
            Self::Lirs => Box::new(Lirs::new(pages, capacity)),
            Self::S3Fifo => Box::new(S3Fifo::new(pages, capacity)),
            Self::Clock2QPlus => Box::new(Clock2QPlus::new(pages, capacity)),
            Self::Sieve => Box::new(Sieve::new(pages, capacity)),
            Self::Belady => Box::new(Belady::new(trace.requests(), pages, capacity)),
        }
    }
}

/// What came out.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Report {
    /// Requests that found their page.
    pub hits: u64,
    /// All requests.
    pub requests: u64,
    /// Of the policy that ships.
    pub costs: Option<Costs>,
}

impl Report {
    /// Hits in per cent of the requests.
    #[must_use]
    pub fn hit_percent(&self) -> f64 {
        self.hits as f64 * 100.0 / self.requests.max(1) as f64
    }
}

/// Replays a trace through a cache of `capacity` pages, which is at least one. A cache that holds
/// every page is as good as a larger one.
#[must_use]
pub fn run(contestant: Contestant, trace: &Trace, capacity: usize) -> Report {
    let capacity = capacity.min(trace.pages()).max(1);
    replay(&mut *contestant.policy(trace, capacity), trace)
}

/// Replays a trace through a policy that was made for it.
#[must_use]
pub fn replay(policy: &mut dyn Policy, trace: &Trace) -> Report {
    let hits = trace.requests().iter().filter(|page| policy.request(**page)).count();
    Report { hits: hits as u64, requests: trace.requests().len() as u64, costs: policy.costs() }
}
