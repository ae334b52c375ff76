//! Eviction: what may leave the cache, and what stays.

use faultless_page::{
    Errno, FrameNumber, Frames, LockId, PageIndex, PageRun, Strategy, Trace, Unmap,
};
use faultless_parts::{Answer, Call, RamStore, When};

use super::kernel::{self, RmapCall};
use super::rig::in_fault;
use super::rig::token;
use super::store::Event;
use super::{PAGE, Rig, bytes, overlay};
use crate::{Access, PageLocks};

/// Maps page `index` for loads; its frame.
fn map(rig: &Rig, index: u64) -> FrameNumber {
    let mut token = in_fault();
    let page = PageIndex::new(index);
    let mapped =
        rig.file().fault(&mut token, page, Access::Read, &rig.task, |mapped| mapped.frame.number());
    mapped.expect("a page of the file")
}

#[test]
fn f5_clean_pages_leave_and_come_back_from_the_store() {
    let rig = Rig::new();
    let old = bytes(1, 3 * PAGE - 9);
    rig.fill(&old);
    assert_eq!((rig.cached(), rig.frames()), (3, 3));
    assert_eq!(rig.evict(), 3);
    assert_eq!((rig.cached(), rig.frames(), rig.evict()), (0, 0, 0));
    rig.assert_holds(&old);
    let read = [Event::Read(0), Event::Read(1), Event::Read(2)];
    assert_eq!(rig.store.take_events(), read);
}

/// How often pages are locked in `removal` of each other page of a leaf, which are in the cache.
fn locks_of(removal: impl Fn(&Rig)) -> usize {
    let rig = Rig::new();
    assert_eq!(rig.set_size(64 * PAGE as u64), Ok(()));
    for page in (0..64).step_by(2) {
        assert_eq!(rig.write(page * PAGE as u64, b"a"), Ok(1));
    }
    assert_eq!(rig.fsync(), Ok(()));
    kernel::take_seen(|_| false);
    removal(&rig);
    assert_eq!(rig.cached(), 0);
    let is_lock = |event: &Trace| matches!(event, Trace::Acquired(LockId::Pages { .. }));
    kernel::take_seen(is_lock).len()
}

#[test]
fn pages_of_a_leaf_leave_under_one_lock_wherever_they_are() {
    assert_eq!(locks_of(|rig| assert_eq!(rig.evict(), 32)), 1);
    assert_eq!(locks_of(|rig| assert_eq!(rig.set_size(0), Ok(()))), 1);
}

#[test]
fn f5_a_dirty_page_stays_whatever_its_neighbours_are() {
    let rig = Rig::new();
    let old = bytes(1, 5 * PAGE);
    rig.fill(&old);
    assert_eq!(rig.write(2 * PAGE as u64 + 7, b"new"), Ok(3));
    assert_eq!((rig.evict(), rig.cached()), (4, 1));
    let expected = overlay(&old, 2 * PAGE + 7, b"new");
    assert_eq!(rig.cached_page(2).as_deref(), Some(&expected[2 * PAGE..3 * PAGE]));
    rig.assert_keeps(&expected);
}

#[test]
fn f5_a_page_under_writeback_stays() {
    let rig = Rig::new();
    rig.fill(&bytes(1, 2 * PAGE));
    assert_eq!(rig.write(0, b"new"), Ok(3));
    let file = rig.file().clone();
    rig.store.at_next(Call::Writeback, move || {
        assert_eq!(file.evict(&mut token(), 0..u64::MAX), 1, "the other page");
        assert_eq!(file.mapping().cached_pages(), 1);
    });
    assert_eq!(rig.writeback(), Ok(()));
    assert_eq!(rig.evict(), 1, "now it is clean");
    rig.assert_keeps(&overlay(&bytes(1, 2 * PAGE), 0, b"new"));
}

#[test]
fn f5_a_page_whose_writeback_failed_stays() {
    let rig = Rig::new();
    rig.fill(&bytes(1, PAGE));
    assert_eq!(rig.write(0, b"new"), Ok(3));
    rig.store.faults.plan(Call::Writeback, When::Nth(1), Answer::Fail(Errno::Io)).expect("");
    assert_eq!(rig.writeback(), Err(Errno::Io));
    assert_eq!((rig.evict(), rig.cached()), (0, 1));
    assert_eq!(rig.fsync(), Err(Errno::Io));
    rig.assert_keeps(&overlay(&bytes(1, PAGE), 0, b"new"));
}

#[test]
fn f5_a_pinned_page_stays_until_the_pin_goes() {
    let rig = Rig::new();
    rig.fill(&bytes(1, 2 * PAGE));
    let frame = map(&rig, 0);
    let frames = rig.cache.frames();
    frames.retain(frame);
    assert_eq!((rig.evict(), rig.cached()), (1, 1));
    // SAFETY: the count that was just added.
    unsafe { frames.release(frame) };
    assert_eq!((rig.evict(), rig.cached(), rig.frames()), (1, 0, 0));
}

#[test]
fn l1_a_locked_page_is_passed_over_without_a_wait() {
    let rig = Rig::new();
    rig.fill(&bytes(1, 3 * PAGE));
    let mut token = token();
    let run = PageRun::single(PageIndex::new(1));
    let locks = token.page_locks();
    let locked = rig.file().mapping().lock_or_create_killable(locks, run, &|| false);
    assert!(locked.is_ok());
    assert_eq!((rig.evict(), rig.cached()), (2, 1));
    drop(locked);
    assert_eq!(rig.evict(), 1);
}

#[test]
fn f5_pages_of_a_store_that_keeps_nothing_stay() {
    let rig = Rig::on(RamStore::new(), Strategy::BeginEnd, 16);
    let old = bytes(1, PAGE + 9);
    assert_eq!(rig.write(0, &old), Ok(old.len()));
    assert_eq!(rig.fsync(), Ok(()));
    assert_eq!((rig.evict(), rig.cached()), (0, 2));
    rig.assert_holds(&old);
}

#[test]
fn only_pages_of_the_range_leave() {
    let rig = Rig::new();
    rig.fill(&bytes(1, 4 * PAGE));
    let page = PAGE as u64;
    assert_eq!(rig.file().evict(&mut token(), page + 1..3 * page - 1), 2);
    let cached: [bool; 4] = core::array::from_fn(|at| rig.cached_page(at as u64).is_some());
    assert_eq!(cached, [true, false, false, true]);
    assert_eq!(rig.file().evict(&mut token(), 4 * page..u64::MAX), 0);
}

#[test]
fn a_mapped_page_is_unmapped_first_and_private_copies_are_not_asked_for() {
    let rig = Rig::new();
    rig.fill(&bytes(1, 2 * PAGE));
    assert_eq!((rig.evict(), rig.maps.take()), (2, std::vec![]), "never mapped");
    map(&rig, 1);
    assert_eq!(rig.evict(), 1);
    assert_eq!(rig.maps.take(), [(1, 2, RmapCall::Unmap(Unmap::Evict))]);
    rig.assert_holds(&bytes(1, 2 * PAGE));
}
