//! Threads and the CPUs that run them.
//!
//! | what | module |
//! |---|---|
//! | a thread, its stack and its registers | `thread` |
//! | the queue of ready threads, parking, preemption, timers | `queue` |
//! | what each thread does, for a watchdog | `report` |
//! | how threads wait: the seam to Faultless' wait queues | [`Sleepers`] |
//!
//! # Locks
//! One short lock guards the queue and the states of all threads. It is held across a switch: the
//! thread that is left holds it until its registers are saved, and the one that goes on frees it.
//! Below it is no other lock. The table of all threads has a short lock of its own, before it.

mod queue;
mod report;
mod schedule;
mod thread;

use core::sync::atomic::Ordering::Relaxed;

use faultless::parts::Threads;

use crate::arch::clock;

pub(crate) use queue::{
    alert, arrived, end_thread, idle, is_asleep, own_run_time, park, park_until, preempt, reap,
    run_time, run_time_of, spawn, start, tick, unpark, wait_for_threads, with_timer, yield_now,
};
pub(crate) use report::{hung, interruptibly, report};
pub(crate) use schedule::Schedule;
pub(crate) use thread::{
    Main, Owner, Thread, all, current, find, next_number, register, renumber, take_main,
    with_current, with_own_writes,
};

/// The kernel's threads, as wait queues see them. A thread is named by its number.
#[derive(Debug)]
pub(crate) struct Sleepers;

impl Threads for Sleepers {
    type Thread = u32;

    fn current(&self) -> u32 {
        with_current(|thread| thread.number())
    }

    fn park(&self) {
        with_current(|thread| {
            let is_interruptible = thread.is_interruptible.load(Relaxed);
            thread
                .waits_since
                .store(if is_interruptible { 0 } else { clock::monotonic() }, Relaxed);
        });
        park();
        with_current(|thread| thread.waits_since.store(0, Relaxed));
    }

    fn unpark(&self, thread: u32) {
        if let Some(thread) = find(thread) {
            unpark(&thread);
        }
    }
}
