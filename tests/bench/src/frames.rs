//! Frames of the measured kernel: from one mapping, first in, first out, and a few at hand on each
//! CPU.

use std::cell::Cell;
use std::collections::VecDeque;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use faultless_page::{Errno, FrameNumber, Frames, PAGE_SIZE};
use faultless_parts::{CpuFrames, CurrentCpu};

use super::memory::{self, Arena};
use super::stats::Dice;

/// CPUs that are told apart.
const CPUS: usize = 2;

/// The frames of a rig.
#[derive(Debug)]
pub(super) struct RigFrames(CpuFrames<ArenaFrames, Cpu, CPUS>);

/// The CPU that a thread stands for.
#[derive(Debug)]
enum Cpu {}

impl CurrentCpu for Cpu {
    #[inline]
    fn cpu() -> usize {
        memory::cpu()
    }
}

thread_local! {
    /// Frames ever handed out to this thread.
    static ALLOCATED: Cell<u64> = const { Cell::new(0) };
}

impl RigFrames {
    /// All of `arena`.
    pub(super) fn new(arena: Arena, layout: Layout) -> Self {
        Self(CpuFrames::new(ArenaFrames::new(arena, layout)))
    }

    /// Frames ever handed out to this thread, by any allocator.
    pub(super) fn allocated() -> u64 {
        ALLOCATED.get()
    }
}

// SAFETY: those of `CpuFrames`.
unsafe impl Frames for RigFrames {
    #[inline]
    fn allocate(&self, pages: u32) -> Result<(FrameNumber, u32), Errno> {
        let (first, len) = self.0.allocate(pages)?;
        ALLOCATED.set(ALLOCATED.get() + u64::from(len));
        Ok((first, len))
    }

    fn retain(&self, frame: FrameNumber) {
        self.0.retain(frame);
    }

    fn references(&self, frame: FrameNumber) -> u32 {
        self.0.references(frame)
    }

    unsafe fn release(&self, frame: FrameNumber) {
        // SAFETY: the caller's promise.
        unsafe { self.0.release(frame) };
    }

    #[inline]
    fn address(&self, frame: FrameNumber) -> NonNull<u8> {
        self.0.address(frame)
    }
}

/// How frames lie that are allocated one after the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Layout {
    /// Side by side.
    Contiguous,
    /// Anywhere.
    Scattered,
}

/// Frames from an arena, first in, first out, so that a frame is cold when it is used again.
#[derive(Debug)]
struct ArenaFrames {
    arena: Arena,
    /// Reference counts. Frame 1 is the first: zero is never a frame.
    counts: Vec<AtomicU32>,
    free: Mutex<VecDeque<u32>>,
}

impl ArenaFrames {
    fn new(arena: Arena, layout: Layout) -> Self {
        let pages = (arena.bytes() / PAGE_SIZE) as u32;
        let mut free: Vec<u32> = (1..=pages).collect();
        if layout == Layout::Scattered {
            Dice::new(0x5ca7).shuffle(&mut free);
        }
        Self {
            arena,
            counts: (0..=pages).map(|_| AtomicU32::new(0)).collect(),
            free: Mutex::new(free.into()),
        }
    }

    fn free(&self) -> MutexGuard<'_, VecDeque<u32>> {
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
        let first = free.pop_front().ok_or(Errno::NoMemory)?;
        let mut len = 1;
        while len < pages && free.front() == Some(&(first + len)) {
            free.pop_front();
            len += 1;
        }
        drop(free);
        for frame in first..first + len {
            self.count(frame).store(1, Ordering::Relaxed);
        }
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
            self.free().push_back(frame.get());
        }
    }

    #[inline]
    fn address(&self, frame: FrameNumber) -> NonNull<u8> {
        let offset = (frame.get() as usize - 1) * PAGE_SIZE;
        // SAFETY: a frame that was handed out lies in the arena.
        unsafe { self.arena.start().add(offset) }
    }
}
