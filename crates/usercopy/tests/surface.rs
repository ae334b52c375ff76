//! What is printed for people, and slices that are used with another memory than they were checked against.

mod support;

use faultless_usercopy::arch::NoWindow;
use faultless_usercopy::conformance::scripted::Scripted;
use faultless_usercopy::{
    CurrentUser, Efault, IovecError, UserAddr, UserMemory, UserSlice, extable,
};
use support::may_fault;

#[test]
fn errors_and_addresses_say_what_they_are() {
    assert_eq!(Efault { expected: 9, completed: 4 }.to_string(), "EFAULT after 4 of 9 bytes");
    assert_eq!(IovecError::Invalid.to_string(), "EINVAL");
    assert_eq!(IovecError::Fault.to_string(), "EFAULT");
    assert!(extable::TooFar.to_string().contains("2 GiB"));
    assert_eq!(format!("{:?}", UserAddr::new(0x1f00)), "user:0x1f00");
    // SAFETY: it is printed, and never used to access anything.
    let user = unsafe { CurrentUser::<NoWindow>::new(0x1000..0x2000) };
    assert_eq!(format!("{user:?}"), "CurrentUser { range: 4096..8192 }");
}

/// A slice is a number that was checked against one memory; the next one has to look at it again (U5), and not at the bytes, which
/// are there in this case.
#[test]
fn a_slice_of_another_memory_cannot_be_faulted_in() {
    let bytes = [7_u8; 64];
    let start = (&raw const bytes).expose_provenance();
    // SAFETY: the range is memory of this test, which stays mapped: no access faults.
    let user = unsafe { CurrentUser::<NoWindow>::new(start..start + 32) };
    // SAFETY: it only answers what its range is.
    let all = unsafe { CurrentUser::<NoWindow>::new(0..usize::MAX) };
    let inside = UserSlice::new(&all, UserAddr::new(start), 32).expect("inside the larger range");
    assert_eq!(user.fault_in_readable(&mut may_fault(), inside), 0);
    let past = inside.addr().wrapping_add(32);
    let past = UserSlice::new(&all, past, 32).expect("inside the larger range");
    assert_eq!(user.fault_in_readable(&mut may_fault(), past), 32);
    assert_eq!(user.fault_in_writeable(&mut may_fault(), past), 32);
    assert_eq!(Scripted::default().fault_in_readable(&mut may_fault(), past), 32);
}
