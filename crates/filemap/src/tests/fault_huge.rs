//! One entry for 2 MiB of a file.

use std::vec::Vec;

use faultless_page::{FrameNumber, Frames, LockId, OwnedFrame, PageIndex, PageRun, Unmap};
use faultless_parts::{BlockStore, FixedMap, RamDisk};

use super::kernel::{self, RmapCall};
use super::rig::{in_fault, token};
use super::store::BLOCK;
use super::{PAGE, Rig, bytes};
use crate::pos::FilePos;
use crate::{HUGE_PAGES, HugeFrames, PageLocks, Strategy};

const PAGES: usize = HUGE_PAGES as usize;

/// A disk that has room for four huge pages.
type Large = BlockStore<RamDisk<Vec<u8>>, FixedMap<BLOCKS>>;
const BLOCKS: usize = 4 * PAGES * PAGE / BLOCK;

fn large() -> Large {
    let device = RamDisk::new(std::vec![0; BLOCKS * BLOCK], BLOCK).expect("a block size");
    BlockStore::new(device, FixedMap::new(0..BLOCKS as u64)).expect("a block size")
}

/// A file of three huge pages and a half, the first two of which are in the cache, and were moved
/// to frames that follow each other.
fn rig() -> Rig<Large> {
    let rig = Rig::on(large(), Strategy::BeginEnd, 5 * PAGES);
    rig.fill(&bytes(1, 2 * PAGES * PAGE));
    assert_eq!(rig.set_size((7 * PAGES * PAGE / 2) as u64), Ok(()));
    let mut free = Vec::new();
    while let Ok(mut batch) = rig.cache.allocate(1) {
        free.extend(batch.take_first());
    }
    free.sort_by_key(OwnedFrame::number);
    let follow = |run: &[OwnedFrame<'_, _>]| {
        run.windows(2).all(|pair| pair[0].number().checked_add(1) == Some(pair[1].number()))
    };
    let first = free.windows(2 * PAGES).position(follow).expect("a run of free frames");
    let run = free.drain(first..first + 2 * PAGES).collect::<Vec<_>>();
    for (page, frame) in (0..).map(PageIndex::new).zip(run) {
        assert!(rig.file().migrate(&mut token(), page, frame, &rig.task).is_ok());
    }
    drop(free);
    rig
}

/// What is offered for the page: the first page, and the first frame. The entry is not set.
fn offered(rig: &Rig<Large>, page: usize) -> Option<(usize, FrameNumber)> {
    let look = |first: PageIndex, frames: HugeFrames<'_, '_, _>| {
        let all = |lock: &LockId| matches!(lock, LockId::Pages { .. });
        assert!(kernel::held().len() == 8 && kernel::held().iter().all(all), "eight leaves");
        (first.get() as usize, frames.first())
    };
    let offered = rig.file().install_huge(&mut in_fault(), PageIndex::new(page as u64), look);
    assert_eq!(kernel::held(), [], "P3");
    offered
}

/// Gives back what an entry owned.
fn remove(rig: &Rig<Large>, first: FrameNumber) {
    for frame in (0..HUGE_PAGES as u32).filter_map(|nth| first.checked_add(nth)) {
        // SAFETY: the count that the entry owned.
        unsafe { rig.cache.frames().release(frame) };
    }
}

#[test]
fn frames_that_follow_each_other_are_offered_with_all_their_pages_locked() {
    let rig = rig();
    let (first, frame) = offered(&rig, PAGES + 7).expect("whole and contiguous");
    assert_eq!(first, PAGES);
    for nth in [0, 1, 63, 64, PAGES - 1] {
        let page = frame.checked_add(nth as u32).expect("a frame");
        let (mut own, run) = (token(), PageRun::single(PageIndex::new((PAGES + nth) as u64)));
        let locked = rig.file().mapping().try_lock(own.page_locks(), run).expect("free");
        assert_eq!(locked.frame(run.first()), Some(page), "page {nth}");
    }
    assert_eq!(offered(&rig, 0).map(|(first, _)| first), Some(0));
}

#[test]
fn an_entry_owns_a_count_of_each_frame() {
    let rig = rig();
    let installed =
        rig.file().install_huge(&mut in_fault(), PageIndex::new(3), |_, f| f.into_number());
    let first = installed.expect("offered");
    let frames = || (0..HUGE_PAGES as u32).filter_map(|nth| first.checked_add(nth));
    assert!(frames().all(|frame| rig.cache.frames().references(frame) == 2));
    rig.evict();
    assert_eq!(
        rig.cached(),
        HUGE_PAGES,
        "F5: what is counted twice stays, as its entry was not removed"
    );
    remove(&rig, first);
    assert_eq!(rig.writeback(), Ok(()));
}

#[test]
fn nothing_is_offered_that_is_not_whole() {
    let rig = rig();
    assert_eq!(offered(&rig, 2 * PAGES), None, "pages that are not there");
    assert_eq!(rig.set_size((2 * PAGES * PAGE - 1) as u64), Ok(()));
    assert_eq!(offered(&rig, PAGES), None, "past the end");
    assert!(offered(&rig, 0).is_some());

    let (mut own, page) = (token(), PageIndex::new(100));
    let locked = rig.file().mapping().try_lock(own.page_locks(), PageRun::single(page));
    assert!(locked.is_some());
    let called = rig.file().install_huge(&mut in_fault(), PageIndex::new(0), |_, _| ());
    assert_eq!(called, None, "a page that is locked");
    drop(locked);
    assert!(offered(&rig, 0).is_some(), "all were unlocked");

    let frame = rig.cache.allocate(1).expect("memory").take_first().expect("a frame");
    let moved = rig.file().migrate(&mut token(), page, frame, &rig.task);
    assert!(moved.is_ok());
    assert_eq!(offered(&rig, 0), None, "a frame that does not follow the one before");
}

#[test]
fn p6_a_truncation_while_the_entry_is_set_takes_it_away() {
    let rig = rig();
    let file = rig.file().clone();
    let _before = rig.maps.take();
    let first = rig.file().install_huge(&mut in_fault(), PageIndex::new(0), |_, frames| {
        file.shrink_size(FilePos::new(5).expect("a size"));
        frames.into_number()
    });
    assert!(
        rig.maps.take().contains(&(0, HUGE_PAGES, RmapCall::Unmap(Unmap::Truncate))),
        "the fault looks at the size after it has set the entry"
    );
    remove(&rig, first.expect("offered"));
}
