//! What a locked run can do with its pages.

use std::vec::Vec;

use crate::testing::{Machine, POISON, cx, populate, run, slots, take_traces};
use crate::{Errno, Frames, Mark, PAGE_SIZE, PageIndex, SlotMask, Trace};

const PAGE: u64 = PAGE_SIZE as u64;

fn read_all(
    section: &crate::ReadSection<'_, crate::testing::Test>,
    pos: u64,
    len: usize,
) -> Vec<u8> {
    let mut bytes = Vec::new();
    while bytes.len() < len {
        let at = pos + bytes.len() as u64;
        let Some((memory, n)) = section.span(at, len - bytes.len()) else { break };
        // SAFETY: good until the section ends, and nobody writes.
        bytes.extend_from_slice(unsafe { core::slice::from_raw_parts(memory.as_ptr(), n) });
    }
    bytes
}

#[test]
fn marks_are_set_on_present_pages_of_the_run_only() {
    let machine: Machine = Machine::new(64);
    let mapping = machine.mapping();
    populate(&mapping, run(2, 3), |_| 1);
    let mut locked = mapping.lock(cx(), run(3, 4)).unwrap();
    assert_eq!(locked.present(), slots(0b11000));
    locked.set_uptodate(SlotMask::ALL);
    locked.set_dirty(SlotMask::ALL);
    locked.set_reserved(SlotMask::ALL);
    locked.set_wrote_past_eof(SlotMask::ALL);
    for marks in [locked.uptodate(), locked.dirty(), locked.reserved(), locked.wrote_past_eof()] {
        assert_eq!(marks, slots(0b11000));
    }
    locked.clear_dirty(slots(0b01000));
    locked.clear_reserved(slots(0b10000));
    locked.clear_wrote_past_eof(SlotMask::ALL);
    assert_eq!(
        (locked.dirty(), locked.reserved(), locked.wrote_past_eof()),
        (slots(0b10000), slots(0b01000), slots(0))
    );
    // Exactly those that are set.
    locked.clear_reserved(slots(0b01000));
    assert_eq!(locked.reserved(), SlotMask::EMPTY);
    drop(locked);
    assert_eq!(mapping.lock(cx(), run(2, 1)).unwrap().dirty(), SlotMask::EMPTY);
}

#[test]
fn an_occupied_slot_and_a_foreign_frame_are_refused() {
    let machine: Machine = Machine::new(64);
    let other: Machine = Machine::new(64);
    let mapping = machine.mapping();
    populate(&mapping, run(0, 1), |_| 1);
    let mut locked = mapping.lock(cx(), run(0, 2)).unwrap();
    let frame = machine.cache.allocate(1).unwrap().take_first().unwrap();
    let frame = locked.insert(PageIndex::ZERO, frame).unwrap_err();
    let frame = locked.insert(PageIndex::new(2), frame).unwrap_err();
    locked.insert(PageIndex::new(1), frame).unwrap();
    let foreign = other.cache.allocate(1).unwrap().take_first().unwrap();
    drop(locked.remove(slots(0b10)));
    assert!(locked.insert(PageIndex::new(1), foreign).is_err());
    assert_eq!(
        locked.insert_batch(slots(0b10), &mut other.cache.allocate(1).unwrap()),
        SlotMask::EMPTY
    );
    drop(locked);
    drop(mapping);
    machine.assert_balanced();
    other.assert_balanced();
}

#[test]
fn a_batch_fills_absent_slots_in_order() {
    let machine: Machine = Machine::new(64);
    let mapping = machine.mapping();
    populate(&mapping, run(1, 1), |_| 1);
    let mut batch = machine.cache.allocate(3).unwrap();
    let mut locked = mapping.lock(cx(), run(0, 4)).unwrap();
    assert_eq!((batch.len(), batch.is_empty()), (3, false));
    assert_eq!(locked.insert_batch(SlotMask::ALL, &mut batch), slots(0b1101));
    assert_eq!((batch.len(), batch.is_empty()), (0, true));
    assert_eq!(locked.present(), slots(0b1111));
    assert_eq!(locked.uptodate(), slots(0b0010));
}

#[test]
fn contiguous_frames_are_one_span_and_scattered_ones_are_not() {
    for (scattered, expected) in [(false, 64 * PAGE_SIZE - 100), (true, PAGE_SIZE - 100)] {
        let machine: Machine = Machine::new(256);
        let mapping = machine.mapping();
        machine.frames.scattered.store(scattered, core::sync::atomic::Ordering::Relaxed);
        populate(&mapping, run(0, 64), |i| i as u8);
        for _ in 0..2 {
            let locked = mapping.lock(cx(), run(0, 64)).unwrap();
            assert_eq!(locked.span(100, usize::MAX).unwrap().1, expected);
            assert_eq!(locked.span(100, 50).unwrap().1, 50);
            let section = mapping.read_section(cx());
            assert_eq!(section.span(100, usize::MAX).unwrap().1, expected);
            assert_eq!(section.span(PAGE - 1, 1).unwrap().1, 1);
            let all = read_all(&section, 0, 64 * PAGE_SIZE);
            assert!(all.iter().enumerate().all(|(at, &b)| b == (at / PAGE_SIZE) as u8));
        }
    }
}

#[test]
fn a_span_never_leaves_its_run() {
    let machine: Machine = Machine::new(256);
    let mapping = machine.mapping();
    populate(&mapping, run(0, 64), |_| 1);
    mapping.lock(cx(), run(0, 64)).unwrap().span(0, usize::MAX).unwrap();
    let locked = mapping.lock(cx(), run(4, 3)).unwrap();
    assert_eq!(locked.span(4 * PAGE, usize::MAX).unwrap().1, 3 * PAGE_SIZE);
    assert_eq!(locked.span(6 * PAGE + 1, usize::MAX).unwrap().1, PAGE_SIZE - 1);
    assert!(locked.span(3 * PAGE, 1).is_none());
    assert!(locked.span(7 * PAGE, 1).is_none());
}

#[test]
fn removal_of_a_page_ends_its_neighbours_stretch() {
    let machine: Machine = Machine::new(256);
    let mapping = machine.mapping();
    populate(&mapping, run(0, 8), |i| i as u8);
    mapping.lock(cx(), run(0, 8)).unwrap().span(0, usize::MAX).unwrap();
    drop(mapping.lock(cx(), run(3, 1)).unwrap().remove(SlotMask::single(3)));
    let section = mapping.read_section(cx());
    assert_eq!(section.span(0, usize::MAX).unwrap().1, 3 * PAGE_SIZE);
    assert!(section.span(3 * PAGE, 1).is_none());
    assert_eq!(section.span(4 * PAGE, usize::MAX).unwrap().1, 4 * PAGE_SIZE);
    drop(section);
    // Another frame takes its place: held, so that the old one is not had again.
    let spare = machine.cache.allocate(1).unwrap();
    populate(&mapping, run(3, 1), |i| i as u8);
    drop(spare);
    let locked = mapping.lock(cx(), run(0, 8)).unwrap();
    assert_eq!(locked.span(0, usize::MAX).unwrap().1, 3 * PAGE_SIZE);
    drop(locked);
    let section = mapping.read_section(cx());
    let all = read_all(&section, 0, 8 * PAGE_SIZE);
    assert!(all.iter().enumerate().all(|(at, &b)| b == (at / PAGE_SIZE) as u8));
}

#[test]
fn a_reader_stops_at_the_first_page_that_is_not_uptodate() {
    let machine: Machine = Machine::new(64);
    let mapping = machine.mapping();
    let mut batch = machine.cache.allocate(4).unwrap();
    let mut locked = mapping.lock_or_create(cx(), run(0, 4)).unwrap();
    assert_eq!(locked.insert_batch(SlotMask::ALL, &mut batch), slots(0b1111));
    locked.set_uptodate(slots(0b1011));
    locked.span(0, usize::MAX).unwrap();
    drop(locked);
    let section = mapping.read_section(cx());
    assert_eq!(section.span(10, usize::MAX).unwrap().1, 2 * PAGE_SIZE - 10);
    assert!(section.span(2 * PAGE, 1).is_none());
    assert!(section.span(3 * PAGE, 1).is_some());
    assert!(section.span(0, 0).is_none());
    assert!(section.span(64 * PAGE, 1).is_none());
}

#[test]
fn zeroing_crosses_pages_and_skips_absent_ones() {
    let machine: Machine = Machine::new(64);
    let mapping = machine.mapping();
    populate(&mapping, run(0, 2), |_| 9);
    populate(&mapping, run(3, 1), |_| 9);
    take_traces();
    let mut locked = mapping.lock(cx(), run(0, 4)).unwrap();
    locked.zero(PAGE - 10, 2 * PAGE_SIZE + 20);
    locked.zero(0, 0);
    drop(locked);
    let zeroed: usize =
        take_traces().iter().map(|event| if let Trace::Zeroed(n) = event { *n } else { 0 }).sum();
    assert_eq!(zeroed, 10 + PAGE_SIZE + 10);
    let section = mapping.read_section(cx());
    let front = read_all(&section, 0, 2 * PAGE_SIZE);
    assert!(front[..PAGE_SIZE - 10].iter().all(|&b| b == 9));
    assert!(front[PAGE_SIZE - 10..].iter().all(|&b| b == 0));
    let back = read_all(&section, 3 * PAGE, PAGE_SIZE);
    assert!(back[..10].iter().all(|&b| b == 0) && back[10..].iter().all(|&b| b == 9));
}

#[test]
fn filling_leaves_no_recycled_byte_and_no_mark() {
    let machine: Machine = Machine::new(64);
    let mapping = machine.mapping();
    let mut batch = machine.cache.allocate(1).unwrap();
    let mut locked = mapping.lock_or_create(cx(), run(0, 2)).unwrap();
    locked.insert_batch(slots(0b1), &mut batch);
    assert_eq!(locked.fill(PageIndex::new(1), 0, |_| Ok(())), Err(Errno::Invalid));
    assert_eq!(locked.fill(PageIndex::ZERO, 0, |_| Err(Errno::Io)), Err(Errno::Io));
    let filled = locked.fill(PageIndex::ZERO, 0, |buf| {
        assert_eq!(buf.write(b"abc"), 3);
        assert_eq!(buf.skip_zero(2), 2);
        assert_eq!(buf.write(b"d"), 1);
        assert_eq!(buf.remaining(), PAGE_SIZE - 6);
        Ok(())
    });
    assert_eq!(filled, Ok(()));
    assert_eq!(locked.uptodate(), SlotMask::EMPTY);
    locked.set_uptodate(slots(0b1));
    assert_eq!(locked.fill(PageIndex::ZERO, 0, |_| Err(Errno::Io)), Ok(()));
    drop(locked);
    let section = mapping.read_section(cx());
    let bytes = read_all(&section, 0, PAGE_SIZE);
    assert_eq!(&bytes[..6], b"abc\0\0d");
    assert!(bytes[6..].iter().all(|&b| b == 0));
}

#[test]
fn filling_zeroes_and_reports_what_the_store_left_and_spares_valid_pages_in_any_slot() {
    let machine: Machine = Machine::new(64);
    let mapping = machine.mapping();
    let mut batch = machine.cache.allocate(2).unwrap();
    let mut locked = mapping.lock_or_create(cx(), run(5, 2)).unwrap();
    locked.insert_batch(SlotMask::ALL, &mut batch);
    let (first, second) = (PageIndex::new(5), PageIndex::new(6));
    take_traces();
    locked
        .fill(first, 0, |buf| (buf.write(&[1; 100]) == 100).then_some(()).ok_or(Errno::Io))
        .unwrap();
    assert_eq!(take_traces(), [Trace::Zeroed(PAGE_SIZE - 100)]);
    let whole = [2; PAGE_SIZE];
    locked
        .fill(second, 0, |buf| (buf.write(&whole) == PAGE_SIZE).then_some(()).ok_or(Errno::Io))
        .unwrap();
    assert_eq!(take_traces(), []);
    locked.set_uptodate(SlotMask::single(5));
    assert_eq!(locked.fill(first, 0, |_| Err(Errno::Io)), Ok(()));
    assert_eq!(locked.fill(second, 0, |_| Err(Errno::Io)), Err(Errno::Io));
}

#[test]
fn a_reader_stops_there_even_if_the_frames_go_on_and_nobody_has_looked() {
    let machine: Machine = Machine::new(64);
    let mapping = machine.mapping();
    let mut batch = machine.cache.allocate(3).unwrap();
    let mut locked = mapping.lock_or_create(cx(), run(0, 3)).unwrap();
    assert_eq!(locked.insert_batch(SlotMask::ALL, &mut batch), slots(0b111));
    locked.set_uptodate(slots(0b011));
    drop(locked);
    let section = mapping.read_section(cx());
    assert_eq!(section.span(0, usize::MAX).unwrap().1, 2 * PAGE_SIZE);
}

#[test]
fn an_owned_frame_is_poison_until_zeroed_and_comes_back() {
    let machine: Machine = Machine::new(4);
    let mut frame = machine.cache.allocate(1).unwrap().take_first().unwrap();
    assert!(frame.bytes().iter().all(|&b| b == POISON));
    frame.zero();
    assert!(frame.bytes().iter().all(|&b| b == 0));
    assert_eq!(machine.frames.references(frame.number()), 1);
    drop(frame);
    let batch = machine.cache.allocate(100).unwrap();
    assert_eq!(batch.len(), 4);
    drop(batch);
    machine.assert_balanced();
}

#[test]
fn find_yields_maximal_runs_inside_a_leaf() {
    let machine: Machine = Machine::new(256);
    let mapping = machine.mapping();
    populate(&mapping, run(3, 4), |_| 1);
    populate(&mapping, run(63, 1), |_| 1);
    populate(&mapping, run(64, 2), |_| 1);
    populate(&mapping, run(1 << 30, 1), |_| 1);
    let find = |from: u64, end: u64, mark| {
        mapping
            .find(PageIndex::new(from), PageIndex::new(end), mark)
            .map(|run| (run.first().get(), run.pages()))
    };
    assert_eq!(find(0, u64::MAX, Mark::Present), Some((3, 4)));
    assert_eq!(find(4, 6, Mark::Present), Some((4, 2)));
    assert_eq!(find(7, u64::MAX, Mark::Present), Some((63, 1)));
    assert_eq!(find(64, u64::MAX, Mark::Present), Some((64, 2)));
    assert_eq!(find(66, u64::MAX, Mark::Present), Some((1 << 30, 1)));
    assert_eq!(find(66, 1 << 30, Mark::Present), None);
    assert_eq!(find(0, u64::MAX, Mark::Dirty), None);
    mapping.lock(cx(), run(64, 2)).unwrap().set_dirty(slots(0b10));
    assert_eq!(find(0, u64::MAX, Mark::Dirty), Some((65, 1)));
    assert_eq!(find(5, 5, Mark::Present), None);
    let span = |from: u64, end: u64, mark| {
        mapping
            .find_span(PageIndex::new(from), PageIndex::new(end), mark)
            .map(|run| (run.first().get(), run.pages()))
    };
    assert_eq!(span(0, u64::MAX, Mark::Present), Some((3, 61)));
    assert_eq!(span(5, 63, Mark::Present), Some((5, 2)));
    assert_eq!(span(64, u64::MAX, Mark::Present), Some((64, 2)));
    assert_eq!(span(66, 1 << 30, Mark::Present), None);
    assert_eq!(span(0, u64::MAX, Mark::Dirty), Some((65, 1)));
    assert_eq!(mapping.cached_pages(), 8);
}
