//! The lock checker of fixed size: what it refuses, and what it lets pass. All other tests of this
//! crate run with one.

use std::string::ToString;
use std::vec::Vec;

use faultless_page::{CoreSync, LockId, SlotMask, Trace};

use crate::{Lock, LockOrder, Violation};

const FILE: u64 = 7;
const I: Lock = Lock::Cache(LockId::Inode(FILE));
const SIZE: Lock = Lock::Cache(LockId::Size(FILE));
const SHIFT: Lock = Lock::Cache(LockId::Shift(FILE));
const READ: Lock = Lock::SpaceRead(1);
const WRITE: Lock = Lock::SpaceWrite(1);

const fn range(pos: u64) -> Lock {
    Lock::Cache(LockId::Range(FILE, pos))
}

const fn pages(base: u64, slots: u64) -> Lock {
    Lock::Cache(LockId::Pages { mapping: FILE, base, slots: SlotMask::from_bits(slots) })
}

const fn writeback(slots: u64) -> Lock {
    let slots = SlotMask::from_bits(slots);
    Lock::Cache(LockId::Writeback { mapping: FILE, base: 0, slots })
}

fn take(locks: &LockOrder<4>, thread: usize, lock: Lock) -> Result<(), Violation> {
    locks.acquiring(thread, lock)?;
    locks.acquired(thread, lock)
}

/// What a thread that holds `held` may wait for, of all locks.
fn allowed(held: Lock) -> Vec<Lock> {
    let first = [I, range(0), range(9), SIZE, READ, WRITE, SHIFT];
    let all = [&first[..], &[pages(0, 1), pages(64, 1), writeback(2)]].concat();
    let may = |wanted: &Lock| {
        let locks = LockOrder::new();
        take(&locks, 0, held).expect("the first lock");
        take(&locks, 0, *wanted).is_ok()
    };
    all.into_iter().filter(may).collect()
}

#[test]
fn the_order_is_inode_range_size_space_shift_pages() {
    let after_pages = [writeback(2)];
    let after_shift = [pages(0, 1), pages(64, 1), writeback(2)];
    let after_space = [&[SHIFT], &after_shift[..]].concat();
    let after_size = [&[READ, WRITE], &after_space[..]].concat();
    assert_eq!(allowed(pages(64, 1)), after_pages);
    assert_eq!(allowed(pages(0, 1)), [pages(64, 1), writeback(2)]);
    assert_eq!(allowed(SHIFT), after_shift);
    assert_eq!(allowed(READ), after_space);
    assert_eq!(allowed(WRITE), after_space);
    assert_eq!(allowed(SIZE), after_size);
    assert_eq!(allowed(range(9)), [&[SIZE], &after_size[..]].concat());
    assert_eq!(allowed(range(0)), [&[range(9), SIZE], &after_size[..]].concat());
    assert_eq!(allowed(I), [&[range(0), range(9), SIZE], &after_size[..]].concat());
    assert_eq!(allowed(writeback(1)), []);
}

#[test]
fn pages_of_two_files_and_the_same_pages_again_are_refused() {
    let locks = LockOrder::<4>::new();
    take(&locks, 0, pages(0, 0b110)).unwrap();
    assert_eq!(take(&locks, 0, pages(0, 0b10)), Err(Violation::Again(pages(0, 0b110))));
    let other = Lock::Cache(LockId::Pages { mapping: 8, base: 640, slots: SlotMask::ALL });
    let wrong = Violation::Order { held: pages(0, 0b110), wanted: other };
    assert_eq!(take(&locks, 0, other), Err(wrong));
}

#[test]
fn an_access_may_fault_with_the_inode_and_a_range_held_and_with_nothing_else() {
    for (lock, may) in [
        (I, true),
        (range(0), true),
        (SIZE, false),
        (READ, false),
        (pages(0, 1), false),
        (writeback(1), false),
    ] {
        let locks = LockOrder::<4>::new();
        take(&locks, 2, lock).unwrap();
        let found = locks.trace(2, Trace::MayFault);
        assert_eq!(found, if may { Ok(()) } else { Err(Violation::Fault(lock)) });
        // Another thread holds nothing.
        assert_eq!(locks.trace(1, Trace::MayFault), Ok(()));
    }
}

#[test]
fn a_reader_of_an_address_space_may_not_become_one_again() {
    // A writer may wait in between, and readers wait behind it (DL3).
    let locks = LockOrder::<4>::new();
    take(&locks, 0, READ).unwrap();
    let again = Violation::Order { held: READ, wanted: READ };
    assert_eq!(take(&locks, 0, READ), Err(again));
    assert_eq!(take(&locks, 1, READ), Ok(()));
    assert_eq!(take(&locks, 1, WRITE), Err(Violation::Again(READ)));
}

#[test]
fn what_each_thread_holds_and_wants_can_be_printed() {
    let locks = LockOrder::<4>::new();
    take(&locks, 1, I).unwrap();
    take(&locks, 1, READ).unwrap();
    locks.acquiring(1, pages(0, 0b1100)).unwrap();
    locks.acquiring(3, WRITE).unwrap();
    let printed = locks.to_string();
    let lines: Vec<&str> = printed.lines().collect();
    let expected = [
        "thread 1 holds I(7), M(1) for reading and wants P(7,2+2)",
        "thread 3 holds nothing and wants M(1) for writing",
    ];
    assert_eq!(lines, expected);
}

#[test]
fn what_is_given_up_or_released_is_forgotten() {
    let locks = LockOrder::<4>::new();
    take(&locks, 0, I).unwrap();
    locks.acquiring(0, range(0)).unwrap();
    locks.trace(0, Trace::GaveUp(LockId::Range(FILE, 0))).unwrap();
    assert_eq!(locks.nothing_held(0), Err(Violation::Leaked(I)));
    locks.trace(0, Trace::Released(LockId::Inode(FILE))).unwrap();
    assert_eq!(locks.nothing_held(0), Ok(()));
    // A writeback that another thread ends.
    locks.acquired(1, writeback(1)).unwrap();
    locks.released(3, writeback(1));
    assert_eq!(locks.nothing_held(1), Ok(()));
}

#[test]
fn too_many_threads_and_too_many_locks_are_said() {
    let locks = LockOrder::<4, CoreSync>::new();
    assert_eq!(take(&locks, 4, I), Err(Violation::Full));
    let taken = (0..64).map(|base| take(&locks, 0, pages(64 * base, 1)));
    assert_eq!(taken.filter(|taken| *taken == Err(Violation::Full)).count(), 56);
    assert_eq!(Violation::Full.to_string(), "too many threads, or too many locks of a thread");
}
