//! Frames, with direct reclaim: an allocation that finds none has clean pages of files dropped, and
//! dirty ones written back.

use core::ptr::NonNull;

use faultless::page::forward_to_frames;
use faultless::parts::FramePool;
use faultless::prelude::{Errno, FrameNumber, Frames, PAGE_SIZE};

use crate::arena::{self, BASE, FRAMES, Part};
use crate::hooks::hooks;
use crate::sync::Words;

/// Where the first frame is.
pub(crate) static FIRST: Part<usize> = Part::new(1);

/// The memory of the machine.
pub(crate) struct Memory(FramePool<Words>);

impl Memory {
    /// The memory, of so many pages; and where the first frame is, for [`FIRST`].
    ///
    /// # Safety
    /// The machine is being made, by this thread, and has no other memory.
    pub(crate) unsafe fn new(pages: usize) -> (Self, usize) {
        let region = NonNull::new(arena::pointer(FRAMES)).unwrap_or(NonNull::dangling());
        // SAFETY: the region is mapped for good, initialised (to zeros), and used for nothing else.
        let pool = unsafe { FramePool::from_raw(region, pages * PAGE_SIZE) };
        let first = FrameNumber::new(1).map_or(0, |first| pool.address(first).addr().get());
        (Self(pool), first)
    }
}

/// Where in the file of the arena a frame begins.
pub(crate) fn offset(frame: FrameNumber) -> usize {
    FIRST.get() - BASE + (frame.get() as usize - 1) * PAGE_SIZE
}

// SAFETY: the pool's.
unsafe impl Frames for Memory {
    fn allocate(&self, pages: u32) -> Result<(FrameNumber, u32), Errno> {
        loop {
            match self.0.allocate(pages) {
                Err(Errno::NoMemory) if hooks().is_some_and(|hooks| (hooks.reclaim)()) => {}
                answer => return answer,
            }
        }
    }
    forward_to_frames!(self => self.0; all_but_allocate);
}
