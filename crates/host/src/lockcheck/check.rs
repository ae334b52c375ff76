//! What one machine remembers of its locks: the graph, the threads, the violations.
//!
//! Key types: [`LockCheck`] and [`Expecting`]. An edge of the graph is judged here when it appears:
//! by the graph, and by the order that holds without any. Which thread is at which lock is not
//! known here: [`thread`](super::thread) remembers it, and the functions of [`super`] bring it.

#![forbid(unsafe_code)]

use std::fmt::Write as _;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, Weak};

use super::graph::{Edge, Graph, Reach, Through};
use super::instance::{Instance, Mode, Node};
use super::overtaking::Waiters;
use super::record::{Record, lock};
use super::report::{self, Kind, Report};

static NEXT_ID: AtomicU64 = AtomicU64::new(1);

/// The lock checker of one machine.
#[derive(Debug)]
pub struct LockCheck {
    id: u64,
    generation: AtomicU64,
    graph: Mutex<Graph>,
    reports: Mutex<Vec<Report>>,
    threads: Mutex<Vec<Weak<Mutex<Record>>>>,
    /// How many scopes expect violations at the moment.
    expecting: AtomicUsize,
    /// Which threads wait, and how often each was overtaken (L1).
    pub(super) waiters: Waiters,
}

/// A scope in which violations are recorded instead of panicking; see [`LockCheck::expect`].
#[derive(Debug)]
pub struct Expecting<'c> {
    check: &'c LockCheck,
}

impl LockCheck {
    /// A checker with an empty graph.
    #[must_use]
    pub fn new() -> Arc<Self> {
        Arc::new(Self {
            id: NEXT_ID.fetch_add(1, Ordering::Relaxed),
            generation: AtomicU64::new(0),
            graph: Mutex::default(),
            reports: Mutex::default(),
            threads: Mutex::default(),
            expecting: AtomicUsize::new(0),
            waiters: Waiters::default(),
        })
    }

    /// From now on until the scope ends, violations on any thread of the machine are recorded and
    /// do not panic.
    #[must_use]
    pub fn expect(&self) -> Expecting<'_> {
        self.expecting.fetch_add(1, Ordering::SeqCst);
        Expecting { check: self }
    }

    /// The first violation that has not been taken yet.
    #[must_use]
    pub fn take_report(&self) -> Option<Report> {
        let mut reports = lock(&self.reports);
        if reports.is_empty() { None } else { Some(reports.remove(0)) }
    }

    /// All violations that have not been taken yet.
    #[must_use]
    pub fn take_reports(&self) -> Vec<Report> {
        std::mem::take(&mut *lock(&self.reports))
    }

    /// Forgets the graph: what comes is not related to what was.
    pub fn clear(&self) {
        lock(&self.graph).clear();
        self.generation.fetch_add(1, Ordering::Relaxed);
    }

    /// What every thread of the machine holds and waits for.
    #[must_use]
    pub fn describe(&self) -> String {
        let mut text = String::new();
        for record in lock(&self.threads).iter().filter_map(Weak::upgrade) {
            let _ = writeln!(text, "  {}", lock(&record));
        }
        text
    }

    /// The order graph in the language of `dot`.
    #[must_use]
    pub fn dot(&self) -> String {
        report::dot(&lock(&self.graph).edges().collect::<Vec<_>>())
    }

    /// All threads that sleep on `key` are woken (L1).
    pub fn woken(&self, key: usize) {
        self.waiters.woken(key);
    }

    /// Remembers a thread that works for the machine, by what it holds.
    pub(super) fn watch(&self, record: &Arc<Mutex<Record>>) {
        let mut threads = lock(&self.threads);
        threads.retain(|thread| thread.strong_count() > 0);
        let record = Arc::downgrade(record);
        if !threads.iter().any(|known| known.ptr_eq(&record)) {
            threads.push(record);
        }
    }

    /// Changes whenever what was remembered of the graph no longer holds.
    pub(super) fn stamp(&self) -> u64 {
        self.id << 32 ^ self.generation.load(Ordering::Relaxed)
    }

    /// Adds edges and says what is wrong with them.
    pub(super) fn check_edges(&self, edges: &[Edge]) -> Vec<Report> {
        let mut graph = lock(&self.graph);
        if graph.is_full() {
            graph.clear();
            self.generation.fetch_add(1, Ordering::Relaxed);
        }
        let mut found = Vec::new();
        for edge in edges {
            if edge.from.conflicts(&edge.to) {
                found.push(recursion(edge));
            } else if !ranges_of_one_file(edge) && graph.insert(edge) {
                cycles(&graph, edge, &mut found);
            }
            found.extend(against_order(edge));
        }
        found
    }

    /// Another thread of the machine no longer holds `gone`.
    pub(super) fn released_elsewhere(&self, gone: &Instance) {
        let threads = lock(&self.threads);
        let mut records = threads.iter().filter_map(Weak::upgrade);
        let _known = records.any(|record| lock(&record).release(gone));
    }

    /// Records violations, and panics with the first unless they are expected.
    pub(super) fn report(&self, found: Vec<Report>) {
        let Some(text) = found.first().map(|first| first.text.clone()) else { return };
        {
            let mut reports = lock(&self.reports);
            for report in found {
                if !reports.iter().any(|known| known.text == report.text) {
                    reports.push(report);
                }
            }
        }
        // A thread that does the same again must be told again.
        self.generation.fetch_add(1, Ordering::Relaxed);
        if self.expecting.load(Ordering::SeqCst) == 0 && !std::thread::panicking() {
            panic!("{text}");
        }
    }
}

impl Expecting<'_> {
    /// The violations so far; ends the scope.
    #[must_use]
    pub fn reports(self) -> Vec<Report> {
        self.check.take_reports()
    }

    /// Ends the scope and returns the violation of this kind.
    ///
    /// # Panics
    /// If there was none.
    #[must_use]
    #[track_caller]
    pub fn one(self, kind: Kind) -> Report {
        let reports = self.reports();
        match reports.iter().find(|report| report.kind == kind) {
            Some(report) => report.clone(),
            None => panic!("no {kind:?} among {reports:#?}"),
        }
    }
}

impl Drop for Expecting<'_> {
    fn drop(&mut self) {
        self.check.expecting.fetch_sub(1, Ordering::SeqCst);
    }
}

fn recursion(edge: &Edge) -> Report {
    let kind = match (edge.from.mode, edge.to.mode) {
        (Mode::Read, Mode::Read) => Kind::ReaderBehindQueuedWriter,
        _ => Kind::Recursive,
    };
    Report::new(kind, "a thread waits for itself", std::slice::from_ref(edge))
}

/// Every kind of cycle that the new edge closes.
fn cycles(graph: &Graph, edge: &Edge, found: &mut Vec<Report>) {
    let kinds = [
        (Through::NoSpace, Kind::Abba),
        (Through::Writers, Kind::PageAgainstSpace),
        (Through::Readers, Kind::ReaderBehindQueuedWriter),
        (Through::All, Kind::PageAgainstSpace),
    ];
    let before = found.len();
    for (through, kind) in kinds {
        if through == Through::All && found.len() > before {
            break;
        }
        let Some(cycle) = graph.cycle(edge, through) else { continue };
        let passes = |kind: fn(&Node) -> bool| cycle.iter().any(|edge| kind(&edge.from.node));
        let spaces = passes(|node| matches!(node, Node::Space(_)));
        if spaces == (kind != Kind::Abba) {
            let kind = match kind {
                Kind::Abba if passes(|node| matches!(node, Node::Writeback(..))) => {
                    Kind::UnderWriteback
                }
                Kind::Abba if passes(|node| matches!(node, Node::Other(..))) => Kind::ForeignLock,
                _ => kind,
            };
            found.push(Report::new(kind, "a cycle", &cycle));
        }
    }
}

/// The order that holds without any graph: I → range → M → P, ranges and pages ascending.
fn against_order(edge: &Edge) -> Option<Report> {
    use Node::{Leaf, Ranges};
    let Edge { from, to, .. } = edge;
    let wrong = match (from.node, to.node) {
        _ if edge.reach == Reach::ByFault => None,
        (Ranges(a), Ranges(b)) if a == b => (to.pos < from.pos).then_some("ranges not ascending"),
        (Leaf(a, _), Leaf(b, _)) if a != b => Some("page locks of two files (P4)"),
        (Leaf(_, a), Leaf(_, b)) if (b, to.slots.first()) < (a, from.slots.first()) => {
            Some("page locks not ascending (P4)")
        }
        // A request of another thread for pages of both stands behind the first run and before the
        // second.
        (Leaf(_, a), Leaf(_, b)) if a == b && !from.conflicts(to) => Some("two runs of one leaf"),
        _ => match (from.rank(), to.rank()) {
            (Some(a), Some(b)) if a > b => Some("against the order I, range, M, P"),
            _ => None,
        },
    };
    wrong.map(|what| Report::new(Kind::Order, what, std::slice::from_ref(edge)))
}

fn ranges_of_one_file(edge: &Edge) -> bool {
    matches!(edge.from.node, Node::Ranges(_)) && edge.from.node == edge.to.node
}
