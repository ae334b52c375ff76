//! Frames: page-sized pieces of physical memory, and the seam that supplies them.

use core::num::NonZeroU32;
use core::ptr::NonNull;

use crate::Errno;

/// The number of a frame. Frame `n + 1` follows frame `n` in memory. Zero is never a frame, so that
/// an empty slot of a leaf is a zero word. 32 bits of 4 KiB frames address 16 TiB.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[doc(alias = "pfn")]
pub struct FrameNumber(NonZeroU32);

impl FrameNumber {
    /// The frame with this number, or `None` for zero.
    #[must_use]
    pub const fn new(number: u32) -> Option<Self> {
        match NonZeroU32::new(number) {
            Some(number) => Some(Self(number)),
            None => None,
        }
    }

    /// The number.
    #[must_use]
    pub const fn get(self) -> u32 {
        self.0.get()
    }

    /// The frame `n` after this one, if numbers last.
    #[must_use]
    pub const fn checked_add(self, n: u32) -> Option<Self> {
        match self.0.checked_add(n) {
            Some(number) => Some(Self(number)),
            None => None,
        }
    }
}

/// The embedder's frame allocator: memory, addresses and a reference count beside each frame.
///
/// # Safety
/// The implementor promises, for every frame it has handed out and that is not yet free again:
/// - it is handed out once: no other owner reads or writes it, but for user mappings and pins that
///   hold a count;
/// - [`address`](Self::address) returns the same address each time, aligned to and valid for reads
///   and writes of [`PAGE_SIZE`](crate::PAGE_SIZE) bytes, and never null;
/// - frames with consecutive numbers have consecutive addresses, in one allocated object as Rust
///   sees it, so that a run of them may be copied in one go;
/// - it is freed only when its count has fallen to zero.
///
/// The contents of a fresh frame are arbitrary, but initialised (a poison pattern is fine).
pub unsafe trait Frames: Send + Sync {
    /// Allocates up to `pages` (1..=64) consecutive frames with a count of 1 each and returns the
    /// first one and how many there are: at least 1, at most `pages`. May sleep and reclaim: no
    /// page lock is held. (An answer of 0 is taken for [`Errno::NoMemory`], and of a larger one
    /// only `pages` frames are used.)
    ///
    /// # Errors
    /// [`Errno::NoMemory`] when not even one frame can be had.
    fn allocate(&self, pages: u32) -> Result<(FrameNumber, u32), Errno>;

    /// As [`allocate`](Self::allocate), for pages that this CPU is about to fill: an allocator that
    /// has free frames at hand on each CPU answers with one that the CPU's caches may hold, and can
    /// have them fetch the next one meanwhile. The default makes no difference.
    ///
    /// # Errors
    /// As `allocate`.
    #[doc(alias = "__GFP_COLD")]
    #[inline]
    fn allocate_hot(&self, pages: u32) -> Result<(FrameNumber, u32), Errno> {
        self.allocate(pages)
    }

    /// As [`allocate`](Self::allocate), for pages that may never be used: those that are read
    /// ahead. An allocator that has a mark below which memory is short gives none there, so that a
    /// guess pushes out nothing; a thread of the embedder gives pages up at the same mark. The
    /// default allocates what there is. Not to reclaim.
    ///
    /// # Errors
    /// [`Errno::NoMemory`]: nothing is read ahead now.
    #[doc(alias = "__GFP_NORETRY")]
    #[doc(alias = "watermark")]
    fn allocate_spare(&self, pages: u32) -> Result<(FrameNumber, u32), Errno> {
        self.allocate(pages)
    }

    /// Adds one to the count of a frame: a user mapping or a pin now holds it too. Never sleeps.
    fn retain(&self, frame: FrameNumber);

    /// How many counts the frame has at this moment: 1 for a page that only its mapping holds.
    /// Never sleeps.
    ///
    /// Eviction looks at it with the page locked and its user mappings removed. A frame that then
    /// has more than one count is pinned: a device or the like still uses it, and the page stays
    /// (F5). New pins come by way of user mappings, which the page lock keeps away meanwhile, so an
    /// answer of 1 stays true until the page is unlocked. The load is an acquire, so that what a
    /// pin's last owner did with the frame happens before.
    fn references(&self, frame: FrameNumber) -> u32;

    /// Takes one from the count of a frame and frees it at zero. Never sleeps.
    ///
    /// # Safety
    /// The caller gives up one count that it owned, and does not touch the frame by it again.
    unsafe fn release(&self, frame: FrameNumber);

    /// Kernel address of the frame's first byte.
    fn address(&self, frame: FrameNumber) -> NonNull<u8>;
}

/// Implements calls of [`Frames`] by those of another allocator, for one that stands before it:
/// first `self`, then an expression for the other one, then the names of the calls. The promises of
/// the other are those of this one. `all_but_allocate` names the calls that concern frames which
/// have been handed out. A call that is neither named nor written keeps its default.
///
/// ```
/// use faultless_page::{Errno, FrameNumber, Frames, forward_to_frames};
///
/// /// Frames that are handed out one by one.
/// struct Single<F>(F);
///
/// // SAFETY: those of `F`.
/// unsafe impl<F: Frames> Frames for Single<F> {
///     fn allocate(&self, _pages: u32) -> Result<(FrameNumber, u32), Errno> {
///         self.0.allocate(1)
///     }
///     forward_to_frames!(self => self.0; all_but_allocate);
/// }
/// ```
#[macro_export]
macro_rules! forward_to_frames {
    ($this:ident => $frames:expr; all_but_allocate) => {
        $crate::forward_to_frames!($this => $frames; retain, references, release, address);
    };
    ($this:ident => $frames:expr; $($call:ident),+) => {
        $($crate::forward_to_frames!(@$call $this $frames);)+
    };
    (@allocate $this:ident $frames:expr) => {
        #[inline]
        fn allocate(
            &$this,
            pages: u32,
        ) -> ::core::result::Result<($crate::FrameNumber, u32), $crate::Errno> {
            $frames.allocate(pages)
        }
    };
    (@allocate_hot $this:ident $frames:expr) => {
        #[inline]
        fn allocate_hot(
            &$this,
            pages: u32,
        ) -> ::core::result::Result<($crate::FrameNumber, u32), $crate::Errno> {
            $frames.allocate_hot(pages)
        }
    };
    (@allocate_spare $this:ident $frames:expr) => {
        fn allocate_spare(
            &$this,
            pages: u32,
        ) -> ::core::result::Result<($crate::FrameNumber, u32), $crate::Errno> {
            $frames.allocate_spare(pages)
        }
    };
    (@retain $this:ident $frames:expr) => {
        fn retain(&$this, frame: $crate::FrameNumber) {
            $frames.retain(frame);
        }
    };
    (@references $this:ident $frames:expr) => {
        fn references(&$this, frame: $crate::FrameNumber) -> u32 {
            $frames.references(frame)
        }
    };
    (@release $this:ident $frames:expr) => {
        unsafe fn release(&$this, frame: $crate::FrameNumber) {
            // SAFETY: the caller's promise.
            unsafe { $frames.release(frame) };
        }
    };
    (@address $this:ident $frames:expr) => {
        #[inline]
        fn address(&$this, frame: $crate::FrameNumber) -> ::core::ptr::NonNull<u8> {
            $frames.address(frame)
        }
    };
}

/// What [`Frames::allocate`] has answered to a request for `pages` frames, in range: frames that
/// were not asked for are left alone.
fn in_range(
    answer: Result<(FrameNumber, u32), Errno>,
    pages: u32,
) -> Result<(FrameNumber, u32), Errno> {
    match answer? {
        (_, 0) => Err(Errno::NoMemory),
        (first, count) => Ok((first, count.min(pages))),
    }
}

/// [`Frames::allocate`], with an answer in range.
pub(crate) fn allocate(frames: &impl Frames, pages: u32) -> Result<(FrameNumber, u32), Errno> {
    in_range(frames.allocate(pages), pages)
}

/// [`Frames::allocate_hot`], with an answer in range.
#[inline]
pub(crate) fn allocate_hot(frames: &impl Frames, pages: u32) -> Result<(FrameNumber, u32), Errno> {
    in_range(frames.allocate_hot(pages), pages)
}

/// [`Frames::allocate_spare`], with an answer in range.
pub(crate) fn allocate_spare(
    frames: &impl Frames,
    pages: u32,
) -> Result<(FrameNumber, u32), Errno> {
    in_range(frames.allocate_spare(pages), pages)
}
