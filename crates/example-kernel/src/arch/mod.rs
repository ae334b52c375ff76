//! What differs from one architecture to the next: the trap frame, the register that says why, and
//! how interrupts are turned off.
//!
//! Decoding is built everywhere, so that it is tested everywhere; instructions are not.

pub mod aarch64;
pub mod riscv64;
pub mod x86_64;

#[cfg(target_arch = "aarch64")]
pub use aarch64::{Interrupts, TrapFrame};
#[cfg(target_arch = "riscv64")]
pub use riscv64::{Interrupts, TrapFrame};
#[cfg(target_arch = "x86_64")]
pub use x86_64::{Interrupts, TrapFrame};
