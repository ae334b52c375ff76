//! Frames of the measured kernel: from one mapping, first in, first out.

use std::collections::VecDeque;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use faultless_page::{Errno, FrameNumber, Frames, PAGE_SIZE};

use super::memory::Arena;
use super::stats::Dice;

/// How frames lie that are allocated one after the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Layout {
    /// Side by side.
    Contiguous,
    /// Anywhere.
    Scattered,
}

/// Frames from an arena, first in, first out, so that a frame is cold when it is used again. Only
/// the last one that came back goes out next, if one is asked for: a kernel's per-CPU list does so,
/// and a temporary page is hot for that reason.
#[derive(Debug)]
pub(super) struct ArenaFrames {
    arena: Arena,
    /// Reference counts. Frame 1 is the first: zero is never a frame.
    counts: Vec<AtomicU32>,
    free: Mutex<Free>,
    /// Frames ever handed out.
    allocated: AtomicU64,
}

#[derive(Debug)]
struct Free {
    frames: VecDeque<u32>,
    last: Option<u32>,
}

impl ArenaFrames {
    /// All of `arena`.
    pub(super) fn new(arena: Arena, layout: Layout) -> Self {
        let pages = (arena.bytes() / PAGE_SIZE) as u32;
        let mut free: Vec<u32> = (1..=pages).collect();
        if layout == Layout::Scattered {
            Dice::new(0x5ca7).shuffle(&mut free);
        }
        Self {
            arena,
            counts: (0..=pages).map(|_| AtomicU32::new(0)).collect(),
            free: Mutex::new(Free { frames: free.into(), last: None }),
            allocated: AtomicU64::new(0),
        }
    }

    /// Frames ever handed out.
    pub(super) fn allocated(&self) -> u64 {
        self.allocated.load(Ordering::Relaxed)
    }

    fn free(&self) -> MutexGuard<'_, Free> {
        self.free.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn count(&self, frame: u32) -> &AtomicU32 {
        &self.counts[frame as usize]
    }
}

// SAFETY: a number is on the free list or has a count, never both, and comes back only at zero.
// Numbers are offsets into one mapping, whose every page is writable, initialised and lives as long
// as `self`.
unsafe impl Frames for ArenaFrames {
    fn allocate(&self, pages: u32) -> Result<(FrameNumber, u32), Errno> {
        let mut free = self.free();
        let last = if pages == 1 || free.frames.is_empty() { free.last.take() } else { None };
        let first = last.or_else(|| free.frames.pop_front()).ok_or(Errno::NoMemory)?;
        let mut len = 1;
        while len < pages && free.frames.front() == Some(&(first + len)) {
            free.frames.pop_front();
            len += 1;
        }
        drop(free);
        for frame in first..first + len {
            self.count(frame).store(1, Ordering::Relaxed);
        }
        self.allocated.fetch_add(u64::from(len), Ordering::Relaxed);
        Ok((FrameNumber::new(first).ok_or(Errno::NoMemory)?, len))
    }

    fn retain(&self, frame: FrameNumber) {
        self.count(frame.get()).fetch_add(1, Ordering::Relaxed);
    }

    fn references(&self, frame: FrameNumber) -> u32 {
        self.count(frame.get()).load(Ordering::Acquire)
    }

    unsafe fn release(&self, frame: FrameNumber) {
        if self.count(frame.get()).fetch_sub(1, Ordering::AcqRel) == 1 {
            let mut free = self.free();
            if let Some(before) = free.last.replace(frame.get()) {
                free.frames.push_back(before);
            }
        }
    }

    #[inline]
    fn address(&self, frame: FrameNumber) -> NonNull<u8> {
        let offset = (frame.get() as usize - 1) * PAGE_SIZE;
        // SAFETY: a frame that was handed out lies in the arena.
        unsafe { self.arena.start().add(offset) }
    }
}
