//! The lock checker, on all threads of all processes.
#![forbid(unsafe_code)]

use alloc::boxed::Box;
use alloc::format;

use faultless::page::Trace;
use faultless::parts::{LockOrder, Violation};

use crate::arena::{Part, THREADS};
use crate::counters::{add, counters};
use crate::raw;
use crate::sync::Words;
use crate::thread::Thread;

/// The checker, if the options ask for one.
pub(crate) static LOCKS: Part<Option<Box<LockOrder<THREADS, Words>>>> = Part::new(4);

/// An event of the cache.
pub(crate) fn check(event: Trace) {
    if let Some(locks) = LOCKS.get() {
        told(locks.trace(Thread::current().number(), event));
    }
}

/// A call returns.
pub(crate) fn nothing_held() {
    if let Some(locks) = LOCKS.get() {
        told(locks.nothing_held(Thread::current().number()));
    }
}

fn told(result: Result<(), Violation>) {
    if let Err(violation) = result {
        add(&counters().violations, 1);
        raw::complain(&format!("faultless: locks: {violation:?}\n"));
    }
}
