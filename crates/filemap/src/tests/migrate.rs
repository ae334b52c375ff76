//! Pages that move to other frames.

use std::boxed::Box;

use faultless_page::{
    Errno, FrameNumber, Frames, OwnedFrame, PageCache, PageIndex, PageRun, Unmap,
};
use faultless_parts::Call;

use super::kernel::{RmapCall, TestKernel, Tester};
use super::rig::{File, in_fault, token};
use super::{PAGE, Rig, bytes, overlay};
use crate::{Access, PageLocks};

fn frame(rig: &Rig) -> OwnedFrame<'_, TestKernel> {
    rig.cache.allocate(1).expect("memory").take_first().expect("a frame")
}

fn two_frames(cache: &'static PageCache<TestKernel>) -> [OwnedFrame<'static, TestKernel>; 2] {
    let one = || cache.allocate(1).expect("memory").take_first().expect("a frame");
    [one(), one()]
}

fn migrate(rig: &Rig, index: u64) -> Result<(), Errno> {
    let moved = rig.file().migrate(&mut token(), PageIndex::new(index), frame(rig), &rig.task);
    moved.map_err(|stayed| stayed.errno)
}

/// The frame of a page, by a fault for `access` whose entry is not set.
fn frame_of(rig: &Rig, index: u64, access: Access) -> FrameNumber {
    let mut token = in_fault();
    let page = PageIndex::new(index);
    let mapped = rig.file().fault(&mut token, page, access, &rig.task, |m| m.frame.number());
    mapped.expect("a page of the file")
}

/// Which of dirty, reserved and wrote past EOF a page has.
fn marks(file: &File, index: u64) -> [bool; 3] {
    let (mut token, run) = (token(), PageRun::single(PageIndex::new(index)));
    let locked = file.mapping().lock(token.page_locks(), run).expect("a leaf");
    [locked.dirty(), locked.reserved(), locked.wrote_past_eof()].map(|slots| !slots.is_empty())
}

#[test]
fn a_page_keeps_its_bytes_and_its_marks_and_the_old_frame_is_free() {
    let rig = Rig::new();
    let old = bytes(1, 2 * PAGE + 100);
    rig.fill(&old);
    assert_eq!(rig.write(PAGE as u64 + 3, b"dirty"), Ok(5));
    let before = frame_of(&rig, 2, Access::Write);
    rig.maps.take();
    let all = [marks(rig.file(), 0), marks(rig.file(), 1), marks(rig.file(), 2)];
    assert_eq!((all[0], all[1][0]), ([false, true, false], true));
    assert_eq!((all[2][0], all[2][2]), (true, true), "mapped writable");
    let frames = rig.frames();
    for page in 0..3 {
        assert_eq!(migrate(&rig, page), Ok(()));
        assert_eq!(marks(rig.file(), page), all[page as usize], "page {page}");
    }
    let unmap = |page| (page, page + 1, RmapCall::Unmap(Unmap::Evict));
    assert_eq!(rig.maps.take(), [unmap(0), unmap(1), unmap(2)]);
    assert_ne!(frame_of(&rig, 2, Access::Read), before);
    assert_eq!(rig.frames(), frames, "as many as before");
    rig.assert_keeps(&overlay(&old, PAGE + 3, b"dirty"));
}

#[test]
fn frames_that_follow_each_other_no_longer_are_read_in_one_go() {
    let rig = Rig::new();
    let old = bytes(1, 4 * PAGE);
    rig.fill(&old);
    // The pages are known to be contiguous.
    assert_eq!(rig.write(0, &old), Ok(4 * PAGE));
    assert_eq!(migrate(&rig, 1), Ok(()));
    rig.assert_holds(&old);
    assert_eq!(rig.write(PAGE as u64 - 2, b"over"), Ok(4));
    rig.assert_keeps(&overlay(&old, PAGE - 2, b"over"));
}

#[test]
fn f5_pages_that_are_pinned_or_under_writeback_stay() {
    let rig = Rig::new();
    rig.fill(&bytes(1, 2 * PAGE));
    let pinned = frame_of(&rig, 0, Access::Read);
    rig.cache.frames().retain(pinned);
    assert_eq!(migrate(&rig, 0), Err(Errno::Busy));
    // SAFETY: the count that was just added.
    unsafe { rig.cache.frames().release(pinned) };
    assert_eq!(rig.write(PAGE as u64, b"new"), Ok(3));
    let file = rig.file().clone();
    let [frame, _] = two_frames(Box::leak(Box::new(rig.cache.clone())));
    rig.store.at_next(Call::Writeback, move || {
        let stayed = file.migrate(&mut token(), PageIndex::new(1), frame, &Tester::new());
        assert_eq!(stayed.map_err(|stayed| stayed.errno), Err(Errno::Busy));
    });
    assert_eq!(rig.writeback(), Ok(()));
    assert_eq!((migrate(&rig, 0), migrate(&rig, 1)), (Ok(()), Ok(())));
    rig.assert_keeps(&overlay(&bytes(1, 2 * PAGE), PAGE, b"new"));
}

#[test]
fn pages_that_are_absent_or_not_valid_and_foreign_frames_are_refused() {
    let rig = Rig::new();
    assert_eq!(migrate(&rig, 0), Err(Errno::Invalid), "no leaf");
    rig.fill(&bytes(1, PAGE));
    assert_eq!(migrate(&rig, 1), Err(Errno::Invalid));
    let other = Rig::new();
    let stayed = rig.file().migrate(&mut token(), PageIndex::ZERO, frame(&other), &rig.task);
    assert_eq!(stayed.map_err(|stayed| stayed.errno), Err(Errno::Invalid));
    drop(other);
    rig.assert_keeps(&bytes(1, PAGE));
}

#[test]
fn l3_a_task_that_is_to_die_moves_a_free_page_and_waits_for_none() {
    let rig = Rig::new();
    rig.fill_cold(&bytes(1, 2 * PAGE));
    assert_eq!(rig.read(PAGE as u64, 1).map(|got| got.len()), Ok(1));
    let file = rig.file().clone();
    // Before the page is locked for the read (P3).
    let frames = two_frames(Box::leak(Box::new(rig.cache.clone())));
    rig.store.at_next(Call::Read, move || {
        let task = Tester::new();
        task.looks.set(0);
        let mut page = 0;
        let outcome = frames.map(|frame| {
            let moved = file.migrate(&mut token(), PageIndex::new(page), frame, &task);
            page += 1;
            moved.map_err(|stayed| stayed.errno)
        });
        assert_eq!(outcome, [Err(Errno::Interrupted), Ok(())]);
    });
    assert_eq!(rig.read(0, 1).map(|got| got.len()), Ok(1));
    rig.assert_keeps(&bytes(1, 2 * PAGE));
}
