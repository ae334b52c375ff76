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

mod check;
mod graph;
mod instance;
mod overtaking;
mod record;
mod report;
#[cfg(test)]
mod tests;
mod thread;

use std::sync::Arc;

use faultless_page::LockId;

use self::graph::{Edge, Reach};
use self::instance::Instance;
use self::overtaking::ThreadId;
use self::record::Record;
use self::thread::Local;

pub use self::check::{Expecting, LockCheck};
pub use self::instance::{Lock, Mode};
pub use self::report::{Kind, Report};

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
        check.report(check.check_edges(&edges));
    });
}

/// The thread is about to sleep on `key`, for the first time or again. If it is for a lock of the
/// core, it stands in the lock's queue by now (L1).
pub fn sleeping(key: usize) {
    let _ = Local::with(|local| {
        let Some(wanted) = local.record().waiting else { return };
        if let Some(check) = local.check() {
            check.waiters.queued(thread_id(local), wanted, key);
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
        let mut found = check.as_ref().map(|check| check.check_edges(&edges)).unwrap_or_default();
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
