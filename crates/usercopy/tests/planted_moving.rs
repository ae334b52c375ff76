//! The conformance suite finds copies that are wrong only when mappings change meanwhile. Each
//! planted bug but the last two passes the suite for mappings that stand still.

mod support;

use std::ops::Range;

use faultless_usercopy::conformance::scripted::Scripted;
use faultless_usercopy::conformance::{
    COPIES, Change, Failure, Layout, MovingLayout, Operation, Present, Sweep, check, check_moving,
};
use faultless_usercopy::{MayFault, UserAddr, UserMemory};
use support::may_fault;
use support::planted::{self, Over};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Bug {
    None,
    /// Stores half of a block before it has loaded the other, and after a fault begins the block
    /// again (x86-64, 2026).
    StoresBeforeAllIsLoaded,
    /// After a fault begins the block again, whose first page may be gone by then.
    BeginsTheBlockAgain,
    /// Probes how much is accessible, copies, and reports what the probe saw.
    LooksBeforeItCopies,
    /// Reports nothing after a fault, although the first byte is accessible.
    GivesUpWithNothing,
    /// Reports more than was asked for when the first page is gone.
    ReportsGarbage,
}

struct Buggy {
    inner: Scripted,
    bug: Bug,
}

/// Bytes of a block, and of the word by which it is moved.
const BLOCK: usize = 16;
const WORD: usize = 4;

/// A transfer of `.1` bytes from offset `.0` on; returns how many are left.
type Transfer<'a> = &'a dyn Fn(usize, usize) -> usize;

impl Buggy {
    fn new(bug: Bug) -> Self {
        Self { inner: Scripted::new(), bug }
    }

    /// Moves `len` bytes by blocks of words, then by bytes: `load` to registers, `store` from
    /// there. The one for the kernel's side always returns 0.
    fn blocks(&self, len: usize, load: Transfer<'_>, store: Transfer<'_>) -> usize {
        let mut done = 0;
        while len - done >= BLOCK {
            let halves = if self.bug == Bug::StoresBeforeAllIsLoaded { 2 } else { 1 };
            let moved = block(done, halves, load, store);
            done += match self.bug {
                Bug::StoresBeforeAllIsLoaded | Bug::BeginsTheBlockAgain if moved < BLOCK => 0,
                _ => moved,
            };
            if moved < BLOCK {
                break;
            }
        }
        let end = (done + BLOCK).min(len);
        while done < end && load(done, 1) == 0 && store(done, 1) == 0 {
            done += 1;
        }
        len - done
    }

    fn run(&self, len: usize, load: Transfer<'_>, store: Transfer<'_>) -> usize {
        let left = self.blocks(len, load, store);
        match self.bug {
            Bug::GivesUpWithNothing if left > 0 && load(0, 1) == 0 => len,
            Bug::ReportsGarbage if left > 0 && load(0, 1) > 0 => len + 1,
            _ => left,
        }
    }
}

/// Moves a block, by so many parts of which each is loaded before it is stored. Returns how many
/// bytes are stored.
fn block(at: usize, parts: usize, load: Transfer<'_>, store: Transfer<'_>) -> usize {
    let part = BLOCK / parts;
    for from in (0..BLOCK).step_by(part) {
        if load(at + from, part) > 0 {
            return from;
        }
        for word in (from..from + part).step_by(WORD) {
            let left = store(at + word, WORD);
            if left > 0 {
                return word + WORD - left;
            }
        }
    }
    BLOCK
}

// SAFETY: bytes are reached only through `Scripted`, inside what was asked for; the promises on
// counts are broken on purpose, which only the suite sees.
unsafe impl UserMemory for Buggy {
    type Token = MayFault;

    fn user_range(&self) -> Range<usize> {
        self.inner.user_range()
    }

    unsafe fn raw_copy_from_user(
        &self,
        _may: &mut MayFault,
        dst: *mut u8,
        src: UserAddr,
        len: usize,
    ) -> usize {
        // SAFETY: the same contract.
        unsafe { self.raw_copy_from_user_atomic(dst, src, len) }
    }

    unsafe fn raw_copy_from_user_atomic(&self, dst: *mut u8, src: UserAddr, len: usize) -> usize {
        let registers = std::cell::Cell::new([0_u8; BLOCK]);
        let load = |at: usize, len: usize| {
            let mut bytes = registers.get();
            let (to, from) = (bytes[at % BLOCK..].as_mut_ptr(), src.wrapping_add(at));
            let len = len.min(BLOCK - at % BLOCK);
            // SAFETY: a block of ours; the caller's range.
            let left = unsafe { self.inner.raw_copy_from_user_atomic(to, from, len) };
            registers.set(bytes);
            left
        };
        let store = |at: usize, len: usize| {
            for i in at..at + len {
                // SAFETY: inside the caller's region.
                unsafe { dst.wrapping_add(i).write(registers.get()[i % BLOCK]) };
            }
            0
        };
        if self.bug == Bug::LooksBeforeItCopies {
            let mut none = [0; 256];
            let there = len.min(none.len());
            // SAFETY: at most as long as `none`; the caller's range.
            let left =
                unsafe { self.inner.raw_copy_from_user_atomic(none.as_mut_ptr(), src, there) };
            self.run(there - left, &load, &store);
            return len - (there - left);
        }
        self.run(len, &load, &store)
    }

    unsafe fn raw_copy_to_user(
        &self,
        _may: &mut MayFault,
        dst: UserAddr,
        src: *const u8,
        len: usize,
    ) -> usize {
        // SAFETY: the same contract.
        unsafe { self.raw_copy_to_user_atomic(dst, src, len) }
    }

    unsafe fn raw_copy_to_user_atomic(&self, dst: UserAddr, src: *const u8, len: usize) -> usize {
        let store = |at: usize, len: usize| {
            let (to, from) = (dst.wrapping_add(at), src.wrapping_add(at));
            // SAFETY: inside the caller's regions.
            unsafe { self.inner.raw_copy_to_user_atomic(to, from, len) }
        };
        self.run(len, &|_, _| 0, &store)
    }

    unsafe fn raw_clear_user(&self, token: &mut MayFault, dst: UserAddr, len: usize) -> usize {
        let token = std::cell::RefCell::new(token);
        let store = |at: usize, len: usize| {
            // SAFETY: inside the caller's region.
            unsafe { self.inner.raw_clear_user(&mut token.borrow_mut(), dst.wrapping_add(at), len) }
        };
        self.run(len, &|_, _| 0, &store)
    }
}

impl planted::Buggy for Buggy {
    fn inner(&self) -> &Scripted {
        &self.inner
    }
}

impl MovingLayout for Over<Buggy> {
    fn set(&self, pages: Present) {
        self.0.inner.set(pages);
    }

    fn arm(&self, point: usize, after: Present) {
        self.0.inner.arm(point, after);
    }

    fn disarm(&self) -> bool {
        self.0.inner.disarm()
    }
}

const SWEEP: Sweep<'_> =
    Sweep { lengths: &[1, 7, 16, 17, 40], in_first: &[0, 1, 6, 8, 11, 16, 35] };

fn run(bug: Bug, operations: &[Operation]) -> Result<(), Failure> {
    check_moving(&Over(Buggy::new(bug)), &mut may_fault(), operations, SWEEP)
}

#[track_caller]
fn assert_caught_only_moving(bug: Bug, operation: Operation, rule: &str) -> Failure {
    assert_eq!(
        check(&Over(Buggy::new(bug)), &mut may_fault()),
        Ok(()),
        "with mappings that stand still"
    );
    let failure = run(bug, &[operation]).expect_err("not caught");
    assert_eq!((failure.operation, failure.rule), (operation, rule), "{failure}");
    failure
}

#[test]
fn copies_by_words_and_bytes_conform_when_they_count_what_they_store() {
    assert_eq!(run(Bug::None, &COPIES), Ok(()));
    let result = check_moving(&Scripted::new(), &mut may_fault(), &COPIES, Sweep::COARSE);
    assert_eq!(result, Ok(()));
}

#[test]
fn a_block_that_is_stored_before_all_of_it_is_loaded_is_caught() {
    let bug = Bug::StoresBeforeAllIsLoaded;
    let failure = assert_caught_only_moving(bug, Operation::CopyFromUserAtomic, "U1");
    assert_eq!(failure.seen, "a byte past the reported ones was changed");
}

#[test]
fn a_block_that_begins_again_after_a_fault_is_caught() {
    for operation in [Operation::CopyToUserAtomic, Operation::CopyToUser, Operation::ClearUser] {
        let failure = assert_caught_only_moving(Bug::BeginsTheBlockAgain, operation, "U1");
        assert_eq!(failure.seen, "a byte past the reported ones was changed");
    }
}

#[test]
fn a_count_from_before_the_copy_is_caught() {
    let sweep = Sweep { lengths: &[1, 40], in_first: &[1] };
    let buggy = Over(Buggy::new(Bug::LooksBeforeItCopies));
    assert_eq!(check(&buggy, &mut may_fault()), Ok(()), "with mappings that stand still");
    let operations = [Operation::CopyFromUserAtomic];
    let failure = check_moving(&buggy, &mut may_fault(), &operations, sweep).unwrap_err();
    assert_eq!((failure.rule, failure.seen), ("U1", "a copied byte is not the source's"));
}

#[test]
fn nothing_although_the_first_byte_was_always_there_is_caught() {
    let failure = run(Bug::GivesUpWithNothing, &[Operation::CopyFromUserAtomic]).unwrap_err();
    assert_eq!((failure.rule, failure.accessible, failure.reported), ("U2", 1, 0), "{failure}");
}

#[test]
fn a_count_of_more_than_was_asked_for_is_caught() {
    let failure = run(Bug::ReportsGarbage, &[Operation::CopyFromUserAtomic]).unwrap_err();
    assert_eq!((failure.rule, failure.seen), ("U1", "more left than asked for"), "{failure}");
}

#[test]
fn a_failure_says_how_the_mappings_changed() {
    let failure = run(Bug::BeginsTheBlockAgain, &[Operation::ClearUser]).unwrap_err();
    let Some(Change { point, in_first, .. }) = failure.change else { panic!("{failure}") };
    let text = failure.to_string();
    assert!(text.contains(&format!("{in_first} in the first page, pages present ")), "{text}");
    assert!(text.contains(&format!(", from point {point} on ")), "{text}");
}

/// Pages that stay where they are.
struct Still(Over<Buggy>);

impl Layout for Still {
    type User = Buggy;

    fn user(&self) -> &Buggy {
        self.0.user()
    }

    fn page_size(&self) -> usize {
        self.0.page_size()
    }

    fn base(&self) -> UserAddr {
        self.0.base()
    }

    fn peek(&self, addr: UserAddr, bytes: &mut [u8]) {
        self.0.peek(addr, bytes);
    }

    fn poke(&self, addr: UserAddr, bytes: &[u8]) {
        self.0.poke(addr, bytes);
    }
}

impl MovingLayout for Still {
    fn set(&self, _: Present) {}

    fn arm(&self, _: usize, _: Present) {}

    fn disarm(&self) -> bool {
        false
    }
}

#[test]
fn a_layout_whose_points_are_never_reached_does_not_pass() {
    let still = Still(Over(Buggy::new(Bug::None)));
    let failure = check_moving(&still, &mut may_fault(), &COPIES, SWEEP).unwrap_err();
    assert_eq!((failure.rule, failure.operation), ("layout", COPIES[0]));
}
