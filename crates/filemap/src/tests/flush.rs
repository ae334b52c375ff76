//! Flushing: what a step sends, where it goes on, and since when a file is dirty.

use std::sync::Arc;
use std::vec::Vec;

use faultless_page::{AddressSpaceOperations, Errno, PageIndex};
use faultless_parts::{Answer, Call, QueuedStore, When};
use faultless_usercopy::IovIter;

use super::kernel::{Patient, RmapCall};
use super::rig::{File, in_fault, token, write_elsewhere};
use super::store::{Disk, Event, TestStore};
use super::{PAGE, Rig, bytes};
use crate::dirty_age::DirtyAge;
use crate::{Access, Flushed, Inode, Left, NoTask, Strategy, WriteOptions};

/// A step of so many pages.
fn flush(rig: &Rig, budget_pages: u32) -> Flushed {
    rig.file().flush(&mut token(), budget_pages, &rig.task)
}

/// A file of `pages` pages, all of them dirty.
fn dirty(pages: usize) -> Rig {
    let rig = Rig::with_room(Strategy::BeginEnd, 600);
    for (at, piece) in bytes(1, pages * PAGE).chunks(PAGE).enumerate() {
        assert_eq!(rig.write((at * PAGE) as u64, piece), Ok(PAGE));
    }
    rig.store.take_events();
    rig
}

/// The first page and the number of pages of each request since the last call.
fn sent(rig: &Rig) -> Vec<(u64, u32)> {
    let events = rig.store.take_events();
    let sent = events.into_iter().filter_map(|event| match event {
        Event::Writeback(first, pages, _) => Some((first, pages)),
        _ => None,
    });
    sent.collect()
}

const DONE: Left = Left::Nothing;

#[test]
fn f4_a_step_sends_no_more_than_its_budget_and_the_next_one_goes_on_there() {
    let rig = dirty(10);
    assert_eq!(flush(&rig, 0), Flushed { pages: 0, left: Left::Dirty });
    assert_eq!(flush(&rig, 4), Flushed { pages: 4, left: Left::Dirty });
    assert_eq!(sent(&rig), [(0, 4)]);
    assert_eq!(rig.write(PAGE as u64, b"new"), Ok(3));
    assert_eq!(flush(&rig, 4), Flushed { pages: 4, left: Left::Dirty });
    assert_eq!(sent(&rig), [(4, 4)]);
    assert_eq!(flush(&rig, 4), Flushed { pages: 3, left: DONE });
    assert_eq!(sent(&rig), [(8, 2), (1, 1)], "to the end, and around");
    assert_eq!(flush(&rig, 4), Flushed { pages: 0, left: DONE });
}

#[test]
fn stretches_of_adjacent_leaves_follow_each_other() {
    let rig = dirty(130);
    assert_eq!(flush(&rig, u32::MAX), Flushed { pages: 130, left: DONE });
    assert_eq!(sent(&rig), [(0, 64), (64, 64), (128, 2)]);
    rig.assert_keeps(&bytes(1, 130 * PAGE));
}

#[test]
fn f3_the_store_is_told_the_size_before_it_gets_the_data_and_not_without_need() {
    let rig = dirty(1);
    assert_eq!(flush(&rig, 9).pages, 1);
    let page = PAGE as u64;
    assert_eq!(rig.store.take_events(), [Event::Size(page), Event::Writeback(0, 1, PAGE)]);
    assert_eq!(flush(&rig, 9).pages, 0);
    assert_eq!(rig.store.take_events(), []);
}

/// At each writeback, another task writes page 0 and the page behind the one that was sent.
fn dirty_at_each_writeback(store: &Arc<TestStore<Disk>>, file: &Arc<File>) {
    let (hooked, written) = (store.clone(), file.clone());
    store.at_next(Call::Writeback, move || {
        let Some(Event::Writeback(page, ..)) = hooked.events().last().copied() else { return };
        for page in [0, page, page + 1] {
            if page < 20 {
                write_elsewhere(&written, page * PAGE as u64, b"again");
            }
        }
        dirty_at_each_writeback(&hooked, &written);
    });
}

#[test]
fn f4_a_step_ends_although_pages_become_dirty_as_fast_as_they_are_sent() {
    let rig = dirty(20);
    assert_eq!(flush(&rig, 7).pages, 7);
    sent(&rig);
    assert_eq!(rig.fsync(), Ok(()));
    assert_eq!(rig.write(9 * PAGE as u64, b"one"), Ok(3));
    sent(&rig);
    dirty_at_each_writeback(&rig.store, rig.file());
    let flushed = flush(&rig, u32::MAX);
    let all = sent(&rig);
    assert_eq!(flushed, Flushed { pages: all.len() as u32, left: Left::Dirty });
    let pages: Vec<u64> = all.iter().map(|(page, _)| *page).collect();
    assert_eq!(pages, [(9..20).collect::<Vec<_>>(), (0..7).collect()].concat(), "each once");
    rig.store.at_next(Call::Sync, || {});
}

#[test]
fn a_page_that_is_locked_is_left_out_and_sent_by_a_later_step() {
    let rig = dirty(3);
    assert_eq!(rig.fsync(), Ok(()));
    rig.chill();
    assert_eq!(rig.write(0, &bytes(2, PAGE)), Ok(PAGE));
    let file = rig.file().clone();
    rig.store.at_next(Call::WriteEnd, move || {
        let flushed = file.flush(&mut token(), 9, &NoTask);
        assert_eq!(flushed, Flushed { pages: 1, left: Left::Dirty }, "page 1 is locked and dirty");
    });
    assert_eq!(rig.write(PAGE as u64, &bytes(2, PAGE)), Ok(PAGE));
    assert_eq!(sent(&rig).last(), Some(&(0, 1)));
    assert_eq!(flush(&rig, 9), Flushed { pages: 1, left: DONE });
    assert_eq!(sent(&rig), [(1, 1)]);
}

#[test]
fn no_reverse_map_is_asked_for_a_file_that_was_never_mapped_writable() {
    let rig = dirty(5);
    let page = PageIndex::new(3);
    let fault = |access| rig.file().fault(&mut in_fault(), page, access, &rig.task, |_| {});
    assert_eq!(fault(Access::Read), Ok(()));
    assert_eq!(flush(&rig, 9).pages, 5);
    assert_eq!(rig.maps.take(), []);
    assert_eq!(fault(Access::Write), Ok(()));
    assert_eq!(flush(&rig, 9).pages, 1);
    assert_eq!(rig.maps.take(), [(3, 4, RmapCall::WriteProtect)]);
}

#[test]
fn f2_pages_of_a_failed_flush_stay_dirty_keep_their_age_and_a_sync_tells_it_once() {
    let rig = dirty(2);
    rig.store
        .faults
        .plan(Call::Writeback, When::EveryNth(1), Answer::Fail(Errno::NoSpace))
        .unwrap();
    rig.task.now.set(70);
    assert_eq!(flush(&rig, 9), Flushed { pages: 2, left: Left::Dirty });
    assert_eq!(rig.file().dirty_since(), Some(70), "since the begin of the round");
    rig.store.faults.clear();
    assert_eq!(flush(&rig, 9), Flushed { pages: 2, left: DONE });
    assert_eq!(rig.file().dirty_since(), None);
    assert_eq!((rig.fsync(), rig.fsync()), (Err(Errno::NoSpace), Ok(())));
    rig.assert_keeps(&bytes(1, 2 * PAGE));
}

#[test]
fn f2_a_store_that_unwinds_in_a_flush_leaves_the_turn_to_the_next_step() {
    let rig = dirty(2);
    rig.store.at_next(Call::Writeback, || panic!("planned"));
    let step = core::panic::AssertUnwindSafe(|| flush(&rig, 9));
    assert!(std::panic::catch_unwind(step).is_err());
    assert!(rig.file().dirty_since().is_some());
    assert_eq!(flush(&rig, 9), Flushed { pages: 2, left: DONE });
    assert_eq!(rig.fsync(), Err(Errno::Io));
}

#[test]
fn a_file_is_dirty_since_its_first_store_until_a_step_finds_nothing() {
    let rig = Rig::new();
    let at = |now, call: &dyn Fn()| {
        rig.task.now.set(now);
        call();
        rig.file().dirty_since()
    };
    assert_eq!(rig.file().dirty_since(), None);
    let write = || assert_eq!(rig.write(0, b"some"), Ok(4));
    assert_eq!(at(5, &write), Some(5));
    assert_eq!(at(9, &write), Some(5), "an overwrite of a dirty page changes nothing");
    assert_eq!(at(11, &|| assert_eq!(rig.fsync(), Ok(()))), Some(5), "a sync leaves the time");
    assert_eq!(at(12, &|| assert_eq!(flush(&rig, 9).pages, 0)), None);
    assert_eq!(at(13, &write), Some(13));
    assert_eq!(at(14, &|| assert_eq!(flush(&rig, 0).pages, 0)), Some(13), "not sent");
    assert_eq!(at(15, &|| assert_eq!(flush(&rig, 1).pages, 1)), None);
    let fault = || {
        let fault = &mut in_fault();
        let resolved = rig.file().fault(fault, PageIndex::ZERO, Access::Write, &rig.task, |_| {});
        assert_eq!(resolved, Ok(()));
    };
    assert_eq!(at(17, &fault), Some(17), "a store through a mapping");
}

#[test]
fn a_time_that_is_taken_away_comes_back_if_a_page_has_become_dirty_meanwhile() {
    let age: DirtyAge<super::kernel::TestKernel> = DirtyAge::new();
    age.became_dirty(3);
    let mut turn = age.take_turn().unwrap();
    assert!(age.take_turn().is_none(), "one step at a time");
    turn.begin_round(20);
    let mut looks = 0;
    turn.end_round(|| {
        looks += 1;
        looks == 2
    });
    assert_eq!(
        age.since(),
        Some(20),
        "the writer saw the old time: the second look finds its page"
    );
    turn.end_round(|| {
        looks += 1;
        if looks == 4 {
            assert_eq!(age.since(), None);
            age.became_dirty(30);
        }
        false
    });
    assert_eq!(age.since(), Some(30), "the writer saw no time");
    turn.end_round(|| true);
    assert_eq!(age.since(), Some(20));
    drop(turn);
    assert!(age.take_turn().is_some());
}

#[test]
fn pages_under_writeback_are_not_waited_for_and_keep_the_age() {
    let rig = Rig::new();
    let store: &'static Arc<TestStore<Disk>> = std::boxed::Box::leak(rig.store.clone().into());
    let queue: Arc<QueuedStore<&TestStore<Disk>, Patient>> =
        Arc::new(QueuedStore::new(store, Patient));
    let below: Arc<dyn AddressSpaceOperations> = queue.clone();
    let file: File = Inode::new(rig.cache.clone(), below, rig.maps.clone(), 0);
    let write = |bytes: &[u8]| {
        let slice = rig.user.put(0, bytes);
        let mut from = IovIter::from_slice(&rig.user, &slice);
        assert!(file.write(&mut token(), &mut from, &WriteOptions::at(0), &rig.task).is_ok());
    };
    let step = |now| {
        rig.task.now.set(now);
        let flushed = file.flush(&mut token(), 9, &rig.task);
        (flushed.pages, flushed.left, file.dirty_since())
    };
    write(b"first");
    assert_eq!(step(10), (1, DONE, Some(10)), "it may still fail");
    write(b"second");
    assert_eq!(step(20), (0, Left::Dirty, Some(20)), "it is under way");
    store.faults.plan(Call::Writeback, When::Nth(1), Answer::Fail(Errno::Io)).unwrap();
    assert!(queue.work());
    assert_eq!(step(30), (1, DONE, Some(30)));
    assert!(queue.work());
    assert_eq!(step(40), (0, DONE, None));
    assert_eq!(&rig.store.page(0)[..6], b"second");
}
