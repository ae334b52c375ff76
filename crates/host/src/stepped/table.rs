//! The page table of a stepped address space, and the reverse map over it: which entry shows which
//! page of which file. An entry owns a count of its frame.

use std::fmt;
use std::ptr::NonNull;
use std::sync::{Arc, Mutex};

use faultless_filemap::Protection;
use faultless_page::{FrameNumber, Frames, PageIndex, Unmap, UserMappings};

use super::seams::{Point, Threads};
use super::short::short;
use crate::mmu::Access;
use crate::space::FilePage;

/// What a planted bug leaves out of the reverse map.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Omitted {
    /// Nothing: the code as it should be.
    Nothing,
    /// A page that a truncation has taken out of its file stays mapped.
    Unmap,
    /// A page that is sent to the store stays writable.
    WriteProtect,
}

/// How far a page of the program's own is swapped out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Far {
    /// The next access faults.
    No,
    /// And its fault takes as long as it can.
    Yes,
}

/// Whether a page of the program's own is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Swapped {
    In,
    Out(Far),
}

/// An entry.
#[derive(Clone, Copy, Debug)]
pub(super) struct Entry {
    pub(super) frame: FrameNumber,
    pub(super) protection: Protection,
    /// Which page of which mapping, if of a file.
    pub(super) shows: Option<FilePage>,
    pub(super) swapped: Swapped,
}

impl Entry {
    fn allows(&self, access: Access) -> bool {
        let denied = access == Access::Write && self.protection == Protection::ReadOnly;
        !denied && self.swapped == Swapped::In
    }

    fn shows_one_of(&self, id: u64, first: PageIndex, end: PageIndex) -> bool {
        let pages = first.get()..end.get();
        self.shows.is_some_and(|file| file.mapping == id && pages.contains(&file.index))
    }
}

/// The table, with the memory of its frames and the scheduler of its threads.
pub(super) struct PageTable<F, T> {
    pub(super) frames: F,
    pub(super) threads: T,
    /// A short lock.
    entries: Mutex<Vec<Option<Entry>>>,
    omitted: Omitted,
}

impl<F: Frames, T: Threads> PageTable<F, T> {
    /// Pages that it has room for.
    pub(super) fn pages(&self) -> usize {
        short(&self.entries).len()
    }

    /// Puts an entry in the place of what is there.
    pub(super) fn replace(&self, page: usize, entry: Option<Entry>) {
        self.threads.point(Point::Entry);
        let old = std::mem::replace(&mut short(&self.entries)[page], entry);
        self.release(old);
    }

    /// Takes entries out.
    pub(super) fn remove_if(&self, gone: impl Fn(&Entry) -> bool) {
        let taken = |entry: &mut Option<Entry>| entry.take_if(|entry| gone(entry));
        let taken: Vec<Entry> = short(&self.entries).iter_mut().filter_map(taken).collect();
        self.release(taken);
    }

    /// Makes the page non-resident without losing anything.
    pub(super) fn swap_out(&self, page: usize, far: Far) {
        self.threads.point(Point::Entry);
        let gone = match &mut short(&self.entries)[page] {
            Some(entry) if entry.shows.is_none() => {
                entry.swapped = Swapped::Out(far);
                None
            }
            entry => entry.take(),
        };
        self.release(gone);
    }

    /// Makes a private page resident.
    pub(super) fn swap_in(&self, page: usize) {
        let swapped = short(&self.entries)[page].map(|entry| entry.swapped);
        if swapped == Some(Swapped::Out(Far::Yes)) {
            self.threads.idle();
        }
        self.threads.point(Point::Step);
        if let Some(entry) = &mut short(&self.entries)[page] {
            entry.swapped = Swapped::In;
        }
    }

    /// The kernel's address of the page, if it is resident for the access. It stays until the next
    /// point.
    pub(super) fn frame(&self, page: usize, access: Access) -> Option<NonNull<u8>> {
        let entry = short(&self.entries)[page].filter(|entry| entry.allows(access))?;
        Some(self.frames.address(entry.frame))
    }

    /// Gives the counts of entries back that are in the table no more. There may be points in it.
    fn release(&self, gone: impl IntoIterator<Item = Entry>) {
        for entry in gone {
            // SAFETY: the entry owned a count, and is gone.
            unsafe { self.frames.release(entry.frame) };
        }
    }
}

/// The page table of a space, as the reverse map of the files that are mapped in it. Clones are
/// handles of the same table.
#[derive(Debug)]
pub struct Mappings<F, T>(Arc<PageTable<F, T>>);

impl<F, T> Mappings<F, T> {
    /// An empty page table of `pages` pages.
    #[must_use]
    pub fn new(frames: F, threads: T, pages: usize, omitted: Omitted) -> Self {
        let entries = Mutex::new(vec![None; pages]);
        Self(Arc::new(PageTable { frames, threads, entries, omitted }))
    }

    pub(super) fn table(&self) -> Arc<PageTable<F, T>> {
        Arc::clone(&self.0)
    }
}

impl<F, T> Clone for Mappings<F, T> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<F: Frames, T: Threads> UserMappings for Mappings<F, T> {
    fn unmap(&self, id: u64, first: PageIndex, end: PageIndex, why: Unmap) {
        self.0.threads.point(Point::Step);
        if why != Unmap::Truncate || self.0.omitted != Omitted::Unmap {
            self.0.remove_if(|entry| entry.shows_one_of(id, first, end));
        }
    }

    fn write_protect(&self, id: u64, first: PageIndex, end: PageIndex) {
        self.0.threads.point(Point::Step);
        if self.0.omitted == Omitted::WriteProtect {
            return;
        }
        for entry in short(&self.0.entries).iter_mut().flatten() {
            if entry.shows_one_of(id, first, end) {
                entry.protection = Protection::ReadOnly;
            }
        }
    }
}

impl<F, T: fmt::Debug> fmt::Debug for PageTable<F, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PageTable").field("threads", &self.threads).finish_non_exhaustive()
    }
}
