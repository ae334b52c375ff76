//! This architecture's instructions against mappings that change while a copy runs (U1, U2). The change comes at a fault, before
//! its fix-up: the same on every architecture, and under emulation. (x86-64 steps through the instructions, too: `stepping`.)
//!
//! A change between two accesses is seen at the next that faults, and the border of the two pages is at every access in turn;
//! so each sequence of accesses that succeed and fail comes up here as well.

mod support;

use faultless_usercopy::CurrentUser;
#[cfg(target_arch = "x86_64")]
use faultless_usercopy::arch::StringMoveFrom;
use faultless_usercopy::arch::{AccessWindow, NoWindow};
use faultless_usercopy::conformance::{COPIES, Failure, Layout, Sweep, check_moving};
use faultless_usercopy::{UserMemory, conformance::scripted::Scripted};
use support::moving::Moving;
use support::{Pages, may_fault};

/// The user memory of the pages.
fn current<W: AccessWindow>(pages: &Pages<W>) -> CurrentUser<W> {
    // SAFETY: as for the one that the pages have themselves.
    unsafe { CurrentUser::new(pages.user().user_range()) }
}

fn check<W: AccessWindow>() -> Result<(), Failure> {
    let layout = Moving::<_, W>::new(current);
    check_moving(&layout, &mut may_fault(), &COPIES, Sweep::Thorough)
}

#[track_caller]
fn assert_conforms<W: AccessWindow>() {
    if let Err(failure) = check::<W>() {
        panic!("{failure}");
    }
}

#[test]
fn u1_holds_when_any_page_comes_or_goes_at_any_fault() {
    assert_conforms::<NoWindow>();
}

#[test]
#[cfg(target_arch = "x86_64")]
fn u1_holds_for_string_moves_when_any_page_comes_or_goes_at_any_fault() {
    assert_conforms::<StringMoveFrom<17>>();
}

#[test]
fn u1_holds_without_an_mmu_when_any_page_comes_or_goes_before_any_byte() {
    let result = check_moving(&Scripted::new(), &mut may_fault(), &COPIES, Sweep::Coarse);
    assert_eq!(result, Ok(()));
}
