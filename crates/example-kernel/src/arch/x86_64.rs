//! x86-64: vector 14, by an interrupt gate without IST. `address` is CR2, read before interrupts
//! are turned on; `error` is the error code.

use faultless::prelude::Access;

use crate::trap::{Cause, Frame, Mode, UserMemoryWindow};

/// Bits of the error code.
const WRITE: usize = 1 << 1;
const USER: usize = 1 << 2;
const RESERVED_BIT: usize = 1 << 3;

/// RFLAGS.AC: with CR4.SMAP, the window.
const AC: usize = 1 << 18;

/// What the CPU pushes. `iretq` restores the window with `rflags`.
#[derive(Clone, Copy, Debug, Default)]
#[repr(C)]
pub struct TrapFrame {
    /// Where the interrupted code goes on.
    pub rip: usize,
    /// Its code segment.
    pub cs: usize,
    /// Its flags.
    pub rflags: usize,
    /// Its stack.
    pub rsp: usize,
    /// Its stack segment.
    pub ss: usize,
}

impl Frame for TrapFrame {
    fn instruction(&mut self) -> &mut usize {
        &mut self.rip
    }

    fn cause(&self, error: usize) -> Option<Cause> {
        let access = if error & WRITE != 0 { Access::Write } else { Access::Read };
        let mode = if error & USER != 0 { Mode::User } else { Mode::Kernel };
        let open = self.rflags & AC != 0;
        let window = if open { UserMemoryWindow::Open } else { UserMemoryWindow::Closed };
        (error & RESERVED_BIT == 0).then_some(Cause { access, mode, window })
    }
}

#[cfg(target_arch = "x86_64")]
pub use interrupts::Interrupts;

#[cfg(target_arch = "x86_64")]
mod interrupts {
    use core::arch::asm;

    use faultless::parts::InterruptControl;

    /// RFLAGS.IF.
    const IF: usize = 1 << 9;

    /// The interrupts of this CPU.
    #[derive(Debug)]
    pub struct Interrupts;

    impl InterruptControl for Interrupts {
        /// RFLAGS.
        type State = usize;

        fn save_and_disable() -> usize {
            let flags;
            // SAFETY: at privilege level 0; uses the stack as a push does.
            unsafe { asm!("pushfq", "pop {}", "cli", out(reg) flags) };
            flags
        }

        fn restore(flags: usize) {
            if flags & IF != 0 {
                // SAFETY: they were on before.
                unsafe { asm!("sti", options(nostack)) };
            }
        }
    }
}
