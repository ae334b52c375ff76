//! Removal of many runs: shared grace periods, and whose pages they are.

use std::sync::mpsc::{RecvTimeoutError, channel};
use std::thread;
use std::time::Duration;

use crate::testing::{Machine, cx, populate, run, slots, take_traces, with_watchdog};
use crate::{Frames, Mark, PAGE_SIZE, PageIndex, SlotMask, Trace};

fn grace_periods() -> usize {
    take_traces().iter().filter(|&&event| event == Trace::GracePeriod).count()
}

#[test]
fn every_other_page_of_two_thousand_leaves_in_eleven_grace_periods() {
    let machine: Machine = Machine::new(1200);
    let mapping = machine.mapping();
    for page in 0..1000 {
        populate(&mapping, run(2 * page, 1), |_| 1);
    }
    let (end, mut from, mut waits) = (PageIndex::new(2000), PageIndex::ZERO, 0);
    take_traces();
    let mut removals = mapping.removals();
    while let Some(run) = mapping.find(from, end, Mark::Present) {
        let mut locked = mapping.lock(cx(), run).unwrap();
        assert_eq!(removals.take(&mut locked, SlotMask::ALL), run.mask());
        assert!(removals.len() <= 96);
        from = run.end();
        waits += grace_periods();
    }
    assert_eq!(mapping.cached_pages(), 0);
    drop(removals);
    waits += grace_periods();
    assert_eq!(waits, 1000_usize.div_ceil(96));
    drop(mapping);
    machine.assert_balanced();
}

#[test]
fn one_run_at_a_time_has_a_grace_period_each_and_nothing_removed_has_none() {
    let machine: Machine = Machine::new(64);
    let mapping = machine.mapping();
    populate(&mapping, run(0, 4), |_| 1);
    take_traces();
    let mut locked = mapping.lock(cx(), run(0, 4)).unwrap();
    for slot in 0..4 {
        assert_eq!(locked.remove(SlotMask::single(slot)).len(), 1);
    }
    assert_eq!(grace_periods(), 4);
    assert!(locked.remove(SlotMask::ALL).is_empty());
    let mut removals = machine.cache.removals();
    assert_eq!(removals.take(&mut locked, SlotMask::ALL), SlotMask::EMPTY);
    assert!(removals.is_empty());
    drop(removals);
    assert_eq!(grace_periods(), 0);
}

#[test]
fn full_removals_wait_with_the_pages_locked_and_whole_leaves_fit() {
    let machine: Machine = Machine::new(256);
    let mapping = machine.mapping();
    for leaf in 0..3 {
        populate(&mapping, run(64 * leaf, 64), |_| 1);
    }
    take_traces();
    let mut removals = machine.cache.removals();
    let mut held = std::vec::Vec::new();
    for leaf in 0..3 {
        let mut locked = mapping.lock(cx(), run(64 * leaf, 64)).unwrap();
        let frame = locked.frame(run(64 * leaf, 1).first()).unwrap();
        assert_eq!(removals.take(&mut locked, SlotMask::ALL), SlotMask::ALL);
        assert_eq!((removals.len(), grace_periods()), (64, usize::from(leaf > 0)));
        assert_eq!(machine.frames.references(frame), 1, "not released before its grace period");
        held.push(locked);
    }
    drop(removals);
    assert_eq!(grace_periods(), 1);
    drop(held);
    drop(mapping);
    machine.assert_balanced();
}

#[test]
fn removals_leave_pages_under_writeback_and_pages_of_another_cache_alone() {
    let (machine, other): (Machine, Machine) = (Machine::new(64), Machine::new(64));
    let mapping = machine.mapping();
    populate(&mapping, run(0, 3), |_| 1);
    let mut locked = mapping.lock(cx(), run(0, 3)).unwrap();
    locked.set_dirty(slots(0b010));
    let writeback = locked.begin_writeback(run(1, 1), 0).unwrap();
    let mut foreign = other.cache.removals();
    assert_eq!(foreign.take(&mut locked, SlotMask::ALL), SlotMask::EMPTY);
    assert_eq!(locked.present(), slots(0b111));
    let mut removals = machine.cache.removals();
    assert_eq!(removals.take(&mut locked, slots(0b011)), slots(0b001));
    assert_eq!(locked.present(), slots(0b110));
    writeback.complete(Ok(()));
    assert_eq!(removals.take(&mut locked, SlotMask::ALL), slots(0b110));
}

#[test]
fn no_frame_of_removals_is_released_under_a_reader() {
    with_watchdog(|| {
        let machine: Machine = Machine::new(256);
        let mapping = machine.mapping();
        populate(&mapping, run(0, 64), |_| 7);
        populate(&mapping, run(64, 64), |_| 7);
        let section = mapping.read_section(cx());
        let (memory, len) = section.span(0, 64 * PAGE_SIZE).unwrap();
        let (done, finished) = channel();
        thread::scope(|scope| {
            let mapping = &mapping;
            scope.spawn(move || {
                let mut removals = mapping.removals();
                for leaf in [run(0, 64), run(64, 64)] {
                    removals.take(&mut mapping.lock(cx(), leaf).unwrap(), SlotMask::ALL);
                }
                drop(removals);
                done.send(()).unwrap();
            });
            let waited = finished.recv_timeout(Duration::from_millis(30));
            assert_eq!(waited, Err(RecvTimeoutError::Timeout), "did not wait");
            // SAFETY: the section is open, and nothing writes the pages.
            let bytes = unsafe { core::slice::from_raw_parts(memory.as_ptr(), len) };
            assert!(bytes.iter().all(|&byte| byte == 7), "a frame was recycled");
            drop(section);
            finished.recv().unwrap();
        });
    });
}
