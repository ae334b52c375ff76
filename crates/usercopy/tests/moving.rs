//! This architecture's instructions against mappings that change while a copy runs (U1, U2). The
//! change comes in the fault handler, before the fix-up: deterministic, on every architecture, and
//! under emulation.
//!
//! This stands for a change between any two instructions. A copy notices a change only by an access
//! that faults, and the sweep places the border of the two pages at every access, so that each is
//! once the first to fault. On x86-64 `stepping` makes the change before each instruction, too.

mod support;

#[cfg(target_arch = "x86_64")]
use faultless_usercopy::arch::RepMovsMin;
use faultless_usercopy::arch::{AccessWindow, NoWindow};
#[cfg(target_arch = "x86_64")]
use faultless_usercopy::conformance::COPIES;
use faultless_usercopy::conformance::{Layout, Operation, Sweep, check_moving};
use faultless_usercopy::{CurrentUser, UserMemory};
#[cfg(target_arch = "x86_64")]
use support::loops_of_old;
use support::moving::Moving;
use support::{Pages, may_fault};

/// The user memory of the pages.
fn current<W: AccessWindow>(pages: &Pages<W>) -> CurrentUser<W> {
    // SAFETY: as for the one that the pages have themselves.
    unsafe { CurrentUser::new(pages.user().user_range()) }
}

/// Those that differ in their instructions.
const ATOMIC: [Operation; 3] =
    [Operation::CopyFromUserAtomic, Operation::CopyToUserAtomic, Operation::ClearUser];

/// Those whose faults are resolved, if the page is there by then.
const FAULTING: [Operation; 2] = [Operation::CopyFromUser, Operation::CopyToUser];

#[track_caller]
fn assert_conforms<W: AccessWindow>(operations: &[Operation], sweep: Sweep<'_>) {
    let layout = Moving::<_, W>::new(current);
    if let Err(failure) = check_moving(&layout, &mut may_fault(), operations, sweep) {
        panic!("{failure}");
    }
}

#[test]
fn u1_holds_when_any_page_comes_or_goes_at_any_fault() {
    assert_conforms::<NoWindow>(&ATOMIC, Sweep::THOROUGH);
}

#[test]
fn u1_holds_when_any_page_comes_or_goes_at_any_fault_that_may_be_resolved() {
    let lengths = [2, 3, 7, 8, 9, 13, 16, 17, 24, 31, 32, 33, 40, 47, 64, 65, 79, 128];
    let sweep = Sweep { lengths: &lengths, ..Sweep::THOROUGH };
    assert_conforms::<NoWindow>(&FAULTING, sweep);
}

#[test]
#[cfg(target_arch = "x86_64")]
fn u1_holds_for_string_moves_when_any_page_comes_or_goes_at_any_fault() {
    let lengths = [17, 18, 33, 64, 100, 1025];
    let sweep = Sweep { lengths: &lengths, ..Sweep::THOROUGH };
    assert_conforms::<RepMovsMin<17>>(&COPIES, sweep);
}

#[test]
#[cfg(target_arch = "x86_64")]
fn the_loops_of_old_are_caught_at_faults() {
    for (operation, seen) in loops_of_old::WRONG {
        let layout = Moving::<_, NoWindow>::new(|pages: &Pages<NoWindow>| {
            loops_of_old::LoopsOfOld(pages.user().user_range())
        });
        let failure =
            check_moving(&layout, &mut may_fault(), &[operation], Sweep::THOROUGH).unwrap_err();
        assert_eq!((failure.rule, failure.seen), ("U1", seen), "{failure}");
    }
}
