//! How entries leave a page table: in batches, with a flush before their frames are given back.
//!
//! The one module that gives up counts, and so the one with unsafe code.

use core::ops::{Deref, Range};

use alloc::vec::Vec;

use faultless::page::Spin;
use faultless::prelude::{FrameNumber, Frames, PageIndex, Unmap};

use crate::mm::area::Area;
use crate::mm::rmap::{Change, ShowsFile};
use crate::mm::space::{AddressSpace, State, cache};
use crate::mm::table::{Entry, Owner, PageTable};
use crate::system::System;

/// Entries that are taken out in one hold of the lock.
const BATCH: usize = 32;

/// Mappings that are taken out in one hold of the lock, and lie together in memory afterwards.
const AREAS: usize = 1024;

/// Mappings that were taken out, as many together as were in one hold of the lock.
pub(crate) type Unmapped<S> = Vec<Vec<Area<S>>>;

/// Counts of frames whose entries are gone, while a CPU may still use those.
#[must_use]
#[derive(Default)]
pub(crate) struct Gone {
    frames: [Option<FrameNumber>; BATCH],
    len: usize,
}

impl Gone {
    /// Takes the count of an entry that was taken out. It must not be full.
    pub(crate) fn push(&mut self, entry: Entry) {
        self.frames[self.len] = Some(entry.frame);
        self.len += 1;
    }

    fn is_full(&self) -> bool {
        self.len == BATCH
    }
}

/// What of its entries an address space gives up.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum What {
    /// All.
    Everything,
    /// Those of pages of files. They come back by faults.
    Shown,
}

impl<S: System> State<S> {
    /// Takes entries of `pages` out until `gone` is full; where to go on.
    fn take(&mut self, pages: &Range<usize>, what: What, gone: &mut Gone) -> Option<usize> {
        let mut from = pages.start;
        while let Some((page, entry)) = self.table.next(from..pages.end) {
            if gone.is_full() {
                return Some(page);
            }
            from = page + 1;
            if what == What::Everything || entry.owner == Owner::File {
                self.table.set(page, None);
                gone.push(entry);
            }
        }
        None
    }

    /// Applies a change of the reverse map, until `gone` is full. Allocates nothing: pages may be
    /// locked.
    fn change(&mut self, id: u64, pages: &Range<PageIndex>, change: Change, gone: &mut Gone) {
        let (table, areas) = self.table_and_areas();
        for area in areas.filter(|area| area.inode().mapping().id() == id) {
            let mut pages = area.showing(pages);
            while let Some((page, entry)) = table.next(pages.clone()) {
                pages.start = page + 1;
                match (change, entry.owner) {
                    (Change::Unmap(Unmap::Truncate), _)
                    | (Change::Unmap(Unmap::Evict), Owner::File) => {
                        if gone.is_full() {
                            return;
                        }
                        table.set(page, None);
                        gone.push(entry);
                    }
                    (Change::WriteProtect, Owner::File) => {
                        table.set(page, Some(entry.read_only()));
                    }
                    // A private copy stays.
                    (_, Owner::Space) => {}
                }
            }
        }
    }
}

impl<S: System> AddressSpace<S> {
    /// Flushes, and then gives back the counts of entries that were taken out. No short lock is
    /// held. Also called when there are none: another thread may have taken an entry out that is
    /// looked for here, and not have flushed.
    pub(crate) fn retire(&self, pages: Range<usize>, gone: Gone) {
        S::flush(self.root, pages);
        for frame in gone.frames.into_iter().flatten() {
            // SAFETY: the count was an entry's, which is gone from the table and from all TLBs.
            unsafe { cache(self).frames().release(frame) };
        }
    }

    /// Takes entries of `pages` out, and leaves the mappings. No short lock is held.
    pub(crate) fn clear(&self, pages: &Range<usize>, what: What) {
        let mut pages = pages.clone();
        loop {
            let mut gone = Gone::default();
            let rest = self.state.lock().take(&pages, what, &mut gone);
            self.retire(pages.clone(), gone);
            let Some(rest) = rest else { return };
            pages.start = rest;
        }
    }
}

impl<S: System<Space: Deref<Target = Self>>> AddressSpace<S> {
    /// Takes mappings and entries of `pages` out. The mappings go to `unmapped`, which is dropped
    /// with no lock held: it may have the last handles of files. No short lock is held.
    pub(crate) fn remove(space: &S::Space, pages: &Range<usize>, unmapped: &mut Unmapped<S>) {
        let mut pages = pages.clone();
        loop {
            let (mut gone, mut cut) = (Gone::default(), Vec::new());
            let end = {
                let mut state = space.state.lock();
                let end = state.areas(&pages).nth(AREAS).map_or(pages.end, |area| area.pages.start);
                let rest = state.take(&(pages.start..end), What::Everything, &mut gone);
                let end = rest.unwrap_or(end);
                // Together with their entries: the reverse map finds entries by their mappings.
                state.cut(&(pages.start..end), &mut cut);
                end
            };
            space.retire(pages.start..end, gone);
            Self::forget_files(space, &cut);
            unmapped.push(cut);
            if end == pages.end {
                return;
            }
            pages.start = end;
        }
    }

    /// Takes the space out of the reverse maps of files that it no longer maps. After the flush:
    /// until then they have to lead here.
    fn forget_files(space: &S::Space, cut: &[Area<S>]) {
        let state = space.state.lock();
        for area in cut.iter().filter(|area| !state.maps_file_of(area)) {
            area.inode().mapping().user_mappings().as_ref().remove(space);
        }
    }
}

impl<S: System> ShowsFile for AddressSpace<S> {
    fn age(&self) -> u64 {
        self.age
    }

    fn change(&self, id: u64, pages: &Range<PageIndex>, change: Change) {
        loop {
            let mut gone = Gone::default();
            self.state.lock().change(id, pages, change, &mut gone);
            let full = gone.is_full();
            self.retire(0..usize::MAX, gone);
            if !full {
                return;
            }
        }
    }
}
