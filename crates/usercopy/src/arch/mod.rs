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

#[cfg(all(
    any(target_arch = "x86_64", target_arch = "aarch64"),
    not(any(target_vendor = "apple", windows, target_os = "uefi"))
))]
mod blocks;
pub mod portable;
mod window;

#[cfg(all(target_arch = "x86_64", not(any(target_vendor = "apple", windows, target_os = "uefi"))))]
pub mod x86_64;
#[cfg(all(
    target_arch = "x86_64",
    not(any(target_vendor = "apple", windows, target_os = "uefi"))
))]
pub use x86_64 as native;

#[cfg(any(
    not(any(target_arch = "x86_64", target_arch = "aarch64", target_arch = "riscv64")),
    target_vendor = "apple",
    windows,
    target_os = "uefi"
))]
pub use portable as native;

pub use window::{AccessWindow, Atomic, FaultPolicy, Faulting, NoWindow, StringMoveFrom};

/// The entries between the symbols with which a linker brackets the section `__ex_table`.
///
/// Only for back ends that have put an entry into the image, or the symbols are undefined.
#[cfg(all(
    any(target_arch = "x86_64", target_arch = "aarch64", target_arch = "riscv64"),
    not(any(target_vendor = "apple", windows, target_os = "uefi"))
))]
fn linked_table() -> &'static [crate::extable::Entry] {
    use crate::extable::Entry;

    unsafe extern "C" {
        static __start___ex_table: Entry;
        static __stop___ex_table: Entry;
    }
    let (start, stop) = (&raw const __start___ex_table, &raw const __stop___ex_table);
    let entries = stop.addr().wrapping_sub(start.addr()) / size_of::<Entry>();
    // SAFETY: the linker places the symbols at the ends of the section, which holds nothing but entries that the
    // back ends wrote, aligned to 4, and nobody writes to after early boot.
    unsafe { core::slice::from_raw_parts(start, entries) }
}
