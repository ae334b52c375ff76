//! [`FramePool`]: a counted frame allocator over one region of memory, which holds its bookkeeping
//! too.
//!
//! The region is cut in two: the first pages hold a bitmap of free frames and the counts, the
//! others are the frames. Neighbours: [`bitmap`](crate::bitmap) searches, [`counts`](crate::counts)
//! counts; the unsafe code here is the cut, and the addresses.

use core::fmt;
use core::ptr::NonNull;
use core::slice;
use core::sync::atomic::AtomicU32;

use faultless_page::{CoreSync, Errno, FrameNumber, Frames, PAGE_SIZE, Spin, SyncFamily};

use crate::bitmap::{Bitmap, MAX_RUN};
use crate::counts::{Counts, Left};

/// A page of memory, for [`FramePool::new`].
#[derive(Clone, Debug)]
#[repr(C, align(4096))]
pub struct Page([u8; PAGE_SIZE]);

impl Page {
    /// A page of zeros.
    pub const ZERO: Self = Self([0; PAGE_SIZE]);
}

const _: () = assert!(size_of::<Page>() == PAGE_SIZE && align_of::<Page>() == PAGE_SIZE);

/// Frames from one region of memory, with a count beside each.
///
/// Allocates nothing: of each 990 pages of the region about one holds the pool's bookkeeping.
/// Frames are numbered from 1. A request for several frames gets a contiguous run, up to 64 long,
/// from where the last one ended; when the region is fragmented, the run is shorter.
///
/// `S` is the family of the short lock around the bitmap. [`CoreSync`] fits unless a thread can be
/// preempted, or interrupted by a handler that releases frames: see the [crate's
/// documentation](crate#which-locks-which-wait). No method sleeps or waits for memory: a kernel
/// that reclaims wraps [`Frames::allocate`] and calls `Inode::evict` before it tries again.
///
/// A release too many and a count that overflows are caught by a debug assertion. Without those,
/// the first is ignored, and a frame whose count has overflowed is never free again.
///
/// ```
/// use faultless_page::Frames;
/// use faultless_parts::{FramePool, Page};
///
/// let region = Box::leak(vec![Page::ZERO; 65].into_boxed_slice());
/// let pool: FramePool = FramePool::new(region);
/// assert_eq!((pool.total(), pool.free()), (64, 64));
///
/// let (first, count) = pool.allocate(16)?;
/// assert_eq!((first.get(), count, pool.free()), (1, 16, 48));
/// # Ok::<(), faultless_page::Errno>(())
/// ```
///
/// # Invariants
/// `frames` is the first of `counts.len()` consecutive pages in one allocated object, which are
/// initialised, and which only the owners of counts use. The bitmap has a set bit for exactly those
/// frames whose count is 0, apart from a release or an allocation that is under way.
pub struct FramePool<S: SyncFamily = CoreSync> {
    frames: NonNull<Page>,
    counts: Counts,
    bitmap: S::Spin<Bitmap>,
}

// SAFETY: the frames belong to the pool and its users, and may be used from any thread; counts are
// atomic, and the bitmap is locked.
unsafe impl<S: SyncFamily> Send for FramePool<S> {}
// SAFETY: as above.
unsafe impl<S: SyncFamily> Sync for FramePool<S> {}

impl FramePool {
    /// A pool over `region`, with the locks of [`CoreSync`]. The frames' contents stay as they are.
    #[must_use]
    pub fn new(region: &'static mut [Page]) -> Self {
        Self::with_locks(region)
    }
}

impl<S: SyncFamily> FramePool<S> {
    /// A pool over `region`, with the locks of `S`.
    #[must_use]
    pub fn with_locks(region: &'static mut [Page]) -> Self {
        let pages = region.len();
        // SAFETY: a unique borrow that never ends, of initialised pages.
        unsafe { Self::carve(NonNull::from(region).cast(), pages) }
    }

    /// A pool over the whole pages among the `len` bytes at `base`: a region of the boot memory
    /// map, at the kernel's address for it.
    ///
    /// # Safety
    /// From now on, and for as long as the pool or a frame of it is used, the region is mapped,
    /// valid for reads and writes, and used by nothing else. It is one allocated object as Rust
    /// sees it, and its bytes are initialised, to whatever value (memory that the machine was
    /// started with is).
    ///
    /// ```
    /// # use core::ptr::NonNull;
    /// use faultless_parts::FramePool;
    ///
    /// # let region: &'static mut [u8] = Box::leak(vec![0; 16 * 4096].into_boxed_slice());
    /// # let (base, len) = (NonNull::from(&mut *region).cast::<u8>(), region.len());
    /// // SAFETY: the boot memory map says that nothing else uses the region; it is mapped there.
    /// let pool = unsafe { FramePool::<faultless_page::CoreSync>::from_raw(base, len) };
    /// assert!(pool.total() >= 14);
    /// ```
    #[must_use]
    pub unsafe fn from_raw(base: NonNull<u8>, len: usize) -> Self {
        let skipped = (base.addr().get().wrapping_neg() % PAGE_SIZE).min(len);
        // SAFETY: at most the end of the region.
        let first = unsafe { base.add(skipped) };
        // SAFETY: whole pages of the region, and aligned if there is one; the caller's promise.
        unsafe { Self::carve(first.cast(), (len - skipped) / PAGE_SIZE) }
    }

    /// # Safety
    /// As for [`from_raw`](Self::from_raw), for `pages` pages from `base` on. `base` is aligned if
    /// there is one.
    unsafe fn carve(base: NonNull<Page>, pages: usize) -> Self {
        // Numbers are 1..=total, in 32 bits.
        let pages = pages.min(u32::MAX as usize - 1);
        let own = bookkeeping(pages).div_ceil(PAGE_SIZE).min(pages);
        let total = pages - own;
        if total == 0 {
            return Self::empty();
        }
        // SAFETY: `own` is at most the number of pages.
        let frames = unsafe { base.add(own) };
        let words = total.div_ceil(64);
        // SAFETY: the bookkeeping fits in the first `own` pages, which nothing else uses;
        // initialised memory holds integers, and a page is aligned for them.
        let bitmap: &mut [u64] = unsafe { slice::from_raw_parts_mut(base.cast().as_ptr(), words) };
        // SAFETY: as above: at most the end of the words.
        let behind = unsafe { base.cast::<u64>().add(words) };
        // SAFETY: as above: behind the words, for the counts.
        let counts: &[AtomicU32] = unsafe { slice::from_raw_parts(behind.cast().as_ptr(), total) };
        // INVARIANT: the pages behind the bookkeeping, by the caller's promise; all are free.
        Self {
            frames,
            counts: Counts::all_free(counts),
            bitmap: Spin::new(Bitmap::all_free(bitmap, total as u32)),
        }
    }

    /// A pool without frames.
    fn empty() -> Self {
        // INVARIANT: there is no frame.
        Self {
            frames: NonNull::dangling(),
            counts: Counts::all_free(&[]),
            bitmap: Spin::new(Bitmap::all_free(&mut [], 0)),
        }
    }

    /// How many frames the pool has, those in use included.
    #[must_use]
    pub fn total(&self) -> u32 {
        self.counts.len() as u32
    }

    /// How many frames are free at this moment. Takes the short lock.
    #[must_use]
    pub fn free(&self) -> u32 {
        self.bitmap.lock().free()
    }

    /// The place of a frame in the pool.
    fn index(frame: FrameNumber) -> u32 {
        frame.get() - 1
    }

    /// The number of the frame at a place in the pool: they are numbered from 1.
    fn number(index: u32) -> Option<FrameNumber> {
        FrameNumber::new(index + 1)
    }
}

/// Bytes of bookkeeping for as many frames.
const fn bookkeeping(frames: usize) -> usize {
    frames.div_ceil(64) * size_of::<u64>() + frames * size_of::<AtomicU32>()
}

// SAFETY: a frame is handed out when its bit was set, which the same hold of the lock clears, and
// the bit is set again only when its count has fallen to zero. So it is handed out once, and freed
// at zero. Counts do not wrap. Addresses are linear in the number, in one object, aligned, and
// never change; the pages are initialised.
unsafe impl<S: SyncFamily> Frames for FramePool<S> {
    fn allocate(&self, pages: u32) -> Result<(FrameNumber, u32), Errno> {
        let taken = self.bitmap.lock().take(pages.clamp(1, MAX_RUN));
        let (first, count) = taken.ok_or(Errno::NoMemory)?;
        (first..first + count).for_each(|frame| self.counts.begin(frame));
        let number = Self::number(first).ok_or(Errno::NoMemory)?;
        Ok((number, count))
    }

    fn retain(&self, frame: FrameNumber) {
        self.counts.retain(Self::index(frame));
    }

    fn references(&self, frame: FrameNumber) -> u32 {
        self.counts.get(Self::index(frame))
    }

    unsafe fn release(&self, frame: FrameNumber) {
        let frame = Self::index(frame);
        if self.counts.release(frame) == Left::Nothing {
            self.bitmap.lock().give(frame);
        }
    }

    fn address(&self, frame: FrameNumber) -> NonNull<u8> {
        let index = Self::index(frame) as usize;
        assert!(index < self.counts.len(), "{frame:?} is not of this pool");
        // SAFETY: inside the pages of the pool, by the invariant.
        unsafe { self.frames.add(index) }.cast()
    }
}

impl<S: SyncFamily> FramePool<S> {
    /// The number of the frame at `address`, the inverse of [`Frames::address`]: for page-table
    /// entries, which hold addresses, and have to give a count back by its number. `None` for an
    /// address that is not the first byte of a frame of this pool.
    #[must_use]
    pub fn frame_at(&self, address: NonNull<u8>) -> Option<FrameNumber> {
        let offset = address.addr().get().checked_sub(self.frames.addr().get())?;
        let index = u32::try_from(offset / PAGE_SIZE).ok()?;
        let exact = offset % PAGE_SIZE == 0 && (index as usize) < self.counts.len();
        if exact { Self::number(index) } else { None }
    }
}

impl<S: SyncFamily> fmt::Debug for FramePool<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FramePool")
            .field("total", &self.total())
            .field("free", &self.free())
            .finish_non_exhaustive()
    }
}
