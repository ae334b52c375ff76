//! Pages on their way to the store.
//!
//! The frames of a run are held by their own counts, so the view stays good whatever becomes of the pages. The mark "under
//! writeback" is the mapping's: [`LockedRun::begin_writeback`](crate::LockedRun::begin_writeback) sets it and
//! [`Mapping::end_writeback`](crate::Mapping::end_writeback) clears it.

use core::marker::PhantomData;
use core::ptr::{self, NonNull};

use heapless::Vec;

use crate::debug::kernel_debug;
use crate::{
    FrameNumber, Frames, Kernel, PAGE_SIZE, PAGES_PER_LEAF, PageCache, PageIndex, PageRun,
};

/// A run of pages held for writing them back, made by [`LockedRun::writeback_pages`](crate::LockedRun::writeback_pages)
/// under the page lock; used and dropped without it.
///
/// # Invariants
/// One count of each frame of `frames` is owned; `addresses` are theirs.
#[must_use]
pub struct WritebackPages<'t, K: Kernel> {
    cache: &'t PageCache<K>,
    run: PageRun,
    frames: Vec<FrameNumber, PAGES_PER_LEAF>,
    addresses: Vec<NonNull<u8>, PAGES_PER_LEAF>,
    size: u64,
}

impl<'t, K: Kernel> WritebackPages<'t, K> {
    /// Holds the frames that `frame` names for each page of the run; `None` if it names none for one of them.
    /// The caller has the pages locked, so that the frames are alive.
    pub(crate) fn hold(
        cache: &'t PageCache<K>,
        run: PageRun,
        size: u64,
        frame: impl Fn(PageIndex) -> Option<FrameNumber>,
    ) -> Option<Self> {
        let mut held = Self { cache, run, frames: Vec::new(), addresses: Vec::new(), size };
        for page in 0..u64::from(run.pages()) {
            let frame = frame(run.first().plus(page))?;
            cache.frames().retain(frame);
            // INVARIANT: the count just added. (A run has at most 64 pages, so there is room.)
            let _fits = held.frames.push(frame);
            let _fits = held.addresses.push(cache.frames().address(frame));
        }
        Some(held)
    }

    /// Which pages.
    #[must_use]
    pub fn run(&self) -> PageRun {
        self.run
    }

    /// What the store is shown.
    #[must_use]
    pub fn view(&self) -> WritebackRun<'_> {
        let pos = self.run.start();
        let room = self.addresses.len() * PAGE_SIZE;
        let len = self.size.saturating_sub(pos).min(room as u64) as usize;
        WritebackRun { first: self.run.first(), pages: &self.addresses, len, frames: PhantomData }
    }
}

impl<K: Kernel> Drop for WritebackPages<'_, K> {
    fn drop(&mut self) {
        for &frame in &self.frames {
            // SAFETY: by the invariant the count is ours; views of us have ended.
            unsafe { self.cache.frames().release(frame) };
        }
    }
}

/// A run of pages as the store sees it: bytes of the file, then zeros to the end of the last page (P2).
///
/// User mappings may change the bytes while they are read; each byte copied is one that was there.
///
/// # Invariants
/// Each of `pages` is valid for reads of a page for `'a`; `len` is at most their size.
#[derive(Clone, Copy, Debug)]
pub struct WritebackRun<'a> {
    first: PageIndex,
    pages: &'a [NonNull<u8>],
    len: usize,
    frames: PhantomData<&'a [u8]>,
}

// SAFETY: a shared view of frames that are held for `'a`; it only reads.
unsafe impl Send for WritebackRun<'_> {}
// SAFETY: as above.
unsafe impl Sync for WritebackRun<'_> {}

impl WritebackRun<'_> {
    /// First page of the run.
    #[must_use]
    pub fn first(&self) -> PageIndex {
        self.first
    }

    /// Pages in the run.
    #[must_use]
    pub fn pages(&self) -> u32 {
        self.pages.len() as u32
    }

    /// Position in the file of the first byte.
    #[must_use]
    pub fn pos(&self) -> u64 {
        self.first.start()
    }

    /// Bytes of the run that lie inside the file. 0 if all of it is past the end.
    #[must_use]
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether no byte lies inside the file.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The length in whole pages, in bytes.
    #[must_use]
    pub fn padded_len(&self) -> usize {
        self.pages.len() * PAGE_SIZE
    }

    /// Pages `skip..skip + pages` of the run, clipped: for stores that write in pieces.
    #[must_use]
    pub fn part(&self, skip: u32, pages: u32) -> Self {
        let from = (skip as usize).min(self.pages.len());
        let to = from.saturating_add(pages as usize).min(self.pages.len());
        let len = self.len.saturating_sub(from * PAGE_SIZE).min((to - from) * PAGE_SIZE);
        Self { first: self.first.plus(from as u64), pages: &self.pages[from..to], len, ..*self }
    }

    /// Fills `out` with the bytes from `offset` of the run on: those of the file, then zeros (P2).
    pub fn copy_to(&self, offset: usize, out: &mut [u8]) {
        let real = self.len.saturating_sub(offset).min(out.len());
        let (data, rest) = out.split_at_mut(real);
        rest.fill(0);
        let mut at = offset;
        let mut data = data;
        while !data.is_empty() {
            let start = at % PAGE_SIZE;
            let (piece, left) = data.split_at_mut(data.len().min(PAGE_SIZE - start));
            // SAFETY: `start` is below the size of the page.
            let from = unsafe { self.pages[at / PAGE_SIZE].add(start) };
            // SAFETY: the piece ends inside the page, which is valid for reads by the invariant; kernel buffers
            // don't overlap frames of the cache.
            unsafe { ptr::copy_nonoverlapping(from.as_ptr(), piece.as_mut_ptr(), piece.len()) };
            at += piece.len();
            data = left;
        }
    }
}

kernel_debug!(WritebackPages<'_, K>, |this| { run: this.run, size: this.size });
