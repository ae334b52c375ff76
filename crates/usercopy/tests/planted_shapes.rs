//! Bugs that only accesses of one shape show: the suite tries those shapes, and says what it saw in
//! them.

mod support;

use std::ops::Range;

use faultless_usercopy::conformance::scripted::Scripted;
use faultless_usercopy::conformance::{Failure, Layout, Operation, check, check_exact};
use faultless_usercopy::{MayFault, PROBE_STEP, UserAddr, UserMemory, UserSlice};
use support::may_fault;
use support::planted::Over;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Bug {
    /// The last copied byte is another one.
    GarblesTheLastByte,
    /// Writes to the kernel's bytes that it only has to read.
    ChangesTheKernelSource,
    /// Byte 300 of what is delivered is wrong: only long accesses have one.
    GarblesByte300,
    /// Counts one byte too many when a fault is far from both ends.
    OverReportsInTheMiddle,
    /// Counts one byte too many when a fault is shortly before the end of a long access.
    OverReportsNearTheEnd,
    /// Goes wrong at the border of two pages that are both there.
    LosesTheSecondPage,
    /// Clears a byte that it counts as left.
    ClearsMoreThanItSays,
    /// Says that nothing can be reached unless everything can.
    ReachesAllOrNothing,
    /// Says that one byte can be reached unless everything can.
    ReachesAllOrOne,
    /// Probes once every page from where the range begins, and so perhaps not the page where it
    /// ends.
    ProbesAtStrides,
    /// Makes pages writeable by zeroing a byte of them, except the first.
    WritesToLaterPages,
    /// The last page is not in the user range.
    RangeIsShort,
}

struct Buggy {
    inner: Scripted,
    bug: Bug,
}

impl Buggy {
    /// Falsifies what is left of `len`.
    fn report(&self, left: usize, len: usize) -> usize {
        let wrong = match self.bug {
            Bug::OverReportsInTheMiddle => left > 200 && len - left > 200,
            Bug::OverReportsNearTheEnd => (1..50).contains(&left) && len - left > 200,
            _ => false,
        };
        left - usize::from(wrong)
    }

    fn zero(&self, addr: UserAddr, offset: usize) {
        self.inner.poke(addr.wrapping_add(offset), &[0]);
    }
}

// SAFETY: bytes are reached only through `Scripted`, inside what was asked for; the promises on
// bytes and counts are broken on purpose, which only the suite sees.
unsafe impl UserMemory for Buggy {
    type Token = MayFault;

    fn user_range(&self) -> Range<usize> {
        let range = self.inner.user_range();
        let missing = if self.bug == Bug::RangeIsShort { PROBE_STEP } else { 0 };
        range.start..range.end - missing
    }

    unsafe fn raw_copy_from_user(
        &self,
        token: &mut MayFault,
        dst: *mut u8,
        src: UserAddr,
        len: usize,
    ) -> usize {
        // SAFETY: the same contract.
        let left = unsafe { self.inner.raw_copy_from_user(token, dst, src, len) };
        if self.bug == Bug::GarblesTheLastByte && left < len {
            // SAFETY: inside the caller's region.
            unsafe { dst.wrapping_add(len - left - 1).write(0) };
        }
        self.report(left, len)
    }

    unsafe fn raw_copy_from_user_atomic(&self, dst: *mut u8, src: UserAddr, len: usize) -> usize {
        // SAFETY: the same contract.
        unsafe { self.inner.raw_copy_from_user_atomic(dst, src, len) }
    }

    unsafe fn raw_copy_to_user(
        &self,
        token: &mut MayFault,
        dst: UserAddr,
        src: *const u8,
        len: usize,
    ) -> usize {
        // SAFETY: the same contract.
        let left = unsafe { self.inner.raw_copy_to_user(token, dst, src, len) };
        let border = self.inner.base().get() + 3 * PROBE_STEP;
        match self.bug {
            // SAFETY: inside the caller's region, which in the suite is a mutable one.
            Bug::ChangesTheKernelSource if len > 0 => unsafe { src.cast_mut().write(0) },
            Bug::GarblesByte300 if len - left > 300 => self.zero(dst, 300),
            Bug::LosesTheSecondPage
                if (dst.get() + 1..dst.get() + len - left).contains(&border) =>
            {
                self.zero(UserAddr::new(border), 0);
            }
            _ => {}
        }
        left
    }

    unsafe fn raw_copy_to_user_atomic(&self, dst: UserAddr, src: *const u8, len: usize) -> usize {
        // SAFETY: the same contract.
        unsafe { self.inner.raw_copy_to_user_atomic(dst, src, len) }
    }

    unsafe fn raw_clear_user(&self, token: &mut MayFault, dst: UserAddr, len: usize) -> usize {
        // SAFETY: the same contract.
        let left = unsafe { self.inner.raw_clear_user(token, dst, len) };
        let hidden = self.bug == Bug::ClearsMoreThanItSays && len - left > 1;
        left + usize::from(hidden)
    }

    fn fault_in_readable(&self, token: &mut MayFault, slice: UserSlice) -> usize {
        let left = self.inner.fault_in_readable(token, slice);
        match self.bug {
            Bug::ReachesAllOrNothing if left > 0 => slice.len(),
            Bug::ReachesAllOrOne if (1..slice.len()).contains(&left) => slice.len() - 1,
            Bug::ProbesAtStrides => {
                let strides = (0..slice.len()).step_by(PROBE_STEP);
                let mut probes = strides.map(|at| (at, slice.skip(at).prefix(1)));
                let failed =
                    probes.find(|&(_, byte)| self.inner.fault_in_readable(token, byte) > 0);
                // A stride that fails says nothing about the bytes before it: the truth then.
                if failed.is_some() { left } else { 0 }
            }
            _ => left,
        }
    }

    fn fault_in_writeable(&self, token: &mut MayFault, slice: UserSlice) -> usize {
        let left = self.inner.fault_in_writeable(token, slice);
        let later = slice.addr().get() >= self.inner.base().get() + 2 * PROBE_STEP;
        if self.bug == Bug::WritesToLaterPages && left < slice.len() && later {
            self.zero(slice.addr(), 0);
        }
        left
    }
}

impl support::planted::Buggy for Buggy {
    fn inner(&self) -> &Scripted {
        &self.inner
    }
}

#[track_caller]
fn caught(bug: Bug, operation: Operation, rule: &str) -> Failure {
    support::planted::caught(Buggy { inner: Scripted::new(), bug }, operation, rule)
}

#[test]
fn a_wrong_byte_is_told_from_one_too_many_and_from_a_changed_source() {
    let failure = caught(Bug::GarblesTheLastByte, Operation::CopyFromUser, "U1");
    assert_eq!((failure.seen, failure.at), ("a copied byte is not the source's", Some(0)));
    let failure = caught(Bug::ChangesTheKernelSource, Operation::CopyToUser, "U1");
    assert_eq!((failure.seen, failure.at), ("the source was changed", Some(0)));
    let failure = caught(Bug::ClearsMoreThanItSays, Operation::ClearUser, "U1");
    assert_eq!(failure.seen, "a byte past the reported ones was changed");
}

#[test]
fn a_wrong_byte_far_inside_a_long_access_is_found_where_it_is() {
    let failure = caught(Bug::GarblesByte300, Operation::CopyToUser, "U1");
    assert_eq!((failure.seen, failure.at), ("a written byte is wrong", Some(300)));
    assert!(failure.len > 300 && failure.reported > 300, "{failure}");
}

#[test]
fn a_wrong_count_is_caught_wherever_in_a_long_access_the_fault_is() {
    let failure = caught(Bug::OverReportsInTheMiddle, Operation::CopyFromUser, "U1");
    assert_eq!(failure.reported, failure.accessible + 1);
    assert!(failure.accessible > 200 && failure.len - failure.accessible > 200, "{failure}");
    let failure = caught(Bug::OverReportsNearTheEnd, Operation::CopyFromUser, "U1");
    assert_eq!(failure.reported, failure.accessible + 1);
    assert!(failure.accessible > 200 && failure.len - failure.accessible < 50, "{failure}");
}

#[test]
fn a_copy_that_goes_wrong_between_two_good_pages_is_caught() {
    let failure = caught(Bug::LosesTheSecondPage, Operation::CopyToUser, "U1");
    assert_eq!((failure.accessible, failure.reported), (failure.len, failure.len), "no fault");
}

#[test]
fn a_fault_in_that_reaches_nothing_before_a_hole_is_caught() {
    let failure = caught(Bug::ReachesAllOrNothing, Operation::FaultInReadable, "U6");
    assert_eq!((failure.seen, failure.reported), REACHED_NOTHING);
    assert!(failure.accessible < failure.len, "{failure}");
}

const REACHED_NOTHING: (&str, usize) =
    ("reached nothing although the first byte was accessible", 0);

#[test]
fn a_fault_in_that_reaches_less_before_a_hole_conforms_but_is_not_exact() {
    let buggy = Over(Buggy { inner: Scripted::new(), bug: Bug::ReachesAllOrOne });
    assert_eq!(check(&buggy, &mut may_fault()), Ok(()));
    let failure = check_exact(&buggy, &mut may_fault()).unwrap_err();
    assert_eq!((failure.rule, failure.seen), ("U6", "did not reach accessible bytes"));
    assert_eq!(failure.reported, 1);
}

#[test]
fn a_fault_in_that_steps_over_the_page_where_the_range_ends_is_caught() {
    let failure = caught(Bug::ProbesAtStrides, Operation::FaultInReadable, "U6");
    assert_eq!(failure.seen, "claims bytes that cannot be reached");
}

#[test]
fn a_fault_in_that_writes_is_caught_in_every_page() {
    let failure = caught(Bug::WritesToLaterPages, Operation::FaultInWriteable, "U6");
    assert_eq!(failure.seen, "user memory was changed");
}

#[test]
fn a_user_range_without_the_last_page_is_caught() {
    let failure = caught(Bug::RangeIsShort, Operation::UserRange, "U5");
    assert_eq!((failure.seen, failure.len), ("the layout is not in range", 5 * PROBE_STEP));
}
