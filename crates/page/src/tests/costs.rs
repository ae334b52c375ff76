//! What operations cost: accesses to words, and locked instructions among them. Exact, so that more
//! is a failure.

use core::sync::atomic::Ordering;
use std::thread;

use crate::testing::{
    Counting, Machine, Test, cx, populate, run, slots, take_accesses, take_locked_instructions,
    with_watchdog,
};
use crate::{Mapping, PAGE_SIZE, PageIndex, SlotMask};

const PAGE: u64 = PAGE_SIZE as u64;

type K = Test<Counting>;

/// Accesses for finding memory under a lock, `len` bytes from page `first` on.
fn locked_span(mapping: &Mapping<K>, first: u64, len: usize) -> u32 {
    let locked = mapping.lock(cx(), run(first, 64)).unwrap();
    take_accesses();
    let span = locked.span(first * PAGE, len);
    let accesses = take_accesses();
    assert_eq!(span.unwrap().1, len);
    accesses
}

/// The same without a lock.
fn read_span(mapping: &Mapping<K>, first: u64, len: usize) -> u32 {
    let section = mapping.read_section(cx());
    take_accesses();
    let span = section.span(first * PAGE, len);
    let accesses = take_accesses();
    assert_eq!(span.unwrap().1, len);
    accesses
}

#[test]
fn which_frames_are_contiguous_is_found_out_once() {
    let machine: Machine<Counting> = Machine::new(256);
    let mapping = machine.mapping();
    populate(&mapping, run(0, 64), |_| 1);
    assert!(locked_span(&mapping, 0, 64 * PAGE_SIZE) > 64);
    for first in [0, 3] {
        let (pair, all) = (2 * PAGE_SIZE, (64 - first as usize) * PAGE_SIZE);
        assert_eq!(locked_span(&mapping, first, all), locked_span(&mapping, first, pair));
        assert_eq!(read_span(&mapping, first, all), read_span(&mapping, first, pair));
    }
}

#[test]
fn that_a_stretch_ends_is_not_written_down() {
    let machine: Machine<Counting> = Machine::new(256);
    let mapping = machine.mapping();
    populate(&mapping, run(0, 2), |_| 1);
    let between = machine.cache.allocate(1).unwrap();
    populate(&mapping, run(2, 1), |_| 1);
    drop(between);
    for locked_instructions in [1, 0] {
        let locked = mapping.lock(cx(), run(0, 3)).unwrap();
        take_locked_instructions();
        assert_eq!(locked.span(0, 3 * PAGE_SIZE).unwrap().1, 2 * PAGE_SIZE);
        assert_eq!(take_locked_instructions(), locked_instructions);
    }
}

#[test]
fn scattered_frames_are_known_by_one_look() {
    let machine: Machine<Counting> = Machine::new(256);
    machine.frames.scattered.store(true, Ordering::Relaxed);
    let mapping = machine.mapping();
    populate(&mapping, run(0, 8), |_| 1);
    let locked = mapping.lock(cx(), run(0, 8)).unwrap();
    take_accesses();
    assert_eq!(locked.span(0, 8 * PAGE_SIZE).unwrap().1, PAGE_SIZE);
    // The frame, and the next one.
    assert_eq!(take_accesses(), 2);
}

#[test]
fn a_small_read_looks_at_no_page_that_it_cannot_touch() {
    let accesses = [2, 64].map(|pages| {
        let machine: Machine<Counting> = Machine::new(256);
        let mapping = machine.mapping();
        populate(&mapping, run(0, pages), |_| 1);
        read_span(&mapping, 0, 1)
    });
    assert_eq!(accesses[0], accesses[1]);
}

#[test]
fn marks_that_are_not_set_cost_nothing_to_clear() {
    let machine: Machine<Counting> = Machine::new(64);
    let mapping = machine.mapping();
    populate(&mapping, run(0, 3), |_| 1);
    let mut locked = mapping.lock(cx(), run(0, 3)).unwrap();
    locked.set_dirty(slots(0b010));
    locked.set_reserved(slots(0b110));
    take_locked_instructions();
    locked.clear_dirty(slots(0b101));
    locked.clear_wrote_past_eof(slots(0b111));
    assert_eq!(take_locked_instructions(), 0);
    locked.clear_reserved(slots(0b100));
    assert_eq!(take_locked_instructions(), 1);
    // Valid, contiguous, the count of removals, present; and each other mark that there is.
    for (slot, locked_instructions) in (0..).zip([4, 6, 4]) {
        let removed = locked.remove(SlotMask::single(slot));
        assert_eq!(take_locked_instructions(), locked_instructions, "slot {slot}");
        drop(removed);
        take_locked_instructions();
    }
}

#[test]
fn a_lock_that_was_contended_once_is_cheap_again() {
    with_watchdog(|| {
        let machine: Machine<Counting> = Machine::new(64);
        let mapping = machine.mapping();
        populate(&mapping, run(0, 2), |_| 1);
        let locked = mapping.lock(cx(), run(0, 2)).unwrap();
        thread::scope(|scope| {
            let waiter = scope.spawn(|| drop(mapping.lock(cx(), run(0, 1)).unwrap()));
            while machine.wait.sleeping.load(Ordering::SeqCst) == 0 {
                thread::yield_now();
            }
            drop(locked);
            waiter.join().unwrap();
        });
        take_locked_instructions();
        let locked = mapping.lock(cx(), run(0, 1)).unwrap();
        assert!(locked.frame(PageIndex::ZERO).is_some());
        drop(locked);
        assert_eq!(take_locked_instructions(), 2);
    });
}
