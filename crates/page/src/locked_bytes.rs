//! The bytes of locked pages.
//!
//! Raw memory is given out as pointers: user mappings alias the same frames, so a reference would
//! promise too much. Only the atomic copy of `faultless-usercopy` and the functions here write
//! through them.

use core::ptr::{self, NonNull};

use crate::debug::kernel_debug;
use crate::leaf::Leaf;
use crate::{
    Errno, FillBuf, FrameNumber, Frames, Kernel, LockedRun, OwnedFrame, PAGE_SIZE, PageIndex,
    PageRun, Replacement, SlotMask, SyncFamily, Trace, racing,
};

/// Where the bytes of locked pages are. A copy of a few words: unlike a reference to the
/// [`LockedRun`] it does not keep that from registers.
pub struct LockedBytes<'r, K: Kernel> {
    frames: &'r K::Frames,
    leaf: &'r Leaf<K::Sync, K::Replacement>,
    first: PageIndex,
    mask: SlotMask,
}

impl<K: Kernel> Clone for LockedBytes<'_, K> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<K: Kernel> Copy for LockedBytes<'_, K> {}

kernel_debug!(LockedBytes<'_, K>, |this| { run: this.run() });

impl<K: Kernel> LockedBytes<'_, K> {
    /// As [`LockedRun::span`].
    #[inline(always)]
    #[must_use]
    pub fn span(&self, pos: u64, len: usize) -> Option<(NonNull<u8>, usize)> {
        let index = PageIndex::containing(pos);
        if !self.run().contains(index) {
            return None;
        }
        let frame = self.leaf.frame(index.slot())?;
        let (memory, room) = bytes_at(self.frames, frame, pos);
        if len <= room {
            return Some((memory, len));
        }
        if !self.leaf.continues(index.slot(), frame) {
            return Some((memory, room));
        }
        let further = further_bytes(self.leaf, index.slot(), frame, self.mask);
        Some((memory, len.min(room + further)))
    }

    /// Memory of byte `pos`, which lies in the first page of the run, and how many bytes there are
    /// from there to the end of that page; or as far as frames lie side by side, if `len` is more.
    /// `None` if the page is absent.
    ///
    /// A pointer without a niche: an optimiser does not know a sum to be no null pointer, and would
    /// test for `None` a second time.
    #[inline(always)]
    #[must_use]
    pub fn first_bytes(&self, pos: u64, len: usize) -> Option<(*mut u8, usize)> {
        debug_assert_eq!(PageIndex::containing(pos), self.first, "in the first page");
        let slot = self.first.slot();
        let frame = self.leaf.frame(slot)?;
        let (memory, mut room) = bytes_at(self.frames, frame, pos);
        if len > room && self.leaf.continues(slot, frame) {
            room += further_bytes(self.leaf, slot, frame, self.mask);
        }
        Some((memory.as_ptr(), room))
    }

    #[inline]
    fn run(&self) -> PageRun {
        PageRun::of(self.first, self.mask)
    }
}

/// How many bytes of the `locked` pages behind `slot` follow in the frames right after `frame`,
/// which is its.
#[inline(never)]
fn further_bytes<S: SyncFamily, R: Replacement>(
    leaf: &Leaf<S, R>,
    slot: u32,
    frame: FrameNumber,
    locked: SlotMask,
) -> usize {
    let limit = locked.last() + 1 - slot;
    (leaf.locked_stretch(slot, frame, limit) as usize - 1) * PAGE_SIZE
}

impl<K: Kernel> LockedRun<'_, K> {
    /// Contiguous memory that holds the file's bytes from `pos` on, at most `len`, inside the run:
    /// present pages, valid or not, with adjacent frames merged. `None` if the page of `pos` is
    /// absent or outside the run. Good until the pages are removed or unlocked.
    #[inline(always)]
    #[must_use]
    pub fn span(&self, pos: u64, len: usize) -> Option<(NonNull<u8>, usize)> {
        self.bytes().span(pos, len)
    }

    /// Where the bytes of the pages are.
    #[inline(always)]
    #[must_use]
    pub fn bytes(&self) -> LockedBytes<'_, K> {
        let frames = self.mapping.cache().frames();
        LockedBytes { frames, leaf: self.leaf, first: self.first, mask: self.mask }
    }

    /// Sets the bytes `[pos, pos + len)` of the file to zero, in the run's present pages. Traces
    /// [`Trace::Zeroed`].
    ///
    /// Lock-free readers, user mappings and the store may look at uptodate pages meanwhile, so
    /// those are zeroed in a racing-safe way. A page that is not uptodate is seen by its locker
    /// alone.
    pub fn zero(&mut self, pos: u64, len: usize) {
        let end = pos.saturating_add(len as u64).min(self.run().end().start());
        let mut pos = pos.max(self.run().start());
        let Some(touched) = PageRun::covering(pos, end.saturating_sub(pos) as usize) else {
            return;
        };
        let visible = self.uptodate().intersects(touched.mask());
        while pos < end {
            match self.span(pos, (end - pos) as usize) {
                Some((memory, bytes)) => {
                    if visible {
                        // SAFETY: `span` gives memory of present pages, which stay while they are
                        // locked; it is valid for writes by the contract of `Frames`. Readers and
                        // user mappings of it are racing-safe.
                        unsafe { racing::zero(memory.as_ptr(), bytes) };
                    } else {
                        // SAFETY: as above; and as no page is uptodate, none was ever mapped, or is
                        // under writeback, or read without the lock that we hold.
                        unsafe { ptr::write_bytes(memory.as_ptr(), 0, bytes) };
                    }
                    K::trace(Trace::Zeroed(bytes));
                    pos += bytes as u64;
                }
                None => pos = PageIndex::containing(pos).plus(1).start(),
            }
        }
    }

    /// Copies a valid page to a frame of the caller's own. What user mappings store meanwhile is
    /// copied or not, byte by byte. Traces [`Trace::Copied`].
    ///
    /// # Errors
    /// [`Errno::Invalid`] if the page is not uptodate, or outside the run.
    pub fn copy_page(&self, index: PageIndex, to: &mut OwnedFrame<'_, K>) -> Result<(), Errno> {
        let frame = self.frame(index).filter(|_| self.uptodate().contains(index.bit()));
        let from = self.mapping.cache().frames().address(frame.ok_or(Errno::Invalid)?);
        // SAFETY: a page that stays while it is locked, and a frame that has one owner and so is
        // another one. The lock keeps racing writes of the kernel away; those of mappings are as
        // `copy_out` wants them.
        unsafe { racing::copy_out(from.as_ptr(), to.as_ptr().as_ptr(), PAGE_SIZE) };
        K::trace(Trace::Copied(PAGE_SIZE));
        Ok(())
    }

    /// Lets `read` fill a present page that is not uptodate while the thread holds its lock: for
    /// data that is at hand. A store is asked by [`submit_read`](Self::submit_read) instead.
    ///
    /// `read` must have the first `needed` bytes (clipped to the page): those that lie inside the
    /// file. The rest of the page is zeroed. The page is not marked uptodate: the caller does that,
    /// once it holds what it should. A page that is uptodate is left alone.
    ///
    /// # Errors
    /// [`Errno::Invalid`] if the page is absent or outside the run; what `read` says; [`Errno::Io`]
    /// if it filled fewer than `needed` bytes, holes that it declared included (F8), or put another
    /// buffer in place of the page's. The page then holds anything, and is not uptodate.
    pub fn fill(
        &mut self,
        index: PageIndex,
        needed: usize,
        read: impl FnOnce(&mut FillBuf<'_>) -> Result<(), Errno>,
    ) -> Result<(), Errno> {
        let frame = self.frame(index).ok_or(Errno::Invalid)?;
        if self.uptodate().contains(index.bit()) {
            return Ok(());
        }
        let memory = self.mapping.cache().frames().address(frame);
        // SAFETY: a page of this run, so it is ours while locked; it is not uptodate, so no reader,
        // no user mapping and no writeback looks at it.
        let mut buf = unsafe { FillBuf::filled_by(memory, needed, read) }?;
        let zeroed = buf.hole() + buf.skip_zero(PAGE_SIZE);
        if zeroed > 0 {
            K::trace(Trace::Zeroed(zeroed));
        }
        Ok(())
    }
}

/// Memory of the file's byte `pos`, which lies in `frame`, and how many bytes there are from there
/// to the frame's end.
#[inline]
pub(crate) fn bytes_at(frames: &impl Frames, frame: FrameNumber, pos: u64) -> (NonNull<u8>, usize) {
    let offset = pos as usize % PAGE_SIZE;
    // SAFETY: the offset lies inside the page.
    let memory = unsafe { frames.address(frame).add(offset) };
    (memory, PAGE_SIZE - offset)
}
