//! Frames of "physical memory": allocation, counts, poison, and failure on request.
//!
//! Key types: [`PhysicalMemory`] (one for each machine) and [`HostFrames`], the handle that
//! implements [`Frames`]. A free frame holds [`POISON`] in every byte, so that a page that shows
//! recycled memory (W5) is recognised. Neighbours: `ram` owns the memfd, `free_map` the bitmap; the
//! MMUs map frames at user addresses and hold a count for each mapping.

mod free_map;
mod ram;
mod reclaim;

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use std::os::fd::RawFd;
use std::ptr::NonNull;

use faultless_page::{Errno, FrameNumber, Frames, PAGE_SIZE};

use self::free_map::FreeMap;
use self::ram::Ram;
use self::reclaim::Reclaimer;

pub use self::free_map::FrameOrder;
pub use self::reclaim::Reclaim;

/// What every byte of a free frame holds.
pub const POISON: u8 = 0xA5;

/// Whether free frames are filled with [`POISON`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Poisoning {
    /// Yes, and a frame that was written to while free is found when it is allocated again.
    #[default]
    Checked,
    /// No: for measurements.
    Off,
}

/// The memory of one machine.
#[derive(Debug)]
pub struct PhysicalMemory {
    ram: Ram,
    counts: Box<[AtomicU32]>,
    free: Mutex<FreeMap>,
    order: FrameOrder,
    poisoning: Poisoning,
    /// Calls of [`HostFrames::allocate`](Frames::allocate) so far.
    calls: AtomicU64,
    /// Calls with a number in this half-open range fail.
    fail_from: AtomicU64,
    fail_until: AtomicU64,
    reclaimer: Reclaimer,
}

impl PhysicalMemory {
    /// Memory of `frames` frames.
    ///
    /// # Panics
    /// If the host has not got that much, or `frames` does not fit in 32 bits.
    #[must_use]
    pub fn new(frames: usize, order: FrameOrder, poisoning: Poisoning) -> Arc<Self> {
        assert!(u32::try_from(frames).is_ok_and(|n| n > 0 && n < u32::MAX), "{frames} frames");
        let ram = Ram::new(frames).expect("memory for the machine");
        if poisoning == Poisoning::Checked {
            for place in 0..frames {
                // SAFETY: the memory is not shared yet.
                unsafe { ram.fill(place, POISON) };
            }
        }
        Arc::new(Self {
            counts: (0..frames).map(|_| AtomicU32::new(0)).collect(),
            free: Mutex::new(FreeMap::new(frames)),
            ram,
            order,
            poisoning,
            calls: AtomicU64::new(0),
            fail_from: AtomicU64::new(u64::MAX),
            fail_until: AtomicU64::new(u64::MAX),
            reclaimer: Reclaimer::default(),
        })
    }

    /// Frames of the machine.
    #[must_use]
    pub fn frames(&self) -> usize {
        self.ram.frames()
    }

    /// Frames that have a count.
    #[must_use]
    pub fn in_use(&self) -> usize {
        self.frames() - self.free.lock().unwrap_or_else(PoisonError::into_inner).free()
    }

    /// How many counts of the frame are held; 0 for a free one.
    #[must_use]
    pub fn count(&self, frame: FrameNumber) -> u32 {
        self.counts[place(frame)].load(Ordering::Acquire)
    }

    /// Calls of the kernel's allocator so far (user memory of the address spaces is not counted).
    #[must_use]
    pub fn allocation_calls(&self) -> u64 {
        self.calls.load(Ordering::Relaxed)
    }

    /// The `n`-th call of the kernel's allocator from now (1 is the next one) fails, once.
    pub fn fail_allocation(&self, n: u64) {
        let first = self.allocation_calls() + n - 1;
        self.fail_until.store(first + 1, Ordering::Relaxed);
        self.fail_from.store(first, Ordering::Relaxed);
    }

    /// The `n`-th call of the kernel's allocator from now (1 is the next one) and all later ones
    /// fail.
    pub fn fail_allocations_from(&self, n: u64) {
        self.fail_until.store(u64::MAX, Ordering::Relaxed);
        self.fail_from.store(self.allocation_calls() + n - 1, Ordering::Relaxed);
    }

    /// No allocation fails on request any more.
    pub fn stop_failing(&self) {
        self.fail_from.store(u64::MAX, Ordering::Relaxed);
    }

    /// From now on the kernel's allocator calls `reclaim` before it answers whenever it finds at
    /// least `above` frames in use (0: always), and when there is no frame at all.
    pub fn reclaim_above(&self, above: usize, reclaim: Reclaim) {
        self.reclaimer.begin(above, reclaim);
    }

    /// Nothing is reclaimed any more.
    pub fn stop_reclaiming(&self) {
        self.reclaimer.end();
    }

    /// How often memory was reclaimed so far.
    #[must_use]
    pub fn reclaims(&self) -> u64 {
        self.reclaimer.runs()
    }

    /// Copies a frame to another one, of which the caller has the only count.
    ///
    /// # Safety
    /// The caller holds counts of both. (The source may be written by user code meanwhile, as by a
    /// program that stores to a page while another thread of it copies the page on write.)
    pub(crate) unsafe fn copy(&self, from: FrameNumber, to: FrameNumber) {
        let (from, to) = (self.address(from), self.address(to));
        // SAFETY: two frames are two pages; both stay by the caller's counts.
        unsafe { faultless_usercopy::copy_kernel(to.as_ptr(), from.as_ptr(), PAGE_SIZE) };
    }

    /// A frame for user memory, with a count of 1 and filled with zeros; does not count as an
    /// allocation of the kernel. `None` when memory is full. For address spaces: a page-table
    /// entry owns a count of its frame until it calls [`release`](Self::release).
    #[must_use]
    pub fn allocate_user(&self) -> Option<FrameNumber> {
        let (frame, _) = self.take(1)?;
        // SAFETY: the frame was just taken, and is used here only.
        unsafe { self.ram.fill(place(frame), 0) };
        Some(frame)
    }

    /// Adds one to the frame's count.
    pub(crate) fn retain(&self, frame: FrameNumber) {
        let old = self.counts[place(frame)].fetch_add(1, Ordering::Relaxed);
        assert_ne!(old, 0, "frame {} retained while free", frame.get());
    }

    /// Takes one from the frame's count and frees it at zero.
    ///
    /// # Safety
    /// As for [`Frames::release`].
    ///
    /// # Panics
    /// If the frame is free.
    pub unsafe fn release(&self, frame: FrameNumber) {
        let place = place(frame);
        let old = self.counts[place].fetch_sub(1, Ordering::AcqRel);
        assert_ne!(old, 0, "frame {} released while free", frame.get());
        if old == 1 {
            if self.poisoning == Poisoning::Checked {
                // SAFETY: the last count is gone: the frame is not used.
                unsafe { self.ram.fill(place, POISON) };
            }
            self.free.lock().unwrap_or_else(PoisonError::into_inner).give(place);
        }
    }

    /// Kernel address of the frame.
    #[must_use]
    pub fn address(&self, frame: FrameNumber) -> NonNull<u8> {
        self.ram.address(place(frame))
    }

    /// Where the frame lies in the memfd, and the memfd.
    pub(crate) fn backing(&self, frame: FrameNumber) -> (RawFd, usize) {
        (self.ram.fd(), place(frame) * faultless_page::PAGE_SIZE)
    }

    fn take(&self, wanted: usize) -> Option<(FrameNumber, usize)> {
        let mut free = self.free.lock().unwrap_or_else(PoisonError::into_inner);
        let (first, len) = free.take(wanted, self.order)?;
        drop(free);
        for place in first..first + len {
            let old = self.counts[place].swap(1, Ordering::Relaxed);
            assert_eq!(old, 0, "a frame with {old} counts was free");
            self.check_poison(place);
        }
        // Places fit in 32 bits (checked in `new`).
        FrameNumber::new(first as u32 + 1).map(|frame| (frame, len))
    }

    fn check_poison(&self, place: usize) {
        if self.poisoning == Poisoning::Checked {
            // SAFETY: the frame was just taken from the free ones: code that writes it still
            // is wrong, and is what this looks for.
            let intact = unsafe { self.ram.is_filled(place, POISON) };
            assert!(intact, "frame {} was written while it was free", place + 1);
        }
    }

    fn fails_now(&self) -> bool {
        let call = self.calls.fetch_add(1, Ordering::Relaxed);
        call >= self.fail_from.load(Ordering::Relaxed)
            && call < self.fail_until.load(Ordering::Relaxed)
    }
}

/// Frames are numbered from 1, places from 0.
fn place(frame: FrameNumber) -> usize {
    frame.get() as usize - 1
}

/// The machine's memory as the page cache sees it.
#[derive(Clone, Debug)]
pub struct HostFrames {
    memory: Arc<PhysicalMemory>,
}

impl HostFrames {
    /// Frames of `memory`.
    #[must_use]
    pub fn new(memory: Arc<PhysicalMemory>) -> Self {
        Self { memory }
    }

    /// The memory.
    #[must_use]
    pub fn memory(&self) -> &Arc<PhysicalMemory> {
        &self.memory
    }
}

// SAFETY: the bitmap hands a frame out once until its count is zero again; addresses are places in
// one mapping that lives as long as the memory, in the order of the numbers; the contents are
// initialised by the system and then by the poison.
unsafe impl Frames for HostFrames {
    fn allocate(&self, pages: u32) -> Result<(FrameNumber, u32), Errno> {
        crate::lockcheck::may_sleep("a frame is allocated");
        if self.memory.fails_now() {
            return Err(Errno::NoMemory);
        }
        let memory = &self.memory;
        memory.reclaimer.before(memory.in_use());
        let taken = memory.take(pages as usize).or_else(|| {
            memory.reclaimer.at_last();
            memory.take(pages as usize)
        });
        let (frame, len) = taken.ok_or(Errno::NoMemory)?;
        Ok((frame, len as u32))
    }

    fn retain(&self, frame: FrameNumber) {
        self.memory.retain(frame);
    }

    fn references(&self, frame: FrameNumber) -> u32 {
        self.memory.count(frame)
    }

    unsafe fn release(&self, frame: FrameNumber) {
        // SAFETY: the same promise, passed on.
        unsafe { self.memory.release(frame) };
    }

    #[inline]
    fn address(&self, frame: FrameNumber) -> NonNull<u8> {
        self.memory.address(frame)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn memory(frames: usize, order: FrameOrder) -> HostFrames {
        HostFrames::new(PhysicalMemory::new(frames, order, Poisoning::Checked))
    }

    #[test]
    fn consecutive_numbers_have_consecutive_addresses() {
        let frames = memory(16, FrameOrder::Contiguous);
        let (first, len) = frames.allocate(8).expect("memory");
        assert_eq!(len, 8);
        let next = first.checked_add(1).expect("a number");
        assert_eq!(frames.address(next).addr().get() - frames.address(first).addr().get(), 4096);
    }

    #[test]
    fn a_free_frame_is_poisoned_and_a_write_to_it_is_found() {
        let frames = memory(1, FrameOrder::Contiguous);
        let (frame, _) = frames.allocate(1).expect("memory");
        let byte = frames.address(frame);
        // SAFETY: the frame is ours.
        unsafe { byte.write(1) };
        // SAFETY: the one count is ours.
        unsafe { frames.release(frame) };
        // SAFETY: the memory is mapped, and used here only.
        assert_eq!(unsafe { byte.read() }, POISON);
        // SAFETY: the memory is mapped; this plants the bug.
        unsafe { byte.write(1) };
        let found = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| frames.allocate(1)));
        assert!(found.is_err());
    }

    #[test]
    fn a_frame_is_free_only_after_its_last_count() {
        let frames = memory(1, FrameOrder::Scattered);
        let (frame, _) = frames.allocate(64).expect("memory");
        frames.retain(frame);
        // SAFETY: one of our two counts.
        unsafe { frames.release(frame) };
        assert_eq!(frames.allocate(1), Err(Errno::NoMemory));
        // SAFETY: our last count.
        unsafe { frames.release(frame) };
        assert_eq!(frames.memory().in_use(), 0);
        assert!(frames.allocate(1).is_ok());
    }

    #[test]
    fn the_nth_allocation_fails_on_request() {
        let frames = memory(8, FrameOrder::Contiguous);
        frames.memory().fail_allocation(2);
        let results: Vec<bool> = (0..4).map(|_| frames.allocate(1).is_ok()).collect();
        assert_eq!(results, [true, false, true, true]);
        frames.memory().fail_allocations_from(1);
        assert!(frames.allocate(1).is_err() && frames.allocate(1).is_err());
        frames.memory().stop_failing();
        assert!(frames.allocate(1).is_ok());
    }
}
