//! Hangs: a thread of a program that sleeps for too long in a wait that signals do not end. The
//! kernel says what each thread does, and ends the run. The owner of the machine may ask for the
//! same report at any time, by a byte to the port of the messages.
#![forbid(unsafe_code)]

use core::sync::atomic::AtomicU64;
use core::sync::atomic::Ordering::Relaxed;

use crate::arch::clock;
use crate::arch::serial::{self, say};
use crate::boot::options::options;
use crate::memory::frames;
use crate::sched;
use crate::selftest::locks;

/// The request for a report.
const REPORT: u8 = b'r';

const SECOND: u64 = 1_000_000_000;

/// How often it is looked for hangs, in nanoseconds.
const LOOK: u64 = 500_000_000;

/// The status of a run that the watchdog ends.
const HUNG: u32 = 254;

/// Called at each turn of the timer on the first CPU, with interrupts off.
pub(crate) fn tick() {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    while let Some(request) = serial::request() {
        if request == REPORT {
            report();
        }
    }
    let Some(seconds) = options().watchdog else { return };
    let now = clock::monotonic();
    if now < NEXT.load(Relaxed) {
        return;
    }
    NEXT.store(now + LOOK, Relaxed);
    if let Some(thread) = sched::hung(seconds) {
        say!("kernel: watchdog: thread {thread} hangs");
        report();
        serial::end(HUNG);
    }
}

/// Says what each thread does, holds and wants, how much memory is free, and what the clock says.
fn report() {
    let (frames, seconds) = (frames(), clock::monotonic() / SECOND);
    say!("kernel: after {seconds} s {} of {} frames are free", frames.free(), frames.total());
    sched::report();
    locks::report();
}
