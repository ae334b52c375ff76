//! Pages taken out of their mapping, whose frames wait for the last reader.

use heapless::Vec;

use crate::debug::kernel_debug;
use crate::{FrameNumber, Frames, Kernel, PAGES_PER_LEAF, PageCache, SlotMask};

/// What [`LockedRun::remove`](crate::LockedRun::remove) took out. Dropping it waits for a grace period, then releases the frames;
/// it may be dropped with the pages still locked, because readers wait for nothing.
///
/// # Invariants
/// One count of each frame is owned. They were taken out of a leaf of the cache.
#[must_use]
pub struct Removed<'t, K: Kernel> {
    cache: &'t PageCache<K>,
    frames: Vec<FrameNumber, PAGES_PER_LEAF>,
    slots: SlotMask,
}

impl<'t, K: Kernel> Removed<'t, K> {
    pub(crate) fn new(cache: &'t PageCache<K>, slots: SlotMask) -> Self {
        Self { cache, frames: Vec::new(), slots }
    }

    /// Adds a frame whose count the caller owned.
    pub(crate) fn push(&mut self, frame: FrameNumber) {
        // A leaf has no more slots than there is room.
        let _fits = self.frames.push(frame);
    }

    /// The slots that were emptied.
    #[must_use]
    pub fn slots(&self) -> SlotMask {
        self.slots
    }

    /// How many pages.
    #[must_use]
    pub fn len(&self) -> usize {
        self.frames.len()
    }

    /// Whether there was nothing to remove.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.frames.is_empty()
    }
}

impl<K: Kernel> Drop for Removed<'_, K> {
    fn drop(&mut self) {
        if self.frames.is_empty() {
            return;
        }
        self.cache.synchronize();
        for &frame in &self.frames {
            // SAFETY: by the invariant the count is ours; no reader that may have found the frame is left.
            unsafe { self.cache.frames().release(frame) };
        }
    }
}

kernel_debug!(Removed<'_, K>, |this| { slots: this.slots });
