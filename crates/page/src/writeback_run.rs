//! What the store is shown of a writeback.

use core::fmt;
use core::ptr::NonNull;

use crate::{PAGE_SIZE, PageIndex, PageRun, racing};

/// A run of pages as the store sees it: bytes of the file, then zeros to the end of the last page
/// (P2).
///
/// Writers and user mappings may change the bytes while they are read. Each byte copied is one that
/// was there, and [`copy_to`](Self::copy_to) looks at it once, so a store that needs the same bytes
/// twice (a checksum, a second mirror) works on its copy. Pages that change are dirty again, and
/// are sent once more.
///
/// # Invariants
/// `held` holds all of the `pages` from `first` on; `len` is at most their size.
#[derive(Clone, Copy)]
pub struct WritebackRun<'a> {
    first: PageIndex,
    pages: usize,
    held: &'a dyn HeldPages,
    len: usize,
}

/// Pages that stay as long as the value is borrowed.
///
/// # Safety
/// What [`page`](Self::page) returns is valid for reads of a page as long as `self` is borrowed.
pub(crate) unsafe trait HeldPages: Send + Sync {
    /// The address of a page, if it is one of those that are held.
    fn page(&self, index: PageIndex) -> Option<NonNull<u8>>;
}

impl<'a> WritebackRun<'a> {
    /// `len` bytes of the pages of `run`, all of which `held` holds.
    pub(crate) fn new(held: &'a dyn HeldPages, run: PageRun, len: usize) -> Self {
        let pages = run.pages() as usize;
        debug_assert!(len <= pages * PAGE_SIZE, "the bytes lie in the pages");
        Self { first: run.first(), pages, held, len }
    }
}

impl WritebackRun<'_> {
    /// First page of the run.
    #[must_use]
    pub fn first(&self) -> PageIndex {
        self.first
    }

    /// Pages in the run.
    #[must_use]
    pub fn pages(&self) -> u32 {
        self.pages as u32
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
        self.pages * PAGE_SIZE
    }

    /// Pages `skip..skip + pages` of the run, clipped: for stores that write in pieces.
    #[must_use]
    pub fn part(&self, skip: u32, pages: u32) -> Self {
        let from = (skip as usize).min(self.pages);
        let to = from.saturating_add(pages as usize).min(self.pages);
        let len = self.len.saturating_sub(from * PAGE_SIZE).min((to - from) * PAGE_SIZE);
        Self { first: self.first.plus(from as u64), pages: to - from, len, ..*self }
    }

    /// Fills `out` with the bytes from `offset` of the run on: those of the file, then zeros (P2).
    /// Each byte is looked at once.
    pub fn copy_to(&self, offset: usize, out: &mut [u8]) {
        let real = self.len.saturating_sub(offset).min(out.len());
        let (data, rest) = out.split_at_mut(real);
        rest.fill(0);
        let mut at = offset;
        let mut data = data;
        while !data.is_empty() {
            let start = at % PAGE_SIZE;
            let index = self.first.plus((at / PAGE_SIZE) as u64);
            let Some(page) = self.held.page(index) else {
                debug_assert!(false, "a page of the run is held");
                return data.fill(0);
            };
            let (piece, left) = data.split_at_mut(data.len().min(PAGE_SIZE - start));
            // SAFETY: `start` is below the size of the page.
            let from = unsafe { page.add(start) };
            // SAFETY: the piece ends inside the page, which is valid for reads by the invariant;
            // kernel buffers don't overlap frames of the cache, and `piece` is a unique borrow.
            // Locked writers use racing-safe copies.
            unsafe { racing::copy_out(from.as_ptr(), piece.as_mut_ptr(), piece.len()) };
            at += piece.len();
            data = left;
        }
    }
}

impl fmt::Debug for WritebackRun<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WritebackRun")
            .field("first", &self.first)
            .field("pages", &self.pages)
            .field("len", &self.len)
            .finish_non_exhaustive()
    }
}
