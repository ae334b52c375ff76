//! The order of locks, if the command line says `locks`: what breaks it is told at once, and a
//! report shows what each thread holds and wants.
#![forbid(unsafe_code)]

use core::sync::atomic::AtomicBool;
use core::sync::atomic::Ordering::Relaxed;

use alloc::string::ToString;

use faultless::page::Trace;
use faultless::parts::{LockOrder, Violation};

use crate::arch::serial::say;
use crate::sched::{Thread, with_current};
use crate::sync::Short;

/// Threads that are checked: those with lower numbers.
const THREADS: usize = 4096;

static LOCKS: LockOrder<THREADS, Short> = LockOrder::new();

static IS_ON: AtomicBool = AtomicBool::new(false);

/// Checks from here on. No thread holds a lock of the cache.
pub(crate) fn turn_on() {
    IS_ON.store(true, Relaxed);
}

/// An event of the cache, on the current thread. Takes a short lock; sleeps not.
#[inline]
pub(crate) fn trace(event: Trace) {
    if IS_ON.load(Relaxed) {
        check(event);
    }
}

#[cold]
fn check(event: Trace) {
    let thread = with_current(Thread::number);
    match LOCKS.trace(thread as usize, event) {
        Ok(()) | Err(Violation::Full) => {}
        Err(violation) => say!("kernel: locks: thread {thread}: {violation}"),
    }
}

/// Prints what each thread holds and wants.
pub(crate) fn report() {
    LOCKS.to_string().lines().for_each(|line| say!("kernel: locks: {line}"));
}
