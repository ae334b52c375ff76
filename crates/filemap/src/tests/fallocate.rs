//! `fallocate`: what becomes zero in the cache and on the store, what stays, and what is asked for.

use core::ops::Range;
use std::vec::Vec;

use faultless_page::{
    AddressSpaceOperations, Errno, Fallocate, Frames, LockId, PageIndex, Strategy, Unmap,
};
use faultless_parts::{Answer, Call, PageBudget, RamStore, When};

use super::kernel::{self, RmapCall, Tester};
use super::rig::{in_fault, token};
use super::store::{BLOCK, Event};
use super::{PAGE, Rig, bytes, overlay};
use crate::{Access, FileSize, PageLocks, Protection};

/// Bytes of a page, as a position.
const P: u64 = PAGE as u64;

impl<S: AddressSpaceOperations + 'static> Rig<S> {
    fn punch(&self, range: Range<u64>) -> Result<(), Errno> {
        self.file().punch_hole(&mut token(), range, &self.task)
    }

    fn zero(&self, range: Range<u64>, size: FileSize) -> Result<(), Errno> {
        self.file().zero_range(&mut token(), range, size, &self.task)
    }

    fn allocate(&self, range: Range<u64>, size: FileSize) -> Result<(), Errno> {
        self.file().allocate(&mut token(), range, size, &self.task)
    }
}

/// `old` with zeros in `range`, as far as there is a byte.
fn holed(old: &[u8], range: &Range<u64>) -> Vec<u8> {
    let mut new = old.to_vec();
    let end = (range.end as usize).min(old.len());
    new[(range.start as usize).min(end)..end].fill(0);
    new
}

/// Ranges of a file of four pages and a half: whole blocks and pages, parts of one, of several, the
/// end of the file and what is past it.
const RANGES: [Range<u64>; 12] = [
    0..1,
    100..900,
    1000..1100,
    BLOCK as u64..2 * BLOCK as u64,
    0..P,
    P..3 * P,
    P - 1..P + 1,
    5..4 * P + 5,
    1500..2 * P + 1500,
    4 * P + 100..4 * P + 2048,
    3 * P + 1..9 * P,
    5 * P..6 * P,
];

/// What the cache holds of a file.
#[derive(Clone, Copy, Debug)]
enum Cache {
    Cold,
    Clean,
    Dirty,
}

#[test]
fn w2_the_bytes_of_the_range_are_zero_and_no_others() {
    for range in RANGES {
        for cache in [Cache::Cold, Cache::Clean, Cache::Dirty] {
            for zero in [false, true] {
                std::println!("{range:?}, {cache:?}, zero: {zero}");
                let rig = Rig::new();
                let mut old = bytes(1, 4 * PAGE + 2048);
                rig.fill(&old);
                match cache {
                    Cache::Cold => rig.chill(),
                    Cache::Clean => {}
                    Cache::Dirty => {
                        old = bytes(2, old.len());
                        assert_eq!(rig.write(0, &old), Ok(old.len()));
                    }
                }
                let done = match zero {
                    true => rig.zero(range.clone(), FileSize::Stays),
                    false => rig.punch(range.clone()),
                };
                assert_eq!(done, Ok(()));
                assert_eq!(kernel::held(), []);
                rig.assert_keeps(&holed(&old, &range));
            }
        }
    }
}

#[test]
fn w2_a_file_of_the_cache_alone_has_holes_as_well() {
    for range in RANGES {
        let rig = Rig::on(RamStore::new(), Strategy::BeginEnd, 16);
        let old = bytes(1, 4 * PAGE + 2048);
        assert_eq!(rig.write(0, &old), Ok(old.len()));
        assert_eq!(rig.punch(range.clone()), Ok(()));
        rig.assert_holds(&holed(&old, &range));
        assert_eq!(rig.write(range.start, b"again"), Ok(5));
    }
}

#[test]
fn w9_a_hole_gives_blocks_and_frames_back() {
    let rig = Rig::new();
    let free = rig.store.inner().map().free();
    rig.fill(&bytes(1, 4 * PAGE));
    assert_eq!(rig.punch(P + 1..3 * P), Ok(()));
    assert_eq!(free - rig.store.inner().map().free(), 16 - 7, "blocks: one keeps a byte");
    assert_eq!((rig.cached(), rig.frames()), (3, 3), "page 2 is gone");
    assert_eq!(rig.zero(P..3 * P, FileSize::Stays), Ok(()));
    assert_eq!(free - rig.store.inner().map().free(), 16, "zeros that have room");
    rig.assert_keeps(&holed(&bytes(1, 4 * PAGE), &(P..3 * P)));
}

#[test]
fn w9_a_page_whose_blocks_went_asks_for_them_again() {
    let rig = Rig::new();
    rig.fill(&bytes(1, PAGE));
    assert_eq!(rig.punch(BLOCK as u64..2 * BLOCK as u64), Ok(()));
    rig.store.take_events();
    let new = bytes(2, BLOCK);
    assert_eq!(rig.write(BLOCK as u64, &new), Ok(BLOCK));
    let begun = Event::Begin(BLOCK as u64, BLOCK);
    assert_eq!(rig.store.take_events()[0], begun, "the page is cached, and not reserved");
    rig.assert_keeps(&overlay(&bytes(1, PAGE), BLOCK, &new));
}

#[test]
fn p6_pages_are_locked_and_unmapped_when_the_store_changes_and_not_before() {
    for range in [P..3 * P, 100..P + 100] {
        let rig = Rig::new();
        rig.fill(&bytes(1, 3 * PAGE));
        map(&rig, 1, Access::Write);
        rig.maps.take();
        let (maps, cached) = (rig.maps.clone(), rig.cached());
        let (first, end) = (range.start / P, range.end.div_ceil(P));
        let file = rig.file().clone();
        rig.store.at_next(Call::Fallocate, move || {
            let held = kernel::held();
            assert!(held.iter().any(|lock| matches!(lock, LockId::Inode(_))), "{held:?}");
            assert!(held.iter().any(|lock| matches!(lock, LockId::Range(..))), "{held:?}");
            let pages = |lock: &LockId| matches!(lock, LockId::Pages { .. });
            assert_eq!(held.iter().filter(|lock| pages(lock)).count(), 1, "{held:?}");
            assert_eq!(maps.take(), [(first, end, RmapCall::Unmap(Unmap::Evict))]);
            assert_eq!(file.mapping().cached_pages(), cached, "a store may still refuse");
        });
        assert_eq!(rig.punch(range.clone()), Ok(()));
        rig.assert_keeps(&holed(&bytes(1, 3 * PAGE), &range));
    }
}

/// Maps a page; its frame.
fn map(rig: &Rig, index: u64, access: Access) -> faultless_page::FrameNumber {
    let mut token = in_fault();
    let page = PageIndex::new(index);
    let mapped = rig.file().fault(&mut token, page, access, &rig.task, |mapped| {
        assert_eq!(mapped.protection == Protection::Writable, access == Access::Write);
        mapped.frame.into_number()
    });
    let frame = mapped.expect("inside the file");
    // SAFETY: the count that the entry was given; this reverse map removes no entries.
    unsafe { rig.cache.frames().release(frame) };
    frame
}

#[test]
fn p2_a_mapping_of_a_punched_page_faults_again_and_makes_room() {
    let rig = Rig::new();
    rig.fill(&bytes(1, 2 * PAGE));
    map(&rig, 0, Access::Write);
    assert_eq!(rig.punch(100..3000), Ok(()));
    rig.store.take_events();
    map(&rig, 0, Access::Write);
    assert_eq!(rig.store.take_events()[0], Event::Begin(0, PAGE), "room for what was given back");
    rig.assert_keeps(&holed(&bytes(1, 2 * PAGE), &(100..3000)));
}

#[test]
fn l1_a_page_that_is_counted_twice_stays_and_is_zeroed_where_it_is() {
    let rig = Rig::new();
    let old = bytes(1, 3 * PAGE);
    rig.fill(&old);
    assert_eq!(rig.write(P, &old[..PAGE]), Ok(PAGE), "dirty");
    let pin = {
        let mut token = token();
        let run = faultless_page::PageRun::single(PageIndex::new(1));
        let locked = rig.file().mapping().lock(token.page_locks(), run).expect("a leaf");
        locked.pin(rig.file().mapping(), PageIndex::new(1)).expect("a page")
    };
    assert_eq!(rig.punch(0..3 * P), Ok(()));
    assert_eq!((rig.cached(), rig.frames()), (1, 1));
    assert_eq!(rig.cached_page(1), Some(std::vec![0; PAGE]));
    rig.store.take_events();
    assert_eq!(rig.writeback(), Ok(()));
    assert_eq!(rig.store.take_events(), [], "it is clean");
    drop(pin);
    rig.assert_keeps(&std::vec![0; 3 * PAGE]);
}

#[test]
fn l3_a_hole_waits_for_the_writeback_of_its_pages_and_can_be_killed_there() {
    let rig = Rig::new();
    rig.fill(&bytes(1, 2 * PAGE));
    let new = bytes(2, 2 * PAGE);
    assert_eq!(rig.write(0, &new), Ok(new.len()));
    let file = rig.file().clone();
    rig.store.at_next(Call::Writeback, move || {
        let task = Tester::new();
        task.looks.set(9);
        let punched = file.punch_hole(&mut token(), 0..P, &task);
        assert_eq!(punched, Err(Errno::Interrupted), "pages are on their way to the store");
    });
    assert_eq!(rig.writeback(), Ok(()));
    rig.assert_keeps(&new);
    assert_eq!(rig.punch(0..P), Ok(()));
    rig.assert_keeps(&holed(&new, &(0..P)));
}

#[test]
fn l3_a_killed_task_has_punched_a_part_of_its_leaves_and_all_of_each() {
    let leaf = 64 * PAGE;
    for looks in 0..20 {
        let rig = Rig::new();
        let old = bytes(1, 100 * PAGE);
        rig.fill_cold(&old);
        rig.task.looks.set(looks);
        let punched = rig.punch(P..90 * P);
        rig.task.looks.set(u64::MAX);
        let after = match punched {
            Ok(()) => holed(&old, &(P..90 * P)),
            Err(errno) => {
                assert_eq!(errno, Errno::Interrupted);
                let punched = rig.store.events().iter().any(|event| match *event {
                    Event::Fallocate(Fallocate::PunchHole, start, end) => {
                        assert_eq!((start, end), (P, leaf as u64));
                        true
                    }
                    _ => false,
                });
                if punched { holed(&old, &(P..leaf as u64)) } else { old }
            }
        };
        rig.assert_keeps(&after);
        assert_eq!(rig.punch(P..90 * P), Ok(()), "once more");
        rig.assert_keeps(&holed(&after, &(P..90 * P)));
    }
}

#[test]
fn f5_a_store_that_refuses_loses_nothing() {
    for change in [Fallocate::PunchHole, Fallocate::ZeroRange] {
        let rig = Rig::new();
        let old = bytes(1, 100 * PAGE);
        rig.fill(&old);
        let new = bytes(2, 3 * PAGE);
        assert_eq!(rig.write(63 * P, &new), Ok(new.len()), "dirty on both sides");
        let old = overlay(&old, 63 * PAGE, &new);
        rig.store.faults.plan(Call::Fallocate, When::Nth(2), Answer::Fail(Errno::Io)).expect("");
        let range = P + 9..70 * P;
        let done = match change {
            Fallocate::PunchHole => rig.punch(range.clone()),
            _ => rig.zero(range.clone(), FileSize::Stays),
        };
        assert_eq!(done, Err(Errno::Io));
        assert_eq!(kernel::held(), []);
        rig.assert_keeps(&holed(&old, &(P + 9..64 * P)));
        assert_eq!(rig.punch(range.clone()), Ok(()), "it can be repeated");
        rig.assert_keeps(&holed(&old, &range));
    }
}

#[test]
fn p1_what_a_failing_store_zeroed_is_not_hidden_by_the_cache() {
    let rig = Rig::new();
    rig.fill(&bytes(1, 2 * PAGE));
    let store = rig.store.clone();
    rig.store.at_next(Call::Fallocate, move || {
        let zeroed = store.inner().fallocate(Fallocate::ZeroRange, 100..200);
        assert_eq!(zeroed, Ok(()), "a part of what it is asked for");
    });
    rig.store.faults.plan(Call::Fallocate, When::Nth(1), Answer::Fail(Errno::Io)).expect("");
    assert_eq!(rig.punch(100..2 * P), Err(Errno::Io));
    rig.assert_keeps(&holed(&bytes(1, 2 * PAGE), &(100..200)));
}

#[test]
fn w8_ranges_that_cannot_be_are_refused_before_anything() {
    let rig = Rig::new();
    rig.fill(&bytes(1, 1000));
    rig.task.now.set(9);
    let max = 1024 * 1024;
    for (range, errno) in [
        (5..5, Errno::Invalid),
        #[expect(clippy::reversed_empty_ranges, reason = "that is what is refused")]
        (6..5, Errno::Invalid),
        (0..max + 1, Errno::FileTooBig),
        (u64::MAX - 1..u64::MAX, Errno::FileTooBig),
    ] {
        assert_eq!(rig.punch(range.clone()), Err(errno), "{range:?}");
        assert_eq!(rig.zero(range.clone(), FileSize::Stays), Err(errno), "{range:?}");
        assert_eq!(rig.allocate(range.clone(), FileSize::Grows), Err(errno), "{range:?}");
    }
    assert_eq!((rig.store.take_events().len(), rig.file().times().modified), (0, 1));
    rig.task.limit.set(2000);
    assert_eq!(rig.allocate(1500..2001, FileSize::Grows), Err(Errno::FileTooBig));
    assert_eq!((rig.task.signals.get(), rig.file().size()), (1, 1000));
    assert_eq!(rig.allocate(1500..2001, FileSize::Stays), Ok(()));
    assert_eq!(rig.zero(1500..2000, FileSize::Grows), Ok(()));
    assert_eq!((rig.task.signals.get(), rig.file().size()), (1, 2000));
    assert_eq!(rig.file().times().modified, 9);
    rig.assert_keeps(&overlay(&bytes(1, 1000), 1999, &[0]));
}

#[test]
fn w12_a_hole_stamps_the_times_and_clears_set_id() {
    let rig = Rig::new();
    rig.fill(&bytes(1, 1000));
    rig.task.now.set(9);
    rig.file().mark_set_id();
    assert_eq!(rig.punch(0..10), Ok(()));
    assert_eq!((rig.file().times().modified, rig.file().is_set_id()), (9, false));
}

#[test]
fn a_store_without_holes_says_so_and_nothing_changes() {
    let rig = Rig::with(Strategy::BeginEnd);
    let legacy = Rig::on(super::store::without_fallocate(64), Strategy::BeginEnd, 16);
    let old = bytes(1, 1000);
    assert_eq!(legacy.write(0, &old), Ok(1000));
    legacy.task.now.set(9);
    for range in [0..10, 5000..6000] {
        assert_eq!(legacy.punch(range.clone()), Err(Errno::NotSupported));
        assert_eq!(legacy.zero(range.clone(), FileSize::Grows), Err(Errno::NotSupported));
        assert_eq!(legacy.allocate(range.clone(), FileSize::Grows), Err(Errno::NotSupported));
    }
    assert_eq!((legacy.file().times().modified, legacy.file().size()), (1, 1000));
    legacy.assert_holds(&old);
    assert_eq!(rig.punch(0..10), Ok(()), "of an empty file");
}

#[test]
fn w9_allocation_grows_the_file_with_zeros_that_have_room() {
    let rig = Rig::with_room(Strategy::BeginEnd, 8);
    let old = bytes(1, 1000);
    rig.fill(&old);
    assert_eq!(rig.allocate(500..2 * P, FileSize::Grows), Ok(()));
    assert_eq!((rig.file().size(), rig.store.inner().map().free()), (2 * P, 0));
    assert_eq!(rig.store.inner().map().size(), 2 * P, "F3: the store knows");
    rig.assert_keeps(&overlay(&old, 2 * PAGE - 1, &[0]));
    assert_eq!(rig.write(P, &bytes(2, PAGE)), Ok(PAGE), "the device is full, and it has room");
    rig.assert_keeps(&overlay(&overlay(&old, PAGE - 1, &[0]), PAGE, &bytes(2, PAGE)));
}

#[test]
fn w9_room_past_the_end_is_kept_for_the_file_to_grow_into() {
    let rig = Rig::with_room(Strategy::BeginEnd, 8);
    rig.fill(&bytes(1, 10));
    assert_eq!(rig.allocate(0..2 * P, FileSize::Stays), Ok(()));
    assert_eq!((rig.file().size(), rig.store.inner().map().free()), (10, 0));
    assert_eq!(rig.write(P, &bytes(2, PAGE)), Ok(PAGE));
    rig.assert_keeps(&overlay(&bytes(1, 10), PAGE, &bytes(2, PAGE)));
    assert_eq!(rig.set_size(10), Ok(()));
    assert_eq!(rig.store.inner().map().free(), 7, "a truncation takes it back");
}

#[test]
fn w9_too_little_room_leaves_the_size_and_nothing_past_it() {
    for change in [Fallocate::Allocate, Fallocate::ZeroRange] {
        let rig = Rig::with_room(Strategy::BeginEnd, 8);
        let old = bytes(1, 1000);
        rig.fill(&old);
        let done = match change {
            Fallocate::Allocate => rig.allocate(900..80 * P, FileSize::Grows),
            _ => rig.zero(1000..80 * P, FileSize::Grows),
        };
        assert_eq!(done, Err(Errno::NoSpace));
        assert_eq!((rig.file().size(), rig.store.inner().map().free()), (1000, 7));
        rig.assert_keeps(&old);
    }
}

#[test]
fn f5_a_size_that_the_store_refuses_leaves_it_without_more_room() {
    let rig = Rig::new();
    rig.fill(&bytes(1, 1000));
    let free = rig.store.inner().map().free();
    let refuse = Answer::Fail(Errno::Io);
    rig.store.faults.plan(Call::PrepareSize, When::EveryNth(1), refuse).expect("");
    assert_eq!(rig.allocate(0..2 * P, FileSize::Grows), Err(Errno::Io));
    assert_eq!(rig.zero(0..2 * P, FileSize::Grows), Err(Errno::Io));
    assert_eq!((rig.file().size(), rig.store.inner().map().free()), (1000, free));
    assert_eq!(rig.allocate(0..1000, FileSize::Grows), Ok(()), "it does not grow");
    rig.assert_keeps(&bytes(1, 1000));
}

#[test]
fn w9_a_budget_of_pages_is_charged_for_what_is_allocated() {
    static BUDGET: PageBudget = PageBudget::new(4);
    let store: RamStore = RamStore::within(&BUDGET);
    let rig = Rig::on(store, Strategy::BeginEnd, 16);
    assert_eq!(rig.allocate(0..4 * P + 1, FileSize::Grows), Err(Errno::NoSpace));
    assert_eq!((BUDGET.left(), rig.file().size()), (4, 0));
    assert_eq!(rig.allocate(100..3 * P, FileSize::Grows), Ok(()));
    assert_eq!((BUDGET.left(), rig.file().size()), (1, 3 * P));
    rig.assert_holds(&std::vec![0; 3 * PAGE]);
}

#[test]
fn p2_growth_by_zeros_seals_the_page_of_the_old_end() {
    let rig = Rig::new();
    rig.fill(&bytes(1, 1000));
    let frame = map(&rig, 0, Access::Write);
    let page = rig.cache.frames().address(frame).as_ptr();
    // SAFETY: inside the page, which stays in the cache; this thread alone uses it.
    unsafe { page.wrapping_add(1000).write_bytes(7, 100) };
    assert_eq!(rig.allocate(2000..3000, FileSize::Grows), Ok(()));
    rig.assert_keeps(&overlay(&bytes(1, 1000), 2999, &[0]));
}

#[test]
fn p2_what_a_killed_truncation_left_is_gone_before_room_is_made() {
    let rig = Rig::new();
    let old = bytes(1, 3 * PAGE);
    rig.fill(&old);
    rig.cut_and_kill(1000, 2);
    assert_eq!(rig.allocate(0..3 * P, FileSize::Grows), Ok(()));
    rig.assert_keeps(&overlay(&old[..1000], 3 * PAGE - 1, &[0]));
}

#[test]
fn l2_a_hole_in_a_hole_asks_the_store_for_nothing() {
    let rig = Rig::new();
    assert_eq!(rig.set_size(1024 * 1024), Ok(()));
    assert_eq!(rig.write(70 * P, b"x"), Ok(1));
    assert_eq!(rig.fsync(), Ok(()));
    rig.store.take_events();
    assert_eq!(rig.punch(0..1024 * 1024), Ok(()));
    let asked = Event::Fallocate(Fallocate::PunchHole, 70 * P, 128 * P);
    assert_eq!(rig.store.take_events(), [asked], "one leaf, from the first page on");
    assert_eq!(rig.punch(0..1024 * 1024), Ok(()));
    assert_eq!(rig.store.take_events(), []);
    assert_eq!(rig.frames(), 0);
}

#[test]
fn p8_a_hole_without_memory_for_a_node_changes_nothing() {
    let rig = Rig::new();
    let old = bytes(1, 3 * PAGE);
    rig.fill_cold(&old);
    // The leaf goes with its last page.
    rig.grant(0);
    let punched = rig.punch(0..2 * P);
    rig.grant(u64::MAX);
    let after = if punched.is_ok() { holed(&old, &(0..2 * P)) } else { old };
    assert!(punched == Ok(()) || punched == Err(Errno::NoMemory), "{punched:?}");
    rig.assert_keeps(&after);
}
