//! Words and short locks for shuttle: plain values, and a place where threads may be switched
//! before each operation.

#![forbid(unsafe_code)]

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::atomic::Ordering::{Relaxed, SeqCst};

use faultless_page::{Access, Hook, Hooked};

/// Where threads may be switched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Points {
    /// Before each operation on a word but relaxed loads, and before each lock.
    Words,
    /// Before page locks, inode locks and M only: for exhaustive search.
    Locks,
}

thread_local! {
    static POINTS: Cell<Points> = const { Cell::new(Points::Words) };
    /// An atomic of shuttle's: touching it is a point.
    static POINT: RefCell<Option<Rc<shuttle::sync::atomic::AtomicBool>>> = const { RefCell::new(None) };
}

/// Begins an execution.
pub fn begin(points: Points) {
    POINTS.with(|now| now.set(points));
    let point = shuttle::sync::atomic::AtomicBool::new(false);
    POINT.with(|now| *now.borrow_mut() = Some(Rc::new(point)));
}

/// A place where threads may be switched, but in exhaustive search.
pub fn word_point() {
    if POINTS.with(Cell::get) == Points::Words {
        lock_point();
    }
}

/// A place where threads may be switched in any search.
pub fn lock_point() {
    if let Some(point) = POINT.with(|point| point.borrow().clone()) {
        point.load(SeqCst);
    }
}

/// Before each operation but relaxed loads and fences, threads may be switched.
#[derive(Clone, Copy, Debug)]
pub enum Switch {}

impl Hook for Switch {
    fn before(access: Access) {
        match access {
            Access::Load(Relaxed) | Access::Fence(_) => {}
            // Locks are taken by these.
            Access::Exchange => lock_point(),
            _ => word_point(),
        }
    }

    fn relax() {
        shuttle::thread::yield_now();
    }
}

/// The family. A short lock is no point of an exhaustive search: it is never held for long, and a
/// thread that finds it taken yields.
pub type ShuttleSync = Hooked<Switch>;
