//! What of a file is in the cache.

use faultless_page::{PageIndex, PageRun, SlotMask};
use faultless_parts::Call;

use super::rig::token;
use super::{PAGE, Rig, bytes};
use crate::{CacheStat, WriteOptions};

fn stat(cached: u64, dirty: u64, writeback: u64) -> CacheStat {
    CacheStat { cached, dirty, writeback }
}

#[test]
fn pages_are_counted_by_their_marks_over_leaves_and_holes() {
    let rig = Rig::new();
    rig.fill(&bytes(1, 3 * PAGE));
    assert_eq!(rig.write(70 * PAGE as u64, b"another leaf"), Ok(12));
    assert_eq!(rig.write(1, b"new"), Ok(3));
    let file = rig.file();
    assert_eq!(file.residency(0..u64::MAX), stat(4, 2, 0));
    assert_eq!(file.residency(0..1), stat(1, 1, 0), "the pages that hold bytes of the range");
    let page = PAGE as u64;
    assert_eq!(file.residency(page - 1..page + 1), stat(2, 1, 0));
    assert_eq!(file.residency(page..3 * page), stat(2, 0, 0));
    assert_eq!(file.residency(3 * page..70 * page), stat(0, 0, 0));
    assert_eq!(file.residency(70 * page..70 * page + 1), stat(1, 1, 0));
    assert_eq!(file.residency(page..page), stat(0, 0, 0));
    assert_eq!(file.residency(u64::MAX - 1..u64::MAX), stat(0, 0, 0));
}

#[test]
fn a_page_under_writeback_is_counted_as_such_and_in_both_if_it_is_dirty_again() {
    let rig = Rig::new();
    rig.fill(&bytes(1, 2 * PAGE));
    assert_eq!(rig.write(0, b"new"), Ok(3));
    let file = rig.file().clone();
    rig.store.at_next(Call::Writeback, move || {
        assert_eq!(file.residency(0..u64::MAX), stat(2, 0, 1));
        super::rig::write_elsewhere(&file, 5, b"newer");
        assert_eq!(file.residency(0..u64::MAX), stat(2, 1, 1));
    });
    assert_eq!(rig.writeback(), Ok(()));
    assert_eq!(rig.file().residency(0..u64::MAX), stat(2, 1, 0));
}

#[test]
fn a_page_that_is_being_read_is_cached_and_not_resident() {
    let rig = Rig::new();
    rig.fill_cold(&bytes(1, 2 * PAGE));
    let file = rig.file().clone();
    rig.store.at_next(Call::Read, move || {
        assert_eq!(file.residency(0..u64::MAX).cached, 1);
        assert!(!file.is_resident(PageIndex::new(0)));
    });
    assert_eq!(rig.read(0, 1).map(|got| got.len()), Ok(1));
    assert!(rig.file().is_resident(PageIndex::new(0)));
}

#[test]
fn residence_is_told_a_leaf_at_a_time_and_looking_changes_nothing() {
    let rig = Rig::new();
    rig.fill_cold(&bytes(1, 6 * PAGE));
    assert_eq!(rig.read(2 * PAGE as u64, 2 * PAGE).map(|got| got.len()), Ok(2 * PAGE));
    rig.store.take_events();
    let file = rig.file();
    let resident = |first, pages| file.resident(PageRun::new(PageIndex::new(first), pages));
    let two_and_three = SlotMask::single(2) | SlotMask::single(3);
    assert_eq!(resident(0, 64), two_and_three);
    assert_eq!(resident(3, 3), SlotMask::single(3));
    assert_eq!(resident(4, 60), SlotMask::EMPTY);
    assert_eq!(resident(64, 64), SlotMask::EMPTY);
    assert_eq!((rig.cached(), rig.store.take_events()), (2, std::vec![]));
    let slice = rig.user.put(0, b"past");
    let _ = rig.write_from(&[slice], &WriteOptions::at(66 * PAGE as u64));
    assert_eq!(resident(64, 64), SlotMask::single(2));
    assert_eq!(rig.file().evict(&mut token(), 0..u64::MAX), 2);
    assert_eq!(resident(0, 64), SlotMask::EMPTY);
}
