//! The exception table as the linker collected it.

use core::arch::asm;

use crate::extable::{Entry, Kind};

unsafe extern "C" {
    /// Linkers define these around a section whose name is a C identifier.
    static __start___ex_table: Entry;
    static __stop___ex_table: Entry;
}

/// The entries of this image, in link order.
#[must_use]
pub fn table() -> &'static [Entry] {
    // An entry of its own, for an instruction that cannot fault: so the section, and with it the two symbols, exists in
    // every image that asks.
    // SAFETY: a `nop`.
    unsafe {
        asm!(
            "20: nop",
            on_fault!(20),
            "99:",
            kind = const Kind::FAULTING,
            options(nomem, nostack, preserves_flags),
        );
    }
    let (start, stop) = (&raw const __start___ex_table, &raw const __stop___ex_table);
    let entries = stop.addr().wrapping_sub(start.addr()) / size_of::<Entry>();
    // SAFETY: the symbols bracket the section, which holds nothing but entries that the back ends wrote, aligned to 4; nobody
    // writes to it after early boot.
    unsafe { core::slice::from_raw_parts(start, entries) }
}
