//! Writeback: the mark, the view, and who waits.

use core::sync::atomic::Ordering;
use std::sync::Barrier;
use std::thread;
use std::vec;

use crate::testing::{Machine, cx, populate, run, slots, with_watchdog};
use crate::{Errno, Frames, Mark, PAGE_SIZE, PageIndex, SlotMask};

#[test]
fn the_store_sees_zeros_past_the_end_of_the_file() {
    let machine: Machine = Machine::new(64);
    let mapping = machine.mapping();
    populate(&mapping, run(4, 3), |i| i as u8);
    let size = 5 * PAGE_SIZE as u64 + 7;
    let mut locked = mapping.lock(cx(), run(4, 3)).unwrap();
    locked.set_dirty(SlotMask::ALL);
    let pages = locked.begin_writeback(run(4, 3), size).unwrap();
    drop(locked);
    let view = pages.view();
    assert_eq!((view.pages(), view.len(), view.pos()), (3, PAGE_SIZE + 7, 4 * PAGE_SIZE as u64));
    let mut bytes = vec![0xff; view.padded_len()];
    view.copy_to(0, &mut bytes);
    for (at, &byte) in bytes.iter().enumerate() {
        let expected = if at < view.len() { 4 + (at / PAGE_SIZE) as u8 } else { 0 };
        assert_eq!(byte, expected, "at {at}");
    }
    let mut piece = [0xff; 10];
    view.copy_to(PAGE_SIZE - 3, &mut piece);
    assert_eq!(piece, [4, 4, 4, 5, 5, 5, 5, 5, 5, 5]);
    view.copy_to(usize::MAX, &mut piece);
    assert_eq!(piece, [0; 10]);
    let part = view.part(1, 5);
    assert_eq!((part.first(), part.pages(), part.len()), (PageIndex::new(5), 2, 7));
    assert!(view.part(2, 1).is_empty());
    assert_eq!(view.part(9, 1).pages(), 0);
}

#[test]
fn pages_under_writeback_are_not_removed() {
    let machine: Machine = Machine::new(64);
    let mapping = machine.mapping();
    populate(&mapping, run(0, 2), |_| 3);
    let mut locked = mapping.lock(cx(), run(0, 2)).unwrap();
    let frame = locked.frame(PageIndex::ZERO).unwrap();
    locked.set_dirty(slots(0b01));
    let pages = locked.begin_writeback(run(0, 1), 10).unwrap();
    assert_eq!(
        (locked.dirty(), locked.writeback(), locked.clean()),
        (slots(0), slots(0b01), slots(0b10))
    );
    assert_eq!(machine.frames.references(frame), 1);
    assert_eq!(locked.remove(slots(0b11)).slots(), slots(0b10));
    let mut bytes = [0; 10];
    pages.view().copy_to(0, &mut bytes);
    assert_eq!(bytes, [3; 10]);
    pages.complete(Ok(()));
    assert_eq!(
        (locked.dirty(), locked.writeback(), locked.clean()),
        (slots(0), slots(0), slots(0b01))
    );
    assert_eq!(machine.frames.references(frame), 1);
    assert_eq!(locked.remove(slots(0b11)).slots(), slots(0b01));
    drop(locked);
    drop(mapping);
    machine.assert_balanced();
}

#[test]
fn a_writeback_begins_for_all_pages_of_its_run_or_changes_nothing() {
    let machine: Machine = Machine::new(64);
    let mapping = machine.mapping();
    populate(&mapping, run(1, 6), |_| 3);
    drop(mapping.lock(cx(), run(6, 1)).unwrap().remove(SlotMask::ALL));
    let mut fresh = machine.cache.allocate(1).unwrap();
    // Of slots 1..=7: 1 and 2 are fine, 3 is clean, 4 is under writeback, 5 under writeback and
    // dirty again, 6 not uptodate, 7 absent. The lock ends there.
    let mut locked = mapping.lock(cx(), run(1, 7)).unwrap();
    locked.insert_batch(SlotMask::single(6), &mut fresh);
    locked.set_dirty(slots(0b0111_0110));
    let earlier = locked.begin_writeback(run(4, 2), u64::MAX).unwrap();
    locked.set_dirty(SlotMask::single(5));
    let state = |locked: &crate::LockedRun<'_, crate::testing::Test>| {
        let counts: u32 = (1..7)
            .filter_map(|index| locked.frame(PageIndex::new(index)))
            .map(|frame| machine.frames.references(frame))
            .sum();
        (locked.dirty(), locked.writeback(), counts)
    };
    let before = state(&locked);
    for first in 0..70 {
        for pages in 1..=8 {
            let run = run(first, pages);
            if run.first().get() >= 1 && run.end().get() <= 3 {
                continue;
            }
            assert!(locked.begin_writeback(run, u64::MAX).is_none(), "{run:?}");
            assert_eq!(state(&locked), before, "{run:?}");
        }
    }
    let pages = locked.begin_writeback(run(1, 2), u64::MAX).unwrap();
    assert_eq!(pages.view().len(), 2 * PAGE_SIZE);
    assert!(locked.begin_writeback(run(1, 2), u64::MAX).is_none(), "twice");
    assert_eq!((locked.dirty(), locked.writeback()), (slots(0b0110_0000), slots(0b0011_0110)));
    earlier.complete(Ok(()));
    assert_eq!((locked.dirty(), locked.writeback()), (slots(0b0110_0000), slots(0b0000_0110)));
}

#[test]
fn a_failed_writeback_leaves_its_pages_dirty_and_touches_no_other() {
    let machine: Machine = Machine::new(64);
    let mapping = machine.mapping();
    populate(&mapping, run(0, 4), |_| 3);
    let mut locked = mapping.lock(cx(), run(0, 4)).unwrap();
    locked.set_dirty(slots(0b0111));
    let first = locked.begin_writeback(run(0, 1), 0).unwrap();
    let second = locked.begin_writeback(run(1, 1), 0).unwrap();
    drop(locked);
    let all = (PageIndex::ZERO, PageIndex::new(64));
    let find = |mark| mapping.find(all.0, all.1, mark);
    assert_eq!(find(Mark::Writeback), Some(run(0, 2)));
    assert_eq!(find(Mark::Unclean), Some(run(0, 3)));
    first.complete(Err(Errno::Io));
    assert_eq!(find(Mark::Writeback), Some(run(1, 1)));
    assert_eq!(find(Mark::Dirty), Some(run(0, 1)));
    second.complete(Ok(()));
    assert_eq!(find(Mark::Writeback), None);
    assert_eq!(find(Mark::Unclean), Some(run(0, 1)));
    assert_eq!(mapping.find(PageIndex::new(1), all.1, Mark::Unclean), Some(run(2, 1)));
    mapping.wait_writeback(run(640, 2));
    mapping.wait_writeback(run(0, 2));
}

#[test]
fn a_writeback_that_is_dropped_has_failed_and_leaves_no_waiter_behind() {
    with_watchdog(|| {
        let machine: Machine = Machine::new(64);
        let mapping = machine.mapping();
        populate(&mapping, run(0, 2), |_| 3);
        let mut locked = mapping.lock(cx(), run(0, 2)).unwrap();
        locked.set_dirty(slots(0b11));
        let pages = locked.begin_writeback(run(0, 2), 100).unwrap();
        drop(locked);
        thread::scope(|scope| {
            let waiter = scope.spawn(|| mapping.wait_writeback(run(0, 2)));
            while machine.wait.sleeping.load(Ordering::SeqCst) == 0 {
                thread::yield_now();
            }
            // A store that panics, on a thread of its own: the token is `Send`.
            let store = scope.spawn(move || {
                let _on_its_way = pages;
                panic!("planted: the store panics");
            });
            store.join().unwrap_err();
            waiter.join().unwrap();
        });
        let locked = mapping.lock(cx(), run(0, 2)).unwrap();
        assert_eq!((locked.dirty(), locked.writeback()), (slots(0b11), slots(0)));
        drop(locked);
        drop(mapping);
        machine.assert_balanced();
    });
}

#[test]
fn whoever_waits_for_writeback_is_woken_beside_lockers() {
    with_watchdog(|| {
        let machine: Machine = Machine::new(64);
        let mapping = machine.mapping();
        populate(&mapping, run(0, 8), |_| 3);
        thread::scope(|scope| {
            for _ in 0..2 {
                scope.spawn(|| {
                    for _ in 0..3_000 {
                        mapping.wait_writeback(run(0, 8));
                    }
                });
            }
            for half in [run(0, 4), run(4, 4)] {
                let mapping = &mapping;
                scope.spawn(move || {
                    for round in 0..3_000 {
                        let mut locked = mapping.lock(cx(), half).unwrap();
                        locked.set_dirty(half.mask());
                        let pages = locked.begin_writeback(half, u64::MAX).unwrap();
                        drop(locked);
                        if round % 8 == 0 {
                            thread::yield_now();
                        }
                        pages.complete(Ok(()));
                        drop(mapping.lock(cx(), run(0, 8)).unwrap());
                    }
                });
            }
        });
    });
}

#[test]
fn whoever_waits_for_writeback_sleeps_until_its_end() {
    with_watchdog(|| {
        let machine: Machine = Machine::new(64);
        let mapping = machine.mapping();
        populate(&mapping, run(0, 1), |_| 3);
        let mut locked = mapping.lock(cx(), run(0, 1)).unwrap();
        locked.set_dirty(slots(0b1));
        let pages = locked.begin_writeback(run(0, 1), 1).unwrap();
        drop(locked);
        thread::scope(|scope| {
            let waiter = scope.spawn(|| mapping.wait_writeback(run(0, 1)));
            while machine.wait.sleeping.load(Ordering::SeqCst) == 0 {
                thread::yield_now();
            }
            assert!(!waiter.is_finished());
            pages.complete(Ok(()));
        });
    });
}

#[test]
fn a_part_is_no_longer_than_its_pages_and_a_copy_follows_the_frames_wherever_they_lie() {
    let machine: Machine = Machine::new(64);
    let mapping = machine.mapping();
    machine.frames.scattered.store(true, Ordering::Relaxed);
    populate(&mapping, run(0, 3), |i| i as u8 + 1);
    let mut locked = mapping.lock(cx(), run(0, 3)).unwrap();
    locked.set_dirty(slots(0b111));
    let pages = locked.begin_writeback(run(0, 3), 3 * PAGE_SIZE as u64).unwrap();
    let part = pages.view().part(1, 1);
    assert_eq!((part.pages(), part.len()), (1, PAGE_SIZE));
    let mut piece = [0xff; 6];
    pages.view().copy_to(PAGE_SIZE - 3, &mut piece);
    assert_eq!(piece, [1, 1, 1, 2, 2, 2]);
}

/// Item 16 of the contract on memory: neither side is a plain access, which Miri would call a race.
#[test]
fn a_store_that_copies_a_page_while_it_is_zeroed_sees_old_bytes_and_zeros_only() {
    with_watchdog(|| {
        let machine: Machine = Machine::new(64);
        let mapping = machine.mapping();
        populate(&mapping, run(0, 2), |_| 3);
        let mut locked = mapping.lock(cx(), run(0, 2)).unwrap();
        locked.set_dirty(slots(0b11));
        let pages = locked.begin_writeback(run(0, 2), u64::MAX).unwrap();
        let start = Barrier::new(2);
        thread::scope(|scope| {
            let store = scope.spawn(|| {
                let mut bytes = vec![0xff; 2 * PAGE_SIZE - 5];
                start.wait();
                pages.view().copy_to(5, &mut bytes);
                assert!(bytes.iter().all(|&byte| byte == 3 || byte == 0), "a third value");
            });
            start.wait();
            locked.zero(9, 2 * PAGE_SIZE - 20);
            store.join().unwrap();
        });
        let mut bytes = vec![0xff; 2 * PAGE_SIZE];
        pages.view().copy_to(0, &mut bytes);
        let (from, to) = (9, 2 * PAGE_SIZE - 11);
        assert!((0..bytes.len()).all(|at| bytes[at] == if at < from || at >= to { 3 } else { 0 }));
    });
}
