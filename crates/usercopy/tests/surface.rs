//! What is printed for people, slices that are used with another memory than they were checked
//! against, and what the safe forms report.

mod support;

use faultless_usercopy::arch::NoWindow;
use faultless_usercopy::conformance::Layout;
use faultless_usercopy::conformance::scripted::Scripted;
use faultless_usercopy::{
    CurrentUser, Efault, IovecError, PROBE_STEP, UserAddr, UserMemory, UserSlice, clear_user,
    copy_from_user, copy_from_user_atomic, copy_to_user, copy_to_user_atomic, extable,
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

/// A slice is a number that was checked against one memory; the next one has to look at it again
/// (U5), and not at the bytes, which are there in this case.
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

/// A fault 10 bytes on: every form that goes by whole slices reports the 10 (U1), and has done no
/// more.
#[test]
fn every_safe_form_says_how_far_it_got() {
    let (user, mut token) = (Scripted::new(), may_fault());
    let start = user.base().wrapping_add(PROBE_STEP - 10);
    let slice = UserSlice::new(&user, start, 16).expect("in range");
    let stopped = Err(Efault { expected: 16, completed: 10 });
    let mut bytes = [3; 16];
    assert_eq!(copy_to_user(&user, &mut token, slice, &bytes), stopped);
    bytes.fill(9);
    assert_eq!(copy_from_user(&user, &mut token, &mut bytes, slice), stopped);
    assert_eq!((&bytes[..10], &bytes[10..]), (&[3; 10][..], &[9; 6][..]));
    assert_eq!(copy_to_user_atomic(&user, slice, &[4; 16]), stopped);
    assert_eq!(copy_from_user_atomic(&user, &mut bytes, slice), stopped);
    assert_eq!((&bytes[..10], &bytes[10..]), (&[4; 10][..], &[9; 6][..]));
    assert_eq!(clear_user(&user, &mut token, slice), stopped);
    assert_eq!(copy_from_user(&user, &mut token, &mut bytes, slice.prefix(10)), too_short(10));
    assert_eq!((&bytes[..10], &bytes[10..]), (&[0; 10][..], &[9; 6][..]));
}

/// The slice of `len` bytes is shorter than the object of 16.
fn too_short(len: usize) -> Result<(), Efault> {
    Err(Efault { expected: 16, completed: len })
}
