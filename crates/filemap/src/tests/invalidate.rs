//! Pages that the store has newer, and sizes that have changed there. The other client is another
//! inode on the same store.

use std::sync::Arc;

use faultless_page::{AddressSpaceOperations, Errno, Frames, PageIndex, Strategy, SyncKind, Unmap};
use faultless_parts::{Call, RamStore};

use super::kernel::{RmapCall, Tester};
use super::rig::{File, in_fault, token, write_elsewhere};
use super::store::{BLOCK, Event};
use super::{PAGE, Rig, bytes, overlay};
use crate::{Access, Dirty, Inode};

/// A change by another client, who sees the file with `size` bytes; its size afterwards.
fn elsewhere(rig: &Rig, size: usize, change: impl FnOnce(&File)) -> u64 {
    let store: Arc<dyn AddressSpaceOperations> = rig.store.clone();
    let other = Inode::new(rig.cache.clone(), store, Default::default(), size as u64);
    change(&other);
    assert_eq!(other.fsync(&mut token(), SyncKind::All, &Tester::new()), Ok(()));
    rig.store.take_events();
    other.size()
}

/// The store was told nothing of a size.
#[track_caller]
fn assert_not_told(rig: &Rig) {
    let events = rig.store.take_events();
    let told = |event: &Event| matches!(event, Event::Size(_) | Event::TruncateBlocks(_));
    assert!(!events.iter().any(told), "{events:?}");
}

fn invalidate(rig: &Rig, range: core::ops::Range<u64>, dirty: Dirty) -> Result<(), Errno> {
    rig.file().invalidate(&mut token(), range, dirty, &rig.task)
}

fn size_changed(rig: &Rig, size: u64, dirty: Dirty) -> Result<(), Errno> {
    rig.file().size_changed_remotely(&mut token(), size, dirty, &rig.task)
}

fn map(rig: &Rig, index: u64, access: Access) {
    let mut token = in_fault();
    let mapped = rig.file().fault(&mut token, PageIndex::new(index), access, &rig.task, |_| ());
    assert_eq!(mapped, Ok(()));
}

#[test]
fn a_change_by_another_client_is_seen_after_an_invalidation_of_its_pages() {
    let rig = Rig::new();
    let old = bytes(1, 3 * PAGE);
    rig.fill(&old);
    map(&rig, 1, Access::Read);
    elsewhere(&rig, old.len(), |other| write_elsewhere(other, PAGE as u64 + 5, b"theirs"));
    rig.assert_holds(&old);
    assert_eq!(invalidate(&rig, PAGE as u64 + 5..PAGE as u64 + 6, Dirty::Keep), Ok(()));
    assert_eq!(rig.maps.take(), [(1, 2, RmapCall::Unmap(Unmap::Evict))]);
    assert_eq!(rig.cached(), 2, "only the page of the range");
    rig.assert_keeps(&overlay(&old, PAGE + 5, b"theirs"));
    assert_eq!(invalidate(&rig, 7..7, Dirty::Discard), Ok(()));
    assert_eq!(invalidate(&rig, u64::MAX - 1..u64::MAX, Dirty::Discard), Ok(()));
}

#[test]
fn f5_dirty_pages_stay_and_are_reported_or_are_lost_or_sent_as_the_caller_says() {
    let (ours, theirs) = (b"ours".as_slice(), b"theirs".as_slice());
    for dirty in [Dirty::Keep, Dirty::Discard, Dirty::WriteBack] {
        let rig = Rig::new();
        let old = bytes(1, 3 * PAGE);
        rig.fill(&old);
        assert_eq!(rig.write(PAGE as u64, ours), Ok(4));
        elsewhere(&rig, old.len(), |other| write_elsewhere(other, 9, theirs));
        elsewhere(&rig, old.len(), |other| write_elsewhere(other, PAGE as u64 + 9, theirs));
        let expected = match dirty {
            Dirty::Keep => Err(Errno::Busy),
            Dirty::Discard | Dirty::WriteBack => Ok(()),
        };
        assert_eq!(invalidate(&rig, 0..u64::MAX, dirty), expected, "{dirty:?}");
        assert_eq!(rig.cached(), u64::from(dirty == Dirty::Keep), "{dirty:?}: all others go");
        let changed = overlay(&old, 9, theirs);
        let holds = match dirty {
            Dirty::Discard => overlay(&changed, PAGE + 9, theirs),
            Dirty::Keep | Dirty::WriteBack => overlay(&changed, PAGE, ours),
        };
        rig.assert_keeps(&holds);
    }
}

#[test]
fn f5_a_pinned_page_stays_and_is_reported() {
    let rig = Rig::new();
    rig.fill(&bytes(1, 2 * PAGE));
    let mut token_in_fault = in_fault();
    let pinned = rig.file().fault(
        &mut token_in_fault,
        PageIndex::new(1),
        Access::Read,
        &rig.task,
        |mapped| mapped.frame.into_number(),
    );
    let pinned = pinned.expect("a page of the file");
    assert_eq!(invalidate(&rig, 0..u64::MAX, Dirty::Discard), Err(Errno::Busy));
    assert_eq!(rig.cached(), 1);
    // SAFETY: the count that the fault gave away.
    unsafe { rig.cache.frames().release(pinned) };
    assert_eq!(invalidate(&rig, 0..u64::MAX, Dirty::Keep), Ok(()));
    assert_eq!(rig.cached(), 0);
}

#[test]
fn l3_a_killed_invalidation_waits_no_longer_for_a_writeback() {
    let rig = Rig::new();
    rig.fill(&bytes(1, 2 * PAGE));
    assert_eq!(rig.write(PAGE as u64, b"new"), Ok(3));
    let file = rig.file().clone();
    rig.store.at_next(Call::Writeback, move || {
        let task = Tester::new();
        task.looks.set(0);
        let killed = file.invalidate(&mut token(), 0..u64::MAX, Dirty::Discard, &task);
        assert_eq!(killed, Err(Errno::Interrupted));
    });
    assert_eq!(rig.writeback(), Ok(()));
    assert_eq!(invalidate(&rig, 0..u64::MAX, Dirty::Keep), Ok(()));
    rig.assert_keeps(&overlay(&bytes(1, 2 * PAGE), PAGE, b"new"));
}

#[test]
fn pages_of_a_store_that_keeps_nothing_stay() {
    let rig = Rig::on(RamStore::new(), Strategy::BeginEnd, 16);
    assert_eq!(rig.write(0, b"only here"), Ok(9));
    assert_eq!(rig.fsync(), Ok(()));
    let file = rig.file();
    for dirty in [Dirty::Keep, Dirty::Discard, Dirty::WriteBack] {
        let busy = file.invalidate(&mut token(), 0..u64::MAX, dirty, &rig.task);
        assert_eq!(busy, Err(Errno::Busy));
    }
    rig.assert_holds(b"only here");
}

#[test]
fn p1_a_file_that_another_client_made_longer_shows_what_the_store_has() {
    for old_len in [PAGE + 100, 2 * PAGE] {
        let rig = Rig::new();
        let old = bytes(1, old_len);
        rig.fill(&old);
        map(&rig, 1, Access::Read);
        let more = bytes(2, 2 * PAGE);
        let size = elsewhere(&rig, old_len, |o| write_elsewhere(o, old_len as u64, &more));
        assert_eq!(size_changed(&rig, size, Dirty::Keep), Ok(()));
        let unmapped = rig.maps.take();
        let is_partial = !old_len.is_multiple_of(PAGE);
        assert_eq!(!unmapped.is_empty(), is_partial, "{unmapped:?}");
        rig.assert_holds(&overlay(&old, old_len, &more));
        assert_eq!(rig.fsync(), Ok(()));
        assert_not_told(&rig);
        rig.assert_keeps(&overlay(&old, old_len, &more));
    }
}

#[test]
fn p2_the_dirty_page_of_the_old_end_wins_or_loses_as_the_caller_says() {
    // At the end of a block: the store writes whole ones.
    let (len, more) = (PAGE + BLOCK, bytes(2, PAGE));
    for dirty in [Dirty::Keep, Dirty::Discard, Dirty::WriteBack] {
        let rig = Rig::new();
        let old = bytes(1, len);
        rig.fill(&old);
        // A scribble past the end is never exposed.
        map(&rig, 1, Access::Write);
        assert_eq!(rig.write(PAGE as u64 + 1, b"ours"), Ok(4));
        let size = elsewhere(&rig, len, |other| write_elsewhere(other, len as u64, &more));
        assert_eq!(size_changed(&rig, size, dirty), Ok(()), "{dirty:?}");
        let all = overlay(&old, len, &more);
        let holds = match dirty {
            Dirty::Discard => all,
            Dirty::WriteBack => overlay(&all, PAGE + 1, b"ours"),
            // The page as a whole, with its zeros.
            Dirty::Keep => {
                let zeros = overlay(&all, len, &std::vec![0; 2 * PAGE - len]);
                overlay(&zeros, PAGE + 1, b"ours")
            }
        };
        rig.assert_holds(&holds);
        assert_eq!(rig.fsync(), Ok(()));
        assert_not_told(&rig);
        rig.assert_keeps(&holds);
    }
}

#[test]
fn a_file_cannot_grow_over_a_pinned_page_of_its_end() {
    let rig = Rig::new();
    rig.fill(&bytes(1, 100));
    let mut in_fault = in_fault();
    let pin = rig.file().fault(&mut in_fault, PageIndex::ZERO, Access::Read, &rig.task, |mapped| {
        mapped.frame.into_number()
    });
    let pin = pin.expect("a page of the file");
    let size = elsewhere(&rig, 100, |other| write_elsewhere(other, 100, b"more"));
    assert_eq!(size_changed(&rig, size, Dirty::Discard), Err(Errno::Busy));
    rig.assert_holds(&bytes(1, 100));
    // SAFETY: the count that the fault gave away.
    unsafe { rig.cache.frames().release(pin) };
    assert_eq!(size_changed(&rig, size, Dirty::Discard), Ok(()));
    assert_not_told(&rig);
    rig.assert_keeps(&overlay(&bytes(1, 100), 100, b"more"));
}

#[test]
fn p2_a_file_that_another_client_cut_off_loses_its_pages_and_the_store_is_told_nothing() {
    let rig = Rig::new();
    let old = bytes(1, 3 * PAGE);
    rig.fill(&old);
    map(&rig, 2, Access::Read);
    let size = elsewhere(&rig, old.len(), |other| {
        assert_eq!(other.set_size(&mut token(), PAGE as u64 + 10, &Tester::new()), Ok(()));
    });
    assert_eq!(size_changed(&rig, size, Dirty::Keep), Ok(()));
    let end = 1 << 51;
    let unmap = (2, end, RmapCall::Unmap(Unmap::Truncate));
    assert_eq!(rig.maps.take(), [unmap, unmap]);
    assert_eq!(rig.cached(), 2);
    rig.assert_holds(&old[..PAGE + 10]);
    assert_eq!(rig.fsync(), Ok(()));
    assert_not_told(&rig);
    assert_eq!(rig.set_size(2 * PAGE as u64), Ok(()));
    rig.assert_keeps(&overlay(&old[..PAGE + 10], 2 * PAGE, b""));
}

#[test]
fn f5_dirty_pages_past_a_new_end_are_lost_only_if_the_caller_says_so() {
    let rig = Rig::new();
    let old = bytes(1, 3 * PAGE);
    rig.fill(&old);
    assert_eq!(rig.write(2 * PAGE as u64, b"ours"), Ok(4));
    for dirty in [Dirty::Keep, Dirty::WriteBack] {
        assert_eq!(size_changed(&rig, 10, dirty), Err(Errno::Busy));
        rig.assert_holds(&overlay(&old, 2 * PAGE, b"ours"));
    }
    elsewhere(&rig, old.len(), |other| {
        assert_eq!(other.set_size(&mut token(), 10, &Tester::new()), Ok(()));
    });
    assert_eq!(size_changed(&rig, 10, Dirty::Discard), Ok(()));
    rig.assert_keeps(&old[..10]);
    assert_eq!(size_changed(&rig, 10, Dirty::Keep), Ok(()), "as it is");
    assert_eq!(size_changed(&rig, u64::MAX, Dirty::Keep), Err(Errno::FileTooBig));
}

#[test]
fn l3_a_killed_cut_by_the_store_is_completed_without_a_word_to_the_store() {
    let rig = Rig::new();
    let old = bytes(1, 3 * PAGE);
    rig.fill(&old);
    assert_eq!(rig.write(2 * PAGE as u64, &old[2 * PAGE..]), Ok(PAGE));
    let file = rig.file().clone();
    rig.store.at_next(Call::Writeback, move || {
        let task = Tester::new();
        task.looks.set(0);
        let cut = file.size_changed_remotely(&mut token(), 10, Dirty::Discard, &task);
        assert_eq!(cut, Ok(()), "it has happened");
        assert_eq!(file.size(), 10);
        assert_eq!(file.mapping().cached_pages(), 3, "it waits for the writeback");
    });
    assert_eq!(rig.writeback(), Ok(()));
    rig.store.take_events();
    // The other client has made it longer again: nothing may be cut off there.
    assert_eq!(size_changed(&rig, 3 * PAGE as u64, Dirty::Keep), Ok(()));
    assert_not_told(&rig);
    rig.assert_holds(&old);
}

#[test]
fn f3_no_old_size_is_told_while_a_new_one_is_learned() {
    let rig = Rig::new();
    let len = PAGE + BLOCK;
    let old = bytes(1, len);
    rig.fill(&old);
    let size = elsewhere(&rig, len, |other| write_elsewhere(other, len as u64, b"more"));
    assert_eq!(rig.write(0, b"first"), Ok(5));
    assert_eq!(rig.write(PAGE as u64, b"tail"), Ok(4));
    let file = rig.file().clone();
    rig.store.at_next(Call::Writeback, move || {
        // Another thread sends the first page while that of the end is sent.
        let flushed = file.flush(&mut token(), 8, &Tester::new());
        assert_eq!(flushed.pages, 1);
        assert_eq!(file.size(), len as u64);
    });
    assert_eq!(size_changed(&rig, size, Dirty::WriteBack), Ok(()));
    assert_not_told(&rig);
    let ours = overlay(&overlay(&old, 0, b"first"), PAGE, b"tail");
    rig.assert_keeps(&overlay(&ours, len, b"more"));
}
