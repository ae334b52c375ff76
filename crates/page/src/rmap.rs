//! The reverse map: user mappings of a file's pages, which the embedder's address spaces hold.
#![forbid(unsafe_code)]

use static_assertions::assert_obj_safe;

use crate::{PageIndex, PageRun, SlotMask};

/// Why user mappings of a file's pages are to change, which decides what becomes of private copies:
/// pages that a private mapping (copy on write) has in place of the file's, made when it was stored
/// to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unmap {
    /// The pages leave the file. Remove every mapping of them, private copies too: an access past
    /// the new end is `SIGBUS`, however the mapping came by its bytes (POSIX `mmap`).
    Truncate,
    /// The pages leave the cache, and stay in the file. Remove mappings of the file's own pages:
    /// the next access faults and reads them in again. Private copies stay: they exist nowhere
    /// else.
    Evict,
}

/// Finds user mappings of a file's pages: the reverse map of an address space. Called before and
/// after pages leave their mapping, and before they are sent to the store.
#[doc(alias = "rmap")]
pub trait UserMappings: Send + Sync {
    /// Removes user mappings of pages `first..end` of the mapping `id`, as `why` says, and flushes
    /// TLBs: when it returns, no CPU uses an old entry, and each removed entry has given its count
    /// back ([`Frames::release`](crate::Frames::release)).
    ///
    /// Page locks may be held, of these pages or of others, and I may be held; so it takes
    /// page-table locks only, never M and never a page lock, sleeps for nothing that a holder of
    /// either may keep, and allocates nothing (P3). It calls nothing of the mapping.
    ///
    /// What an implementation has to see to:
    /// - It flushes also if it finds no entry to change: the thread that has changed it may not
    ///   have flushed yet.
    /// - It flushes before it gives counts back, and without a lock that is taken with interrupts
    ///   off: a CPU that spins for such a lock does not answer a shootdown.
    /// - An address space that a fork makes meanwhile is looked at after the one that it copies, or
    ///   the copied entries are missed.
    ///
    /// If it unwinds, the core takes the entries to be as they were. Those past a new end are
    /// removed by the next change of the size.
    fn unmap(&self, id: u64, first: PageIndex, end: PageIndex, why: Unmap);

    /// Makes mappings of the file's own pages `first..end` read-only, and flushes TLBs: the next
    /// CPU store faults, and the fault handler calls the file's. Private copies stay as they are.
    /// Pages are write-protected before they are sent to the store, and when the end of the file
    /// moves up.
    ///
    /// Called with the locks that [`unmap`](Self::unmap) is called with, and the same holds for it.
    #[doc(alias = "page_mkclean")]
    #[doc(alias = "folio_mkclean")]
    fn write_protect(&self, id: u64, first: PageIndex, end: PageIndex);

    /// Which of the file's own pages in `run`, of one leaf, were accessed through mappings since
    /// the last call, as slots; forgets it. The accessed bits of page tables; TLBs need not be
    /// flushed, as an access that is missed costs a wrong guess. The default says none, for page
    /// tables without such bits: then mapped pages are judged by their faults.
    ///
    /// Called by reclaim with the pages locked, before it decides whether to unmap them; otherwise
    /// as [`unmap`](Self::unmap) is.
    #[doc(alias = "folio_referenced")]
    fn take_accessed(&self, _id: u64, _run: PageRun) -> SlotMask {
        SlotMask::EMPTY
    }
}

/// A kernel without `mmap` of files.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoUserMappings;

impl UserMappings for NoUserMappings {
    fn unmap(&self, _id: u64, _first: PageIndex, _end: PageIndex, _why: Unmap) {}

    fn write_protect(&self, _id: u64, _first: PageIndex, _end: PageIndex) {}
}

assert_obj_safe!(UserMappings);
