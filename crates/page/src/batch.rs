//! Frames between their allocation and their place in a mapping.

use core::mem;
use core::ops::Range;
use core::ptr::NonNull;

use crate::debug::kernel_debug;
use crate::{Errno, FrameNumber, Frames, Kernel, PAGE_SIZE, PageCache, Trace, frame};

/// A few consecutive frames from [`PageCache::allocate`]. Dropping it releases those not taken.
///
/// # Invariants
/// The batch owns one count of each of the `left` frames from number `next` on.
#[must_use]
pub struct FrameBatch<'c, K: Kernel> {
    cache: &'c PageCache<K>,
    next: FrameNumber,
    left: u32,
}

impl<K: Kernel> PageCache<K> {
    /// Up to `pages` (clipped to 1..=64) consecutive frames, at least one. May sleep and reclaim:
    /// no page lock may be held (P3). Traces [`Trace::Allocated`] for each.
    ///
    /// # Errors
    /// [`Errno::NoMemory`], or whatever [`Frames::allocate`] says.
    pub fn allocate(&self, pages: u32) -> Result<FrameBatch<'_, K>, Errno> {
        self.batch(pages, frame::allocate)
    }

    /// As [`allocate`](Self::allocate), of frames that this CPU [fills](Frames::allocate_hot) now.
    ///
    /// # Errors
    /// As `allocate`.
    pub fn allocate_hot(&self, pages: u32) -> Result<FrameBatch<'_, K>, Errno> {
        self.batch(pages, frame::allocate_hot)
    }

    /// As [`allocate`](Self::allocate), of frames that are [spare](Frames::allocate_spare).
    ///
    /// # Errors
    /// As `allocate`, if memory is short.
    pub fn allocate_spare(&self, pages: u32) -> Result<FrameBatch<'_, K>, Errno> {
        self.batch(pages, frame::allocate_spare)
    }

    fn batch(
        &self,
        pages: u32,
        allocate: impl FnOnce(&K::Frames, u32) -> Result<(FrameNumber, u32), Errno>,
    ) -> Result<FrameBatch<'_, K>, Errno> {
        let pages = pages.clamp(1, crate::PAGES_PER_LEAF as u32);
        let (first, count) = allocate(self.frames(), pages)?;
        for _ in 0..count {
            K::trace(Trace::Allocated);
        }
        // SAFETY: the frames were just given to us, with one count each.
        Ok(unsafe { FrameBatch::new(self, first, count) })
    }
}

impl<'c, K: Kernel> FrameBatch<'c, K> {
    /// # Safety
    /// The caller owns one count of each of these frames of the cache, and gives them away.
    pub(crate) unsafe fn new(cache: &'c PageCache<K>, next: FrameNumber, left: u32) -> Self {
        // INVARIANT: the caller's promise.
        Self { cache, next, left }
    }

    /// Takes the first frame.
    pub fn take_first(&mut self) -> Option<OwnedFrame<'c, K>> {
        self.left = self.left.checked_sub(1)?;
        let frame = self.next;
        // INVARIANT: one less, and the next one is the first. (After the last number there is none,
        // and none is left.)
        self.next = frame.checked_add(1).unwrap_or(frame);
        // INVARIANT of the frame: the batch owned a count, and doesn't any more.
        Some(OwnedFrame { count: SharedFrame { cache: self.cache, frame } })
    }

    /// The first byte of the frames that are left: [`len`](Self::len) pages, one after the other in
    /// memory, arbitrary at first, writable while the value lives. Nothing else looks at them.
    #[inline]
    #[must_use]
    pub fn as_ptr(&self) -> NonNull<u8> {
        self.cache.frames().address(self.next)
    }

    /// Sets bytes of the frames that are left to zero: those of `bytes`, counted from the
    /// [first](Self::as_ptr), as far as there are such. Traces [`Trace::Zeroed`] if there is one.
    #[inline]
    pub fn zero(&mut self, bytes: Range<usize>) {
        let end = bytes.end.min(self.len() * PAGE_SIZE);
        let Some(len) = end.checked_sub(bytes.start).filter(|&len| len > 0) else { return };
        // SAFETY: frames with consecutive numbers are one object; the range ends inside those left.
        let first = unsafe { self.as_ptr().add(bytes.start) };
        // SAFETY: as above; the frames are ours, and no one else reads or writes them.
        unsafe { first.write_bytes(0, len) };
        K::trace(Trace::Zeroed(len));
    }

    /// Whether the frames are those of `cache`.
    pub(crate) fn is_of(&self, cache: &PageCache<K>) -> bool {
        core::ptr::eq(self.cache, cache)
    }

    /// How many frames are left.
    #[must_use]
    pub fn len(&self) -> usize {
        self.left as usize
    }

    /// Whether no frame is left.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.left == 0
    }
}

impl<K: Kernel> Drop for FrameBatch<'_, K> {
    fn drop(&mut self) {
        while self.take_first().is_some() {}
    }
}

/// A frame with one owner. Dropping it releases it. Also serves as a temporary page (strategy A).
///
/// # Invariants
/// There is no other count of the frame.
#[must_use]
pub struct OwnedFrame<'c, K: Kernel> {
    count: SharedFrame<'c, K>,
}

impl<K: Kernel> OwnedFrame<'_, K> {
    /// The frame's number.
    #[must_use]
    pub fn number(&self) -> FrameNumber {
        self.count.number()
    }

    /// The frame's first byte: [`PAGE_SIZE`] bytes, arbitrary at first, writable while the value
    /// lives.
    #[must_use]
    pub fn as_ptr(&self) -> NonNull<u8> {
        self.count.cache.frames().address(self.number())
    }

    /// The bytes.
    #[must_use]
    pub fn bytes(&self) -> &[u8; PAGE_SIZE] {
        // SAFETY: `Frames::address` is valid for a page of initialised bytes; a frame with one
        // owner has no other writer, and we are borrowed.
        unsafe { self.as_ptr().cast().as_ref() }
    }

    /// The bytes, to write.
    #[must_use]
    pub fn bytes_mut(&mut self) -> &mut [u8; PAGE_SIZE] {
        // SAFETY: as for `bytes`, and we are borrowed uniquely.
        unsafe { self.as_ptr().cast().as_mut() }
    }

    /// Sets all bytes to zero. Traces [`Trace::Zeroed`].
    pub fn zero(&mut self) {
        self.bytes_mut().fill(0);
        K::trace(Trace::Zeroed(PAGE_SIZE));
    }

    /// Gives up ownership: the holder of the number owns the count. Until it is given back by
    /// [`Frames::release`], the frame is leaked.
    #[must_use]
    pub fn into_number(self) -> FrameNumber {
        self.count.into_number()
    }

    /// Whether the frame is one of `cache`.
    pub(crate) fn is_of(&self, cache: &PageCache<K>) -> bool {
        core::ptr::eq(self.count.cache, cache)
    }
}

/// One count of a frame that others hold as well. Dropping it gives the count back.
///
/// # Invariants
/// It owns one count of the frame.
#[must_use]
pub struct SharedFrame<'c, K: Kernel> {
    cache: &'c PageCache<K>,
    frame: FrameNumber,
}

impl<'c, K: Kernel> SharedFrame<'c, K> {
    /// A count of `frame`, of which the caller keeps another one meanwhile.
    pub(crate) fn retain(cache: &'c PageCache<K>, frame: FrameNumber) -> Self {
        cache.frames().retain(frame);
        Self { cache, frame }
    }

    /// The frame's number.
    #[must_use]
    pub fn number(&self) -> FrameNumber {
        self.frame
    }

    /// Gives up ownership: the holder of the number owns the count, such as a page-table entry. It
    /// is given back by [`Frames::release`].
    #[must_use]
    pub fn into_number(self) -> FrameNumber {
        let frame = self.frame;
        mem::forget(self);
        frame
    }
}

impl<K: Kernel> Drop for SharedFrame<'_, K> {
    fn drop(&mut self) {
        // SAFETY: by the invariant the count is ours, and nothing uses the frame by it after
        // this.
        unsafe { self.cache.frames().release(self.frame) };
    }
}

kernel_debug!(FrameBatch<'_, K>, |this| { next: this.next, left: this.left });
kernel_debug!(OwnedFrame<'_, K>, |this| { frame: this.number() });
kernel_debug!(SharedFrame<'_, K>, |this| { frame: this.frame });
