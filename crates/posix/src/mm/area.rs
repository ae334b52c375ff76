//! A mapping of a file in an address space (Linux's VMA).
//!
//! Plain data, guarded by the lock of the address space.
#![forbid(unsafe_code)]

use core::fmt;
use core::ops::Range;

use alloc::sync::Arc;

use bitflags::bitflags;
use faultless::prelude::{Inode, PageIndex};

use crate::file::Description;
use crate::mm::table::Rights;
use crate::system::System;

/// Where a CPU store goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sharing {
    /// To the file (`MAP_SHARED`).
    Shared,
    /// To a copy of the page, which is the address space's own (`MAP_PRIVATE`).
    Private,
}

bitflags! {
    /// What a program has asked of a mapping.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
    pub struct Advised: u32 {
        /// Its pages stay in memory (`mlock`). A child does not have it so.
        const LOCKED = 1;
        /// A child does not have it (`MADV_DONTFORK`).
        const NOT_FORKED = 2;
        /// A child has zeros, or the pages of the file, in place of private copies
        /// (`MADV_WIPEONFORK`).
        const WIPED_BY_FORK = 4;
        /// An access below it may make it longer (`MAP_GROWSDOWN`). The kernel sees to that.
        const GROWS_DOWN = 8;
    }
}

/// Pages of an address space that show pages of a file.
#[doc(alias = "vm_area_struct")]
pub struct Area<S: System> {
    /// The user pages: addresses divided by the size of a page.
    pub pages: Range<usize>,
    /// The open file. It stays open while it is mapped.
    pub description: Arc<Description<S>>,
    /// The page of the file that the first user page shows.
    pub first: PageIndex,
    /// What the program may do.
    pub rights: Rights,
    /// Where a CPU store goes.
    pub sharing: Sharing,
    /// What the program has asked of it.
    pub advised: Advised,
}

impl<S: System> Clone for Area<S> {
    fn clone(&self) -> Self {
        let Self { pages, description, first, rights, sharing, advised } = self;
        Self {
            pages: pages.clone(),
            description: Arc::clone(description),
            first: *first,
            rights: *rights,
            sharing: *sharing,
            advised: *advised,
        }
    }
}

impl<S: System> Area<S> {
    /// The file.
    #[must_use]
    pub fn inode(&self) -> &Inode<S::Kernel> {
        self.description.inode()
    }

    /// The page of the file that a user page of it shows.
    #[must_use]
    pub fn index(&self, page: usize) -> PageIndex {
        self.first.plus((page - self.pages.start) as u64)
    }

    /// The bytes of the file that these user pages of it show.
    pub(crate) fn bytes(&self, pages: &Range<usize>) -> Range<u64> {
        self.index(pages.start).start()..self.index(pages.end).start()
    }

    /// What of it lies in `pages`.
    pub(crate) fn part(&self, pages: &Range<usize>) -> Option<Self> {
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
        core::ptr::eq(self.inode(), other.inode())
            && self.index(page) == other.index(page)
            && (self.rights, self.sharing) == (other.rights, other.sharing)
    }
}

impl<S: System> fmt::Debug for Area<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Area")
            .field("pages", &self.pages)
            .field("mapping", &self.inode().mapping().id())
            .field("first", &self.first)
            .field("rights", &self.rights)
            .field("sharing", &self.sharing)
            .finish()
    }
}
