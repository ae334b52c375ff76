//! Areas of an address space: what is mapped where, and with which protection. Guarded by M.

#![forbid(unsafe_code)]

use std::collections::BTreeMap;
use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use faultless_filemap::Inode;
use faultless_page::PageIndex;

use crate::kernel::{Flavor, HostKernel};
use crate::mmu::Protection;

/// What is behind an area.
pub(super) enum Backing<F: Flavor> {
    /// Zero-filled private memory.
    Anonymous,
    /// Pages of a file: the first page of the area shows this page of the file.
    File { inode: Arc<Inode<HostKernel<F>>>, first: u64, sharing: Sharing },
}

/// Where a store to a mapping of a file goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sharing {
    /// To the file (`MAP_SHARED`).
    Shared,
    /// To a copy of the page that the program has for itself (`MAP_PRIVATE`).
    Private,
}

/// An area, without its place.
#[derive(Debug)]
pub(super) struct Area<F: Flavor> {
    pub(super) pages: usize,
    pub(super) protection: Protection,
    pub(super) backing: Backing<F>,
}

/// The areas of an address space, by first page. They do not overlap.
#[derive(Debug)]
pub(super) struct Areas<F: Flavor>(BTreeMap<usize, Area<F>>);

impl<F: Flavor> Default for Areas<F> {
    fn default() -> Self {
        Self(BTreeMap::new())
    }
}

impl<F: Flavor> Areas<F> {
    /// The area of `page`, and how far into it the page lies.
    pub(super) fn find(&self, page: usize) -> Option<(usize, &Area<F>)> {
        let (first, area) = self.0.range(..=page).next_back()?;
        let offset = page - first;
        (offset < area.pages).then_some((offset, area))
    }

    /// Adds an area where there is none.
    pub(super) fn insert(&mut self, first: usize, area: Area<F>) {
        self.0.insert(first, area);
    }

    /// Takes out everything in `pages`; what is returned still has to be dropped, outside all
    /// locks.
    pub(super) fn remove(&mut self, pages: Range<usize>) -> Vec<Area<F>> {
        self.split(pages.start);
        self.split(pages.end);
        let firsts: Vec<usize> = self.0.range(pages).map(|(first, _)| *first).collect();
        firsts.into_iter().filter_map(|first| self.0.remove(&first)).collect()
    }

    /// Changes the protection of everything in `pages`.
    pub(super) fn protect(&mut self, pages: Range<usize>, protection: Protection) {
        self.split(pages.start);
        self.split(pages.end);
        for (_, area) in self.0.range_mut(pages) {
            area.protection = protection;
        }
    }

    /// Makes `page` the first page of an area, if it is in one.
    fn split(&mut self, page: usize) {
        let Some((offset @ 1.., area)) = self.find(page) else { return };
        let tail = Area {
            pages: area.pages - offset,
            protection: area.protection,
            backing: area.backing.after(offset),
        };
        if let Some(head) = self.0.get_mut(&(page - offset)) {
            head.pages = offset;
        }
        self.0.insert(page, tail);
    }
}

impl<F: Flavor> Area<F> {
    /// The page of the file that the area shows `offset` pages from its beginning.
    pub(super) fn file_page(
        &self,
        offset: usize,
    ) -> Option<(&Arc<Inode<HostKernel<F>>>, PageIndex)> {
        match &self.backing {
            Backing::Anonymous => None,
            Backing::File { inode, first, .. } => {
                Some((inode, PageIndex::new(first + offset as u64)))
            }
        }
    }

    /// Where stores go.
    pub(super) fn sharing(&self) -> Sharing {
        match self.backing {
            Backing::Anonymous => Sharing::Private,
            Backing::File { sharing, .. } => sharing,
        }
    }
}

impl<F: Flavor> Backing<F> {
    fn after(&self, pages: usize) -> Self {
        match self {
            Self::Anonymous => Self::Anonymous,
            Self::File { inode, first, sharing } => Self::File {
                inode: Arc::clone(inode),
                first: first + pages as u64,
                sharing: *sharing,
            },
        }
    }
}

impl<F: Flavor> fmt::Debug for Backing<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Anonymous => f.write_str("anonymous"),
            Self::File { inode, first, sharing } => {
                write!(f, "file {} from {first}, {sharing:?}", inode.mapping().id())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernel::Checked;

    fn anonymous(pages: usize) -> Area<Checked> {
        Area { pages, protection: Protection::ReadWrite, backing: Backing::Anonymous }
    }

    #[test]
    fn an_area_is_found_by_each_of_its_pages_and_no_other() {
        let mut areas = Areas::default();
        areas.insert(3, anonymous(2));
        let found: Vec<Option<usize>> =
            (2..6).map(|page| areas.find(page).map(|(offset, _)| offset)).collect();
        assert_eq!(found, [None, Some(0), Some(1), None]);
    }

    #[test]
    fn a_hole_and_a_change_of_protection_split_areas() {
        let mut areas = Areas::default();
        areas.insert(0, anonymous(10));
        assert_eq!(areas.remove(4..6).len(), 1);
        areas.protect(2..3, Protection::Read);
        let protections: Vec<Option<Protection>> =
            (0..10).map(|page| areas.find(page).map(|(_, area)| area.protection)).collect();
        let (rw, ro) = (Some(Protection::ReadWrite), Some(Protection::Read));
        assert_eq!(protections, [rw, rw, ro, rw, None, None, rw, rw, rw, rw]);
    }
}
