//! Ranges that go or are put in: what moves, what waits meanwhile, and what a failure leaves.

use core::ops::Range;
use std::sync::Arc;
use std::vec::Vec;

use faultless_page::{
    AddressSpaceOperations, Errno, Frames, LockId, PageIndex, Shift, Strategy, SyncKind, Trace,
    Unmap,
};
use faultless_parts::{Answer, Call, RamStore, When};
use faultless_usercopy::IovIter;

use super::kernel::{self, RmapCall, Tester};
use super::rig::{File, in_fault, token};
use super::store::{BLOCK, Event};
use super::user::{READABLE, User};
use super::{PAGE, Rig, both, bytes, overlay};
use crate::{Access, FaultError, ReadAheadLimits, WriteOptions};

/// Bytes of a page and of a block, as positions.
const P: u64 = PAGE as u64;
const B: u64 = BLOCK as u64;

impl<S: AddressSpaceOperations + 'static> Rig<S> {
    fn shift(&self, shift: Shift, range: Range<u64>) -> Result<(), Errno> {
        match shift {
            Shift::Collapse => self.file().collapse_range(&mut token(), range, &self.task),
            Shift::Insert => self.file().insert_range(&mut token(), range, &self.task),
        }
    }

    /// Writes the file anew, which stays dirty.
    #[track_caller]
    fn rewrite(&self, new: &[u8]) {
        for (at, piece) in new.chunks(READABLE).enumerate() {
            assert_eq!(self.write((at * READABLE) as u64, piece), Ok(piece.len()));
        }
    }

    /// Nothing of the file was moved: the store was not asked.
    #[track_caller]
    fn assert_unasked(&self) {
        let events = self.store.take_events();
        assert!(!events.iter().any(|event| matches!(event, Event::Shift(..))), "{events:?}");
    }
}

const BOTH: [Shift; 2] = [Shift::Collapse, Shift::Insert];

/// `old` without the bytes of `range`, or with zeros put in there.
fn shifted(shift: Shift, old: &[u8], range: &Range<u64>) -> Vec<u8> {
    let (start, end) = (range.start as usize, range.end as usize);
    match shift {
        Shift::Collapse => [&old[..start], &old[end..]].concat(),
        Shift::Insert => [&old[..start], &std::vec![0; end - start], &old[start..]].concat(),
    }
}

/// Whole blocks and pages of a file of 70 pages and a half: at its begin, in the middle of a page,
/// over the end of a leaf, up to the last block.
const RANGES: [Range<u64>; 7] = [
    0..B,
    0..P,
    P..3 * P,
    P + B..P + 2 * B,
    2 * P + 3 * B..65 * P + B,
    63 * P..64 * P,
    70 * P..70 * P + B,
];
const LEN: usize = 70 * PAGE + 2048;

#[test]
fn w2_everything_behind_the_range_moves_and_nothing_before_it() {
    both(|rig| {
        let strategy = rig.store.strategy;
        drop(rig);
        for (shift, range) in BOTH.into_iter().flat_map(|shift| RANGES.map(|range| (shift, range)))
        {
            for (cold, dirty) in [(true, false), (false, false), (false, true)] {
                std::println!("{shift:?} {range:?}, cold: {cold}, dirty: {dirty}");
                let rig = Rig::with(strategy);
                let mut old = bytes(1, LEN);
                rig.fill(&old);
                if cold {
                    rig.chill();
                }
                if dirty {
                    let new = bytes(2, 3 * PAGE);
                    assert_eq!(rig.write(63 * P + 5, &new), Ok(new.len()));
                    old = overlay(&old, 63 * PAGE + 5, &new);
                }
                assert_eq!(rig.shift(shift, range.clone()), Ok(()));
                assert_eq!(kernel::held(), []);
                let new = shifted(shift, &old, &range);
                assert_eq!(rig.store.inner().map().size(), new.len() as u64, "F3: the store knows");
                rig.assert_keeps(&new);
                // The file grows by zeros, and pages know whether they have room.
                assert_eq!(rig.write(new.len() as u64 + 100, b"end"), Ok(3));
                let new = overlay(&new, new.len() + 100, b"end");
                assert_eq!(rig.write(range.start + 7, b"again"), Ok(5));
                rig.assert_keeps(&overlay(&new, range.start as usize + 7, b"again"));
            }
        }
    });
}

#[test]
fn w9_a_range_that_goes_gives_its_blocks_back_and_one_that_comes_has_none() {
    let rig = Rig::new();
    let free = rig.store.inner().map().free();
    rig.fill(&bytes(1, 4 * PAGE));
    assert_eq!(rig.shift(Shift::Collapse, P..2 * P + B), Ok(()));
    assert_eq!(free - rig.store.inner().map().free(), 16 - 5);
    assert_eq!(rig.shift(Shift::Insert, 0..8 * P), Ok(()));
    assert_eq!(free - rig.store.inner().map().free(), 16 - 5);
    assert_eq!(rig.frames(), 0, "the whole file has moved");
}

#[test]
fn ranges_that_cannot_be_are_refused_before_anything() {
    let rig = Rig::new();
    let old = bytes(1, 10 * PAGE + 100);
    rig.fill(&old);
    rig.task.now.set(9);
    let (size, max) = (old.len() as u64, 1024 * 1024);
    for (shift, range, errno) in [
        (Shift::Collapse, P..P, Errno::Invalid),
        (Shift::Insert, P..P, Errno::Invalid),
        (Shift::Collapse, P + 1..2 * P, Errno::Invalid),
        (Shift::Insert, P..2 * P + 512, Errno::Invalid),
        (Shift::Collapse, 10 * P..10 * P + B, Errno::Invalid),
        (Shift::Collapse, P..11 * P, Errno::Invalid),
        (Shift::Insert, 10 * P + B..11 * P, Errno::Invalid),
        (Shift::Insert, P..P + max, Errno::FileTooBig),
        (Shift::Collapse, P..P + max, Errno::FileTooBig),
        (Shift::Insert, 0..max - B, Errno::FileTooBig),
        (Shift::Insert, P..u64::MAX - B + 1, Errno::FileTooBig),
    ] {
        assert_eq!(rig.shift(shift, range.clone()), Err(errno), "{shift:?} {range:?}");
    }
    assert_eq!((rig.store.take_events().len(), rig.file().times().modified), (0, 1));
    rig.task.limit.set(size + B);
    assert_eq!(rig.shift(Shift::Insert, 0..2 * B), Err(Errno::FileTooBig));
    assert_eq!((rig.task.signals.get(), rig.file().size()), (1, size));
    assert_eq!(rig.shift(Shift::Insert, 0..B), Ok(()));
    assert_eq!(rig.file().times().modified, 9);
    rig.assert_keeps(&shifted(Shift::Insert, &old, &(0..B)));
}

#[test]
fn collapse_up_to_the_end_is_refused_when_the_end_is_at_a_block() {
    let rig = Rig::new();
    rig.fill(&bytes(1, 4 * PAGE));
    assert_eq!(rig.shift(Shift::Collapse, P..4 * P), Err(Errno::Invalid));
    assert_eq!(rig.shift(Shift::Insert, 4 * P..5 * P), Err(Errno::Invalid));
    rig.assert_unasked();
    assert_eq!(rig.shift(Shift::Collapse, P..4 * P - B), Ok(()));
}

#[test]
fn a_store_that_cannot_and_one_without_the_data_say_so() {
    let plain = Rig::on(super::store::without_fallocate(64), Strategy::BeginEnd, 16);
    let alone = Rig::on(RamStore::new(), Strategy::BeginEnd, 16);
    let old = bytes(1, 3 * PAGE);
    for shift in BOTH {
        assert_eq!(plain.write(0, &old), Ok(old.len()));
        assert_eq!(plain.shift(shift, 0..P), Err(Errno::NotSupported));
        plain.assert_holds(&old);
        assert_eq!(alone.write(0, &old), Ok(old.len()));
        assert_eq!(alone.shift(shift, 0..P), Err(Errno::NotSupported));
        alone.assert_holds(&old);
    }
}

#[test]
fn w12_a_shift_stamps_the_times_and_clears_set_id() {
    for shift in BOTH {
        let rig = Rig::new();
        rig.fill(&bytes(1, 3 * PAGE));
        rig.task.now.set(9);
        rig.file().mark_set_id();
        assert_eq!(rig.shift(shift, 0..P), Ok(()));
        assert_eq!((rig.file().times().modified, rig.file().is_set_id()), (9, false));
    }
}

#[test]
fn f5_a_store_that_refuses_loses_nothing() {
    for shift in BOTH {
        let rig = Rig::new();
        let old = bytes(1, 8 * PAGE + 100);
        rig.fill(&bytes(2, old.len()));
        rig.rewrite(&old);
        rig.store.faults.plan(Call::Fallocate, When::Nth(1), Answer::Fail(Errno::Io)).expect("");
        assert_eq!(rig.shift(shift, P..3 * P), Err(Errno::Io));
        assert_eq!(kernel::held(), []);
        rig.assert_keeps(&old);
        assert_eq!(rig.shift(shift, P..3 * P), Ok(()), "it can be repeated");
        rig.assert_keeps(&shifted(shift, &old, &(P..3 * P)));
    }
}

#[test]
fn f2_a_tail_that_cannot_be_sent_does_not_move_and_a_sync_is_told() {
    for shift in BOTH {
        for (nth, mapped) in [(1, false), (1, true), (2, true)] {
            let rig = Rig::new();
            let mut old = bytes(1, 8 * PAGE);
            rig.fill(&old);
            assert_eq!(rig.write(5 * P, b"new"), Ok(3));
            old[5 * PAGE..][..3].copy_from_slice(b"new");
            if mapped {
                // Dirtied once more behind the first writeback.
                let file = rig.file().clone();
                rig.store.at_next(Call::Writeback, move || store_by_mapping(&file, 5));
            }
            rig.store
                .faults
                .plan(Call::Writeback, When::Nth(nth), Answer::Fail(Errno::NoSpace))
                .expect("a writeback can fail");
            assert_eq!(rig.shift(shift, P..3 * P), Err(Errno::NoSpace));
            rig.assert_unasked();
            assert_eq!(rig.fsync(), Err(Errno::NoSpace), "no error is eaten");
            rig.assert_keeps(&old);
        }
    }
}

/// A CPU store's fault on page `index`.
fn store_by_mapping(file: &File, index: u64) {
    let (index, task) = (PageIndex::new(index), Tester::new());
    let mapped = file.fault(&mut in_fault(), index, Access::Write, &task, |mapped| {
        // The reverse map of the tests keeps no entries.
        drop(mapped.frame);
    });
    assert_eq!(mapped, Ok(()));
}

#[test]
fn p6_while_the_store_moves_no_page_of_the_tail_comes_into_the_cache() {
    for shift in BOTH {
        let rig = Rig::new();
        let old = bytes(1, 8 * PAGE + 100);
        rig.fill(&old);
        store_by_mapping(rig.file(), 4);
        rig.maps.take();
        let (file, maps, store) = (rig.file().clone(), rig.maps.clone(), rig.store.clone());
        rig.store.at_next(Call::Fallocate, move || {
            let held = kernel::held();
            let kinds = |lock: &LockId| match lock {
                LockId::Inode(_) => 'I',
                LockId::Range(..) => 'R',
                LockId::Shift(_) => 'S',
                _ => '?',
            };
            assert_eq!(held.iter().map(kinds).collect::<Vec<_>>(), ['I', 'R', 'S'], "{held:?}");
            assert!(maps.take().contains(&(2, 9, RmapCall::Unmap(Unmap::Evict))));
            assert_eq!(store.page(8)[..100], bytes(1, 8 * PAGE + 100)[8 * PAGE..], "sent");
            assert_eq!(file.mapping().cached_pages(), 2, "the pages before the tail");
            others_wait(&file);
            assert_eq!(file.mapping().cached_pages(), 2);
        });
        // From the middle of page 2 on.
        let range = 2 * P + B..3 * P;
        assert_eq!(rig.shift(shift, range.clone()), Ok(()));
        rig.assert_keeps(&shifted(shift, &old, &range));
    }
}

/// Everything that would bring page 2 or a later one in waits, until its task is killed.
#[track_caller]
fn others_wait(file: &Arc<File>) {
    let doomed = || {
        let task = Tester::new();
        task.looks.set(20);
        task
    };
    let user = User::new();
    for page in [2, 5, 8] {
        let slice = user.slice(0, 10);
        let mut to = IovIter::from_slice(&user, &slice);
        let read = file.read(&mut token(), &mut to, page * P, &doomed());
        assert_eq!(read, Err(Errno::Interrupted), "a read of page {page}");
        for access in [Access::Read, Access::Write] {
            let index = PageIndex::new(page);
            let fault = file.fault(&mut in_fault(), index, access, &doomed(), |_| ());
            let killed = FaultError::Failed(Errno::Interrupted);
            assert_eq!(fault, Err(killed), "a fault on page {page}");
        }
        for len in [PAGE, 10] {
            let slice = user.put(0, &bytes(3, len));
            let mut from = IovIter::from_slice(&user, &slice);
            let options = WriteOptions::at(page * P);
            let written = file.write(&mut token(), &mut from, &options, &doomed());
            assert_eq!(written.map(|written| written.bytes), Err(Errno::Interrupted));
        }
    }
    file.will_need(&mut token(), 0, u64::MAX, &ReadAheadLimits::DEFAULT);
    // What lies before the tail is none of its business.
    let slice = user.slice(0, 10);
    let mut to = IovIter::from_slice(&user, &slice);
    assert_eq!(file.read(&mut token(), &mut to, P, &Tester::new()), Ok(10));
    store_by_mapping(file, 1);
    // A sync has nothing to wait for, and tells the store no size that is about to be another one.
    assert_eq!(file.fsync(&mut token(), SyncKind::All, &Tester::new()), Ok(()));
}

#[test]
fn f3_a_sync_beside_a_shift_tells_the_store_no_old_size() {
    for shift in BOTH {
        let rig = Rig::new();
        let old = bytes(1, 4 * PAGE);
        rig.fill(&old);
        assert_eq!(rig.write(4 * P, b"grown"), Ok(5));
        let store = rig.store.clone();
        let file = rig.file().clone();
        rig.store.at_next(Call::Fallocate, move || {
            let told = |event: &Event| matches!(event, Event::Size(_));
            let events = store.take_events();
            assert_eq!(
                events.iter().rev().find(|event| told(event)),
                Some(&Event::Size(4 * P + 5))
            );
            assert_eq!(file.fsync(&mut token(), SyncKind::All, &Tester::new()), Ok(()));
            assert!(!store.take_events().iter().any(told));
        });
        assert_eq!(rig.shift(shift, P..2 * P), Ok(()));
        rig.assert_keeps(&shifted(shift, &overlay(&old, 4 * PAGE, b"grown"), &(P..2 * P)));
    }
}

#[test]
fn a_pinned_page_of_the_tail_leaves_the_file_and_keeps_its_frame() {
    let rig = Rig::new();
    let old = bytes(1, 4 * PAGE);
    rig.fill(&old);
    let pin = rig.file().fault(&mut in_fault(), PageIndex::new(3), Access::Read, &rig.task, |it| {
        it.frame.into_number()
    });
    let pin = pin.expect("inside the file");
    assert_eq!(rig.shift(Shift::Collapse, P..2 * P), Ok(()));
    assert_eq!(rig.cache.frames().references(pin), 1, "the pin's");
    rig.assert_keeps(&shifted(Shift::Collapse, &old, &(P..2 * P)));
    // SAFETY: the count of the pin, which ends here.
    unsafe { rig.cache.frames().release(pin) };
}

#[test]
fn mappings_past_the_new_end_go_with_their_private_copies() {
    let rig = Rig::new();
    rig.fill(&bytes(1, 6 * PAGE + 10));
    store_by_mapping(rig.file(), 6);
    rig.maps.take();
    assert_eq!(rig.shift(Shift::Collapse, P..3 * P), Ok(()));
    let asked = rig.maps.take();
    let (first, _, how) = asked.last().copied().expect("the tail was mapped");
    assert_eq!((first, how), (5, RmapCall::Unmap(Unmap::Truncate)));
    let evicted = |asked: &(u64, u64, RmapCall)| asked.2 == RmapCall::Unmap(Unmap::Evict);
    assert!(asked.iter().all(|asked| asked.0 >= 1) && asked.iter().any(evicted), "{asked:?}");
    let fault =
        rig.file().fault(&mut in_fault(), PageIndex::new(5), Access::Read, &rig.task, |_| ());
    assert_eq!(fault, Err(FaultError::PastEnd));
}

#[test]
fn l3_a_signal_ends_it_before_anything_has_moved_or_not_at_all() {
    for shift in BOTH {
        let mut done = 0;
        for looks in 0..200 {
            let rig = Rig::new();
            let old = bytes(1, 6 * PAGE + 10);
            rig.fill(&bytes(2, old.len()));
            rig.rewrite(&old);
            rig.task.looks.set(looks);
            let moved = rig.shift(shift, P..3 * P);
            rig.task.looks.set(u64::MAX);
            assert_eq!(kernel::held(), []);
            if moved == Ok(()) {
                rig.assert_keeps(&shifted(shift, &old, &(P..3 * P)));
                done += 1;
                break;
            }
            assert_eq!(moved, Err(Errno::Interrupted));
            rig.assert_unasked();
            rig.assert_keeps(&old);
        }
        assert_eq!(done, 1, "in the end there is no look left");
    }
}

#[test]
fn p2_what_a_killed_truncation_left_is_gone_before_anything_moves() {
    for shift in BOTH {
        let rig = Rig::new();
        let old = bytes(1, 6 * PAGE);
        rig.fill(&old);
        rig.cut_and_kill(3 * P + 1000, 4);
        assert_eq!(rig.shift(shift, P..2 * P), Ok(()));
        let new = shifted(shift, &old[..3 * PAGE + 1000], &(P..2 * P));
        rig.assert_keeps(&new);
        assert_eq!(rig.set_size(new.len() as u64 + P), Ok(()));
        rig.assert_keeps(&overlay(&new, new.len() + PAGE - 1, &[0]));
    }
}

#[test]
fn p2_what_a_mapping_stored_past_the_end_does_not_move_with_the_file() {
    for shift in BOTH {
        let rig = Rig::new();
        let old = bytes(1, 3 * PAGE + 10);
        rig.fill(&old);
        let index = PageIndex::new(3);
        let mapped = rig.file().fault(&mut in_fault(), index, Access::Write, &rig.task, |mapped| {
            let page = rig.cache.frames().address(mapped.frame.number()).as_ptr();
            // SAFETY: inside the page, which is locked; this thread alone uses it.
            unsafe { page.wrapping_add(10).write_bytes(7, 100) };
        });
        assert_eq!(mapped, Ok(()));
        assert_eq!(rig.shift(shift, P + B..2 * P), Ok(()));
        let new = shifted(shift, &old, &(P + B..2 * P));
        assert_eq!(rig.set_size(new.len() as u64 + P), Ok(()));
        rig.assert_keeps(&overlay(&new, new.len() + PAGE - 1, &[0]));
    }
}

#[test]
fn p8_a_shift_needs_no_memory() {
    for shift in BOTH {
        let rig = Rig::new();
        let old = bytes(1, 70 * PAGE);
        rig.fill(&old);
        rig.grant(0);
        assert_eq!(rig.shift(shift, P..3 * P), Ok(()));
        rig.grant(u64::MAX);
        rig.assert_keeps(&shifted(shift, &old, &(P..3 * P)));
    }
}

#[test]
fn hits_and_misses_take_no_lock_for_what_might_move() {
    let rig = Rig::new();
    rig.fill_cold(&bytes(1, 4 * PAGE));
    kernel::take_seen(|_| false);
    for page in 0..4 {
        store_by_mapping(rig.file(), page);
        assert_eq!(rig.read(0, 4 * PAGE).map(|read| read.len()), Ok(4 * PAGE));
        assert_eq!(rig.write(0, &bytes(2, 4 * PAGE)), Ok(4 * PAGE));
    }
    let takes = |event: &Trace| matches!(event, Trace::Acquiring(LockId::Shift(_)));
    assert_eq!(kernel::take_seen(takes), []);
    assert_eq!(rig.shift(Shift::Collapse, 0..P), Ok(()));
    assert_eq!(kernel::take_seen(takes).len(), 1);
}
