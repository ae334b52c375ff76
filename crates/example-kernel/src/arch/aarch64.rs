//! AArch64: a synchronous exception to EL1 whose class is an abort. `address` is FAR_EL1; `error`
//! is ESR_EL1. SCTLR_EL1.SPAN is 0, so that the entry closes the window.

use faultless::prelude::Access;

use crate::trap::{Cause, Frame, Mode, UserMemoryWindow};

/// Exception classes: aborts of an instruction and of data, from EL0 and from EL1.
const FETCH: [usize; 2] = [0x20, 0x21];
const DATA: [usize; 2] = [0x24, 0x25];

/// Bits of the syndrome: a store, or cache maintenance, which counts as one there and is none.
const WRITE: usize = 1 << 6;
const CACHE_MAINTENANCE: usize = 1 << 8;

/// SPSR.PAN: the window is closed.
const PAN: usize = 1 << 22;

/// What the entry code saves besides the general registers. `eret` restores the window with `spsr`.
#[derive(Clone, Copy, Debug, Default)]
#[repr(C)]
pub struct TrapFrame {
    /// ELR_EL1: where the interrupted code goes on.
    pub elr: usize,
    /// SPSR_EL1: its state.
    pub spsr: usize,
}

impl Frame for TrapFrame {
    fn instruction(&mut self) -> &mut usize {
        &mut self.elr
    }

    fn cause(&self, error: usize) -> Option<Cause> {
        let class = error >> 26 & 0x3f;
        // The status without its level: translation, access flag, permission.
        let is_page_fault = matches!(error & 0x3c, 0x04 | 0x08 | 0x0c);
        let (is_data, is_fetch) = (DATA.contains(&class), FETCH.contains(&class));
        let write = is_data && error & (WRITE | CACHE_MAINTENANCE) == WRITE;
        let access = if write { Access::Write } else { Access::Read };
        let mode = if class & 1 == 0 { Mode::User } else { Mode::Kernel };
        let closed = self.spsr & PAN != 0;
        let window = if closed { UserMemoryWindow::Closed } else { UserMemoryWindow::Open };
        (is_page_fault && (is_data || is_fetch)).then_some(Cause { access, mode, window })
    }
}

#[cfg(target_arch = "aarch64")]
pub use interrupts::Interrupts;

#[cfg(target_arch = "aarch64")]
mod interrupts {
    use core::arch::asm;

    use faultless::parts::InterruptControl;

    /// The interrupts of this CPU.
    #[derive(Debug)]
    pub struct Interrupts;

    impl InterruptControl for Interrupts {
        /// DAIF.
        type State = usize;

        fn save_and_disable() -> usize {
            let daif;
            // SAFETY: at EL1.
            unsafe { asm!("mrs {}, daif", "msr daifset, #2", out(reg) daif, options(nostack)) };
            daif
        }

        fn restore(daif: usize) {
            // SAFETY: at EL1; as they were before.
            unsafe { asm!("msr daif, {}", in(reg) daif, options(nostack)) };
        }
    }
}
