//! Counts for an allocator without: a frame goes back when its last count does.

use core::ptr::NonNull;
use core::sync::atomic::AtomicU32;
use std::boxed::Box;
use std::sync::Mutex;
use std::vec::Vec;

use faultless_page::{Errno, Frames, PAGE_SIZE};

use crate::{CountedFrames, FrameSource, Page};

/// The number of the first frame.
const FIRST: u64 = 0x8_0000;

/// An allocator of single frames with a list of free ones.
struct List {
    base: NonNull<Page>,
    free: Mutex<Vec<u64>>,
}

// SAFETY: it only computes addresses.
unsafe impl Send for List {}
// SAFETY: as above.
unsafe impl Sync for List {}

impl List {
    fn new(frames: u64) -> Self {
        let pages = Box::leak(std::vec![Page::ZERO; frames as usize].into_boxed_slice());
        let free = (FIRST..FIRST + frames).rev().collect();
        Self { base: NonNull::from(pages).cast(), free: Mutex::new(free) }
    }

    fn free(&self) -> Vec<u64> {
        self.free.lock().expect("no panic").clone()
    }
}

// SAFETY: each frame is in the list once; the addresses are linear in one leaked slice.
unsafe impl FrameSource for List {
    fn allocate(&self) -> Option<u64> {
        self.free.lock().expect("no panic").pop()
    }
    unsafe fn free(&self, number: u64) {
        self.free.lock().expect("no panic").push(number);
    }
    fn address(&self, number: u64) -> NonNull<u8> {
        // SAFETY: one of the frames.
        unsafe { self.base.add((number - FIRST) as usize) }.cast()
    }
}

fn table(len: usize) -> &'static [AtomicU32] {
    let table: Vec<AtomicU32> = (0..len).map(|_| AtomicU32::new(77)).collect();
    Box::leak(table.into_boxed_slice())
}

#[test]
fn a_frame_goes_back_with_its_last_count() {
    let frames = CountedFrames::new(List::new(3), FIRST, table(3));
    let (frame, count) = frames.allocate(64).expect("room");
    assert_eq!((frame.get(), count, frames.references(frame)), (1, 1, 1));
    frames.retain(frame);
    // SAFETY: one of two counts.
    unsafe { frames.release(frame) };
    assert_eq!((frames.references(frame), frames.source().free().len()), (1, 2));
    // SAFETY: the other one.
    unsafe { frames.release(frame) };
    assert_eq!((frames.references(frame), frames.source().free().len()), (0, 3));
}

#[test]
fn numbers_and_addresses_are_the_sources_moved_by_a_constant() {
    let frames = CountedFrames::new(List::new(3), FIRST, table(3));
    let runs: Vec<u32> = (0..3).map(|_| frames.allocate(1).expect("room").0.get()).collect();
    assert_eq!(runs, [1, 2, 3]);
    assert_eq!(frames.allocate(1), Err(Errno::NoMemory));
    let at = |n| frames.address(faultless_page::FrameNumber::new(n).expect("not 0")).addr().get();
    assert_eq!((at(2) - at(1), at(3) - at(2)), (PAGE_SIZE, PAGE_SIZE));
    assert_eq!(at(1), frames.source().base.addr().get());
}

#[test]
fn a_frame_outside_the_table_goes_back_at_once() {
    // The table covers the second frame and the third, and the source has four.
    let frames = CountedFrames::new(List::new(4), FIRST + 1, table(2));
    assert_eq!(frames.allocate(1), Err(Errno::NoMemory));
    assert_eq!(frames.source().free().len(), 4);
}

#[test]
#[cfg(debug_assertions)]
#[should_panic(expected = "released once too often")]
fn a_second_release_is_caught() {
    let frames = CountedFrames::new(List::new(1), FIRST, table(1));
    let (frame, _) = frames.allocate(1).expect("room");
    // SAFETY: the count that `allocate` gave.
    unsafe { frames.release(frame) };
    // SAFETY: none: the mistake is caught before it does anything.
    unsafe { frames.release(frame) };
}
