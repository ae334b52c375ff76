//! The page table of an address space: which frame each page shows. Guarded by its own short lock,
//! which is taken under M and under page locks and never the other way round.
//!
//! A present entry, and a swapped-out one, holds a count of its frame.

use std::collections::BTreeSet;
use std::ops::{Bound, Range};
use std::ptr::NonNull;

use faultless_page::{FrameNumber, PageIndex, Unmap};

use crate::memory::PhysicalMemory;
use crate::mmu::{Access, Mmu, Protection};
use crate::rmap::RmapCall;

/// Which page of which file an entry shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct FilePage {
    pub(crate) mapping: u64,
    pub(crate) index: u64,
}

/// What a frame in the table is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Content {
    /// Private memory of no file.
    Anonymous,
    /// A private copy of a page of a file, made when it was stored to.
    Copy(FilePage),
    /// A page of a file.
    Page(FilePage),
}

impl Content {
    /// The page of a file that it is, or was made from.
    const fn file(self) -> Option<FilePage> {
        match self {
            Self::Anonymous => None,
            Self::Copy(file) | Self::Page(file) => Some(file),
        }
    }

    /// Whether it exists nowhere else.
    const fn is_private(self) -> bool {
        !matches!(self, Self::Page(_))
    }
}

#[derive(Clone, Copy, Debug, Default)]
enum Entry {
    #[default]
    Absent,
    Present {
        frame: FrameNumber,
        protection: Protection,
        content: Content,
    },
    /// Private memory that is not resident but keeps its contents.
    Swapped {
        frame: FrameNumber,
        content: Content,
    },
}

/// The table.
///
/// # Invariants
/// Each `Present` and `Swapped` entry owns one count of its frame. `shown` holds exactly the
/// entries with a page of a file, or with a copy of one.
#[derive(Debug)]
pub(super) struct PageTable {
    entries: Vec<Entry>,
    shown: BTreeSet<(FilePage, usize)>,
}

/// Table, "hardware" and memory together: what changes an entry needs all three.
#[derive(Debug)]
pub(super) struct Hardware<'a, M> {
    pub(super) mmu: &'a M,
    pub(super) memory: &'a PhysicalMemory,
}

impl PageTable {
    pub(super) fn new(pages: usize) -> Self {
        // INVARIANT: no entry is present.
        Self { entries: vec![Entry::Absent; pages], shown: BTreeSet::new() }
    }

    /// Whether the page is present and allows the access.
    pub(super) fn allows(&self, page: usize, access: Access) -> bool {
        self.frame(page, access).is_some()
    }

    /// The frame that the page shows, if it is present and allows the access.
    pub(super) fn frame(&self, page: usize, access: Access) -> Option<FrameNumber> {
        match *self.entries.get(page)? {
            Entry::Present { frame, protection, .. } if protection.allows(access) => Some(frame),
            _ => None,
        }
    }

    /// The frame of the page, present or swapped out, whatever is allowed.
    pub(super) fn any_frame(&self, page: usize) -> Option<FrameNumber> {
        match self.entries[page] {
            Entry::Absent => None,
            Entry::Present { frame, .. } | Entry::Swapped { frame, .. } => Some(frame),
        }
    }

    /// What the page holds that exists nowhere else, present or swapped out.
    fn private(&self, page: usize) -> Option<(FrameNumber, Content)> {
        match self.entries[page] {
            Entry::Present { frame, content, .. } | Entry::Swapped { frame, content }
                if content.is_private() =>
            {
                Some((frame, content))
            }
            _ => None,
        }
    }

    /// Whether the page is present.
    pub(super) fn is_present(&self, page: usize) -> bool {
        matches!(self.entries[page], Entry::Present { .. })
    }

    /// Shows a page of a file; takes the caller's count of the frame for the entry.
    pub(super) fn show_file<M: Mmu>(
        &mut self,
        hardware: &Hardware<'_, M>,
        page: usize,
        frame: FrameNumber,
        file: FilePage,
        protection: Protection,
    ) {
        self.clear(hardware, page);
        self.set(hardware, page, frame, protection, Content::Page(file));
    }

    /// Shows a private copy of a page of a file; takes the caller's count of the frame for the
    /// entry.
    pub(super) fn show_copy<M: Mmu>(
        &mut self,
        hardware: &Hardware<'_, M>,
        page: usize,
        frame: FrameNumber,
        file: FilePage,
        protection: Protection,
    ) {
        self.clear(hardware, page);
        self.set(hardware, page, frame, protection, Content::Copy(file));
    }

    /// Makes a private copy present that the page has already, with this protection; whether it has
    /// one.
    pub(super) fn show_own_copy<M: Mmu>(
        &mut self,
        hardware: &Hardware<'_, M>,
        page: usize,
        protection: Protection,
    ) -> bool {
        let Some((frame, content)) = self.private(page) else { return false };
        // The entry's count stays with the entry.
        self.set(hardware, page, frame, protection, content);
        true
    }

    /// Makes the private page present: what it held, or a new frame of zeros. `Err` when memory is
    /// full.
    pub(super) fn show_private<M: Mmu>(
        &mut self,
        hardware: &Hardware<'_, M>,
        page: usize,
        protection: Protection,
    ) -> Result<(), ()> {
        let frame = match self.any_frame(page) {
            // The entry's count stays with the entry.
            Some(frame) => frame,
            None => hardware.memory.allocate_user().ok_or(())?,
        };
        self.set(hardware, page, frame, protection, Content::Anonymous);
        Ok(())
    }

    /// Applies a new protection to what is present in `pages`: an entry never allows more than
    /// that.
    pub(super) fn protect<M: Mmu>(
        &mut self,
        hardware: &Hardware<'_, M>,
        pages: Range<usize>,
        limit: Protection,
    ) {
        for page in pages {
            let Entry::Present { frame, protection, content } = self.entries[page] else {
                continue;
            };
            match limit {
                Protection::None => self.swap_out(hardware, page),
                Protection::Read if protection == Protection::ReadWrite => {
                    self.set(hardware, page, frame, Protection::Read, content);
                }
                // More rights come with the next fault.
                _ => {}
            }
        }
    }

    /// Makes the page non-resident without losing what is in it.
    pub(super) fn swap_out<M: Mmu>(&mut self, hardware: &Hardware<'_, M>, page: usize) {
        match self.entries[page] {
            Entry::Present { content: Content::Page(_), .. } => self.clear(hardware, page),
            Entry::Present { frame, content, .. } => {
                hardware.mmu.unmap(page);
                // INVARIANT: the count moves with the frame, and so does what it is.
                self.entries[page] = Entry::Swapped { frame, content };
            }
            _ => {}
        }
    }

    /// Empties the entry and drops its count.
    pub(super) fn clear<M: Mmu>(&mut self, hardware: &Hardware<'_, M>, page: usize) {
        let old = std::mem::take(&mut self.entries[page]);
        let (frame, content) = match old {
            Entry::Absent => return,
            Entry::Present { frame, content, .. } => {
                hardware.mmu.unmap(page);
                (frame, content)
            }
            Entry::Swapped { frame, content } => (frame, content),
        };
        if let Some(file) = content.file() {
            self.shown.remove(&(file, page));
        }
        // SAFETY: the entry owned a count (invariant) and is gone, and so is the user's view of the
        // frame.
        unsafe { hardware.memory.release(frame) };
    }

    /// Empties or write-protects the entries that show these pages of the file. Private copies go
    /// with pages that leave their file, and stay as they are otherwise.
    pub(super) fn change_file<M: Mmu>(
        &mut self,
        hardware: &Hardware<'_, M>,
        mapping: u64,
        pages: Range<PageIndex>,
        call: RmapCall,
    ) {
        let first = (FilePage { mapping, index: pages.start.get() }, 0);
        let end = (FilePage { mapping, index: pages.end.get() }, 0);
        if end <= first {
            return;
        }
        let range = (Bound::Included(first), Bound::Excluded(end));
        let shown: Vec<usize> = self.shown.range(range).map(|(_, page)| *page).collect();
        for page in shown {
            let private = self.private(page).is_some();
            match call {
                RmapCall::Unmap(Unmap::Truncate) => self.clear(hardware, page),
                _ if private => {}
                RmapCall::Unmap(Unmap::Evict) => self.clear(hardware, page),
                RmapCall::WriteProtect => self.protect(hardware, page..page + 1, Protection::Read),
            }
        }
    }

    /// Calls `with` with the kernel address of the page's frame, if it is present and allows the
    /// access.
    pub(super) fn with_page(
        &self,
        memory: &PhysicalMemory,
        page: usize,
        access: Access,
        with: &mut dyn FnMut(NonNull<u8>),
    ) -> bool {
        let Some(frame) = self.frame(page, access) else { return false };
        with(memory.address(frame));
        true
    }

    fn set<M: Mmu>(
        &mut self,
        hardware: &Hardware<'_, M>,
        page: usize,
        frame: FrameNumber,
        protection: Protection,
        content: Content,
    ) {
        hardware.mmu.map(page, hardware.memory, frame, protection);
        if let Some(file) = content.file() {
            self.shown.insert((file, page));
        }
        // INVARIANT: the caller passes the count that the entry had, or a new one.
        self.entries[page] = Entry::Present { frame, protection, content };
    }
}
