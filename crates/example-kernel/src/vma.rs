//! A mapping of a file in an address space: which user pages show which pages of it.
//!
//! Plain data, guarded by the lock of the address space. Anonymous memory would be a private
//! mapping of no file.
#![forbid(unsafe_code)]

use core::ops::{Deref, Range};

use faultless::prelude::*;

/// Where a CPU store goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sharing {
    /// To the file (`MAP_SHARED`).
    Shared,
    /// To a copy of the page, which is the address space's own (`MAP_PRIVATE`).
    Private,
}

/// A mapping. `F` is a handle of its file.
#[derive(Clone, Debug)]
pub struct Vma<F> {
    /// The user pages.
    pub pages: Range<usize>,
    /// The file.
    pub file: F,
    /// The page of the file that the first user page shows.
    pub first: PageIndex,
    /// The most that user mode may do.
    pub access: Access,
    /// Where a CPU store goes.
    pub sharing: Sharing,
}

impl<F: Clone + Deref> Vma<F> {
    /// Whether it has one of these user pages.
    pub(crate) fn overlaps(&self, pages: &Range<usize>) -> bool {
        self.pages.start < pages.end && pages.start < self.pages.end
    }

    /// The page of the file that a user page of it shows.
    pub(crate) fn index(&self, page: usize) -> PageIndex {
        self.first.plus((page - self.pages.start) as u64)
    }

    /// What of it lies in `pages`.
    pub(crate) fn part(&self, pages: Range<usize>) -> Option<Self> {
        let (start, end) = (self.pages.start.max(pages.start), self.pages.end.min(pages.end));
        (start < end).then(|| Self { pages: start..end, first: self.index(start), ..self.clone() })
    }

    /// The user pages that show these pages of the file.
    pub(crate) fn showing(&self, pages: &Range<PageIndex>) -> Range<usize> {
        let len = self.pages.len() as u64;
        let at = |index: PageIndex| index.get().saturating_sub(self.first.get()).min(len) as usize;
        self.pages.start + at(pages.start)..self.pages.start + at(pages.end)
    }

    /// Whether `page` shows the same page of the same file here and there, under the same terms.
    pub(crate) fn is_as(&self, other: &Self, page: usize) -> bool {
        core::ptr::eq(&raw const *self.file, &raw const *other.file)
            && self.index(page) == other.index(page)
            && (self.access, self.sharing) == (other.access, other.sharing)
    }
}
