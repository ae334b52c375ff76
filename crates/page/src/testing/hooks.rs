//! Words and short locks that are counted, slowed down, or interrupted.

#![forbid(unsafe_code)]
use std::boxed::Box;
use std::cell::{Cell, RefCell};

use crate::{Access, Hook, Hooked};

std::thread_local! {
    static LOCKED_INSTRUCTIONS: Cell<u32> = const { Cell::new(0) };
    static ACCESSES: Cell<u32> = const { Cell::new(0) };
}

/// Locked read-modify-writes by this thread, through [`Counting`] words, since the last call.
pub(crate) fn take_locked_instructions() -> u32 {
    LOCKED_INSTRUCTIONS.with(|count| count.replace(0))
}

/// Accesses of any kind by this thread to [`Counting`] words, since the last call.
pub(crate) fn take_accesses() -> u32 {
    ACCESSES.with(|count| count.replace(0))
}

/// As in a kernel, but few: tests come to the end of them.
const ROUNDS: u32 = 4;

/// Counts read-modify-writes, and accesses.
pub(crate) struct Count;

impl Hook for Count {
    const SPIN_ROUNDS: u32 = ROUNDS;
    fn before(access: Access) {
        let locked = access.is_locked_instruction() && access != Access::Lock;
        LOCKED_INSTRUCTIONS.with(|count| count.set(count.get() + u32::from(locked)));
        ACCESSES.with(|count| count.set(count.get() + 1));
    }
}

/// Gives the CPU away now and then, between any two accesses, so that narrow races are run into.
pub(crate) struct Yield;

impl Hook for Yield {
    const SPIN_ROUNDS: u32 = ROUNDS;
    fn before(_access: Access) {
        std::thread_local!(static STATE: Cell<u64> = const { Cell::new(1) });
        let mut state = STATE.get();
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        STATE.set(state);
        if state.is_multiple_of(61) {
            std::thread::yield_now();
        }
    }
}

type Interruption = Box<dyn FnOnce()>;

std::thread_local! {
    /// Accesses until the interruption happens, and what it is.
    static INTERRUPTION: RefCell<Option<(u32, Interruption)>> = const { RefCell::new(None) };
}

/// Lets a test do something between two chosen accesses of an operation.
pub(crate) struct Interrupt;

impl Hook for Interrupt {
    const SPIN_ROUNDS: u32 = ROUNDS;
    fn before(_access: Access) {
        let now = INTERRUPTION.with(|slot| {
            let mut slot = slot.borrow_mut();
            match slot.as_mut() {
                Some((0, _)) => slot.take().map(|(_, interruption)| interruption),
                Some((left, _)) => {
                    *left -= 1;
                    None
                }
                None => None,
            }
        });
        if let Some(interruption) = now {
            interruption();
        }
    }
}

/// Runs `operation`, and `interruption` in the middle of it: just before its access number `before`
/// to an [`Interrupted`] word or lock. Tells whether it came to that.
pub(crate) fn interrupt<R>(
    before: u32,
    interruption: impl FnOnce() + 'static,
    operation: impl FnOnce() -> R,
) -> (R, bool) {
    INTERRUPTION.set(Some((before, Box::new(interruption))));
    let result = operation();
    (result, INTERRUPTION.take().is_none())
}

pub(crate) type Counting = Hooked<Count>;
pub(crate) type Yielding = Hooked<Yield>;
pub(crate) type Interrupted = Hooked<Interrupt>;
