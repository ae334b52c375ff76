//! The order of locks, if the command line says `locks`: what breaks it is told at once, and a
//! report shows what each thread holds and wants.
#![forbid(unsafe_code)]

use alloc::string::ToString;

use faultless::page::Trace;
use faultless::parts::{LockOrder, Violation};

use crate::arch::serial::say;
use crate::listener;
use crate::sched::{Thread, with_current};
use crate::sync::Short;

/// Threads that are checked: those with lower numbers.
const THREADS: usize = 4096;

static LOCKS: LockOrder<THREADS, Short> = LockOrder::new();

/// Checks from here on. No thread holds a lock of the cache.
pub(crate) fn turn_on() {
    listener::listen(check);
}

/// An event of the cache, on the current thread. Takes a short lock; sleeps not.
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
