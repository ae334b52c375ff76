//! The instructions that touch user memory, for each architecture.
//!
//! A back end is a module with the same functions: `copy` and `clear` (which return bytes *not* done and keep U1,
//! U2 and U7), `probe_read`, `probe_write`, `copy_mapped`, `clear_mapped` and `table`. [`native`] is the one of the
//! target. Every load and store that may fault is registered in the [exception table](crate::extable), so one
//! routine serves both directions.
//!
//! How a fault inside a wide access becomes an exact count: the blocks load before they store, go
//! upwards, and on a fault leave to a byte-by-byte loop from the beginning of the block, which itself ends at
//! the byte that really faults (A8, B2).
//!
//! The assembly back ends need ELF sections; targets of Apple and Microsoft get the portable one.

#[cfg(not(any(target_vendor = "apple", windows, target_os = "uefi")))]
mod elf;
pub mod portable;
mod window;

#[cfg(not(any(target_vendor = "apple", windows, target_os = "uefi")))]
pub use elf::*;
#[cfg(any(target_vendor = "apple", windows, target_os = "uefi"))]
pub use portable as native;
pub use window::{AccessWindow, Atomic, FaultPolicy, Faulting, NoWindow, StringMoveFrom};
