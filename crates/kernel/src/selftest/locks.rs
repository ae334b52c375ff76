//! The order of locks, if the command line says `locks`: what breaks it is told at once, and a
//! report shows what each thread holds and wants.
#![forbid(unsafe_code)]

use alloc::string::ToString;

use faultless::parts::{LockOrder, Violation};
use faultless_posix::AreasEvent;

use crate::arch::serial::say;
use crate::listener::{self, Event};
use crate::sched::{Thread, with_current};
use crate::sync::Short;

/// Threads that are checked: those with lower numbers.
const THREADS: usize = 4096;

static LOCKS: LockOrder<THREADS, Short> = LockOrder::new();

/// Checks from here on. No thread holds a lock of the cache.
pub(crate) fn turn_on() {
    listener::listen(check);
}

/// An event on the current thread. Takes a short lock; sleeps not.
fn check(event: Event) {
    let number = with_current(Thread::number);
    let thread = number as usize;
    let checked = match event {
        Event::Cache(event) => LOCKS.trace(thread, event),
        Event::Areas(lock, AreasEvent::Acquiring) => LOCKS.acquiring(thread, lock),
        Event::Areas(lock, AreasEvent::Acquired) => LOCKS.acquired(thread, lock),
        Event::Areas(lock, AreasEvent::Released) => {
            LOCKS.released(thread, lock);
            Ok(())
        }
        Event::Areas(_, AreasEvent::GaveUp) => {
            LOCKS.gave_up(thread);
            Ok(())
        }
    };
    match checked {
        Ok(()) | Err(Violation::Full) => {}
        Err(violation) => say!("kernel: locks: thread {thread}: {violation}"),
    }
}

/// Prints what each thread holds and wants.
pub(crate) fn report() {
    LOCKS.to_string().lines().for_each(|line| say!("kernel: locks: {line}"));
}
