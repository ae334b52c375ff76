//! The conformance suite finds what it is meant to find: every planted bug is caught, by its rule.

mod support;

use std::cell::Cell;
use std::ops::Range;

use faultless_usercopy::conformance::scripted::Scripted;
use faultless_usercopy::conformance::{Failure, Layout, Operation, check, check_exact};
use faultless_usercopy::{MayFault, PROBE_STEP, UserAddr, UserMemory, UserSlice};
use support::may_fault;
use support::planted::{Over, caught};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Bug {
    None,
    /// Counts the block in which the fault is as copied (42a886af).
    OverReports,
    /// The same, only in the atomic variant.
    OverReportsAtomically,
    /// Zeroes what it could not copy (04fff641).
    ZeroesTheTail,
    /// Copies nothing when the first 8-byte load faults (295cf156).
    LoadsWide,
    /// Stores a byte past the last that it reports.
    StoresTooMuch,
    /// Clears whole words.
    ClearsWords,
    /// Stops at every word border: allowed, but not exact.
    StopsShort,
    /// Says that more is left than was asked for.
    ReportsGarbage,
    /// Makes a page writeable by zeroing a byte of it.
    FaultsInByWriting,
    /// Makes a page writeable by reading it.
    FaultsInByReading,
    /// Probes only the two ends (f56f821f).
    ProbesTheEnds,
    /// Probes the first page only.
    ProbesTheFirstPage,
    /// Says of several pages that only the first byte is there.
    ReachesOneByte,
    /// Stores a wrong byte.
    GarblesTheTarget,
    /// Writes to what it only has to read.
    ChangesTheSource,
    /// The user range is larger the second time.
    RangeGrows,
    /// No address is in the user range.
    RangeIsEmpty,
}

struct Buggy {
    inner: Scripted,
    bug: Bug,
    /// How often the user range was asked for.
    asked: Cell<usize>,
}

impl Buggy {
    fn new(bug: Bug) -> Self {
        Self { inner: Scripted::new(), bug, asked: Cell::new(0) }
    }

    /// Falsifies the bytes left of `len`.
    fn report(&self, left: usize, len: usize) -> usize {
        match self.bug {
            Bug::OverReports if left > 0 => left - 1,
            Bug::ReportsGarbage if left > 0 => len + 1,
            _ => left,
        }
    }

    /// How many of `len` bytes are tried.
    fn tried(&self, addr: UserAddr, len: usize) -> usize {
        let word = UserSlice::new(&self.inner, addr, len.min(8)).unwrap();
        let faults = self.inner.fault_in_readable(&mut may_fault(), word) > 0;
        match self.bug {
            Bug::LoadsWide if faults => 0,
            Bug::StopsShort => len.min(8),
            _ => len,
        }
    }
}

// SAFETY: bytes are reached only through `Scripted`; the promises on counts are broken on purpose,
// which only the suite sees, and its buffers have guards wider than any of the bugs.
unsafe impl UserMemory for Buggy {
    type Token = MayFault;

    fn user_range(&self) -> Range<usize> {
        let asked = self.asked.replace(self.asked.get() + 1);
        match self.bug {
            Bug::RangeGrows if asked > 0 => 0..usize::MAX,
            Bug::RangeIsEmpty => 0..0,
            _ => self.inner.user_range(),
        }
    }

    unsafe fn raw_copy_from_user(
        &self,
        token: &mut MayFault,
        dst: *mut u8,
        src: UserAddr,
        len: usize,
    ) -> usize {
        let tried = self.tried(src, len);
        // SAFETY: the same contract, for a prefix.
        let left = len - tried + unsafe { self.inner.raw_copy_from_user(token, dst, src, tried) };
        let done = len - left;
        match self.bug {
            // SAFETY: the rest of the caller's region.
            Bug::ZeroesTheTail => unsafe { dst.wrapping_add(done).write_bytes(0, left) },
            // SAFETY: `done < len`.
            Bug::StoresTooMuch if left > 0 => unsafe { dst.wrapping_add(done).write(0xee) },
            Bug::ChangesTheSource if done > 0 => self.inner.poke(src, &[0]),
            _ => {}
        }
        self.report(left, len)
    }

    unsafe fn raw_copy_from_user_atomic(&self, dst: *mut u8, src: UserAddr, len: usize) -> usize {
        // SAFETY: the same contract.
        let left = unsafe { self.inner.raw_copy_from_user_atomic(dst, src, len) };
        if self.bug == Bug::OverReportsAtomically { left / 8 * 8 } else { left }
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
        if self.bug == Bug::GarblesTheTarget && left < len {
            self.inner.poke(dst, &[0]);
        }
        self.report(left, len)
    }

    unsafe fn raw_copy_to_user_atomic(&self, dst: UserAddr, src: *const u8, len: usize) -> usize {
        // SAFETY: the same contract.
        unsafe { self.inner.raw_copy_to_user_atomic(dst, src, len) }
    }

    unsafe fn raw_clear_user(&self, token: &mut MayFault, dst: UserAddr, len: usize) -> usize {
        // SAFETY: the same contract.
        let left = unsafe { self.inner.raw_clear_user(token, dst, len) };
        if self.bug == Bug::ClearsWords && left > 0 {
            let before = dst.wrapping_add((len - left).wrapping_neg() % 8).wrapping_add(len - left);
            let start = before.wrapping_add(16_usize.wrapping_neg());
            // SAFETY: memory of `Scripted`, whatever the address.
            unsafe { self.inner.raw_clear_user(token, start, 8) };
        }
        left
    }

    fn fault_in_readable(&self, token: &mut MayFault, slice: UserSlice) -> usize {
        let probe = |token: &mut MayFault, at: usize| {
            let piece =
                slice.skip(at).prefix(PROBE_STEP - slice.skip(at).addr().get() % PROBE_STEP);
            self.inner.fault_in_readable(token, piece)
        };
        match (self.bug, slice.len()) {
            (Bug::ProbesTheEnds, 1..) => {
                let ends = probe(token, 0) + probe(token, slice.len() - 1);
                if ends > 0 { slice.len() } else { 0 }
            }
            (Bug::ProbesTheFirstPage, 1..) if probe(token, 0) == 0 => 0,
            (Bug::ReachesOneByte, 1..) if probe(token, 0) == 0 => slice.len() - 1,
            _ => self.inner.fault_in_readable(token, slice),
        }
    }

    fn fault_in_writeable(&self, token: &mut MayFault, slice: UserSlice) -> usize {
        let left = self.inner.fault_in_writeable(token, slice);
        match self.bug {
            Bug::FaultsInByWriting if left < slice.len() => {
                self.inner.poke(slice.addr(), &[0]);
                left
            }
            Bug::FaultsInByReading => self.inner.fault_in_readable(token, slice),
            _ => left,
        }
    }
}

impl support::planted::Buggy for Buggy {
    fn inner(&self) -> &Scripted {
        &self.inner
    }
}

fn run(bug: Bug) -> Result<(), Failure> {
    check(&Over(Buggy::new(bug)), &mut may_fault())
}

#[track_caller]
fn assert_caught(bug: Bug, operation: Operation, rule: &str) {
    let _ = caught(Buggy::new(bug), operation, rule);
}

#[test]
fn the_scripted_address_space_conforms_exactly() {
    if let Err(failure) = check_exact(&Scripted::new(), &mut may_fault()) {
        panic!("{failure}");
    }
    assert_eq!(run(Bug::None), Ok(()));
}

#[test]
fn a_copy_that_reports_more_than_it_stored_is_caught() {
    assert_caught(Bug::OverReports, Operation::CopyFromUser, "U1");
    assert_caught(Bug::OverReportsAtomically, Operation::CopyFromUserAtomic, "U1");
    assert_caught(Bug::ReportsGarbage, Operation::CopyFromUser, "U1");
}

#[test]
fn a_copy_that_touches_the_tail_is_caught() {
    assert_caught(Bug::ZeroesTheTail, Operation::CopyFromUser, "U1");
    assert_caught(Bug::StoresTooMuch, Operation::CopyFromUser, "U1");
    assert_caught(Bug::ClearsWords, Operation::ClearUser, "U1");
}

#[test]
fn a_copy_of_nothing_although_one_byte_is_readable_is_caught() {
    assert_caught(Bug::LoadsWide, Operation::CopyFromUser, "U2");
}

#[test]
fn a_copy_that_stops_early_conforms_but_is_not_exact() {
    assert_eq!(run(Bug::StopsShort), Ok(()));
    let buggy = Over(Buggy::new(Bug::StopsShort));
    let failure = check_exact(&buggy, &mut may_fault()).unwrap_err();
    assert_eq!((failure.rule, failure.len), ("exactness", 9));
}

#[test]
fn a_fault_in_that_writes_is_caught() {
    assert_caught(Bug::FaultsInByWriting, Operation::FaultInWriteable, "U6");
}

#[test]
fn a_fault_in_that_claims_unreachable_bytes_is_caught() {
    assert_caught(Bug::FaultsInByReading, Operation::FaultInWriteable, "U6");
    assert_caught(Bug::ProbesTheEnds, Operation::FaultInReadable, "U6");
    assert_caught(Bug::ProbesTheFirstPage, Operation::FaultInReadable, "U6");
}

#[test]
fn a_fault_in_that_misses_bytes_which_are_there_is_caught() {
    assert_caught(Bug::ReachesOneByte, Operation::FaultInReadable, "U6");
}

#[test]
fn wrong_bytes_on_either_side_of_a_copy_are_caught() {
    assert_caught(Bug::GarblesTheTarget, Operation::CopyToUser, "U1");
    assert_caught(Bug::ChangesTheSource, Operation::CopyFromUser, "U1");
    assert_eq!(run(Bug::ChangesTheSource).unwrap_err().seen, "the source was changed");
}

#[test]
fn a_user_range_that_lets_the_kernel_in_or_the_user_out_is_caught() {
    assert_caught(Bug::RangeGrows, Operation::UserRange, "U5");
    assert_caught(Bug::RangeIsEmpty, Operation::UserRange, "U5");
    let text = run(Bug::RangeIsEmpty).unwrap_err().to_string();
    assert!(text.starts_with("UserRange breaks U5: the layout is not in range"), "{text}");
    assert!(text.ends_with(" reported)"), "no byte is to blame: {text}");
}

#[test]
fn a_failure_says_what_where_and_which_rule() {
    let text = run(Bug::ZeroesTheTail).unwrap_err().to_string();
    assert_eq!(
        text,
        "CopyFromUser breaks U1: a byte past the reported ones was changed \
         (length 1, 0 accessible, 0 reported, byte 0)"
    );
}
