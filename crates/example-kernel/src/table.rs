//! Page-table entries as the portable part of the kernel sees them, and the seam to the page table
//! of the architecture.
//!
//! The lock of an address space guards its table. This module owns no memory.

use faultless::prelude::*;

/// To which object the frame of an entry belongs: a bit of the entry that the MMU leaves to
/// software.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Owner {
    /// To the file: the frame is a page of the cache.
    File,
    /// To the address space: the frame is a private copy, which exists nowhere else. After a fork
    /// several address spaces count it, each by an entry that is read-only.
    Space,
}

/// What a page-table entry says. It owns one count of its frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The frame that the page shows.
    pub frame: FrameNumber,
    /// What user mode may do with it.
    pub protection: Protection,
    /// To which object it belongs.
    pub owner: Owner,
}

impl Entry {
    /// Whether the access would not fault.
    #[must_use]
    pub fn allows(self, access: Access) -> bool {
        access == Access::Read || self.protection == Protection::Writable
    }

    /// The same, for loads only.
    #[must_use]
    pub fn read_only(self) -> Self {
        Self { protection: Protection::ReadOnly, ..self }
    }
}

/// The page table of one address space. Pages are numbered by their user address divided by
/// [`PAGE_SIZE`]. No method sleeps or allocates: interrupts are off. The lower tables for the pages
/// of a mapping are made before [`AddressSpace::map`](crate::AddressSpace::map) or
/// [`fork`](crate::AddressSpace::fork) is called.
///
/// # Safety
/// [`get`](Self::get) returns what was [`set`](Self::set) last, `None` at first. (The kernel gives
/// counts of frames back by what it says.)
pub unsafe trait PageTable: Send {
    /// What names the table to [`Machine::flush`](crate::Machine::flush), and never changes: the
    /// address of the top-level table, or the ASID.
    fn root(&self) -> usize;

    /// The entry of a page.
    fn get(&self, page: usize) -> Option<Entry>;

    /// Sets the entry of a page. CPUs that have the old one cached may use it until the next
    /// [`Machine::flush`](crate::Machine::flush). An entry that allows more than the one before
    /// needs none: a CPU that faults once more finds the new entry. (Where the table walk caches
    /// absent entries or needs a barrier, as on RISC-V and AArch64, that is for this method.)
    fn set(&mut self, page: usize, entry: Option<Entry>);
}
