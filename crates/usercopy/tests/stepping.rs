//! The instructions of x86-64, one at a time: before any of them a page of the source or
//! destination is unmapped or mapped, and U1 and U2 hold.
#![cfg(target_arch = "x86_64")]

mod support;

use std::sync::atomic::Ordering::Relaxed;

use faultless_usercopy::CurrentUser;
use faultless_usercopy::UserMemory;
use faultless_usercopy::arch::{AccessWindow, NoWindow, RepMovsMin};
use faultless_usercopy::conformance::{Layout, Operation, Sweep, check_moving};
use support::loops_of_old;
use support::moving::Moving;
use support::stepping::{Before, STEPS, Stepped};
use support::{Pages, may_fault};

/// Operations that differ in their instructions.
const OPERATIONS: [Operation; 3] =
    [Operation::CopyFromUserAtomic, Operation::CopyToUserAtomic, Operation::ClearUser];

/// Checks the copies with the window `W`; says how many instructions were stepped over.
#[track_caller]
fn assert_conforms<W: AccessWindow>(before: Before, sweep: Sweep<'_>) {
    let layout = Moving::<_, W>::new(|pages: &Pages<W>| {
        // SAFETY: as for the one that the pages have themselves.
        let user = unsafe { CurrentUser::<W>::new(pages.user().user_range()) };
        Stepped::new(user, before)
    });
    if let Err(failure) = check_moving(&layout, &mut may_fault(), &OPERATIONS, sweep) {
        panic!("{failure}");
    }
    println!("{} steps", STEPS.swap(0, Relaxed));
}

#[test]
fn u1_holds_when_any_page_comes_or_goes_before_any_instruction() {
    let sweep = Sweep { lengths: &[2, 5, 13, 17, 64], in_first: &[0, 1, 7, 40] };
    assert_conforms::<NoWindow>(Before::Each, sweep);
}

#[test]
fn u1_holds_when_any_page_comes_or_goes_before_any_access() {
    assert_conforms::<NoWindow>(Before::EachAccess, Sweep::COARSE);
}

#[test]
fn u1_holds_when_any_page_comes_or_goes_inside_a_string_move() {
    let sweep = Sweep { lengths: &[17, 31], in_first: &[0, 1, 16] };
    assert_conforms::<RepMovsMin<17>>(Before::Each, sweep);
}

/// A block suffices to see that what is stored is not counted.
#[test]
fn the_loops_of_old_are_caught() {
    let sweep = Sweep { lengths: &[64], in_first: &[40] };
    for before in [Before::Each, Before::EachAccess] {
        for (operation, seen) in loops_of_old::WRONG {
            let layout = Moving::<_, NoWindow>::new(|pages: &Pages<NoWindow>| {
                let user = loops_of_old::LoopsOfOld(pages.user().user_range());
                Stepped::new(user, before)
            });
            let result = check_moving(&layout, &mut may_fault(), &[operation], sweep);
            let failure = result.expect_err("not caught");
            assert_eq!((failure.rule, failure.seen), ("U1", seen), "{failure}");
        }
    }
}
