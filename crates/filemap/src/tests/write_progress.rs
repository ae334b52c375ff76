//! Overwrites: the rounds of a write, what ends them, and what other tasks do between two of them.
#![forbid(unsafe_code)]

use faultless_page::{Errno, Trace};
use faultless_parts::{Answer, Call, When};

use super::kernel::{self, Tester, take_seen};
use super::rig::{token, write_elsewhere};
use super::{PAGE, Rig, both, bytes, overlay};
use crate::WriteOptions;

#[test]
fn w6_a_source_that_is_never_there_for_an_atomic_copy_still_lands() {
    both(|rig| {
        let old = bytes(1, 3 * PAGE);
        rig.fill_cold(&old);
        let new = bytes(2, 2 * PAGE + 50);
        let source = rig.user.put(0, &new);
        rig.user.atomic.set(0);
        let (written, left) = rig.write_from(&[source], &WriteOptions::at(10));
        assert_eq!((written.map(|written| written.bytes), left), (Ok(new.len()), 0));
        let bounced = take_seen(|event| matches!(event, Trace::Bounced(_)));
        assert_eq!(bounced.len(), 3, "a temporary page for each page: {bounced:?}");
        rig.assert_keeps(&overlay(&old, 10, &new));
    });
}

#[test]
fn w6_an_atomic_copy_of_one_byte_at_a_time_ends() {
    both(|rig| {
        let old = bytes(1, PAGE);
        rig.fill(&old);
        let source = rig.user.put(0, &bytes(2, 40));
        rig.user.atomic.set(1);
        let (written, left) = rig.write_from(&[source], &WriteOptions::at(7));
        assert_eq!((written.map(|written| written.bytes), left), (Ok(40), 0));
        rig.assert_keeps(&overlay(&old, 7, &bytes(2, 40)));
    });
}

#[test]
fn u3_the_first_attempt_of_an_overwrite_in_memory_does_not_fault_in() {
    let rig = Rig::new();
    rig.fill(&bytes(1, 2 * PAGE));
    let before = rig.user.faulting.get();
    assert_eq!(rig.write(5, &bytes(2, PAGE)), Ok(PAGE));
    assert_eq!(rig.user.faulting.get(), before);
    assert_eq!(take_seen(|event| matches!(event, Trace::FastPath(_))), [Trace::FastPath(2)]);
    // Fully reserved and uptodate: the store is not asked (of strategy A neither).
    assert_eq!(rig.store.take_events(), []);
}

#[test]
fn p3_strategy_a_faults_in_the_source_before_a_page_is_locked() {
    let rig = Rig::with(crate::Strategy::PrepareCommit);
    rig.fill(&bytes(1, PAGE));
    let before = rig.user.faulting.get();
    assert_eq!(rig.write(5, b"four"), Ok(4));
    assert!(rig.user.faulting.get() > before);
}

#[test]
fn w10_a_signal_before_the_first_byte_is_eintr_and_changes_nothing() {
    both(|rig| {
        let old = bytes(1, 2 * PAGE);
        rig.fill_cold(&old);
        rig.task.looks.set(0);
        assert_eq!(rig.write(0, &bytes(2, PAGE)), Err(Errno::Interrupted));
        assert_eq!(rig.write(2 * PAGE as u64, &bytes(2, PAGE)), Err(Errno::Interrupted));
        rig.task.looks.set(u64::MAX);
        rig.assert_keeps(&old);
    });
}

#[test]
fn w10_a_signal_midway_gives_what_landed() {
    for looks in 1..12 {
        both(|rig| {
            let old = bytes(1, 4 * PAGE);
            rig.fill_cold(&old);
            let new = bytes(2, 4 * PAGE);
            let source = rig.user.put(0, &new);
            // Each round of strategy B brings so many bytes, and looks for a signal.
            rig.user.atomic.set(100);
            rig.task.looks.set(looks);
            let (written, left) = rig.write_from(&[source], &WriteOptions::at(0));
            rig.task.looks.set(u64::MAX);
            let landed = written.map_or_else(
                |errno| {
                    assert_eq!(errno, Errno::Interrupted);
                    0
                },
                |written| written.bytes,
            );
            assert!(landed < 4 * PAGE || looks > 3, "{landed} bytes with a signal at {looks}");
            assert_eq!(left, 4 * PAGE - landed);
            rig.assert_keeps(&overlay(&old, 0, &new[..landed]));
        });
    }
}

#[test]
fn w12_a_write_stamps_the_times_and_clears_set_id() {
    both(|rig| {
        rig.fill(b"old");
        for (now, pos) in [(50, 0), (60, 3), (70, 9)] {
            rig.file().mark_set_id();
            rig.task.now.set(now);
            assert_eq!(rig.write(pos, b"x"), Ok(1));
            let times = rig.file().times();
            assert_eq!((times.modified, times.changed), (now, now));
            assert!(!rig.file().is_set_id());
        }
        rig.file().mark_set_id();
        rig.task.keeps_set_id.set(true);
        assert_eq!((rig.write(0, b"x"), rig.file().is_set_id()), (Ok(1), true));
    });
}

#[test]
fn w4_an_unreadable_page_of_the_store_ends_a_write_after_what_landed() {
    both(|rig| {
        let old = bytes(1, 2 * PAGE);
        rig.fill_cold(&old);
        let new = bytes(2, PAGE + 10);
        // The first page is replaced whole; the second has to be read.
        rig.store.faults.plan(Call::Read, When::EveryNth(1), Answer::Fail(Errno::Io)).expect("");
        assert_eq!(rig.write(0, &new), Ok(PAGE));
        assert_eq!(rig.write(PAGE as u64 + 1, b"x"), Err(Errno::Io), "the next call says it");
        rig.store.faults.clear();
        rig.assert_keeps(&overlay(&old, 0, &new[..PAGE]));
    });
}

#[test]
fn p6_an_overwrite_that_is_cut_off_before_its_first_byte_becomes_a_growing_one() {
    both(|rig| {
        let old = bytes(1, 3 * PAGE);
        rig.fill(&old);
        let source = rig.user.put(0, &bytes(2, 100));
        rig.user.atomic.set(0);
        let file = rig.file().clone();
        rig.user.at_next_fault(move || {
            let task = Tester::new();
            assert_eq!(file.set_size(&mut token(), 10, &task), Ok(()));
        });
        let (written, _) = rig.write_from(&[source], &WriteOptions::at(2 * PAGE as u64));
        assert_eq!(written.map(|written| written.bytes), Ok(100));
        rig.assert_keeps(&overlay(&old[..10], 2 * PAGE, &bytes(2, 100)));
    });
}

#[test]
fn l6_the_throttle_is_asked_after_each_write_that_landed_with_nothing_held() {
    both(|rig| {
        rig.fill(b"old");
        let before = rig.task.throttled.get();
        assert_eq!(rig.write(0, b"n"), Ok(1));
        assert_eq!(rig.task.throttled.get(), before + 1);
        rig.user.ends_at(0);
        assert_eq!(rig.write(0, b"n"), Err(Errno::Fault));
        assert_eq!(rig.task.throttled.get(), before + 1, "nothing landed");
    });
}

#[test]
fn p3_no_frame_is_left_after_a_failed_write() {
    for allocations in 0..6 {
        both(|rig| {
            let old = bytes(1, 2 * PAGE);
            rig.fill_cold(&old);
            let new = bytes(2, 2 * PAGE - 20);
            rig.grant(allocations);
            let landed = rig.write(10, &new).unwrap_or_else(|errno| {
                assert_eq!(errno, Errno::NoMemory);
                0
            });
            rig.grant(u64::MAX);
            assert_eq!(rig.frames(), rig.cached(), "W9: a frame for each cached page");
            rig.assert_keeps(&overlay(&old, 10, &new[..landed]));
            assert_eq!(rig.write(10, &new), Ok(new.len()), "P8: nothing is lost");
        });
    }
}

#[test]
fn w13_two_writes_of_the_same_bytes_leave_those_of_the_later_one() {
    both(|rig| {
        let old = bytes(1, 2 * PAGE);
        rig.fill(&old);
        let source = rig.user.put(0, &bytes(2, 200));
        rig.user.atomic.set(0);
        let file = rig.file().clone();
        // The other one comes and goes while this one faults in, with nothing held.
        rig.user.at_next_fault(move || write_elsewhere(&file, 100, &bytes(3, 400)));
        let (written, _) = rig.write_from(&[source], &WriteOptions::at(200));
        assert_eq!(written.map(|written| written.bytes), Ok(200));
        let expected = overlay(&overlay(&old, 100, &bytes(3, 400)), 200, &bytes(2, 200));
        rig.assert_keeps(&expected);
    });
}

#[test]
fn p5_twin_a_lock_that_is_kept_is_seen() {
    let rig = Rig::new();
    rig.fill(b"old");
    let mut token = token();
    let locks = crate::PageLocks::page_locks(&mut token);
    let run = faultless_page::PageRun::single(faultless_page::PageIndex::ZERO);
    let locked = rig.file().mapping().lock_or_create_killable(locks, run, &|| false);
    assert_eq!(kernel::held().len(), 1, "the watch sees it");
    let seen = std::panic::catch_unwind(|| kernel::no_page_is_locked("an allocation"));
    assert!(seen.is_err());
    drop(locked);
    assert_eq!(kernel::held(), []);
}
