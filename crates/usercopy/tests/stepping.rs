//! The instructions of x86-64, one at a time: before any of them a page of the source or destination is unmapped or
//! mapped, and U1 and U2 hold.
#![cfg(target_arch = "x86_64")]

mod support;

use std::sync::atomic::Ordering::Relaxed;

use faultless_usercopy::CurrentUser;
use faultless_usercopy::UserMemory;
use faultless_usercopy::arch::{AccessWindow, NoWindow, StringMoveFrom};
use faultless_usercopy::conformance::{Failure, Layout, Operation, Sweep, check_moving};
use support::loops_of_old::LoopsOfOld;
use support::moving::Moving;
use support::stepping::{Before, STEPS, Stepped};
use support::{Pages, may_fault};

fn check<W: AccessWindow>(before: Before, operations: &[Operation]) -> Result<(), Failure> {
    let layout = Moving::<_, W>::new(|pages: &Pages<W>| {
        // SAFETY: as for the one that the pages have themselves.
        let user = unsafe { CurrentUser::<W>::new(pages.user().user_range()) };
        Stepped::new(user, before)
    });
    let result = check_moving(&layout, &mut may_fault(), operations, Sweep::Coarse);
    println!("{} steps", STEPS.swap(0, Relaxed));
    result
}

#[test]
fn u1_holds_when_a_page_comes_or_goes_before_any_access() {
    let operations =
        [Operation::CopyFromUserAtomic, Operation::CopyToUserAtomic, Operation::ClearUser];
    let start = std::time::Instant::now();
    check::<NoWindow>(Before::EachAccess, &operations).unwrap();
    println!("{:?}", start.elapsed());
}

#[test]
fn the_loops_of_old_are_caught() {
    for operation in [Operation::CopyFromUser, Operation::CopyToUserAtomic, Operation::ClearUser] {
        let layout = Moving::<_, NoWindow>::new(|pages: &Pages<NoWindow>| {
            Stepped::new(LoopsOfOld(pages.user().user_range()), Before::EachAccess)
        });
        let result = check_moving(&layout, &mut may_fault(), &[operation], Sweep::Coarse);
        println!("{}", result.unwrap_err());
    }
}
