//! The reverse map of one file: which address spaces have mappings of it.
//!
//! Key type: [`ReverseMap`], a part of the inode. It knows address spaces, not pages: each finds
//! its own, under its own lock. The lock of the list is taken with the lock of an address space
//! held, when a mapping is added or removed; a walk takes the two one after the other.
//!
//! # What a walk cannot miss
//! A walk holds no lock from one space to the next, and goes through the list in order of age. An
//! address space stands in it before its first entry is set, and until the last one is gone and
//! flushed.
//! - An entry that a fault sets meanwhile: the page is locked, and the core orders that.
//! - A private copy that a fork takes over: the child is younger than its parent. Either the walk
//!   comes to the parent first, and nothing is left to take over; or the child has everything
//!   before the walk comes to it.
#![forbid(unsafe_code)]

use core::fmt;
use core::ops::{Bound, Deref, Range};

use alloc::collections::BTreeMap;

use faultless::page::Spin;
use faultless::prelude::{PageIndex, SyncFamily, Unmap, UserMappings};

/// What is to become of entries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// They are removed.
    Unmap(Unmap),
    /// They become read-only.
    WriteProtect,
}

/// An address space with entries that show pages of files.
pub trait ShowsFile {
    /// A number that is larger than that of every older address space.
    fn age(&self) -> u64;

    /// Changes the entries that show these pages of the file `id`, and flushes, as
    /// [`UserMappings`] says.
    fn change(&self, id: u64, pages: &Range<PageIndex>, change: Change);
}

/// The address spaces that map a file, by age. `A` is their handle, `L` the family of the short
/// lock.
pub struct ReverseMap<A: Send, L: SyncFamily> {
    spaces: L::Spin<BTreeMap<u64, A>>,
}

impl<A: Send, L: SyncFamily> ReverseMap<A, L> {
    /// No address space.
    #[must_use]
    pub fn new() -> Self {
        Self { spaces: Spin::new(BTreeMap::new()) }
    }
}

impl<A: Clone + Deref<Target: ShowsFile> + Send, L: SyncFamily> ReverseMap<A, L> {
    /// Adds an address space, unless it is there.
    pub(crate) fn add(&self, space: &A) {
        self.spaces.lock().entry(space.age()).or_insert_with(|| space.clone());
    }

    /// Removes an address space, of which the caller keeps another handle.
    pub(crate) fn remove(&self, space: &A) {
        let removed = self.spaces.lock().remove(&space.age());
        drop(removed);
    }

    fn walk(&self, id: u64, pages: &Range<PageIndex>, change: Change) {
        let mut after = Bound::Unbounded;
        while let Some((age, space)) = self.next(after) {
            space.change(id, pages, change);
            after = Bound::Excluded(age);
        }
    }

    /// The handle keeps the space, while the list is unlocked.
    fn next(&self, after: Bound<u64>) -> Option<(u64, A)> {
        let spaces = self.spaces.lock();
        let (age, space) = spaces.range((after, Bound::Unbounded)).next()?;
        Some((*age, space.clone()))
    }
}

impl<A: Send, L: SyncFamily> AsRef<Self> for ReverseMap<A, L> {
    fn as_ref(&self) -> &Self {
        self
    }
}

impl<A, L> UserMappings for ReverseMap<A, L>
where
    A: Clone + Deref<Target: ShowsFile> + Send,
    L: SyncFamily,
{
    fn unmap(&self, id: u64, first: PageIndex, end: PageIndex, why: Unmap) {
        self.walk(id, &(first..end), Change::Unmap(why));
    }

    fn write_protect(&self, id: u64, first: PageIndex, end: PageIndex) {
        self.walk(id, &(first..end), Change::WriteProtect);
    }
}

impl<A: Send, L: SyncFamily> Default for ReverseMap<A, L> {
    fn default() -> Self {
        Self::new()
    }
}

impl<A: Send, L: SyncFamily> fmt::Debug for ReverseMap<A, L> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let spaces = self.spaces.lock().len();
        f.debug_struct("ReverseMap").field("spaces", &spaces).finish()
    }
}
