//! The lock checker: finds deadlocks that did not happen.
//!
//! It listens to the core's trace and to the host's own locks, keeps for each machine a graph
//! "which lock was held while which was waited for" over lock *instances*, and reports a cycle as
//! soon as its last edge appears. At every access that may fault it adds what the fault handler
//! *could* wait for, whether the access faults or not: M of the address space, then the page locks
//! of the pages behind the address (`docs/semantics.md`, DL1–DL4).
//!
//! Key type: [`LockCheck`], one for each machine. The functions of this module work for the machine
//! that the calling thread belongs to: the one whose memory, wait queues or address spaces it
//! touched last. A thread that takes a lock and belongs to none is a violation itself: no machine
//! would look at what it does. A violation panics with the whole story on the thread that caused
//! it, unless a test [expects](LockCheck::expect) it.

#![forbid(unsafe_code)]

mod graph;
mod instance;
mod overtaking;
mod report;
#[cfg(test)]
mod tests;
mod thread;

use std::fmt::Write as _;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, Weak};

use faultless_page::LockId;

use self::graph::{Edge, Graph, Reach, Through};
use self::instance::{Instance, Node};
use self::overtaking::{ThreadId, Waiters};
use self::thread::{Local, Record, lock};

pub use self::instance::{Lock, Mode};
pub use self::report::{Kind, Report};

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
    waiters: Waiters,
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

    /// The calling thread works for this checker's machine from now on.
    pub fn adopt(self: &Arc<Self>) {
        let _ = Local::with(|local| {
            if local.check.borrow().as_ref().is_some_and(|check| check.id == self.id) {
                return;
            }
            *local.check.borrow_mut() = Some(Arc::clone(self));
            let mut threads = lock(&self.threads);
            threads.retain(|thread| thread.strong_count() > 0);
            let record = Arc::downgrade(&local.record);
            if !threads.iter().any(|known| known.ptr_eq(&record)) {
                threads.push(record);
            }
        });
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

    /// Changes whenever what was remembered of the graph no longer holds.
    fn stamp(&self) -> u64 {
        self.id << 32 ^ self.generation.load(Ordering::Relaxed)
    }

    /// Adds edges and says what is wrong with them.
    fn judge(&self, edges: &[Edge]) -> Vec<Report> {
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
    fn released_elsewhere(&self, gone: &Instance) {
        let threads = lock(&self.threads);
        let mut records = threads.iter().filter_map(Weak::upgrade);
        let _known = records.any(|record| lock(&record).release(gone));
    }

    /// Records violations, and panics with the first unless they are expected.
    fn report(&self, found: Vec<Report>) {
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

/// `work`, for another thread, which then works for the machine that the calling thread works for.
pub fn on_same_machine<R>(work: impl FnOnce() -> R) -> impl FnOnce() -> R {
    let check = Local::with(Local::check).flatten();
    move || {
        if let Some(check) = check {
            check.adopt();
        }
        work()
    }
}

/// The thread is about to wait for `lock`.
pub fn acquiring(lock: Lock) {
    let wanted = Instance::from(lock);
    let _ = Local::with(|local| {
        let mut record = local.record();
        record.waiting = Some(wanted);
        let Some(check) = local.check() else {
            let what = format!("thread '{}' belongs to no machine and wants {wanted}", record.name);
            drop(record);
            return deliver(None, vec![Report::new(Kind::Unchecked, &what, &[])]);
        };
        if local.seen(&check, &record.held, (0u8, wanted)) {
            return;
        }
        let edge = |from: &Instance| Edge {
            from: *from,
            to: wanted,
            thread: record.name.clone(),
            reach: Reach::Asked,
        };
        let edges: Vec<Edge> = record.held.iter().map(edge).collect();
        drop(record);
        check.report(check.judge(&edges));
    });
}

/// The thread is about to sleep. If it is for a lock of the core, it stands in the lock's queue by
/// now (L1).
pub fn sleeping() {
    let _ = Local::with(|local| {
        let Some(wanted) = local.record().waiting else { return };
        if let Some(check) = local.check() {
            check.waiters.queued(thread_id(local), wanted);
        }
    });
}

/// The thread now holds `lock`.
pub fn acquired(lock: Lock) {
    let got = Instance::from(lock);
    let _ = Local::with(|local| {
        let mut record = local.record();
        let waited = record.waiting.take() == Some(got);
        record.held.push(got);
        if !waited {
            return;
        }
        let name = record.name.clone();
        drop(record);
        let Some(check) = local.check() else { return };
        if let Some(starved) = check.waiters.acquired(thread_id(local), &got) {
            let (wanted, times) = (starved.wanted, starved.times);
            let what = format!("a waiter for {wanted} was overtaken {times} times by '{name}'");
            check.report(vec![Report::new(Kind::Overtaken, &what, &[])]);
        }
    });
}

/// The thread no longer waits for `lock`, and does not hold it.
pub fn gave_up(lock: Lock) {
    let wanted = Instance::from(lock);
    let _ = Local::with(|local| {
        let mut record = local.record();
        if record.waiting == Some(wanted) {
            record.waiting = None;
        }
        drop(record);
        if let Some(check) = local.check() {
            check.waiters.left(thread_id(local));
        }
    });
}

fn thread_id(local: &Local) -> ThreadId {
    Arc::as_ptr(&local.record).addr()
}

/// The thread no longer holds `lock`, or no longer wants it.
pub fn released(lock: Lock) {
    let gone = Instance::from(lock);
    let _ = Local::with(|local| {
        let mut record = local.record();
        record.waiting = None;
        let found = record.release(&gone);
        drop(record);
        // A writeback may end on another thread than it began.
        if !found && gone.is_writeback() {
            local.check().inspect(|check| check.released_elsewhere(&gone));
        }
    });
}

/// The thread is about to make an access that may fault in address space `space`; `targets` are the
/// pages behind the address. The fault handler may take M for reading, and then lock them.
pub fn may_fault(space: u64, targets: &[LockId]) {
    let _ = Local::with(|local| {
        let record = local.record();
        let check = local.check();
        if let Some(check) = &check
            && local.seen(check, &record.held, (1u8, space, targets))
        {
            return;
        }
        let mut edges = Vec::new();
        let by_fault = |from: Instance, to: Instance| Edge {
            from,
            to,
            thread: record.name.clone(),
            reach: Reach::ByFault,
        };
        let space = Instance::from(Lock::Space(space, Mode::Read));
        let targets = || targets.iter().map(|page| Instance::from(Lock::Core(*page)));
        for held in &record.held {
            edges.push(by_fault(*held, space));
            edges.extend(targets().map(|target| by_fault(*held, target)));
        }
        edges.extend(targets().map(|target| by_fault(space, target)));
        let under = under_pages(&record, Kind::FaultUnderLock, "an access that may fault");
        drop(record);
        let mut found = check.as_ref().map(|check| check.judge(&edges)).unwrap_or_default();
        found.extend(under);
        deliver(check, found);
    });
}

/// The thread is about to make an access that may fault, in an address space that is not known
/// here.
pub fn may_fault_somewhere() {
    under_pages_is_wrong(Kind::FaultUnderLock, "an access that may fault");
}

/// The thread is about to do something that may sleep or reclaim (P3).
pub fn may_sleep(what: &str) {
    under_pages_is_wrong(Kind::SleepUnderPageLock, what);
}

/// The thread must hold nothing now (P3, P5): `what` is where it is.
pub fn nothing_held(what: &str) {
    let _ = Local::with(|local| {
        let record = local.record();
        if record.held.is_empty() {
            return;
        }
        let report = Report::new(Kind::Leaked, &format!("{what}: {record}"), &[]);
        drop(record);
        deliver(local.check(), vec![report]);
    });
}

/// Whether the calling thread holds a page lock.
#[must_use]
pub fn holds_pages() -> bool {
    Local::with(|local| local.record().held.iter().any(Instance::is_pages)).unwrap_or(false)
}

/// Whether the calling thread holds no lock at all.
#[must_use]
pub fn holds_nothing() -> bool {
    Local::with(|local| local.record().held.is_empty()).unwrap_or(true)
}

/// Forgets what the calling thread holds: for a test that has leaked locks on purpose.
pub fn forget_held() {
    let _ = Local::with(|local| {
        let mut record = local.record();
        record.held.clear();
        record.waiting = None;
    });
}

fn under_pages_is_wrong(kind: Kind, what: &str) {
    let _ = Local::with(|local| {
        let under = under_pages(&local.record(), kind, what);
        if let Some(report) = under {
            deliver(local.check(), vec![report]);
        }
    });
}

fn under_pages(record: &Record, kind: Kind, what: &str) -> Option<Report> {
    let held = record.held.iter().find(|held| held.is_pages())?;
    let what = format!("thread '{}' holds {held} at {what}", record.name);
    Some(Report::new(kind, &what, &[]))
}

/// Gives the reports to the machine; a thread without a machine panics at once.
fn deliver(check: Option<Arc<LockCheck>>, found: Vec<Report>) {
    match (check, found.first()) {
        (Some(check), Some(_)) => check.report(found),
        (None, Some(first)) if !std::thread::panicking() => panic!("{first}"),
        _ => {}
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
