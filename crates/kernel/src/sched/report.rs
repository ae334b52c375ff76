//! What each thread does, for the report of a watchdog: where it stands, since when it waits, and
//! the calls on its kernel stack.
//!
//! A return address is printed as `<ffffffff…>`, which `cargo xtask kernel` replaces with a name.
#![forbid(unsafe_code)]

use core::fmt::{self, Write};
use core::sync::atomic::Ordering::Relaxed;

use alloc::string::String;
use alloc::sync::Arc;

use crate::arch::clock;
use crate::arch::serial::say;
use crate::sched::queue::standing;
use crate::sched::thread::{Thread, find_by, for_each};

const SECOND: u64 = 1_000_000_000;

/// Prints what each thread does. Takes short locks; sleeps not.
pub(crate) fn report() {
    for_each(|thread| {
        let mut text = String::new();
        // A string takes everything.
        let _taken = describe(&mut text, thread);
        say!("{text}");
    });
}

fn describe(text: &mut String, thread: &Arc<Thread>) -> fmt::Result {
    let (standing, calls) = standing(thread);
    let whose = if thread.owner().is_some() { "" } else { ", the kernel's own" };
    write!(text, "kernel: thread {}{whose}: {standing}", thread.number())?;
    let seconds =
        thread.waits_since().map(|since| clock::monotonic().saturating_sub(since) / SECOND);
    if let Some(seconds) = seconds {
        write!(text, " for {seconds} s, and signals do not wake it")?;
    }
    calls.iter().try_for_each(|address| write!(text, "\nkernel:     in <{address:x}>"))
}

/// A thread of a program that sleeps for at least so many seconds in a wait that signals do not
/// end. Takes a short lock; sleeps not.
pub(crate) fn hung(seconds: u64) -> Option<u32> {
    let before = clock::monotonic().checked_sub(seconds.saturating_mul(SECOND))?;
    let hangs = |thread: &Thread| {
        thread.owner().is_some() && thread.waits_since().is_some_and(|since| since <= before)
    };
    find_by(hangs)
}

/// Calls `wait`, which signals end.
pub(crate) fn interruptibly<R>(wait: impl FnOnce() -> R) -> R {
    let set =
        |value| crate::sched::with_current(|thread| thread.is_interruptible.store(value, Relaxed));
    set(true);
    let result = wait();
    set(false);
    result
}
