//! What a kernel does at boot. Alone in its program: the exception table is sorted.
#![cfg(all(target_os = "linux", target_arch = "x86_64"))]

mod support;

use faultless::usercopy::extable::{is_sorted, table};
use faultless_example_kernel::{check_user_memory, exception_table};
use support::*;

#[test]
fn the_table_is_sorted_and_the_conformance_suite_passes_on_real_faults() {
    let range = table().as_ptr_range();
    let start = range.start.addr() & !4095;
    let (start, len) = (std::ptr::without_provenance_mut(start), range.end.addr() - start);
    // SAFETY: pages of constants of this program: more may be done with them than before.
    let done = unsafe { libc::mprotect(start, len, libc::PROT_READ | libc::PROT_WRITE) };
    assert_eq!(done, 0, "{}", std::io::Error::last_os_error());
    // SAFETY: writable since just now; this is the only test of the program.
    let sorted = unsafe { exception_table() }.expect("a small image");
    assert!(is_sorted(sorted.entries()));
    let scratch = new_file(&[0; 5 * 4096]);
    let space = new_space();
    switch_to(&space);
    let before = faults();
    syscall(|token| check_user_memory::<Host>(token, &space, &scratch, page(3)))
        .expect("the contract");
    assert!(faults() > before + 10_000, "a fault at every offset");
    assert!((0..PAGES).all(|n| entry(&space, n).is_none()), "unmapped again");
}
