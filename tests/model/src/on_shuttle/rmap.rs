//! The reverse map: from a page of a file to the address spaces that show it.
#![forbid(unsafe_code)]

use std::fmt;
use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use faultless_page::{PageIndex, Unmap, UserMappings};

use crate::plant::{self, Plant};

/// What happens to the entries that show a page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// They are taken out.
    Unmap,
    /// They become read-only.
    WriteProtect,
}

/// Something with page-table entries that show pages of files.
pub trait ShowsFiles: fmt::Debug + Send + Sync {
    /// Changes the entries that show one of these pages of file `id`.
    fn change(&self, id: u64, pages: &Range<PageIndex>, change: Change);
}

/// The reverse map: all address spaces.
#[derive(Debug, Default)]
pub struct Rmap(Mutex<Vec<Weak<dyn ShowsFiles>>>);

impl Rmap {
    /// Asks this address space, too, from now on.
    pub fn add(&self, space: Weak<dyn ShowsFiles>) {
        self.spaces().push(space);
    }

    fn spaces(&self) -> MutexGuard<'_, Vec<Weak<dyn ShowsFiles>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn change(&self, id: u64, pages: &Range<PageIndex>, change: Change) {
        let spaces: Vec<Arc<dyn ShowsFiles>> =
            self.spaces().iter().filter_map(Weak::upgrade).collect();
        for space in spaces {
            space.change(id, pages, change);
        }
    }
}

/// The address spaces, for the seam.
#[derive(Clone, Debug)]
pub struct Maps(pub Arc<Rmap>);

impl UserMappings for Maps {
    fn unmap(&self, id: u64, first: PageIndex, end: PageIndex, _why: Unmap) {
        if !plant::is(Plant::NoUnmap) {
            self.0.change(id, &(first..end), Change::Unmap);
        }
    }

    fn write_protect(&self, id: u64, first: PageIndex, end: PageIndex) {
        if !plant::is(Plant::NoProtect) {
            self.0.change(id, &(first..end), Change::WriteProtect);
        }
    }
}
