//! The instructions that touch user memory, for each architecture.
//!
//! A back end is a module with the same functions: `copy_from`, `copy_to` and `clear` (which return
//! bytes *not* done and keep U1, U2 and U7), `probe_read`, `probe_write`, `copy_mapped`,
//! `clear_mapped`, `table` and `sort_extable`. [`native`] is the one of the target. Every load and
//! store that may fault is registered in the [exception table](crate::extable).
//!
//! How a fault inside a wide access becomes an exact count, also when mappings change during the
//! copy (U1): words are loaded before they are stored, they are stored in the order of their
//! addresses, and a store happens as a whole or not at all. The fix-up of each access knows how
//! many words are stored before it. From there a loop goes on byte by byte, and ends at the byte
//! that really faults (A8, B2). Nothing is loaded or stored a second time in order to be counted:
//! by then the mapping may be another one.
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
pub use window::{AccessWindow, Atomic, FaultPolicy, Faulting, NoWindow, RepMovsMin};
