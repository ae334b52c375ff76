//! Short locks, which turn interrupts off. Those that a thread may sleep with are in `waits`.

use core::arch::asm;

use faultless::parts::{InterruptControl, InterruptsOff, InterruptsOffGuard, InterruptsOffLock};

use crate::arch::trap::INTERRUPTS;

/// The interrupts of this CPU.
#[derive(Debug)]
pub(crate) struct Interrupts;

impl InterruptControl for Interrupts {
    /// RFLAGS.
    type State = u64;

    fn save_and_disable() -> u64 {
        let flags;
        // SAFETY: at privilege level 0; uses the stack as a push does.
        unsafe { asm!("pushfq", "pop {}", "cli", out(reg) flags) };
        flags
    }

    fn restore(flags: u64) {
        if flags & INTERRUPTS != 0 {
            x86_64::instructions::interrupts::enable();
        }
    }
}

/// Words and short locks, as Faultless has them too.
pub(crate) type Short = InterruptsOff<Interrupts>;

/// A short lock: held for a bounded number of instructions, with interrupts off.
pub(crate) type Lock<T> = InterruptsOffLock<Interrupts, T>;

/// A [`Lock`] that is held.
pub(crate) type Guard<'l, T> = InterruptsOffGuard<'l, Interrupts, T>;
