//! Memory.

use std::sync::Arc;

use faultless::page::{Frames, forward_to_frames};
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
    forward_to_frames!(self => self.0; allocate, retain, references, release, address);
}
