//! What a caller, a store or an allocator that breaks its word can do through safe calls: get
//! errors, never make bytes appear.

use std::boxed::Box;
use std::sync::atomic::Ordering::Relaxed;

use crate::testing::{Machine, POISON, cx, populate, run, slots, take_traces};
use crate::{Errno, FillBuf, PAGE_SIZE, PageIndex, SlotMask, Trace};

const FIRST: PageIndex = PageIndex::ZERO;

#[test]
fn f8_a_store_that_answers_short_gives_an_error_and_no_zeros() {
    let machine: Machine = Machine::new(8);
    let mapping = machine.mapping();
    let mut batch = machine.cache.allocate(1).unwrap();
    let mut locked = mapping.lock_or_create(cx(), run(0, 1)).unwrap();
    locked.insert_batch(slots(0b1), &mut batch);
    for needed in [1, 100, 101, PAGE_SIZE, usize::MAX] {
        for had in [0, 1, 99, 100, 101, PAGE_SIZE - 1, PAGE_SIZE] {
            let filled = locked.fill(FIRST, needed, |buf| {
                buf.write(&[7; PAGE_SIZE][..had]);
                Ok(())
            });
            let expected = if had < needed.min(PAGE_SIZE) { Err(Errno::Io) } else { Ok(()) };
            assert_eq!(filled, expected, "{had} of {needed}");
            assert_eq!(locked.uptodate(), SlotMask::EMPTY);
        }
    }
}

#[test]
fn f8_a_hole_that_is_declared_is_what_the_store_has() {
    for (bytes, zeros) in [(0, 0), (10, 0), (0, 10), (10, 20)] {
        let machine: Machine = Machine::new(8);
        let mapping = machine.mapping();
        let mut batch = machine.cache.allocate(1).unwrap();
        let mut locked = mapping.lock_or_create(cx(), run(0, 1)).unwrap();
        locked.insert_batch(slots(0b1), &mut batch);
        let fill = |buf: &mut FillBuf<'_>| {
            buf.write(&[7; PAGE_SIZE][..bytes]);
            buf.skip_zero(zeros);
            buf.fill_hole();
            Ok(())
        };
        take_traces();
        assert_eq!(locked.fill(FIRST, PAGE_SIZE, fill), Ok(()));
        assert_eq!(take_traces(), [Trace::Zeroed(PAGE_SIZE - bytes - zeros)]);
        let (memory, len) = locked.span(0, PAGE_SIZE).unwrap();
        // SAFETY: the page is locked, and nobody else knows it.
        let page = unsafe { core::slice::from_raw_parts(memory.as_ptr(), len) };
        assert!((0..len).all(|at| page[at] == if at < bytes { 7 } else { 0 }));
    }
}

/// A leaked buffer lives as long as any: the lifetime of `FillBuf` doesn't keep it out.
#[test]
fn w5_a_store_that_puts_another_buffer_in_place_of_the_pages_shows_no_recycled_byte() {
    let machine: Machine = Machine::new(8);
    let mapping = machine.mapping();
    let mut batch = machine.cache.allocate(1).unwrap();
    let mut locked = mapping.lock_or_create(cx(), run(0, 1)).unwrap();
    locked.insert_batch(slots(0b1), &mut batch);
    for len in [0, 10, PAGE_SIZE] {
        let swapped = locked.fill(FIRST, 0, |buf| {
            *buf = FillBuf::new(Box::leak(Box::new([7; PAGE_SIZE])).split_at_mut(len).0);
            buf.fill_hole();
            Ok(())
        });
        assert_eq!(swapped, Err(Errno::Io), "{len}");
    }
    let (memory, _) = locked.span(0, 1).unwrap();
    // SAFETY: the page is locked, and nobody else knows it.
    assert_eq!(unsafe { memory.read() }, POISON, "so marking it uptodate would show this");
}

#[test]
fn marks_of_absent_pages_and_foreign_slots_are_not_set() {
    let machine: Machine = Machine::new(64);
    let mapping = machine.mapping();
    populate(&mapping, run(2, 2), |_| 1);
    let mut locked = mapping.lock(cx(), run(1, 2)).unwrap();
    locked.set_uptodate(SlotMask::ALL);
    locked.set_dirty(SlotMask::ALL);
    locked.set_reserved(SlotMask::ALL);
    locked.set_wrote_past_eof(SlotMask::ALL);
    assert!(locked.begin_writeback(run(1, 2), 0).is_none());
    assert!(locked.begin_writeback(run(2, 2), 0).is_none());
    drop(locked);
    let locked = mapping.lock(cx(), run(0, 64)).unwrap();
    assert_eq!((locked.present(), locked.uptodate()), (slots(0b1100), slots(0b1100)));
    assert_eq!([locked.dirty(), locked.reserved(), locked.wrote_past_eof()], [slots(0b0100); 3]);
    assert_eq!((locked.writeback(), locked.clean()), (SlotMask::EMPTY, slots(0b1000)));
}

#[test]
fn w5_a_page_whose_bytes_may_be_undefined_is_not_sent_to_the_store() {
    let machine: Machine = Machine::new(8);
    let mapping = machine.mapping();
    let mut batch = machine.cache.allocate(1).unwrap();
    let mut locked = mapping.lock_or_create(cx(), run(0, 1)).unwrap();
    locked.insert_batch(slots(0b1), &mut batch);
    locked.set_dirty(slots(0b1));
    assert!(locked.begin_writeback(run(0, 1), u64::MAX).is_none());
    locked.zero(0, PAGE_SIZE);
    locked.set_uptodate(slots(0b1));
    locked.begin_writeback(run(0, 1), u64::MAX).unwrap().complete(Ok(()));
}

#[test]
fn a_frame_of_another_cache_is_refused() {
    let (machine, other): (Machine, Machine) = (Machine::new(8), Machine::new(8));
    let mapping = machine.mapping();
    let mut locked = mapping.lock_or_create(cx(), run(0, 1)).unwrap();
    let mut batch = other.cache.allocate(2).unwrap();
    let frame = batch.take_first().unwrap();
    assert!(locked.insert(FIRST, frame).is_err());
    assert_eq!(
        (locked.insert_batch(slots(0b1), &mut batch), locked.present()),
        (slots(0), slots(0))
    );
}

#[test]
fn an_allocator_that_answers_nothing_has_no_memory_and_more_than_asked_is_not_used() {
    let machine: Machine = Machine::new(64);
    let mapping = machine.mapping();
    machine.frames.boast.store(-1, Relaxed);
    assert_eq!(machine.cache.allocate(1).unwrap_err(), Errno::NoMemory);
    assert_eq!(mapping.lock_or_create(cx(), run(0, 1)).unwrap_err(), Errno::NoMemory);
    machine.frames.boast.store(5, Relaxed);
    for pages in [1, 3, 64] {
        let machine: Machine = Machine::new(64);
        machine.frames.boast.store(5, Relaxed);
        assert_eq!(machine.cache.allocate(pages).unwrap().len(), pages as usize);
        assert_eq!(machine.frames.in_use(), 0, "each was released once");
    }
}
