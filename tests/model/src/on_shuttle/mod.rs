//! Shuttle: many threads, sequentially consistent, random and PCT schedules that can be replayed,
//! and all of them for small cases.
//!
//! The machine has an address space here: [`space`] is a scripted MMU with the lock M, page tables
//! and a fault handler, so that whole system calls run against each other. [`scenarios`] has the
//! models, [`explore`] runs them.

pub mod explore;
pub mod failing;
pub mod lock;
pub mod scenarios;
pub mod space;
pub mod user;
pub mod words;

use std::cell::RefCell;
use std::collections::HashMap;
use std::sync::PoisonError;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};

use faultless_page::{LockId, Trace};
use shuttle::sync::{Condvar, Mutex};
use shuttle::thread::{self, ThreadId};

use crate::checker::{Bell, Checker, Watch};
use crate::memory;
use crate::on_shuttle::space::Maps;
use crate::on_shuttle::words::ShuttleSync;

/// The checker.
#[derive(Debug)]
pub struct Shuttle;

thread_local! {
    /// Page locks held, by thread. Shuttle's threads share one thread of the host.
    static HELD: RefCell<HashMap<ThreadId, u64>> = RefCell::new(HashMap::new());
}

/// Forgets what threads of an earlier execution held.
pub fn forget_locks() {
    HELD.with(|held| held.borrow_mut().clear());
}

/// How many runs of pages this thread holds.
#[must_use]
pub fn held_runs() -> u64 {
    let me = thread::current().id();
    HELD.with(|held| held.borrow().get(&me).copied().unwrap_or(0))
}

impl Checker for Shuttle {
    type Sync = ShuttleSync;
    type Bell = ShuttleBell;
    type Watch = ShuttleWatch;
    type Maps = Maps;

    fn trace(event: Trace) {
        let change = |by: i64| {
            let me = thread::current().id();
            HELD.with(|held| {
                let mut held = held.borrow_mut();
                let count = held.entry(me).or_insert(0);
                *count = count.checked_add_signed(by).expect("more unlocked than locked (P5)");
            });
        };
        match event {
            Trace::Acquired(LockId::Pages { .. }) => change(1),
            Trace::Released(LockId::Pages { .. }) => change(-1),
            Trace::Allocated | Trace::MayFault => space::assert_no_page_lock(),
            Trace::Zeroed(_) | Trace::Copied(_) => memory::publish(),
            _ => {}
        }
    }
}

/// A flag under shuttle's mutex, with its condition variable.
#[derive(Debug)]
pub struct ShuttleBell {
    rung: Mutex<bool>,
    changed: Condvar,
}

impl Bell for ShuttleBell {
    fn new() -> Self {
        Self { rung: Mutex::new(false), changed: Condvar::new() }
    }

    fn wait(&self) {
        let mut rung = self.rung.lock().unwrap_or_else(PoisonError::into_inner);
        while !*rung {
            rung = self.changed.wait(rung).unwrap_or_else(PoisonError::into_inner);
        }
        *rung = false;
    }

    fn ring(&self) {
        *self.rung.lock().unwrap_or_else(PoisonError::into_inner) = true;
        self.changed.notify_one();
    }
}

/// Whether the frame has an owner; memory is sequentially consistent, so the newest version is what
/// everyone sees.
#[derive(Debug)]
pub struct ShuttleWatch {
    owned: AtomicBool,
    version: AtomicU64,
}

impl Watch for ShuttleWatch {
    fn new() -> Self {
        Self { owned: AtomicBool::new(false), version: AtomicU64::new(0) }
    }

    fn used(&self) {
        assert!(self.owned.load(SeqCst), "a frame used after it was freed");
    }

    fn taken(&self) {
        self.owned.store(true, SeqCst);
    }

    fn given_away(&self) {
        self.owned.store(false, SeqCst);
    }

    fn publish(&self, version: u64) {
        self.version.store(version, SeqCst);
    }

    fn observe(&self) -> u64 {
        self.version.load(SeqCst)
    }
}
