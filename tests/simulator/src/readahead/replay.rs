//! A reader that follows a policy, and what comes out.

#![forbid(unsafe_code)]

use faultless_policy::readahead::{File, Limits, Readahead, Run, Window};

use super::cache::{Cache, Found, Reason};
use super::store::{MOST_PAGES, Speed, Store};
use super::workload::Workload;

/// What decides on reading ahead: the one that ships, none, or one with a planted bug.
pub trait Policy {
    /// See [`Readahead::miss`].
    fn miss(&mut self, asked: Run, file: &File<'_>) -> Option<Window>;
    /// See [`Readahead::marker`].
    fn marker(&mut self, asked: Run, file: &File<'_>) -> Option<Window>;
}

impl<const N: usize> Policy for Readahead<N> {
    fn miss(&mut self, asked: Run, file: &File<'_>) -> Option<Window> {
        Readahead::miss(self, asked, file)
    }

    fn marker(&mut self, asked: Run, file: &File<'_>) -> Option<Window> {
        Readahead::marker(self, asked, file)
    }
}

/// Nothing is read ahead.
#[derive(Clone, Copy, Debug)]
pub struct Nothing;

impl Policy for Nothing {
    fn miss(&mut self, _: Run, _: &File<'_>) -> Option<Window> {
        None
    }

    fn marker(&mut self, _: Run, _: &File<'_>) -> Option<Window> {
        None
    }
}

/// A store, a reader's speed, and limits.
#[derive(Clone, Copy, Debug)]
pub struct Setup {
    /// The store.
    pub speed: Speed,
    /// Nanoseconds that the reader needs for a page that is there.
    pub use_ns: u64,
    /// The limits that the policy gets.
    pub limits: Limits,
}

/// What a replay counted.
#[derive(Clone, Copy, Debug, Default)]
pub struct Outcome {
    /// Pages that the reader used, repeated uses included.
    pub uses: u64,
    /// Pages that the reader found absent.
    pub missed: u64,
    /// Pages that were read from the store.
    pub read: u64,
    /// Pages that were read ahead and were not used.
    pub unused: u64,
    /// Nanoseconds that the reader waited for pages.
    pub stalled_ns: u64,
    /// Nanoseconds from the first read to the last.
    pub total_ns: u64,
    /// Calls of the policy.
    pub calls: u64,
}

impl Outcome {
    /// Pages used, of those read.
    pub fn accuracy(&self) -> f64 {
        1.0 - self.unused as f64 / self.read.max(1) as f64
    }

    /// Misses avoided, of those without readahead.
    pub fn coverage(&self, without: &Self) -> f64 {
        1.0 - self.missed as f64 / without.missed.max(1) as f64
    }

    /// Time stalled, of that without readahead.
    pub fn stall(&self, without: &Self) -> f64 {
        self.stalled_ns as f64 / without.stalled_ns.max(1) as f64
    }
}

struct Machine<'s> {
    setup: &'s Setup,
    file_pages: u64,
    cache: Cache,
    store: Store,
    now: u64,
    out: Outcome,
}

/// Replays a workload.
pub fn replay(policy: &mut impl Policy, workload: &Workload, setup: &Setup) -> Outcome {
    let mut machine = Machine {
        setup,
        file_pages: workload.file_pages,
        cache: Cache::new(workload.memory_pages),
        store: Store::new(setup.speed),
        now: 0,
        out: Outcome::default(),
    };
    for access in &workload.accesses {
        machine.access(policy, *access);
    }
    let mut out = machine.out;
    out.unused = machine.cache.dropped_unused + machine.cache.still_unused();
    out.total_ns = machine.now;
    out
}

impl<'s> Machine<'s> {
    fn access(&mut self, policy: &mut impl Policy, access: Run) {
        for page in access.first..access.end() {
            let asked = Run::between(page, access.end());
            self.use_page(policy, asked);
        }
    }

    /// Uses the first page of `asked`.
    fn use_page(&mut self, policy: &mut impl Policy, asked: Run) {
        let page = asked.first;
        let mut found = self.cache.take(page);
        if found == Found::Absent {
            self.miss(policy, asked);
            found = self.cache.take(page);
        }
        if matches!(found, Found::Marked { .. }) {
            self.out.calls += 1;
            let window = policy.marker(asked, &self.file());
            self.start(window);
        }
        // In bounded memory the page may have left for those that came with it.
        if let Found::Present { arrival } | Found::Marked { arrival } = found {
            self.out.stalled_ns += arrival.saturating_sub(self.now);
            self.now = self.now.max(arrival);
        }
        self.now += self.setup.use_ns;
        self.out.uses += 1;
    }

    fn miss(&mut self, policy: &mut impl Policy, asked: Run) {
        let absent = (asked.first..asked.end()).filter(|page| !self.cache.has(*page));
        self.out.missed += absent.count() as u64;
        self.out.calls += 1;
        let window = policy.miss(asked, &self.file());
        self.read(asked, Reason::Asked);
        self.start(window);
    }

    fn file(&self) -> File<'s> {
        File {
            pages: self.file_pages,
            dropped_unused: self.cache.dropped_unused,
            limits: &self.setup.limits,
        }
    }

    fn start(&mut self, window: Option<Window>) {
        let Some(window) = window else { return };
        for run in window.runs() {
            self.read(run, Reason::Ahead);
        }
        if let Some(page) = window.marker() {
            self.cache.mark(page);
        }
    }

    /// Asks the store for the pages of the run that are absent: a request for each group of
    /// adjacent ones in a leaf.
    fn read(&mut self, run: Run, reason: Reason) {
        let mut first = run.first;
        while first < run.end() {
            if self.cache.has(first) {
                first += 1;
                continue;
            }
            let leaf_end = (first / MOST_PAGES + 1) * MOST_PAGES;
            let absent = (first..run.end().min(leaf_end)).take_while(|page| !self.cache.has(*page));
            let pages = absent.count() as u64;
            let begin = self.store.read(self.now, pages);
            for (at, page) in (first..first + pages).enumerate() {
                let arrival = begin + (at as u64 + 1) * self.store.page_ns();
                self.cache.put(page, arrival, reason);
            }
            self.out.read += pages;
            first += pages;
        }
    }
}
