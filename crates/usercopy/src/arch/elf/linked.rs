//! The exception table as the linker collected it.

use core::arch::asm;

use crate::extable::{self, Entry, Kind, TooFar};

unsafe extern "C" {
    /// Linkers define these around a section whose name is a C identifier.
    static __start___ex_table: Entry;
    static __stop___ex_table: Entry;
}

/// The entries of this image, in link order until they are sorted.
#[must_use]
pub fn table() -> &'static [Entry] {
    let (start, entries) = section();
    // SAFETY: `section` gives the first of so many entries; they are not written to after early
    // boot.
    unsafe { core::slice::from_raw_parts(start, entries) }
}

/// Sorts the table of this image in place, so that faults are looked up by binary search. Call
/// once, at early boot. Does not sleep and needs no memory.
/// [`Table::of_image`](crate::extable::Table::of_image) notices a sorted table, so call that
/// afterwards.
///
/// # Errors
/// [`TooFar`], as for [`sort`](crate::extable::sort): the table is unusable then.
///
/// # Safety
/// The section `__ex_table` is mapped writable. While the call runs nothing else looks at the
/// table: no other CPU runs, no user access is made, and no fault of one is handled. No slice of
/// the table that was taken before is used again.
#[doc(alias = "sort_main_extable")]
pub unsafe fn sort_extable() -> Result<(), TooFar> {
    let (start, entries) = section();
    // SAFETY: as for `table`; the caller vouches that the entries are writable and not looked at.
    extable::sort(unsafe { core::slice::from_raw_parts_mut(start.cast_mut(), entries) })
}

/// The first entry, and how many there are. The section holds nothing but entries that the back
/// ends wrote, aligned to 4.
fn section() -> (*const Entry, usize) {
    // An entry of its own, for an instruction that cannot fault: so the section, and with it the
    // two symbols, exists in every image that asks. SAFETY: a `nop`.
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
    (start, stop.addr().wrapping_sub(start.addr()) / size_of::<Entry>())
}
