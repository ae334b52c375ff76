//! Frames of the measured kernel: from one mapping, first in, first out, and a few at hand on each
//! CPU.

use std::cell::Cell;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU16, Ordering};
use std::sync::{Mutex, PoisonError};

use faultless_page::{Errno, FrameNumber, Frames, PAGE_SIZE, forward_to_frames};
use faultless_parts::{CpuFrames, CurrentCpu};

use super::memory::{self, Part};
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
    /// All of `memory`.
    pub(super) fn new(memory: Part, layout: Layout) -> Self {
        Self(CpuFrames::new(ArenaFrames::new(memory, layout)))
    }

    /// Frames ever handed out to this thread, by any allocator.
    pub(super) fn allocated() -> u64 {
        ALLOCATED.get()
    }
}

/// Counts the frames of an answer.
#[inline]
fn counted(answer: Result<(FrameNumber, u32), Errno>) -> Result<(FrameNumber, u32), Errno> {
    let (first, len) = answer?;
    ALLOCATED.set(ALLOCATED.get() + u64::from(len));
    Ok((first, len))
}

// SAFETY: those of `CpuFrames`.
unsafe impl Frames for RigFrames {
    #[inline]
    fn allocate(&self, pages: u32) -> Result<(FrameNumber, u32), Errno> {
        counted(self.0.allocate(pages))
    }

    #[inline]
    fn allocate_hot(&self, pages: u32) -> Result<(FrameNumber, u32), Errno> {
        counted(self.0.allocate_hot(pages))
    }

    forward_to_frames!(self => self.0; all_but_allocate);
}

/// How frames lie that are allocated one after the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Layout {
    /// Side by side.
    Contiguous,
    /// Anywhere.
    Scattered,
}

/// Frames from a part of an arena, the next free one each time, so that a frame is cold when it is
/// used again, and those that lie side by side stay together.
///
/// For several at once it looks at little more than their counts, which are small: what an
/// allocator takes for itself is not what the rows measure.
#[derive(Debug)]
struct ArenaFrames {
    /// Where frame 1 is.
    first: First,
    memory: Part,
    /// Reference counts, 0 of those that are free. Frame 1 is the first of the arena: zero is never
    /// a frame.
    counts: Vec<AtomicU16>,
    order: Order,
    /// Where in that order the next one is.
    next: Mutex<usize>,
}

/// The order in which the frames of a part are handed out.
#[derive(Debug)]
enum Order {
    Ascending,
    Shuffled(Vec<u32>),
}

/// The first byte of an arena, at hand: an address is asked for with each copy.
#[derive(Debug)]
struct First(NonNull<u8>);

// SAFETY: a number; bytes are reached by raw copies only.
unsafe impl Send for First {}
// SAFETY: as above.
unsafe impl Sync for First {}

impl ArenaFrames {
    fn new(memory: Part, layout: Layout) -> Self {
        let pages = (memory.place(0).0.bytes() / PAGE_SIZE) as u32;
        let places = memory.bytes() / PAGE_SIZE;
        let order = match layout {
            Layout::Contiguous => Order::Ascending,
            Layout::Scattered => {
                let mut order = (0..places).map(|at| frame_at(&memory, at)).collect::<Vec<_>>();
                Dice::new(0x5ca7).shuffle(&mut order);
                Order::Shuffled(order)
            }
        };
        let counts = (0..=pages).map(|_| AtomicU16::new(0)).collect();
        let first = First(memory.place(0).0.start());
        Self { first, memory, counts, order, next: Mutex::new(0) }
    }

    /// The frame in place `at` of the order, and how many from there on lie side by side.
    fn at(&self, at: usize) -> (u32, u32) {
        match &self.order {
            Order::Ascending => {
                let beside = self.memory.bytes_beside(at * PAGE_SIZE) / PAGE_SIZE;
                (frame_at(&self.memory, at), beside as u32)
            }
            Order::Shuffled(order) => (order[at], 1),
        }
    }

    fn count(&self, frame: u32) -> &AtomicU16 {
        &self.counts[frame as usize]
    }

    /// Takes a frame, if it is free and the caller holds the lock.
    fn take(&self, frame: u32) -> bool {
        let count = self.count(frame);
        let is_free = count.load(Ordering::Acquire) == 0;
        if is_free {
            count.store(1, Ordering::Relaxed);
        }
        is_free
    }
}

/// The frame of page `at` of a part.
fn frame_at(memory: &Part, at: usize) -> u32 {
    (memory.place(at * PAGE_SIZE).1 / PAGE_SIZE) as u32 + 1
}

// SAFETY: a frame is handed out when its count is 0, under the lock, and has a count from then on.
// Numbers are offsets into one mapping, whose every page is writable, initialised and lives as long
// as `self`.
unsafe impl Frames for ArenaFrames {
    fn allocate(&self, pages: u32) -> Result<(FrameNumber, u32), Errno> {
        let mut next = self.next.lock().unwrap_or_else(PoisonError::into_inner);
        let places = self.memory.bytes() / PAGE_SIZE;
        let mut rest = (0..places).map(|passed| (*next + passed) % places);
        let at = rest.find(|&at| self.take(self.at(at).0)).ok_or(Errno::NoMemory)?;
        let (first, beside) = self.at(at);
        let more = (1..pages.min(beside)).take_while(|&place| self.take(first + place)).count();
        *next = (at + 1 + more) % places;
        Ok((FrameNumber::new(first).ok_or(Errno::NoMemory)?, 1 + more as u32))
    }

    fn retain(&self, frame: FrameNumber) {
        self.count(frame.get()).fetch_add(1, Ordering::Relaxed);
    }

    fn references(&self, frame: FrameNumber) -> u32 {
        u32::from(self.count(frame.get()).load(Ordering::Acquire))
    }

    unsafe fn release(&self, frame: FrameNumber) {
        self.count(frame.get()).fetch_sub(1, Ordering::AcqRel);
    }

    #[inline]
    fn address(&self, frame: FrameNumber) -> NonNull<u8> {
        let offset = (frame.get() as usize - 1) * PAGE_SIZE;
        // SAFETY: a frame that was handed out lies in the arena.
        unsafe { self.first.0.add(offset) }
    }
}

#[cfg(test)]
mod tests {
    use super::super::memory::Arena;
    use super::*;

    #[test]
    fn frames_that_lie_side_by_side_stay_together_and_come_back_last() -> std::io::Result<()> {
        let [memory, _] = Part::two(1 << 20)?;
        let frames = ArenaFrames::new(memory, Layout::Contiguous);
        let mut seen = Vec::new();
        // The part is 512 frames.
        for round in 0..40 {
            let (first, len) = frames.allocate(32).expect("free");
            assert_eq!(len, 32, "round {round}");
            for place in [2, 0, 1].into_iter().chain(3..32) {
                let frame = first.checked_add(place).expect("a number");
                // SAFETY: just handed out, with one count.
                unsafe { frames.release(frame) };
            }
            seen.push(first.get());
        }
        assert_eq!(seen[..16], (0..16).map(|run| 1 + 32 * run).collect::<Vec<_>>());
        assert_eq!(seen[16..32], seen[..16]);
        Ok(())
    }

    #[test]
    fn each_frame_is_handed_out_once() -> std::io::Result<()> {
        let arena = Arena::new(1 << 20)?;
        let frames = ArenaFrames::new(arena.into(), Layout::Scattered);
        let mut all: Vec<u32> =
            std::iter::from_fn(|| frames.allocate(1).ok()).map(|(frame, _)| frame.get()).collect();
        all.sort_unstable();
        assert_eq!(all, (1..=256).collect::<Vec<_>>());
        Ok(())
    }
}
