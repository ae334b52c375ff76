//! Writeback and sync: what is sent, in which order, and what becomes of failures.
#![forbid(unsafe_code)]

use core::panic::AssertUnwindSafe;
use std::panic::catch_unwind;

use faultless_page::{Errno, SyncKind};
use faultless_parts::{Answer, Call, When};

use super::kernel;
use super::rig::{token, write_elsewhere};
use super::store::{Event, Lie};
use super::{PAGE, Rig, bytes, overlay};
use crate::{MsyncKind, OpenFile, OpenFlags, Times};

/// A file of three pages, two stretches of which are dirty: the first page, and the third.
fn two_stretches() -> (Rig, std::vec::Vec<u8>) {
    let rig = Rig::new();
    let old = bytes(1, 3 * PAGE);
    rig.fill(&old);
    assert_eq!(rig.write(10, b"new"), Ok(3));
    assert_eq!(rig.write(2 * PAGE as u64, b"too"), Ok(3));
    rig.store.take_events();
    (rig, overlay(&overlay(&old, 10, b"new"), 2 * PAGE, b"too"))
}

/// Syncs through an open file.
fn sync(rig: &Rig, open: &mut OpenFile) -> Result<(), Errno> {
    open.fsync(rig.file(), &mut token(), SyncKind::All, &rig.task)
}

#[test]
fn f1_a_sync_sends_each_dirty_page_once_in_order_and_then_syncs_the_store() {
    let (rig, expected) = two_stretches();
    assert_eq!(rig.fsync(), Ok(()));
    let page = |index| Event::Writeback(index, 1, PAGE);
    assert_eq!(rig.store.take_events(), [page(0), page(2), Event::Sync(SyncKind::All)]);
    rig.assert_stored(&expected);
    assert_eq!(rig.fsync(), Ok(()));
    assert_eq!(rig.store.take_events(), [Event::Sync(SyncKind::All)], "all is clean");
}

#[test]
fn w12_a_sync_tells_the_store_the_times() {
    let rig = Rig::new();
    let told = || *rig.store.times.lock().expect("not held in a panic");
    rig.task.now.set(7);
    assert_eq!(rig.write(0, b"new"), Ok(3));
    assert_eq!(told(), None, "a write tells none");
    assert_eq!(rig.fsync(), Ok(()));
    assert_eq!(told(), Some((7, 7)));
    rig.file().set_times(Times { modified: 3, changed: 9 });
    assert_eq!(rig.fsync(), Ok(()));
    assert_eq!(told(), Some((3, 9)));
}

#[test]
#[should_panic(expected = "byte 10 on the store")]
fn f1_twin_a_store_that_did_not_send_is_seen() {
    let (rig, expected) = two_stretches();
    rig.store.lies(Lie::Sent);
    assert_eq!(rig.fsync(), Ok(()));
    rig.assert_stored(&expected);
}

#[test]
fn f2_a_failed_writeback_leaves_the_pages_dirty_and_is_told_once_to_each_open_file() {
    let (rig, expected) = two_stretches();
    let mut open = [OpenFlags::empty(); 3].map(|flags| OpenFile::new(&**rig.file(), flags));
    rig.store.faults.plan(Call::Writeback, When::Nth(1), Answer::Fail(Errno::NoSpace)).expect("");
    assert_eq!(sync(&rig, &mut open[0]), Err(Errno::NoSpace));
    let page = |index| Event::Writeback(index, 1, PAGE);
    let asked = [page(0), page(2), Event::Sync(SyncKind::All)];
    assert_eq!(rig.store.take_events(), asked, "the other page was sent all the same");
    assert_eq!(rig.evict(), 2, "F5: the failed page stays");
    assert_eq!(sync(&rig, &mut open[0]), Ok(()), "once");
    assert_eq!(rig.store.take_events()[0], page(0), "it was dirty");
    for open in &mut open[1..] {
        assert_eq!((sync(&rig, open), sync(&rig, open)), (Err(Errno::NoSpace), Ok(())));
    }
    assert_eq!(rig.fsync(), Err(Errno::NoSpace), "and a caller without an open file");
    assert_eq!(rig.fsync(), Ok(()));
    rig.assert_keeps(&expected);
}

#[test]
fn f2_an_open_file_is_told_of_older_failures_only_if_no_caller_was() {
    let (rig, _) = two_stretches();
    rig.store.faults.plan(Call::Writeback, When::Nth(1), Answer::Fail(Errno::Io)).expect("");
    assert_eq!(rig.writeback(), Err(Errno::Io), "whose result is not a report");
    let mut early = OpenFile::new(&**rig.file(), OpenFlags::empty());
    assert_eq!(sync(&rig, &mut early), Err(Errno::Io));
    let mut late = OpenFile::new(&**rig.file(), OpenFlags::empty());
    assert_eq!(sync(&rig, &mut late), Ok(()));
}

#[test]
fn f2_two_failures_between_two_syncs_are_one_report_of_the_later_one() {
    let (rig, _) = two_stretches();
    let mut open = OpenFile::new(&**rig.file(), OpenFlags::empty());
    for errno in [Errno::NoSpace, Errno::Io] {
        rig.store.faults.plan(Call::Writeback, When::EveryNth(1), Answer::Fail(errno)).expect("");
        assert_eq!(rig.writeback(), Err(errno));
    }
    rig.store.faults.clear();
    assert_eq!((sync(&rig, &mut open), sync(&rig, &mut open)), (Err(Errno::Io), Ok(())));
}

#[test]
fn f2_a_failed_sync_of_the_store_is_told_to_its_caller() {
    let (rig, expected) = two_stretches();
    let mut open = OpenFile::new(&**rig.file(), OpenFlags::empty());
    rig.store.faults.plan(Call::Sync, When::Nth(1), Answer::Fail(Errno::Io)).expect("");
    assert_eq!((sync(&rig, &mut open), sync(&rig, &mut open)), (Err(Errno::Io), Ok(())));
    rig.assert_keeps(&expected);
}

#[test]
fn f1_after_a_sync_that_lost_pages_none_succeeds_until_the_loss_is_accepted() {
    let (rig, expected) = two_stretches();
    rig.store.loses();
    let mut open = [OpenFlags::empty(); 2].map(|flags| OpenFile::new(&**rig.file(), flags));
    rig.store.faults.plan(Call::Sync, When::Nth(2), Answer::Fail(Errno::NoSpace)).expect("");
    assert_eq!(sync(&rig, &mut open[0]), Ok(()));
    for file in [0, 0, 1] {
        assert_eq!(sync(&rig, &mut open[file]), Err(Errno::NoSpace));
    }
    assert_eq!(rig.fsync(), Err(Errno::NoSpace), "without an open file");
    let msync = rig.file().msync(&mut token(), 0..1, MsyncKind::Sync, &rig.task);
    assert_eq!(msync, Err(Errno::NoSpace));
    assert_eq!(rig.writeback(), Ok(()), "which promises nothing of the store's syncs");
    rig.file().accept_failed_sync();
    assert_eq!((sync(&rig, &mut open[0]), sync(&rig, &mut open[1])), (Ok(()), Ok(())));
    rig.assert_keeps(&expected);
}

#[test]
fn f1_a_sync_that_unwinds_counts_as_failed() {
    let (rig, _) = two_stretches();
    for (loses, then) in [(false, Ok(())), (true, Err(Errno::Io))] {
        if loses {
            rig.store.loses();
        }
        rig.store.at_next(Call::Sync, || panic!("planned"));
        assert!(catch_unwind(AssertUnwindSafe(|| rig.fsync())).is_err());
        assert_eq!(rig.fsync(), then, "loses: {loses}");
    }
}

#[test]
fn f2_a_store_that_unwinds_counts_as_failed_and_its_pages_are_dirty() {
    let (rig, expected) = two_stretches();
    rig.store.at_next(Call::Writeback, || panic!("planned"));
    let unwound = catch_unwind(AssertUnwindSafe(|| rig.writeback()));
    assert!(unwound.is_err());
    assert_eq!(kernel::held(), [], "P5: nothing is under writeback, nor locked");
    assert_eq!(rig.fsync(), Err(Errno::Io), "told");
    assert_eq!(rig.fsync(), Ok(()));
    rig.assert_keeps(&expected);
}

#[test]
fn f3_the_store_is_told_the_size_before_it_gets_the_data() {
    let rig = Rig::new();
    rig.fill(b"old");
    assert_eq!(rig.write(PAGE as u64, b"new"), Ok(3));
    let told = |rig: &Rig| rig.store.inner().map().size();
    assert_eq!(told(&rig), 3, "a write does not tell");
    rig.store.take_events();
    assert_eq!(rig.writeback(), Ok(()));
    let size = PAGE as u64 + 3;
    assert_eq!(rig.store.take_events(), [Event::Size(size), Event::Writeback(1, 1, 3)]);
    assert_eq!(rig.writeback(), Ok(()));
    assert_eq!((rig.store.take_events(), told(&rig)), (std::vec![], size), "told once");
}

#[test]
fn f3_a_size_that_moved_during_a_sync_is_told_before_the_store_is_synced() {
    let rig = Rig::new();
    rig.fill(&bytes(1, 100));
    assert_eq!(rig.write(0, b"new"), Ok(3));
    rig.store.take_events();
    let file = rig.file().clone();
    rig.store.at_next(Call::Writeback, move || write_elsewhere(&file, PAGE as u64, b"more"));
    assert_eq!(rig.fsync(), Ok(()));
    let size = Event::Size(PAGE as u64 + 4);
    let sync = Event::Sync(SyncKind::All);
    let sent = rig.store.take_events();
    assert_eq!(sent.iter().filter(|event| **event == sync).count(), 1);
    assert!(sent.ends_with(&[size, sync]), "{sent:?}");
    let page = |event: &&Event| matches!(event, Event::Writeback(1, ..));
    assert_eq!(sent.iter().filter(page).count(), 0, "F4: past the end of its start");
}

#[test]
fn f4_a_page_that_is_written_during_its_writeback_stays_dirty_and_is_not_chased() {
    let (rig, expected) = two_stretches();
    let file = rig.file().clone();
    rig.store.at_next(Call::Writeback, move || write_elsewhere(&file, 10, b"NEW"));
    assert_eq!(rig.fsync(), Ok(()));
    let page = |index| Event::Writeback(index, 1, PAGE);
    assert_eq!(rig.store.take_events(), [page(0), page(2), Event::Sync(SyncKind::All)]);
    assert_eq!(rig.writeback(), Ok(()));
    assert_eq!(rig.store.take_events(), [page(0)], "it was dirty");
    rig.assert_keeps(&overlay(&expected, 10, b"NEW"));
}

#[test]
fn f1_no_lock_is_held_in_a_writeback_or_a_sync() {
    let (rig, _) = two_stretches();
    for call in [Call::Writeback, Call::Sync] {
        rig.store.at_next(call, || {
            kernel::no_page_is_locked("a call of the store");
            assert!(kernel::held().len() <= 1, "the writeback itself: {:?}", kernel::held());
        });
        assert_eq!(rig.fsync(), Ok(()));
    }
}

#[test]
fn f1_only_pages_of_the_range_are_sent() {
    let (rig, expected) = two_stretches();
    let page = PAGE as u64;
    let send = |range| rig.file().writeback(&mut token(), range, &rig.task);
    for range in [page..2 * page, page..page, 3 * page..u64::MAX, 5..5] {
        assert_eq!(send(range.clone()), Ok(()));
        let sent = rig.store.take_events();
        assert!(sent.is_empty() || range.start == 5, "{range:?} sent {sent:?}");
    }
    assert_eq!(send(2 * page + 5..2 * page + 6), Ok(()));
    assert_eq!(rig.store.take_events(), [Event::Writeback(2, 1, PAGE)]);
    rig.assert_keeps(&expected);
}

#[test]
fn f1_an_asynchronous_msync_sends_nothing_and_a_synchronous_one_its_range() {
    let (rig, expected) = two_stretches();
    let range = 0..PAGE as u64;
    let msync = |kind| rig.file().msync(&mut token(), range.clone(), kind, &rig.task);
    assert_eq!(msync(MsyncKind::Async), Ok(()));
    assert_eq!(rig.store.take_events(), []);
    assert_eq!(msync(MsyncKind::Sync), Ok(()));
    let asked = [Event::Writeback(0, 1, PAGE), Event::Sync(SyncKind::Data)];
    assert_eq!(rig.store.take_events(), asked);
    rig.assert_keeps(&expected);
}

#[test]
fn l3_a_signal_ends_a_sync_and_what_was_not_sent_is_dirty() {
    for looks in 0..2 {
        let (rig, expected) = two_stretches();
        rig.task.looks.set(looks);
        assert_eq!(rig.fsync(), Err(Errno::Interrupted));
        let sent = rig.store.take_events();
        assert_eq!(sent.len(), looks as usize, "no sync of the store: {sent:?}");
        rig.task.looks.set(u64::MAX);
        assert_eq!(rig.fsync(), Ok(()), "it was no failure of a writeback");
        rig.assert_keeps(&expected);
    }
}

#[test]
fn consecutive_dirty_pages_go_in_one_call() {
    let rig = Rig::new();
    assert_eq!(rig.write(0, &bytes(1, 3 * PAGE + 5)), Ok(3 * PAGE + 5));
    assert_eq!(rig.writeback(), Ok(()));
    let sent = rig.store.take_events();
    assert!(sent.ends_with(&[Event::Writeback(0, 4, 3 * PAGE + 5)]), "{sent:?}");
}
