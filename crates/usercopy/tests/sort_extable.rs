//! The table of an image is sorted in place. Alone in its program: nothing else may look at the
//! table meanwhile.
#![cfg(all(
    target_os = "linux",
    any(target_arch = "x86_64", target_arch = "aarch64", target_arch = "riscv64")
))]

use faultless_usercopy::extable::{Entry, is_sorted, table};
use faultless_usercopy::sort_extable;

/// What the entries mean, in an order of its own.
fn meanings() -> Vec<(usize, usize, u32)> {
    let meaning = |entry: &Entry| (entry.insn(), entry.fixup(), entry.kind);
    let mut meanings: Vec<_> = table().iter().map(meaning).collect();
    meanings.sort_unstable();
    meanings
}

/// Makes the pages of the table writable, as they are in a kernel at early boot.
fn make_writable() {
    // SAFETY: asks for a number.
    let page = unsafe { libc::sysconf(libc::_SC_PAGESIZE) } as usize;
    let range = table().as_ptr_range();
    let start = range.start.addr() & !(page - 1);
    let len = range.end.addr() - start;
    let protection = libc::PROT_READ | libc::PROT_WRITE;
    // SAFETY: pages of this program that hold constants: more may be done with them than before.
    let done = unsafe { libc::mprotect(start as *mut libc::c_void, len, protection) };
    assert_eq!(done, 0, "{}", std::io::Error::last_os_error());
}

#[test]
fn the_table_of_the_image_is_sorted_in_place_and_means_the_same() {
    let before = meanings();
    make_writable();
    // SAFETY: writable since just now; this is the only test of the program, and it makes no user
    // access.
    assert_eq!(unsafe { sort_extable() }, Ok(()));
    assert!(is_sorted(table()));
    assert_eq!(meanings(), before);
}
