//! An address space: mappings and a page table under one lock, and the system calls that change
//! them.
//!
//! Key type: [`AddressSpace`]. Page faults are in `fault`; which spaces map a file is in `rmap`.
//!
//! # The lock
//! It is short: interrupts are off. So nothing is done with it that sleeps, waits for a CPU, or may
//! drop a file: page locks are taken without it, TLBs are flushed without it, and handles of files
//! move out before they are dropped. Below it are the lists of `rmap` and the locks of `parts`. Two
//! of them are held by [`fork`](AddressSpace::fork) alone: the parent's, then the child's.
//!
//! # Invariants
//! - Each entry owns one count of its frame, and lies in a mapping.
//! - Entries of a frame that is not the space's alone do not allow stores, but for shared mappings.
//! - An entry that is taken out keeps its count until the flush: see [`Gone`].

use core::fmt;
use core::ops::{Deref, Range};

use faultless::page::Spin;
use faultless::prelude::*;

use crate::machine::{Example, Lock, Machine};
use crate::rmap::{Change, ShowsFile};
use crate::table::{Entry, Owner, PageTable};
use crate::vma::Vma;

/// How many mappings an address space can have. A kernel with an allocator has a tree.
pub const VMAS: usize = 16;

/// Entries that are taken out in one hold of the lock.
const BATCH: usize = 32;

/// The user half of a process.
pub struct AddressSpace<M: Machine> {
    pub(crate) cache: &'static PageCache<Example<M>>,
    root: usize,
    pub(crate) state: Lock<M, State<M>>,
}

/// What the lock guards.
pub(crate) struct State<M: Machine> {
    pub(crate) table: M::PageTable,
    /// Forks that have begun.
    pub(crate) forks: u64,
    /// Forks that have taken the right to store from entries, and have not flushed yet.
    pub(crate) unflushed_forks: usize,
    vmas: [Option<Vma<M::File>>; VMAS],
}

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

impl<M: Machine> State<M> {
    /// The mapping of a page.
    pub(crate) fn vma(&self, page: usize) -> Option<&Vma<M::File>> {
        self.vmas.iter().flatten().find(|vma| vma.pages.contains(&page))
    }

    /// Whether `page` still is what it was when the lock was let go.
    pub(crate) fn still_maps(&self, page: usize, vma: &Vma<M::File>) -> bool {
        self.vma(page).is_some_and(|now| now.is_as(vma, page))
    }

    fn maps(&self, file: &M::File) -> bool {
        self.vmas.iter().flatten().any(|vma| core::ptr::eq(&raw const *vma.file, &raw const **file))
    }

    /// Takes `pages` out of the mappings. Handles of their files go to `cut`.
    fn cut(
        &mut self,
        pages: &Range<usize>,
        cut: &mut [Option<M::File>; VMAS],
    ) -> Result<(), Errno> {
        let free = self.vmas.iter().position(Option::is_none);
        for (at, cut) in cut.iter_mut().enumerate() {
            let Some(vma) = self.vmas[at].take_if(|vma| vma.overlaps(pages)) else { continue };
            match (vma.part(0..pages.start), vma.part(pages.end..usize::MAX)) {
                // A hole in the middle makes two of one. There is no other mapping in `pages` then.
                (Some(before), Some(after)) => {
                    let Some(free) = free else {
                        self.vmas[at] = Some(vma);
                        return Err(Errno::NoMemory);
                    };
                    self.vmas[at] = Some(before);
                    self.vmas[free] = Some(after);
                }
                (before, after) => self.vmas[at] = before.or(after),
            }
            *cut = Some(vma.file);
        }
        Ok(())
    }

    /// Applies a change of the reverse map, until `gone` is full.
    fn change(&mut self, id: u64, pages: &Range<PageIndex>, change: Change, gone: &mut Gone) {
        let Self { table, vmas, .. } = self;
        for vma in vmas.iter().flatten().filter(|vma| vma.file.mapping().id() == id) {
            for page in vma.showing(pages) {
                let Some(entry) = table.get(page) else { continue };
                match (change, entry.owner) {
                    (Change::Unmap(Unmap::Truncate), _)
                    | (Change::Unmap(Unmap::Evict), Owner::File) => {
                        if gone.is_full() {
                            return;
                        }
                        table.set(page, None);
                        gone.push(entry);
                    }
                    (Change::WriteProtect, Owner::File) => table.set(page, Some(entry.read_only())),
                    // A private copy stays.
                    (_, Owner::Space) => {}
                }
            }
        }
    }
}

impl<M: Machine> AddressSpace<M> {
    /// An empty address space, which gets its memory where `cache` gets it.
    #[must_use]
    pub fn new(cache: &'static PageCache<Example<M>>, table: M::PageTable) -> Self {
        let (root, vmas) = (table.root(), [const { None }; VMAS]);
        Self { cache, root, state: Spin::new(State { table, forks: 0, unflushed_forks: 0, vmas }) }
    }

    /// The name of its page table: [`PageTable::root`].
    #[must_use]
    pub const fn root(&self) -> usize {
        self.root
    }

    /// Flushes, and then gives back the counts of entries that were taken out. No short lock is
    /// held. Also called when there are none: another thread may have taken an entry out that is
    /// looked for here, and not have flushed.
    pub(crate) fn retire(&self, gone: Gone) {
        M::flush(self.root);
        for frame in gone.frames.into_iter().flatten() {
            // SAFETY: the count was an entry's, which is gone from the table and from all TLBs.
            unsafe { self.cache.frames().release(frame) };
        }
    }
}

impl<M: Machine<Space: Deref<Target = Self>>> AddressSpace<M> {
    /// Maps pages of a file (`mmap`). Nothing is resident yet.
    ///
    /// # Errors
    /// [`Errno::Invalid`] for no pages, and for pages that are mapped or not the user's.
    /// [`Errno::NoMemory`] if a table is full.
    pub fn map(space: &M::Space, vma: Vma<M::File>) -> Result<(), Errno> {
        let user = M::user_range();
        let user = user.start.div_ceil(PAGE_SIZE)..user.end / PAGE_SIZE;
        let outside = vma.pages.start < user.start || vma.pages.end > user.end;
        let mut state = space.state.lock();
        let taken = state.vmas.iter().flatten().any(|other| other.overlaps(&vma.pages));
        if outside || taken || vma.pages.is_empty() {
            return Err(Errno::Invalid);
        }
        let free = state.vmas.iter_mut().find(|slot| slot.is_none()).ok_or(Errno::NoMemory)?;
        vma.file.mapping().user_mappings().add(space, None)?;
        *free = Some(vma);
        Ok(())
    }

    /// Unmaps what lies in `pages` (`munmap`).
    ///
    /// # Errors
    /// [`Errno::NoMemory`] if a mapping would have to become two and the table is full.
    pub fn unmap(space: &M::Space, pages: Range<usize>) -> Result<(), Errno> {
        let mut left = pages;
        while let Some(next) = Self::unmap_some(space, &left)? {
            left.start = next;
        }
        Ok(())
    }

    /// Unmaps as much as one hold of the lock can, mapping and entries together; where to go on.
    fn unmap_some(space: &M::Space, pages: &Range<usize>) -> Result<Option<usize>, Errno> {
        let mut gone = Gone::default();
        let mut files = [const { None }; VMAS];
        let end;
        {
            let mut state = space.state.lock();
            let mapped = state.vmas.iter().flatten().filter(|vma| vma.overlaps(pages));
            let Some(start) = mapped.map(|vma| vma.pages.start.max(pages.start)).min() else {
                return Ok(None);
            };
            end = pages.end.min(start + BATCH);
            state.cut(&(start..end), &mut files)?;
            for page in start..end {
                if let Some(entry) = state.table.get(page) {
                    state.table.set(page, None);
                    gone.push(entry);
                }
            }
        }
        space.retire(gone);
        // Only now: until the flush, the file's reverse map has to lead here.
        let state = space.state.lock();
        for file in files.iter().flatten().filter(|file| !state.maps(file)) {
            file.mapping().user_mappings().remove(space);
        }
        // Unlocks before the files are dropped.
        drop(state);
        Ok(Some(end))
    }

    /// Unmaps everything (`exit`). No CPU is in the address space any more, or will be.
    pub fn exit(space: &M::Space) {
        let unmapped = Self::unmap(space, 0..usize::MAX);
        debug_assert!(unmapped.is_ok(), "a range that holds all mappings splits none");
    }

    /// Gives `child`, a new address space, what `parent` has (`fork`). Private copies are shared
    /// from here on, and read-only on both sides: the next store to one copies it. What the file
    /// has is left to page faults.
    ///
    /// # Errors
    /// [`Errno::NoMemory`] if a table is full. The child is empty then.
    pub fn fork(parent: &M::Space, child: &M::Space) -> Result<(), Errno> {
        let forked = Self::fork_locked(parent, child);
        // The parent's entries have become read-only, also when not all of them have.
        M::flush(parent.root);
        parent.state.lock().unflushed_forks -= 1;
        if forked.is_err() {
            Self::exit(child);
        }
        forked
    }

    fn fork_locked(parent: &M::Space, child: &M::Space) -> Result<(), Errno> {
        let mut from = parent.state.lock();
        let mut to = child.state.lock();
        let (from, to) = (&mut *from, &mut *to);
        from.forks += 1;
        from.unflushed_forks += 1;
        for (vma, slot) in from.vmas.iter().zip(&mut to.vmas) {
            let Some(vma) = vma else { continue };
            vma.file.mapping().user_mappings().add(child, Some(parent))?;
            *slot = Some(vma.clone());
            for page in vma.pages.clone() {
                let entry = from.table.get(page).filter(|entry| entry.owner == Owner::Space);
                let Some(entry) = entry.map(Entry::read_only) else { continue };
                // The child's count.
                parent.cache.frames().retain(entry.frame);
                from.table.set(page, Some(entry));
                to.table.set(page, Some(entry));
            }
        }
        Ok(())
    }
}

impl<M: Machine> ShowsFile for AddressSpace<M> {
    fn change(&self, id: u64, pages: Range<PageIndex>, change: Change) {
        loop {
            let mut gone = Gone::default();
            self.state.lock().change(id, &pages, change, &mut gone);
            let full = gone.is_full();
            self.retire(gone);
            if !full {
                return;
            }
        }
    }
}

impl<M: Machine> fmt::Debug for AddressSpace<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AddressSpace").field("root", &self.root).finish_non_exhaustive()
    }
}
