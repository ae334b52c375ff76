//! Syncs and changes of the size that do not sleep.

use std::sync::Arc;
use std::vec::Vec;

use faultless_page::{Errno, PageIndex, PageRun, SyncKind};
use faultless_parts::{Answer, Call, When};

use super::kernel::{TestKernel, held};
use super::nonblocking::{Polled, lock_context, queued};
use super::rig::{File, token, write_elsewhere};
use super::store::Event;
use super::throttle::Queue;
use super::{PAGE, Rig, bytes};
use crate::{ErrorCursor, NonBlocking, NotYet};

/// A file of so many pages, all of them dirty, whose requests wait in a queue.
fn dirty(rig: &Rig, pages: usize) -> (File, Arc<Queue>, Vec<u8>) {
    let (file, queue, _) = queued(rig, pages);
    let new = bytes(9, pages * PAGE);
    for (at, page) in new.chunks(PAGE).enumerate() {
        write_elsewhere(&file, (at * PAGE) as u64, page);
    }
    rig.store.take_events();
    (file, queue, new)
}

fn sync(calls: &mut NonBlocking<'_, TestKernel>, task: &Polled<'_>) -> Result<(), NotYet> {
    let synced = calls.fsync_range(&mut token(), SyncKind::All, 0..u64::MAX, task);
    assert_eq!(held(), [], "P5: no lock is kept");
    synced
}

fn set_size(
    calls: &mut NonBlocking<'_, TestKernel>,
    size: usize,
    task: &Polled<'_>,
) -> Result<(), NotYet> {
    let set = calls.set_size(&mut token(), size as u64, task);
    assert_eq!(held(), [], "P5: no lock is kept");
    set
}

/// Ends the requests of the queue, and the file.
fn end(file: File, queue: &Queue) {
    while queue.work() {}
    file.discard();
}

#[test]
fn f1_a_sync_is_refused_until_its_pages_are_on_the_store() {
    let rig = Rig::new();
    let (file, queue, new) = dirty(&rig, 3);
    let (task, mut calls) = (Polled::default(), file.nonblocking());
    task.refused_until(
        || sync(&mut calls, &task),
        || {
            let events = rig.store.take_events();
            assert!(!events.iter().any(|event| matches!(event, Event::Sync(_))), "{events:?}");
            while queue.work() {}
        },
    );
    assert_eq!(sync(&mut calls, &task), Ok(()));
    rig.assert_stored(&new);
    assert!(matches!(rig.store.take_events()[..], [.., Event::Sync(SyncKind::All)]));
    assert_eq!(sync(&mut calls, &task), Ok(()), "there is nothing to wait for");
    drop(calls);
    end(file, &queue);
}

#[test]
fn f2_a_writeback_that_fails_between_two_calls_is_an_error_once() {
    let rig = Rig::new();
    let (file, queue, _) = dirty(&rig, 1);
    let (task, mut calls, mut cursor) =
        (Polled::default(), file.nonblocking(), ErrorCursor::default());
    rig.store.faults.plan(Call::Writeback, When::Nth(1), Answer::Fail(Errno::Io)).expect("");
    task.refused_until(|| sync(&mut calls, &task), || assert!(queue.work()));
    assert_eq!(sync(&mut calls, &task), Err(NotYet::Failed(Errno::Io)));
    let mut since = |cursor: &mut ErrorCursor| {
        calls.fsync_since(&mut token(), SyncKind::Data, 0..u64::MAX, cursor, &task)
    };
    task.refused_until(|| since(&mut cursor), || assert!(queue.work()));
    assert_eq!(since(&mut cursor), Err(NotYet::Failed(Errno::Io)), "the open file was not told");
    assert_eq!(since(&mut cursor), Ok(()));
    drop(calls);
    end(file, &queue);
}

/// The writeback that another caller has under way is waited for, and the page sent if it failed.
#[test]
fn f1_a_page_that_is_under_way_and_fails_is_sent_again() {
    let rig = Rig::new();
    let (file, queue, new) = dirty(&rig, 2);
    assert_eq!(file.flush(&mut token(), 9, &rig.task).pages, 2);
    let (task, mut calls) = (Polled::default(), file.nonblocking());
    rig.store.faults.plan(Call::Writeback, When::Nth(1), Answer::Fail(Errno::Io)).expect("");
    task.refused_until(|| sync(&mut calls, &task), || assert!(queue.work()));
    task.refused_until(|| sync(&mut calls, &task), || while queue.work() {});
    assert_eq!(sync(&mut calls, &task), Err(NotYet::Failed(Errno::Io)));
    rig.assert_stored(&new);
    drop(calls);
    end(file, &queue);
}

#[test]
fn f4_a_page_that_becomes_dirty_behind_the_first_pass_is_left() {
    let rig = Rig::new();
    let (file, queue, _) = dirty(&rig, 2);
    let (task, mut calls) = (Polled::default(), file.nonblocking());
    task.refused_until(
        || sync(&mut calls, &task),
        || {
            write_elsewhere(&file, 0, b"later");
            while queue.work() {}
        },
    );
    assert_eq!(sync(&mut calls, &task), Ok(()));
    assert_eq!(file.residency(0..u64::MAX).dirty, 1);
    drop(calls);
    end(file, &queue);
}

#[test]
fn l1_an_inode_or_a_page_that_is_taken_refuses_a_change_of_the_size() {
    let rig = Rig::new();
    rig.fill(&bytes(1, 2 * PAGE));
    let (task, mut calls) = (Polled::default(), rig.file().nonblocking());
    let size_lock = rig.file().lock.lock(rig.cache.wait());
    task.refused_until(|| calls.set_size(&mut token(), 5000, &task), || drop(size_lock));
    let locked = rig.file().mapping().lock(lock_context(), PageRun::single(PageIndex::new(1)));
    let refused = calls.set_size(&mut token(), 5000, &task);
    assert!(matches!(refused, Err(NotYet::WouldWait(_))));
    assert_eq!(rig.file().size(), 2 * PAGE as u64, "nothing has changed");
    drop(locked);
    assert_eq!(set_size(&mut calls, 5000, &task), Ok(()));
    rig.assert_keeps(&bytes(1, 2 * PAGE)[..5000]);
    assert_eq!(set_size(&mut rig.file().nonblocking(), 3 * PAGE, &task), Ok(()));
    assert_eq!(rig.file().size(), 3 * PAGE as u64);
}

/// The size changes once: what another caller appends before the call is repeated stays.
#[test]
fn a_truncation_that_is_refused_for_a_writeback_has_happened_and_cuts_no_second_time() {
    let rig = Rig::new();
    let (file, queue, _) = dirty(&rig, 4);
    assert_eq!(file.flush(&mut token(), 9, &rig.task).pages, 4);
    let (task, mut calls) = (Polled::default(), file.nonblocking());
    let key = task.refused(|| set_size(&mut calls, PAGE, &task));
    assert_eq!(file.size(), PAGE as u64);
    assert_eq!(task.refused(|| set_size(&mut calls, PAGE, &task)), key, "it is still under way");
    while queue.work() {}
    write_elsewhere(&file, PAGE as u64, b"appended");
    assert_eq!(set_size(&mut calls, PAGE, &task), Ok(()));
    assert_eq!(file.size(), PAGE as u64 + 8);
    assert_eq!(file.mapping().cached_pages(), 2);
    drop(calls);
    end(file, &queue);
}

#[test]
fn a_truncation_that_is_repeated_leaves_nothing_past_the_end() {
    let rig = Rig::new();
    let (file, queue, _) = dirty(&rig, 4);
    assert_eq!(file.flush(&mut token(), 9, &rig.task).pages, 4);
    let (task, mut calls) = (Polled::default(), file.nonblocking());
    task.refused_until(|| set_size(&mut calls, PAGE, &task), || while queue.work() {});
    assert_eq!(file.mapping().cached_pages(), 4, "what was cut off is not freed yet");
    assert_eq!(set_size(&mut calls, PAGE, &task), Ok(()));
    assert_eq!(file.mapping().cached_pages(), 1);
    drop(calls);
    end(file, &queue);
}
