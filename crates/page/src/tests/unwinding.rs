//! A [`Wait`](crate::Wait) that unwinds, which a safe trait may: what was to end ends once, and
//! nothing outlives what it points to.

use core::panic::AssertUnwindSafe;
use std::panic::catch_unwind;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::SeqCst;
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use crate::testing::{Machine, Test, cx, populate, run, slots, submit_with, with_watchdog};
use crate::{Errno, FileEnd, Mapping, ReadRequest, SlotMask, WritebackRequest};

/// A read of page 0, which is present.
fn read(mapping: &Mapping<Test>) -> ReadRequest {
    let mut batch = mapping.cache().allocate(1).unwrap();
    let mut locked = mapping.lock_or_create(cx(), run(0, 1)).unwrap();
    locked.insert_batch(SlotMask::ALL, &mut batch);
    let (give, take) = mpsc::channel();
    let end = FileEnd { visible: u64::MAX, on_store: u64::MAX };
    submit_with(locked, SlotMask::ALL, end, move |request| give.send(request).unwrap());
    take.recv().unwrap()
}

/// A writeback of page 0, which is uptodate.
fn writeback(mapping: &Mapping<Test>) -> WritebackRequest {
    populate(mapping, run(0, 1), |_| 3);
    let mut locked = mapping.lock(cx(), run(0, 1)).unwrap();
    locked.set_dirty(SlotMask::ALL);
    locked.begin_writeback(run(0, 1), u64::MAX).unwrap()
}

/// Runs `end` while another thread sleeps, in a wake that unwinds.
#[track_caller]
fn unwinds(machine: &Machine, end: impl FnOnce()) {
    while machine.wait.sleeping.load(SeqCst) == 0 {
        thread::yield_now();
    }
    machine.wait.unwinds.store(true, SeqCst);
    assert!(catch_unwind(AssertUnwindSafe(end)).is_err());
}

#[test]
fn a_read_whose_wake_unwinds_has_ended_and_does_not_touch_the_page_of_the_next_holder() {
    with_watchdog(|| {
        let machine: Machine = Machine::new(64);
        let mapping = machine.mapping();
        let request = read(&mapping);
        thread::scope(|scope| {
            let (locked, is_locked) = mpsc::channel();
            let (look, may_unlock) = mpsc::channel();
            let mapping = &mapping;
            scope.spawn(move || {
                let page = mapping.lock(cx(), run(0, 1)).unwrap();
                locked.send(page.uptodate()).unwrap();
                let _looked: Result<(), _> = may_unlock.recv();
                let error = page.read_error(run(0, 1).first());
                assert_eq!((page.uptodate(), error), (slots(0), Errno::NoSpace));
            });
            unwinds(&machine, || request.fail(Errno::NoSpace));
            assert_eq!(is_locked.recv(), Ok(slots(0)));
            assert!(mapping.try_lock(cx(), run(0, 1)).is_none(), "the next holder has it");
            look.send(()).unwrap();
        });
        drop(mapping);
        machine.assert_balanced();
    });
}

#[test]
fn a_writeback_whose_wake_unwinds_has_ended_as_the_store_said() {
    with_watchdog(|| {
        let machine: Machine = Machine::new(64);
        let mapping = machine.mapping();
        let request = writeback(&mapping);
        thread::scope(|scope| {
            scope.spawn(|| mapping.wait_writeback(run(0, 1)));
            unwinds(&machine, || request.complete(Ok(())));
        });
        let locked = mapping.lock(cx(), run(0, 1)).unwrap();
        assert_eq!((locked.dirty(), locked.writeback()), (slots(0), slots(0)));
        assert_eq!(mapping.failures().count(), 0);
        drop(locked);
        drop(mapping);
        machine.assert_balanced();
    });
}

#[test]
fn the_drop_of_a_mapping_that_unwinds_from_its_wait_waits_all_the_same() {
    with_watchdog(|| {
        let machine: Machine = Machine::new(64);
        let mapping = machine.mapping();
        let request = read(&mapping);
        let has_ended = AtomicBool::new(false);
        thread::scope(|scope| {
            scope.spawn(|| {
                thread::sleep(Duration::from_millis(20));
                has_ended.store(true, SeqCst);
                drop(request);
            });
            machine.wait.unwinds.store(true, SeqCst);
            assert!(catch_unwind(AssertUnwindSafe(|| drop(mapping))).is_err());
            assert!(has_ended.load(SeqCst), "the request points to the mapping's nodes");
        });
    });
}

#[test]
fn the_drop_of_a_mapping_returns_though_the_wake_of_its_last_request_unwinds() {
    with_watchdog(|| {
        let machine: Machine = Machine::new(64);
        let mapping = machine.mapping();
        let request = read(&mapping);
        thread::scope(|scope| {
            scope.spawn(move || drop(mapping));
            unwinds(&machine, || request.fail(Errno::Io));
        });
        machine.assert_balanced();
    });
}
