//! RISC-V 64: an exception to S-mode. `address` is `stval`; `error` is `scause`.

use faultless::prelude::Access;

use crate::trap::{Cause, Frame, Mode, UserMemoryWindow};

/// Causes: page faults of a fetch, a load, and a store or AMO.
const FETCH: usize = 12;
const LOAD: usize = 13;
const STORE: usize = 15;

/// Bits of `sstatus`: the mode before the trap, and the window.
const SPP: usize = 1 << 8;
const SUM: usize = 1 << 18;

/// What the entry code saves besides the general registers. A trap leaves SUM as it is, and `sret`
/// does too: the return writes `sstatus` from the frame.
#[derive(Clone, Copy, Debug, Default)]
#[repr(C)]
pub struct TrapFrame {
    /// Where the interrupted code goes on.
    pub sepc: usize,
    /// The state in which it ran.
    pub sstatus: usize,
}

impl Frame for TrapFrame {
    fn instruction(&mut self) -> &mut usize {
        &mut self.sepc
    }

    fn cause(&self, error: usize) -> Option<Cause> {
        let access = match error {
            FETCH | LOAD => Access::Read,
            STORE => Access::Write,
            _ => return None,
        };
        let mode = if self.sstatus & SPP == 0 { Mode::User } else { Mode::Kernel };
        let open = self.sstatus & SUM != 0;
        let window = if open { UserMemoryWindow::Open } else { UserMemoryWindow::Closed };
        Some(Cause { access, mode, window })
    }
}

#[cfg(target_arch = "riscv64")]
pub use interrupts::Interrupts;

#[cfg(target_arch = "riscv64")]
mod interrupts {
    use core::arch::asm;

    use faultless::parts::InterruptControl;

    /// `sstatus.SIE`.
    const SIE: usize = 1 << 1;

    /// The interrupts of this CPU.
    #[derive(Debug)]
    pub struct Interrupts;

    impl InterruptControl for Interrupts {
        /// `sstatus`.
        type State = usize;

        fn save_and_disable() -> usize {
            let status;
            // SAFETY: in S-mode.
            unsafe { asm!("csrrci {}, sstatus, 2", out(reg) status, options(nostack)) };
            status
        }

        fn restore(status: usize) {
            if status & SIE != 0 {
                // SAFETY: in S-mode; they were on before.
                unsafe { asm!("csrsi sstatus, 2", options(nostack)) };
            }
        }
    }
}
