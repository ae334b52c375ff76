//! Page-table entries as the portable part of the kernel sees them, and the seam to the page table
//! of the architecture.

use core::ops::Range;

use bitflags::bitflags;
use faultless::prelude::{Access, FrameNumber};

bitflags! {
    /// What a program may do with a page. The bits are those of `PROT_READ` and so on.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct Rights: u32 {
        /// Loads.
        const READ = 1;
        /// Stores.
        const WRITE = 2;
        /// Instruction fetches.
        const EXECUTE = 4;
    }
}

impl Rights {
    /// Whether an access of this kind is allowed.
    #[must_use]
    pub const fn allow(self, access: Access) -> bool {
        match access {
            Access::Read => self.intersects(Self::READ.union(Self::EXECUTE)),
            Access::Write => self.contains(Self::WRITE),
        }
    }
}

/// To which object the frame of an entry belongs: a bit of the entry that the MMU leaves to
/// software.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Owner {
    /// To the file: the frame is a page of the cache.
    File,
    /// To the address space: the frame is a private copy, which exists nowhere else. After a fork
    /// several address spaces count it, each by an entry that allows no store.
    Space,
}

/// What a page-table entry says. It owns one count of its frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The frame that the page shows.
    pub frame: FrameNumber,
    /// What the program may do with it. Not the same as what its mapping allows: a store may have
    /// to fault first.
    pub rights: Rights,
    /// To which object it belongs.
    pub owner: Owner,
}

impl Entry {
    /// The same, without stores.
    #[must_use]
    pub fn read_only(self) -> Self {
        Self { rights: self.rights.difference(Rights::WRITE), ..self }
    }
}

/// The page table of one address space. Pages are numbered by their user address divided by the
/// size of a page. No method sleeps.
///
/// # Safety
/// [`get`](Self::get) and [`next`](Self::next) return what was [`set`](Self::set) last, nothing at
/// first. (Counts of frames are given back by what they say.)
pub unsafe trait PageTable: Send + 'static {
    /// What names the table to [`System::flush`](crate::System::flush), and never changes.
    fn root(&self) -> usize;

    /// Makes what lower tables the entry of a page needs, so that [`set`](Self::set) finds them.
    /// May allocate.
    fn prepare(&mut self, page: usize);

    /// The entry of a page.
    fn get(&self, page: usize) -> Option<Entry>;

    /// The first of these pages that has an entry.
    fn next(&self, pages: Range<usize>) -> Option<(usize, Entry)>;

    /// Sets the entry of a page that was [prepared](Self::prepare), or removes one. CPUs that have
    /// the old one cached may use it until the next flush. An entry that allows more than the one
    /// before needs none: a CPU that faults once more finds the new entry. Allocates nothing.
    fn set(&mut self, page: usize, entry: Option<Entry>);
}
