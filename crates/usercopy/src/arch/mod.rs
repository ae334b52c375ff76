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

pub mod portable;
mod window;

#[cfg(target_arch = "x86_64")]
pub mod x86_64;

#[cfg(not(target_arch = "x86_64"))]
pub use portable as native;
#[cfg(target_arch = "x86_64")]
pub use x86_64 as native;

pub use window::{AccessWindow, Atomic, FaultPolicy, Faulting, NoWindow};
