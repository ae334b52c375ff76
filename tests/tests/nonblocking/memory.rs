//! Memory.

use std::ptr::NonNull;
use std::sync::Arc;

use faultless::page::{Errno, FrameNumber, Frames};
use faultless::parts::FramePool;

/// Frames of a pool, which an address space shares with the cache.
#[derive(Clone, Debug)]
pub(crate) struct Memory(Arc<FramePool>);

impl Memory {
    /// Those of this pool.
    pub(crate) fn of(pool: FramePool) -> Self {
        Self(Arc::new(pool))
    }

    /// Frames that nothing uses.
    pub(crate) fn free(&self) -> u32 {
        self.0.free()
    }
}

// SAFETY: the pool's promises.
unsafe impl Frames for Memory {
    fn allocate(&self, pages: u32) -> Result<(FrameNumber, u32), Errno> {
        self.0.allocate(pages)
    }

    fn retain(&self, frame: FrameNumber) {
        self.0.retain(frame);
    }

    fn references(&self, frame: FrameNumber) -> u32 {
        self.0.references(frame)
    }

    unsafe fn release(&self, frame: FrameNumber) {
        // SAFETY: the same contract.
        unsafe { self.0.release(frame) };
    }

    fn address(&self, frame: FrameNumber) -> NonNull<u8> {
        self.0.address(frame)
    }
}
