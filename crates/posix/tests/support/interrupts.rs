//! The interrupts of a thread's CPU: which short locks it has.

use std::cell::Cell;
use std::thread;

use faultless::parts::InterruptControl;

thread_local! {
    static INTERRUPTS_OFF: Cell<u32> = const { Cell::new(0) };
}

/// What must not be with a short lock.
#[track_caller]
pub fn nothing_held(what: &str) {
    if !thread::panicking() {
        assert_eq!(INTERRUPTS_OFF.get(), 0, "{what} with a short lock");
    }
}

/// Whether the thread has a short lock.
#[allow(dead_code, reason = "the tests of names do not ask")]
pub fn something_held() -> bool {
    INTERRUPTS_OFF.get() != 0
}

/// The interrupts of the thread's CPU.
#[derive(Debug)]
pub struct Interrupts;

impl InterruptControl for Interrupts {
    type State = u32;

    fn save_and_disable() -> u32 {
        INTERRUPTS_OFF.replace(INTERRUPTS_OFF.get() + 1)
    }

    fn restore(before: u32) {
        INTERRUPTS_OFF.set(before);
    }
}
