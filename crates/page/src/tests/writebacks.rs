//! Writeback: the mark, the view, and who waits.

use core::sync::atomic::Ordering;
use std::thread;
use std::vec;

use crate::testing::{Machine, cx, populate, run, with_watchdog};
use crate::{Mark, PAGE_SIZE, PageIndex, WritebackOutcome};

#[test]
fn the_store_sees_zeros_past_the_end_of_the_file() {
    let machine: Machine = Machine::new(64);
    let mapping = machine.mapping();
    populate(&mapping, run(4, 3), |i| i as u8);
    let size = 5 * PAGE_SIZE as u64 + 7;
    let locked = mapping.lock(cx(), run(4, 3)).unwrap();
    assert!(locked.writeback_pages(run(4, 4), size).is_none());
    let pages = locked.writeback_pages(run(4, 3), size).unwrap();
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
fn pages_under_writeback_are_not_removed_and_the_view_outlives_removal() {
    let machine: Machine = Machine::new(64);
    let mapping = machine.mapping();
    populate(&mapping, run(0, 2), |_| 3);
    let mut locked = mapping.lock(cx(), run(0, 2)).unwrap();
    locked.set_dirty(0b01);
    assert_eq!(locked.begin_writeback(0b11), 0b01);
    assert_eq!((locked.dirty(), locked.writeback()), (0, 0b01));
    assert_eq!(locked.begin_writeback(0b11), 0);
    let pages = locked.writeback_pages(run(0, 1), 10).unwrap();
    assert_eq!(locked.remove(0b11).slots(), 0b10);
    mapping.end_writeback(run(0, 2), WritebackOutcome::Clean);
    assert_eq!(locked.remove(0b11).slots(), 0b01);
    drop(locked);
    let mut bytes = [0; 10];
    pages.view().copy_to(0, &mut bytes);
    assert_eq!(bytes, [3; 10]);
    drop(pages);
    drop(mapping);
    machine.assert_balanced();
}

#[test]
fn a_failed_writeback_leaves_its_pages_dirty() {
    let machine: Machine = Machine::new(64);
    let mapping = machine.mapping();
    populate(&mapping, run(0, 2), |_| 3);
    let mut locked = mapping.lock(cx(), run(0, 2)).unwrap();
    locked.set_dirty(0b11);
    locked.begin_writeback(0b10);
    drop(locked);
    let all = (PageIndex::ZERO, PageIndex::new(64));
    assert_eq!(mapping.find(all.0, all.1, Mark::Writeback), Some(run(1, 1)));
    mapping.end_writeback(run(0, 2), WritebackOutcome::Redirty);
    assert_eq!(mapping.find(all.0, all.1, Mark::Writeback), None);
    assert_eq!(mapping.find(all.0, all.1, Mark::Dirty), Some(run(0, 2)));
    mapping.end_writeback(run(640, 2), WritebackOutcome::Redirty);
    mapping.wait_writeback(run(640, 2));
    mapping.wait_writeback(run(0, 2));
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
                        assert_eq!(locked.begin_writeback(half.mask()), half.mask());
                        drop(locked);
                        if round % 8 == 0 {
                            thread::yield_now();
                        }
                        mapping.end_writeback(half, WritebackOutcome::Clean);
                        drop(mapping.lock(cx(), run(0, 8)).unwrap());
                    }
                });
            }
        });
    });
}

#[test]
fn the_end_of_a_writeback_ends_no_other_and_marks_no_page_that_was_not_in_it() {
    let machine: Machine = Machine::new(64);
    let mapping = machine.mapping();
    populate(&mapping, run(0, 3), |_| 3);
    let mut locked = mapping.lock(cx(), run(0, 3)).unwrap();
    locked.set_dirty(0b011);
    assert_eq!(locked.begin_writeback(0b011), 0b011);
    mapping.end_writeback(run(1, 2), WritebackOutcome::Redirty);
    assert_eq!((locked.writeback(), locked.dirty()), (0b001, 0b010));
}

#[test]
fn whoever_waits_for_writeback_sleeps_until_its_end() {
    with_watchdog(|| {
        let machine: Machine = Machine::new(64);
        let mapping = machine.mapping();
        populate(&mapping, run(0, 1), |_| 3);
        let mut locked = mapping.lock(cx(), run(0, 1)).unwrap();
        locked.set_dirty(1);
        assert_eq!(locked.begin_writeback(1), 1);
        drop(locked);
        thread::scope(|scope| {
            let waiter = scope.spawn(|| mapping.wait_writeback(run(0, 1)));
            while machine.wait.sleeping.load(Ordering::SeqCst) == 0 {
                thread::yield_now();
            }
            assert!(!waiter.is_finished());
            mapping.end_writeback(run(0, 1), WritebackOutcome::Clean);
        });
    });
}

#[test]
fn a_part_is_no_longer_than_its_pages_and_a_copy_follows_the_frames_wherever_they_lie() {
    let machine: Machine = Machine::new(64);
    let mapping = machine.mapping();
    machine.frames.scattered.store(true, Ordering::Relaxed);
    populate(&mapping, run(0, 3), |i| i as u8 + 1);
    let locked = mapping.lock(cx(), run(0, 3)).unwrap();
    let pages = locked.writeback_pages(run(0, 3), 3 * PAGE_SIZE as u64).unwrap();
    let part = pages.view().part(1, 1);
    assert_eq!((part.pages(), part.len()), (1, PAGE_SIZE));
    let mut piece = [0xff; 6];
    pages.view().copy_to(PAGE_SIZE - 3, &mut piece);
    assert_eq!(piece, [1, 1, 1, 2, 2, 2]);
}
