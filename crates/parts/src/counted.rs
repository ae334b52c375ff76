//! [`CountedFrames`]: counts for a kernel whose allocator hands out single frames without counts.

use core::fmt;
use core::ptr::NonNull;
use core::sync::atomic::AtomicU32;

use faultless_page::{Errno, FrameNumber, Frames};

use crate::counts::{Counts, Left};

/// The kernel's allocator of single frames, as it is.
///
/// Frames have the kernel's own numbers: usually the physical address divided by
/// [`PAGE_SIZE`](faultless_page::PAGE_SIZE).
///
/// # Safety
/// The implementor promises, for every frame from [`allocate`](Self::allocate) that was not given
/// to [`free`](Self::free) since:
/// - it is handed out once, and nothing else uses it;
/// - [`address`](Self::address) returns the same address each time, aligned to and valid for reads
///   and writes of [`PAGE_SIZE`](faultless_page::PAGE_SIZE) initialised bytes;
/// - frames with consecutive numbers have consecutive addresses, in one allocated object as Rust
///   sees it. The usual direct map of physical memory is one.
pub unsafe trait FrameSource: Send + Sync {
    /// A frame that is free, if there is one. May sleep and reclaim: no page lock is held.
    fn allocate(&self) -> Option<u64>;

    /// Takes a frame back. Never sleeps.
    ///
    /// # Safety
    /// The frame is from [`allocate`](Self::allocate), and the caller gives it up.
    unsafe fn free(&self, number: u64);

    /// Kernel address of the frame's first byte.
    fn address(&self, number: u64) -> NonNull<u8>;
}

/// [`Frames`] over a [`FrameSource`], with a table of counts that the kernel supplies.
///
/// Frames are handed out one at a time, which [`Frames::allocate`] allows: runs are an
/// optimisation. A release too many and a count that overflows are caught as by
/// [`FramePool`](crate::FramePool).
///
/// ```
/// use core::ptr::NonNull;
/// use core::sync::atomic::AtomicU32;
/// use faultless_page::Frames;
/// use faultless_parts::{CountedFrames, FrameSource};
///
/// # #[repr(align(4096))] struct Ram([u8; 4 * 4096]);
/// # struct MyAllocator(NonNull<u8>, std::sync::Mutex<Vec<u64>>);
/// # unsafe impl Send for MyAllocator {}
/// # unsafe impl Sync for MyAllocator {}
/// # impl MyAllocator {
/// #     fn pop(&self) -> Option<u64> { self.1.lock().unwrap().pop() }
/// #     fn push(&self, number: u64) { self.1.lock().unwrap().push(number) }
/// #     fn direct_map(&self, number: u64) -> NonNull<u8> {
/// #         unsafe { self.0.add((number as usize - 256) * 4096) }
/// #     }
/// # }
/// # let ram = Box::leak(Box::new(Ram([0; 4 * 4096])));
/// # let allocator = MyAllocator(NonNull::from(ram).cast(), (256..260).collect::<Vec<_>>().into());
/// // SAFETY: a free list has each frame once, and the direct map is linear.
/// unsafe impl FrameSource for MyAllocator {
///     fn allocate(&self) -> Option<u64> {
///         self.pop()
///     }
///     unsafe fn free(&self, number: u64) {
///         self.push(number);
///     }
///     fn address(&self, number: u64) -> NonNull<u8> {
///         self.direct_map(number)
///     }
/// }
///
/// // Memory begins at 1 MiB, which is frame 256, and has 4 frames.
/// static COUNTS: [AtomicU32; 4] = [const { AtomicU32::new(0) }; 4];
/// let frames = CountedFrames::new(allocator, 256, &COUNTS);
/// let (frame, _one) = frames.allocate(8)?;
/// frames.retain(frame);
/// assert_eq!(frames.references(frame), 2);
/// # Ok::<(), faultless_page::Errno>(())
/// ```
///
/// # Invariants
/// A frame with a count is from the source, and was not given back since.
pub struct CountedFrames<A> {
    source: A,
    first: u64,
    counts: Counts,
}

impl<A: FrameSource> CountedFrames<A> {
    /// Counts in `counts`, one word for each of the source's frames from number `first` on. The
    /// table is set to zero, and belongs to the adapter alone from now on. A table of `n` words
    /// covers `n` frames, 1 MiB of memory for each KiB; at most `u32::MAX` are used.
    ///
    /// A frame outside the table is given back to the source, and its allocation fails with
    /// [`Errno::NoMemory`].
    #[must_use]
    pub fn new(source: A, first: u64, counts: &'static [AtomicU32]) -> Self {
        let used = counts.len().min(u32::MAX as usize - 1);
        Self { source, first, counts: Counts::all_free(&counts[..used]) }
    }

    /// The kernel's allocator.
    #[must_use]
    pub fn source(&self) -> &A {
        &self.source
    }

    /// The place in the table of the source's frame `number`.
    fn place(&self, number: u64) -> Option<u32> {
        let place = u32::try_from(number.checked_sub(self.first)?).ok()?;
        ((place as usize) < self.counts.len()).then_some(place)
    }

    /// The source's number of a frame.
    fn number(&self, place: u32) -> u64 {
        self.first + u64::from(place)
    }
}

/// The place in the table. Frame numbers begin at 1, places at 0.
fn place(frame: FrameNumber) -> u32 {
    frame.get() - 1
}

// SAFETY: the source hands a frame out once until it is freed, which happens when its count has
// fallen to zero; counts do not wrap. Numbers and addresses are the source's, moved by a constant.
unsafe impl<A: FrameSource> Frames for CountedFrames<A> {
    fn allocate(&self, _pages: u32) -> Result<(FrameNumber, u32), Errno> {
        let number = self.source.allocate().ok_or(Errno::NoMemory)?;
        let place = self.place(number);
        let Some((place, frame)) = place.and_then(|at| Some((at, FrameNumber::new(at + 1)?)))
        else {
            // SAFETY: just allocated, and not used.
            unsafe { self.source.free(number) };
            return Err(Errno::NoMemory);
        };
        self.counts.begin(place);
        Ok((frame, 1))
    }

    fn retain(&self, frame: FrameNumber) {
        self.counts.retain(place(frame));
    }

    fn references(&self, frame: FrameNumber) -> u32 {
        self.counts.get(place(frame))
    }

    unsafe fn release(&self, frame: FrameNumber) {
        let place = place(frame);
        if self.counts.release(place) == Left::Nothing {
            // SAFETY: by the invariant it is from the source; the last count of it has gone.
            unsafe { self.source.free(self.number(place)) };
        }
    }

    fn address(&self, frame: FrameNumber) -> NonNull<u8> {
        self.source.address(self.number(place(frame)))
    }
}

impl<A> fmt::Debug for CountedFrames<A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CountedFrames")
            .field("first", &self.first)
            .field("frames", &self.counts.len())
            .finish_non_exhaustive()
    }
}
