//! A count beside each frame, with the two mistakes that callers make: one release too many, and a
//! count that overflows.
//!
//! Neighbours: [`FramePool`](crate::FramePool) and [`CountedFrames`](crate::CountedFrames), which
//! own the frames.
#![forbid(unsafe_code)]

use core::sync::atomic::AtomicU32;
use core::sync::atomic::Ordering::{AcqRel, Acquire, Relaxed};

/// A frame with this count is never free again: how often it is held is no longer known.
pub(crate) const STUCK: u32 = u32::MAX;

/// What is left after a release.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub(crate) enum Left {
    /// Nothing: the frame is free.
    Nothing,
    /// Other counts, or the frame was free before.
    Something,
}

/// One count for each frame, `0` for a free one.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Counts(&'static [AtomicU32]);

impl Counts {
    /// Counts for as many frames, all free.
    pub(crate) fn all_free(counts: &'static [AtomicU32]) -> Self {
        counts.iter().for_each(|count| count.store(0, Relaxed));
        Self(counts)
    }

    /// How many frames have a count here.
    pub(crate) fn len(self) -> usize {
        self.0.len()
    }

    /// A free frame is handed out.
    pub(crate) fn begin(self, frame: u32) {
        let old = self.0[frame as usize].swap(1, Relaxed);
        debug_assert!(old == 0, "frame {frame} was handed out while it had {old} counts");
    }

    /// Adds one to the count of a frame that is not free. A count that would overflow stays where
    /// it is, and the frame is never free again: to wrap would hand out a frame that is in use.
    pub(crate) fn retain(self, frame: u32) {
        let old = self.change(frame, |old| if old == 0 { 0 } else { old.saturating_add(1) });
        debug_assert!(old != 0, "frame {frame} was retained while it was free");
        debug_assert!(old < STUCK - 1, "the count of frame {frame} has overflowed");
    }

    /// Takes one from the count of a frame. Does nothing to a free one.
    pub(crate) fn release(self, frame: u32) -> Left {
        let old =
            self.change(frame, |old| if old == STUCK { STUCK } else { old.saturating_sub(1) });
        debug_assert!(old != 0, "frame {frame} was released once too often");
        if old == 1 { Left::Nothing } else { Left::Something }
    }

    /// The count.
    pub(crate) fn get(self, frame: u32) -> u32 {
        self.0[frame as usize].load(Acquire)
    }

    /// Replaces the count; the old one.
    fn change(self, frame: u32, new: impl Fn(u32) -> u32) -> u32 {
        let count = &self.0[frame as usize];
        let mut old = count.load(Relaxed);
        loop {
            // Acquire and release: what the other owners did with the frame happens before what is
            // done by the thread that frees it.
            match count.compare_exchange_weak(old, new(old), AcqRel, Relaxed) {
                Ok(_) => return old,
                Err(now) => old = now,
            }
        }
    }

    /// Sets a count, for tests of its limits.
    #[cfg(test)]
    pub(crate) fn set(self, frame: u32, count: u32) {
        self.0[frame as usize].store(count, Relaxed);
    }
}
