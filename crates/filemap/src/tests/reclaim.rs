//! Reclaim: what a step gives up, what it keeps, and what an allocation does that finds nothing.

use core::cell::Cell;
use core::sync::atomic::Ordering::Relaxed;
use std::rc::Rc;
use std::sync::{Arc, Weak};
use std::vec::Vec;

use faultless_page::{
    AddressSpaceOperations, Errno, FrameNumber, Frames, Kernel, PageCache, PageIndex, PageRun,
    Unmap,
};
use faultless_parts::{Answer, Call, RamStore, When};
use faultless_usercopy::IovIter;

use super::kernel::{Mappings, Memory, Patient, RmapCall, TestKernel, reclaim_by};
use super::rig::{File, in_fault, token, write_elsewhere};
use super::store::{TestStore, disk};
use super::user::READABLE;
use super::{PAGE, Rig, bytes, overlay};
use crate::{
    Access, DirtyVictims, Files, Inode, NoTask, PageLocks, ReadAhead, ReadAheadLimits, Reclaimed,
    Reclaimer, Strategy, Task,
};

/// Files that are found while they live.
struct Table(Vec<Weak<File>>);

impl Table {
    fn of(rig: &Rig) -> Self {
        Self(std::vec![Arc::downgrade(rig.file())])
    }
}

impl Files<TestKernel> for Table {
    type Handle = Arc<File>;

    fn find(&self, mapping: u64) -> Option<Arc<File>> {
        self.0.iter().filter_map(Weak::upgrade).find(|file| file.mapping().id() == mapping)
    }
}

fn step(rig: &Rig, dirty: DirtyVictims, wanted: u32) -> Reclaimed {
    Reclaimer::new(dirty).step(&rig.cache, &Table::of(rig), &mut token(), wanted, &rig.task)
}

/// Has allocations that find nothing drop pages of the rig's file.
fn reclaim_directly(rig: &Rig, dirty: DirtyVictims) {
    let table = Table::of(rig);
    reclaim_by(move |cache, mut locks, wanted| {
        Reclaimer::new(dirty).step(cache, &table, &mut locks, wanted, &NoTask).dropped
    });
}

/// Writes in pieces, until one comes short; how many bytes landed.
fn write_all(rig: &Rig, new: &[u8]) -> usize {
    let mut landed = 0;
    for piece in new.chunks(READABLE) {
        let bytes = rig.write(landed as u64, piece).unwrap_or(0);
        landed += bytes;
        if bytes < piece.len() {
            break;
        }
    }
    landed
}

/// Maps page `index` for loads; its frame.
fn map(rig: &Rig, index: u64) -> FrameNumber {
    let page = PageIndex::new(index);
    let installed = rig
        .file()
        .fault(&mut in_fault(), page, Access::Read, &rig.task, |mapped| mapped.frame.number());
    installed.expect("a page of the file")
}

fn is_cached(rig: &Rig, index: u64) -> bool {
    rig.cached_page(index).is_some()
}

#[test]
fn f5_a_step_drops_clean_pages_and_leaves_dirty_ones() {
    let rig = Rig::new();
    let old = bytes(1, 8 * PAGE);
    rig.fill(&old);
    assert_eq!(rig.write(3 * PAGE as u64, b"new"), Ok(3));
    let done = step(&rig, DirtyVictims::Leave, 100);
    assert_eq!((done.dropped, done.sent), (7, 0));
    assert!(done.kept > 0, "the dirty one");
    assert_eq!((rig.cached(), rig.frames()), (1, 1));
    rig.assert_keeps(&overlay(&old, 3 * PAGE, b"new"));
}

#[test]
fn a_step_drops_no_more_than_it_was_asked_for() {
    let rig = Rig::new();
    rig.fill(&bytes(1, 100 * PAGE));
    for wanted in [1, 2, 7] {
        let before = rig.cached();
        assert_eq!(step(&rig, DirtyVictims::Leave, wanted).dropped, wanted);
        assert_eq!(rig.cached(), before - u64::from(wanted));
    }
    assert_eq!(step(&rig, DirtyVictims::Leave, 0), Reclaimed::default());
}

#[test]
fn a_step_that_may_send_has_dirty_pages_written_and_drops_them() {
    let rig = Rig::new();
    let new = bytes(1, 70 * PAGE);
    assert_eq!(write_all(&rig, &new), new.len());
    let done = step(&rig, DirtyVictims::Send, 70);
    assert_eq!((done.dropped, done.sent, done.kept), (70, 70, 0));
    assert_eq!(rig.cached(), 0);
    rig.assert_stored(&new);
    rig.assert_holds(&new);
}

#[test]
fn f5_what_cannot_be_written_stays_and_the_step_ends() {
    let rig = Rig::new();
    let new = bytes(1, 9 * PAGE);
    assert_eq!(write_all(&rig, &new), new.len());
    rig.store.faults.plan(Call::Writeback, When::EveryNth(1), Answer::Fail(Errno::Io)).expect("");
    for _ in 0..3 {
        let done = step(&rig, DirtyVictims::Send, 9);
        assert_eq!((done.dropped, rig.cached()), (0, 9));
        assert!(done.sent > 0 && done.kept > 0, "{done:?}");
    }
    rig.store.faults.clear();
    assert_eq!(rig.fsync(), Err(Errno::Io), "F2: told of the failures");
    rig.assert_keeps(&new);
}

#[test]
fn f5_pinned_and_locked_pages_stay() {
    let rig = Rig::new();
    rig.fill(&bytes(1, 4 * PAGE));
    let frames = rig.cache.frames();
    let frame = map(&rig, 1);
    frames.retain(frame);
    let mut token = token();
    let run = PageRun::single(PageIndex::new(2));
    let locked = rig.file().mapping().try_lock(token.page_locks(), run);
    assert!(locked.is_some());
    let done = step(&rig, DirtyVictims::Send, 4);
    assert_eq!(done.dropped, 2);
    assert!((2..=3 * 4).contains(&done.kept), "{done:?}");
    drop(locked);
    // SAFETY: the count that was just added.
    unsafe { frames.release(frame) };
    assert_eq!(step(&rig, DirtyVictims::Leave, 4).dropped, 2, "they come up again");
    assert_eq!(rig.frames(), 0);
}

#[test]
fn a_mapped_page_is_unmapped_with_its_lock_held_before_it_goes() {
    let rig = Rig::new();
    rig.fill(&bytes(1, 3 * PAGE));
    map(&rig, 1);
    rig.maps.take();
    assert_eq!(step(&rig, DirtyVictims::Leave, 3).dropped, 3);
    let unmapped = rig.maps.take();
    assert!(unmapped.iter().all(|(_, _, call)| *call == RmapCall::Unmap(Unmap::Evict)));
    assert!(unmapped.iter().any(|(first, end, _)| (*first..*end).contains(&1)), "{unmapped:?}");
}

#[test]
fn a_page_that_was_accessed_through_a_mapping_is_used() {
    let rig = Rig::new();
    rig.fill(&bytes(1, 3 * PAGE));
    map(&rig, 1);
    rig.maps.accessed.store(0b10, Relaxed);
    let done = step(&rig, DirtyVictims::Leave, 2);
    assert_eq!((done.dropped, is_cached(&rig, 1)), (2, true), "{done:?}");
}

#[test]
fn f5_pages_of_a_store_that_keeps_nothing_are_not_on_the_books() {
    let rig = Rig::on(RamStore::new(), Strategy::BeginEnd, 16);
    let old = bytes(1, 3 * PAGE);
    assert_eq!(rig.write(0, &old), Ok(old.len()));
    assert_eq!(rig.fsync(), Ok(()));
    assert_eq!(rig.cache.reclaimable_pages(), 0);
    let files = Table(std::vec![Arc::downgrade(rig.file())]);
    let done =
        Reclaimer::new(DirtyVictims::Send).step(&rig.cache, &files, &mut token(), 3, &NoTask);
    assert_eq!(done, Reclaimed::default());
    rig.assert_holds(&old);
}

/// A leaf stays on its queue when its pages leave by name, and comes to the next file.
#[test]
fn l1_pages_of_a_store_that_keeps_nothing_do_not_use_up_a_step() {
    let rig = Rig::new();
    rig.fill(&bytes(1, 64 * PAGE));
    assert_eq!(rig.evict(), 64);
    let store: Arc<dyn AddressSpaceOperations> =
        Arc::new(TestStore::new(RamStore::new(), Strategy::BeginEnd));
    let other: File = Inode::new(rig.cache.clone(), store, Mappings::default(), 0);
    write_elsewhere(&other, 0, &bytes(2, READABLE));
    assert_eq!(rig.read(0, 4 * PAGE).map(|bytes| bytes.len()), Ok(4 * PAGE));
    assert!((4..64).contains(&rig.cache.reclaimable_pages()));
    while rig.cache.reclaimable_pages() > 0 {
        let done = step(&rig, DirtyVictims::Leave, 1);
        assert_eq!((done.dropped, done.kept), (1, 0), "{} left", rig.cached());
    }
    assert_eq!((rig.cached(), other.mapping().cached_pages()), (0, READABLE.div_ceil(PAGE) as u64));
    other.discard();
}

#[test]
fn pages_that_are_used_again_survive_a_scan() {
    let rig = Rig::new();
    rig.fill_cold(&bytes(1, 120 * PAGE));
    rig.cache.set_capacity(32).expect("memory for the shadows");
    let page = |index: u64| rig.read(index * PAGE as u64, PAGE).map(|bytes| bytes.len());
    let within = |pages: u64| {
        while rig.cached() > pages {
            assert!(step(&rig, DirtyVictims::Leave, 1).dropped > 0);
        }
    };
    // A few pages in steady use, between pages that are read once.
    let mut misses = 0;
    for round in 0..40 {
        for hot in 0..6 {
            misses += u32::from(round > 8 && !is_cached(&rig, hot));
            assert_eq!(page(hot), Ok(PAGE));
            within(32);
        }
        for cold in 0..12 {
            assert_eq!(page(20 + (round * 12 + cold) % 100), Ok(PAGE));
            within(32);
        }
    }
    assert_eq!(misses, 0, "a page in steady use was dropped");
}

#[test]
fn an_allocation_that_finds_nothing_drops_clean_pages_first() {
    let rig = Rig::on(disk(512), Strategy::BeginEnd, 40);
    let old = bytes(1, 100 * PAGE);
    reclaim_directly(&rig, DirtyVictims::Send);
    rig.fill(&old);
    reclaim_directly(&rig, DirtyVictims::Leave);
    rig.assert_holds(&old);
    assert!(rig.cached() > 20, "{} pages: it gives up too much", rig.cached());
}

/// Reads a page with a window of guesses behind it, and asks for more by advice; pages in the
/// cache.
fn read_ahead(rig: &Rig) -> u64 {
    let slice = rig.user.slice(0, PAGE);
    let mut to = IovIter::from_slice(&rig.user, &slice);
    let ahead = ReadAhead::new();
    let got = rig.file().read_ahead(&mut token(), &mut to, 0, &ahead, &rig.task);
    assert_eq!(got, Ok(PAGE));
    let limits = ReadAheadLimits::DEFAULT;
    rig.file().will_need(&mut token(), 0, 100 * PAGE as u64, &limits);
    rig.cached()
}

#[test]
fn pages_that_are_guessed_push_none_out() {
    let rig = Rig::new();
    rig.fill_cold(&bytes(1, 100 * PAGE));
    reclaim_by(|_, _, _| panic!("a guess has pages given up"));
    let free = rig.cache.frames().pool.free();
    rig.cache.frames().low.store(u64::from(free), Relaxed);
    assert_eq!(read_ahead(&rig), 1, "what was asked for");
    rig.chill();
    rig.cache.frames().low.store(0, Relaxed);
    assert_eq!(read_ahead(&rig), 100);
    rig.chill();
    // The first allocation is for the page that was asked for, and then there is no memory.
    rig.grant(1);
    assert_eq!(read_ahead(&rig), 1);
    rig.grant(u64::MAX);
}

#[test]
fn without_reclaim_memory_ends() {
    let rig = Rig::on(disk(512), Strategy::BeginEnd, 40);
    let new = bytes(1, 100 * PAGE);
    let written = write_all(&rig, &new);
    assert!((1..64 * PAGE).contains(&written), "{written}");
    assert_eq!(rig.write(written as u64, &new[written..written + PAGE]), Err(Errno::NoMemory));
}

#[test]
fn w9_all_memory_dirty_and_the_store_failing_is_an_error_and_no_loss() {
    let rig = Rig::on(disk(512), Strategy::BeginEnd, 40);
    reclaim_directly(&rig, DirtyVictims::Send);
    rig.store.faults.plan(Call::Writeback, When::EveryNth(1), Answer::Fail(Errno::Io)).expect("");
    let new = bytes(1, 64 * PAGE);
    let written = write_all(&rig, &new);
    assert!((1..64 * PAGE).contains(&written), "{written}");
    assert_eq!(rig.write(written as u64, &new[written..][..PAGE]), Err(Errno::NoMemory));
    rig.store.faults.clear();
    assert_eq!(rig.fsync(), Err(Errno::Io), "F2");
    assert_eq!(write_all(&rig, &new), new.len());
    rig.assert_keeps(&new);
}

#[test]
fn l1_reclaim_gives_up_when_others_take_what_it_frees() {
    let rig = Rig::on(disk(512), Strategy::BeginEnd, 24);
    rig.fill(&bytes(1, 20 * PAGE));
    let (cache, calls) = (Arc::downgrade(&rig.cache), Rc::new(Cell::new(0)));
    let counted = calls.clone();
    // It says that it has freed pages, and has not.
    reclaim_by(move |_, _, _| {
        counted.set(counted.get() + 1);
        assert!(counted.get() < 1000, "L1: without a bound");
        1
    });
    let _all: Vec<_> = {
        let cache = cache.upgrade().expect("the rig's");
        core::iter::from_fn(|| cache.frames().allocate(1).ok()).collect()
    };
    assert_eq!(rig.write(30 * PAGE as u64, b"x"), Err(Errno::NoMemory));
    assert!((1..100).contains(&calls.get()), "{} calls", calls.get());
    for (frame, _) in _all {
        // SAFETY: just allocated by this test.
        unsafe { rig.cache.frames().release(frame) };
    }
}

#[test]
fn leaves_that_lost_their_last_page_are_used_again() {
    let rig = Rig::on(disk(8192), Strategy::BeginEnd, 200);
    let sparse = |at: u64| 64 * PAGE as u64 * at;
    for at in 0..2 {
        assert_eq!(rig.write(sparse(at), b"one"), Ok(3));
    }
    assert_eq!(rig.fsync(), Ok(()));
    let before = rig.cache.metadata_bytes();
    for _ in 0..12 {
        assert_eq!(step(&rig, DirtyVictims::Leave, 40).dropped, 2);
        for at in 2..4 {
            assert_eq!(rig.write(sparse(at), b"two"), Ok(3));
        }
        assert_eq!(rig.fsync(), Ok(()));
        assert_eq!(step(&rig, DirtyVictims::Leave, 40).dropped, 2);
        for at in 0..2 {
            assert_eq!(rig.read(sparse(at), 3), Ok(b"one".to_vec()));
        }
    }
    assert_eq!(rig.cache.metadata_bytes(), before, "leaves are kept");
}

#[test]
fn e23_the_nodes_go_back_with_the_last_file() {
    let mut rig = Rig::new();
    rig.fill(&bytes(1, 8 * PAGE));
    assert!(rig.cache.metadata_bytes() > 0);
    let second: Arc<dyn AddressSpaceOperations> =
        Arc::new(TestStore::new(disk(8), Strategy::BeginEnd));
    let other: File = Inode::new(rig.cache.clone(), second, Mappings::default(), 0);
    rig.take_file().discard();
    assert!(rig.cache.metadata_bytes() > 0, "another file is open");
    drop(other);
    assert_eq!(rig.cache.metadata_bytes(), 0);
    let pool = &rig.cache.frames().pool;
    assert_eq!(pool.free(), pool.total());
    // The books have forgotten the leaves: a step finds nothing, and a new file is on them.
    let mut next = Rig::new();
    next.cache = rig.cache.clone();
    assert_eq!(rig.cache.reclaimable_pages(), 0);
    let done = Reclaimer::new(DirtyVictims::Send).step(
        &rig.cache,
        &Table(Vec::new()),
        &mut token(),
        9,
        &NoTask,
    );
    assert_eq!(done, Reclaimed::default());
}

#[test]
fn a_file_that_goes_while_its_victims_are_looked_at_is_not_missed() {
    /// Drops the file that is asked for.
    struct Dropping(Cell<Option<Arc<File>>>);
    impl Files<TestKernel> for Dropping {
        type Handle = Arc<File>;
        fn find(&self, _mapping: u64) -> Option<Arc<File>> {
            drop(self.0.take());
            None
        }
    }
    let mut rig = Rig::new();
    rig.fill(&bytes(1, 8 * PAGE));
    let files = Dropping(Cell::new(Some(Arc::new(rig.take_file()))));
    let done =
        Reclaimer::new(DirtyVictims::Send).step(&rig.cache, &files, &mut token(), 8, &NoTask);
    assert_eq!(done.dropped, 0);
    assert_eq!((rig.cache.reclaimable_pages(), rig.cache.metadata_bytes()), (0, 0));
}

#[test]
fn the_nodes_stay_while_a_search_looks() {
    let mut rig = Rig::new();
    rig.fill(&bytes(1, PAGE));
    let (cache, file) = (rig.cache.clone(), rig.take_file());
    let mut search = cache.search();
    let id = file.mapping().id();
    let victims = search.next(1).expect("a page");
    file.discard();
    assert!(cache.metadata_bytes() > 0, "nodes that are looked at");
    assert_eq!((victims.mapping(), victims.rest()), (id, 1));
    drop(victims);
    assert!(search.next(1).is_none());
    drop(search);
    assert_eq!(cache.metadata_bytes(), 0);
}

#[test]
fn p8_a_capacity_that_there_is_no_memory_for_changes_nothing() {
    let rig = Rig::new();
    rig.fill(&bytes(1, 8 * PAGE));
    let before = rig.cache.metadata_bytes();
    // 5 lines of 64 bytes for every 256 pages; with many of them, also a frame with the numbers of
    // their frames.
    for (capacity, frames) in [(10_000, 4), (120_000, 37 + 1), (16, 1)] {
        let old = rig.cache.metadata_bytes();
        for allocations in 0..frames {
            rig.grant(allocations);
            assert_eq!(rig.cache.set_capacity(capacity), Err(Errno::NoMemory), "{allocations}");
            assert_eq!(rig.cache.metadata_bytes(), old);
        }
        rig.grant(u64::MAX);
        assert_eq!(rig.cache.set_capacity(capacity), Ok(()));
        assert_eq!(rig.cache.metadata_bytes(), before + frames as usize * PAGE);
    }
    assert_eq!(rig.frames(), 8, "the old table has gone back");
}

/// Pages leave by name, by truncation and with their file.
#[test]
fn the_books_have_what_is_cached() {
    let mut rig = Rig::new();
    rig.fill(&bytes(1, 100 * PAGE));
    let on_the_books = |rig: &Rig| (rig.cache.reclaimable_pages(), rig.cached());
    assert_eq!(on_the_books(&rig), (100, 100));
    assert_eq!(rig.file().evict(&mut token(), 3 * PAGE as u64..9 * PAGE as u64), 6);
    assert_eq!(on_the_books(&rig), (94, 94));
    assert_eq!(rig.set_size(70 * PAGE as u64 + 5), Ok(()));
    assert_eq!(on_the_books(&rig), (65, 65));
    assert_eq!(step(&rig, DirtyVictims::Send, 5).dropped, 5);
    assert_eq!(on_the_books(&rig), (60, 60));
    rig.take_file().discard();
    assert_eq!(rig.cache.reclaimable_pages(), 0);
}

#[test]
fn l3_a_step_of_a_killed_task_ends() {
    let rig = Rig::new();
    rig.fill(&bytes(1, 8 * PAGE));
    rig.task.looks.set(0);
    assert_eq!(step(&rig, DirtyVictims::Send, 8), Reclaimed::default());
    rig.task.looks.set(u64::MAX);
    assert!(!rig.task.fatal_signal_pending());
}

/// A truncation that waits for its page finds it gone, or the step finds the page gone.
#[test]
fn reclaim_inside_a_truncation_takes_each_page_once() {
    let rig = Rig::new();
    let old = bytes(1, 8 * PAGE);
    rig.fill(&old);
    let (table, cache) = (Table::of(&rig), rig.cache.clone());
    rig.store.at_next(Call::TruncateBlocks, move || {
        let reclaimer = Reclaimer::new(DirtyVictims::Send);
        let done = reclaimer.step(&cache, &table, &mut token(), 100, &NoTask);
        assert!(done.dropped >= 2, "{done:?}");
    });
    assert_eq!(rig.set_size(3 * PAGE as u64 + 5), Ok(()));
    rig.assert_keeps(&old[..3 * PAGE + 5]);
}

/// Types: a step needs no inode lock.
#[test]
fn the_permission_of_an_allocation_is_enough() {
    fn with(cache: &PageCache<TestKernel>, locks: &mut impl PageLocks) -> u32 {
        Reclaimer::new(DirtyVictims::Leave)
            .step(cache, &Table(Vec::new()), locks, 1, &NoTask)
            .dropped
    }
    let cache: Arc<PageCache<TestKernel>> = Arc::new(PageCache::new(Memory::new(4), Patient));
    assert_eq!(with(&cache, &mut token()), 0);
    assert_eq!(TestKernel::reclaim(&cache, token().page_locks(), 1), 0, "nothing is set");
}
