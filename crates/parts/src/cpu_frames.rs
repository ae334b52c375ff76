//! [`CpuFrames`]: a few frames at hand on each CPU, in front of another allocator.
//!
//! Neighbour: [`FramePool`](crate::FramePool), and whatever else implements [`Frames`]. The unsafe
//! code is the promise that a frame at hand is no one else's.

use core::fmt;
use core::marker::PhantomData;

use faultless_page::{
    CoreSync, Errno, FrameNumber, Frames, PAGE_SIZE, Spin, SyncFamily, fetch_for_write,
    forward_to_frames,
};
use heapless::Vec;

/// Most frames at hand on a CPU.
const MOST: usize = 64;

/// Frames that are asked for at once when a CPU has none at hand.
const BATCH: u32 = 16;

/// Tells CPUs apart, as [`Kernel::cpu`](faultless_page::Kernel::cpu) does.
pub trait CurrentCpu: 'static {
    /// A hint of the current CPU: any value is sound, and two CPUs with the same one share.
    fn cpu() -> usize;
}

/// Frames of `F`, a few of which are at hand on each CPU of `C`: for a kernel whose allocator takes
/// a lock that all CPUs share, or searches.
///
/// A single frame comes from those at hand, and goes back to them with its last count: one short
/// lock, of the CPU's own, and none of `F`. [`BATCH`](Self::BATCH) of them are asked for when there
/// are none, and taken in ascending order; a frame that came back goes out before them, because the
/// CPU's caches may still hold it. Requests for several frames, and for [spare] ones, go to `F`.
/// Where a [hot] one is asked for, the CPU's caches fetch the next one meanwhile: so a thread that
/// writes one new page after the other does not wait for memory.
///
/// At most 64 frames a CPU are at hand; to `F` they are in use ([`at_hand`](Self::at_hand) tells
/// how many). None is out of reach: when `F` has no more, those of all CPUs are handed out before
/// an allocation fails.
///
/// `S` is the family of the short locks, as for [`FramePool`](crate::FramePool). No method sleeps
/// unless one of `F` does, and no lock is held across a call of `F`, but [`Frames::address`].
///
/// ```
/// use faultless_page::Frames;
/// use faultless_parts::{CpuFrames, CurrentCpu, FramePool, Page};
///
/// struct Cpu;
/// impl CurrentCpu for Cpu {
///     fn cpu() -> usize {
///         0 // Read from the per-CPU area.
///     }
/// }
///
/// let region = Box::leak(vec![Page::ZERO; 65].into_boxed_slice());
/// let frames: CpuFrames<FramePool, Cpu, 2> = CpuFrames::new(FramePool::new(region));
/// let (frame, _) = frames.allocate(1)?;
/// assert_eq!((frame.get(), frames.at_hand(), frames.source().free()), (1, 15, 48));
/// # Ok::<(), faultless_page::Errno>(())
/// ```
///
/// [spare]: Frames::allocate_spare
/// [hot]: Frames::allocate_hot
///
/// # Invariants
/// The value owns one count of each frame at hand, which is the frame's only one.
pub struct CpuFrames<F: Frames, C, const CPUS: usize, S: SyncFamily = CoreSync> {
    source: F,
    at_hand: [AtHand<S>; CPUS],
    cpu: PhantomData<fn() -> C>,
}

/// The frames of one CPU, on a cache line of its own. The last one is the next.
#[repr(align(64))]
struct AtHand<S: SyncFamily>(S::Spin<Vec<FrameNumber, MOST>>);

impl<F: Frames, C: CurrentCpu, const CPUS: usize, S: SyncFamily> CpuFrames<F, C, CPUS, S> {
    /// Frames that are asked for at once.
    pub const BATCH: u32 = BATCH;

    /// None is at hand yet.
    #[must_use]
    pub fn new(source: F) -> Self {
        const { assert!(CPUS > 0, "there is a CPU") };
        let at_hand = core::array::from_fn(|_| AtHand(Spin::new(Vec::new())));
        Self { source, at_hand, cpu: PhantomData }
    }

    /// The allocator behind it.
    #[must_use]
    pub fn source(&self) -> &F {
        &self.source
    }

    /// How many frames are at hand on all CPUs, at this moment. Takes their short locks, one after
    /// the other.
    #[must_use]
    pub fn at_hand(&self) -> usize {
        self.at_hand.iter().map(|cpu| cpu.0.lock().len()).sum()
    }

    /// Gives all frames at hand back to `F`: before it says how much memory there is.
    pub fn give_back(&self) {
        while let Some(frame) = self.take_any() {
            // SAFETY: by the invariant the count is ours; it is given up, and the frame with it.
            unsafe { self.source.release(frame) };
        }
    }

    #[inline]
    fn own(&self) -> &S::Spin<Vec<FrameNumber, MOST>> {
        &self.at_hand[C::cpu() % CPUS].0
    }

    /// A frame that is at hand on any CPU; the count is the caller's.
    #[cold]
    fn take_any(&self) -> Option<FrameNumber> {
        self.at_hand.iter().find_map(|cpu| cpu.0.lock().pop())
    }

    /// A single frame of `F`, and others for the next time.
    #[cold]
    #[inline(never)]
    fn refill(&self) -> Result<FrameNumber, Errno> {
        let (first, count) = match self.source.allocate(BATCH) {
            Err(Errno::NoMemory) => return self.take_any().ok_or(Errno::NoMemory),
            answer => answer?,
        };
        let count = count.min(BATCH);
        if count == 0 {
            return Err(Errno::NoMemory);
        }
        let mut rest = (1..count).rev().filter_map(|place| first.checked_add(place));
        {
            let mut own = self.own().lock();
            // INVARIANT: frames that were just given to us, with a count each.
            for frame in rest.by_ref().take(MOST - own.len()) {
                let _fits = own.push(frame);
            }
        }
        // This CPU has got frames meanwhile.
        for frame in rest {
            // SAFETY: just given to us, and not kept.
            unsafe { self.source.release(frame) };
        }
        Ok(first)
    }
}

// SAFETY: a frame is handed out by `F`, or from those at hand, where it was put by the owner of its
// only count; it is at hand no more then. All else is what `F` promises.
unsafe impl<F: Frames, C: CurrentCpu, const CPUS: usize, S: SyncFamily> Frames
    for CpuFrames<F, C, CPUS, S>
{
    #[inline]
    fn allocate(&self, pages: u32) -> Result<(FrameNumber, u32), Errno> {
        if pages > 1 {
            return match self.source.allocate(pages) {
                Err(Errno::NoMemory) => {
                    self.take_any().map(|frame| (frame, 1)).ok_or(Errno::NoMemory)
                }
                answer => answer,
            };
        }
        let at_hand = self.own().lock().pop();
        at_hand.map_or_else(|| self.refill(), Ok).map(|frame| (frame, 1))
    }

    #[inline]
    fn allocate_hot(&self, pages: u32) -> Result<(FrameNumber, u32), Errno> {
        if pages > 1 {
            return self.allocate(pages);
        }
        let (at_hand, next) = {
            let mut own = self.own().lock();
            // By the invariant no one gives the next frame back before the lock is free.
            (own.pop(), own.last().map(|&next| self.source.address(next)))
        };
        if let Some(next) = next {
            fetch_for_write(next, PAGE_SIZE);
        }
        at_hand.map_or_else(|| self.refill(), Ok).map(|frame| (frame, 1))
    }

    forward_to_frames!(self => self.source; allocate_spare, retain, references, address);

    unsafe fn release(&self, frame: FrameNumber) {
        // The only count is the caller's, which gives it up: no other can come.
        if self.source.references(frame) == 1 {
            // INVARIANT: the count is ours from here on, if there is room.
            if self.own().lock().push(frame).is_ok() {
                return;
            }
        }
        // SAFETY: the caller's promise.
        unsafe { self.source.release(frame) };
    }
}

impl<F: Frames, C, const CPUS: usize, S: SyncFamily> Drop for CpuFrames<F, C, CPUS, S> {
    fn drop(&mut self) {
        for cpu in &self.at_hand {
            let mut frames = cpu.0.lock();
            while let Some(frame) = frames.pop() {
                // SAFETY: by the invariant the count is ours.
                unsafe { self.source.release(frame) };
            }
        }
    }
}

impl<F, C, const CPUS: usize, S> fmt::Debug for CpuFrames<F, C, CPUS, S>
where
    F: Frames + fmt::Debug,
    C: CurrentCpu,
    S: SyncFamily,
{
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CpuFrames")
            .field("at_hand", &self.at_hand())
            .field("source", &self.source)
            .finish()
    }
}
