//! The reverse map of one file: which address spaces have mappings of it.
//!
//! Key type: [`ReverseMap`], a part of the inode. It knows address spaces, not pages: each finds
//! its own by [`ShowsFile`], under its own lock.
//!
//! The lock of the list is a leaf. It is taken with the lock of an address space held (when a
//! mapping is added or removed), and a walk takes the two one after the other.
//!
//! # What a walk cannot miss
//! A walk holds no lock from one space to the next, and goes through the list upwards. An address
//! space stands in it before its first entry is set, and until the last one is gone and flushed.
//! - An entry that a fault sets meanwhile: the page is locked, and the core orders that.
//! - A private copy that a fork takes over: the child stands behind its parent in the list. Either
//!   the walk comes to the parent first, and nothing is left to take over; or the child has
//!   everything before the walk comes to it.
#![forbid(unsafe_code)]

use core::fmt;
use core::ops::{Deref, Range};

use faultless::page::Spin;
use faultless::prelude::*;

/// How many address spaces can map one file. A kernel with an allocator links them instead.
pub const SPACES: usize = 32;

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
    /// Changes the entries that show these pages of the file `id`, and flushes, as
    /// [`UserMappings`] says.
    fn change(&self, id: u64, pages: Range<PageIndex>, change: Change);
}

/// The address spaces that map a file, by handles `S`.
pub struct ReverseMap<S: Send, L: SyncFamily> {
    spaces: L::Spin<[Option<S>; SPACES]>,
}

impl<S: Send + Deref, L: SyncFamily> ReverseMap<S, L> {
    /// No address space.
    #[must_use]
    pub fn new() -> Self {
        Self { spaces: Spin::new([const { None }; SPACES]) }
    }

    /// Adds an address space, unless it is there; behind `parent` if there is one.
    pub(crate) fn add(&self, space: &S, parent: Option<&S>) -> Result<(), Errno>
    where
        S: Clone,
    {
        let mut spaces = self.spaces.lock();
        let place = |of: &S| spaces.iter().position(|other| is(other, of));
        if place(space).is_some() {
            return Ok(());
        }
        let from = parent.and_then(place).unwrap_or(0);
        let free = spaces[from..].iter_mut().find(|place| place.is_none());
        *free.ok_or(Errno::NoMemory)? = Some(space.clone());
        Ok(())
    }

    /// Removes an address space, of which the caller keeps another handle.
    pub(crate) fn remove(&self, space: &S) {
        let mut spaces = self.spaces.lock();
        spaces.iter_mut().filter(|other| is(other, space)).for_each(|place| *place = None);
    }

    fn walk(&self, id: u64, pages: &Range<PageIndex>, change: Change)
    where
        S: Clone + Deref<Target: ShowsFile>,
    {
        for place in 0..SPACES {
            // The handle keeps the space, while the list is unlocked.
            let space = self.spaces.lock()[place].clone();
            if let Some(space) = space {
                space.change(id, pages.clone(), change);
            }
        }
    }
}

fn is<S: Deref>(place: &Option<S>, space: &S) -> bool {
    place.as_ref().is_some_and(|other| core::ptr::eq(&raw const **other, &raw const **space))
}

impl<S, L> UserMappings for ReverseMap<S, L>
where
    S: Send + Clone + Deref<Target: ShowsFile>,
    L: SyncFamily,
{
    fn unmap(&self, id: u64, first: PageIndex, end: PageIndex, why: Unmap) {
        self.walk(id, &(first..end), Change::Unmap(why));
    }

    fn write_protect(&self, id: u64, first: PageIndex, end: PageIndex) {
        self.walk(id, &(first..end), Change::WriteProtect);
    }
}

impl<S: Send + Deref, L: SyncFamily> Default for ReverseMap<S, L> {
    fn default() -> Self {
        Self::new()
    }
}

impl<S: Send, L: SyncFamily> fmt::Debug for ReverseMap<S, L> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ReverseMap")
    }
}
