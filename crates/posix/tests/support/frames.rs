//! Frames that know the TLBs: none is free while a CPU may still use it.

use std::sync::Mutex;

use faultless::page::forward_to_frames;
use faultless::parts::{FramePool, InterruptsOff, Page};
use faultless::prelude::*;

use super::Interrupts;
use super::table::Tlb;

/// The memory of a rig, and the TLBs that may show it.
pub struct Physical {
    pool: FramePool<InterruptsOff<Interrupts>>,
    tlbs: Mutex<Vec<&'static Tlb>>,
    at_allocation: Mutex<Option<Box<dyn FnOnce() + Send>>>,
}

impl Physical {
    pub fn new(frames: usize) -> Self {
        let region = Box::leak(vec![Page::ZERO; frames].into_boxed_slice());
        Self {
            pool: FramePool::with_locks(region),
            tlbs: Mutex::default(),
            at_allocation: Mutex::default(),
        }
    }

    pub fn add(&self, tlb: &'static Tlb) {
        self.tlbs.lock().expect("no panic").push(tlb);
    }

    /// Has another thread run in the next allocation.
    pub fn at_allocation(&self, other_thread: impl FnOnce() + Send + 'static) {
        *self.at_allocation.lock().expect("no panic") = Some(Box::new(other_thread));
    }

    pub fn in_use(&self) -> usize {
        (self.pool.total() - self.pool.free()) as usize
    }

    pub fn free(&self) -> usize {
        self.pool.free() as usize
    }
}

/// The pool, with a check of each last release.
pub struct CheckedFrames(pub &'static Physical);

impl CheckedFrames {
    /// The frame is about to be free.
    fn check(&self, frame: FrameNumber) {
        let tlbs = self.0.tlbs.lock().expect("no panic");
        assert!(!tlbs.iter().any(|tlb| tlb.has(frame)), "a frame is free before the flush");
        drop(tlbs);
        let start = self.0.pool.address(frame).as_ptr();
        // SAFETY: the last count is the caller's.
        unsafe { start.write_bytes(0xdb, PAGE_SIZE) };
    }
}

// SAFETY: the pool's; a frame is overwritten only when its last count goes.
unsafe impl Frames for CheckedFrames {
    fn allocate(&self, pages: u32) -> Result<(FrameNumber, u32), Errno> {
        super::nothing_held("an allocation");
        let other_thread = self.0.at_allocation.lock().expect("no panic").take();
        other_thread.into_iter().for_each(|other_thread| other_thread());
        self.0.pool.allocate(pages)
    }

    unsafe fn release(&self, frame: FrameNumber) {
        if self.references(frame) == 1 {
            self.check(frame);
        }
        // SAFETY: the caller's promise.
        unsafe { self.0.pool.release(frame) };
    }

    forward_to_frames!(self => self.0.pool; retain, references, address);
}

impl CheckedFrames {
    /// Where a frame is, as a number: for what a CPU does with an old entry.
    pub fn address_of(&self, frame: FrameNumber) -> usize {
        self.address(frame).as_ptr().expose_provenance()
    }
}
