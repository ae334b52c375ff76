//! An address space: mappings and a page table under one lock.
//!
//! Key type: [`AddressSpace`]. Page faults are in `fault`, what takes entries out in `remove`, the
//! system calls in `calls`; which spaces map a file is in `rmap`.
//!
//! # The lock
//! It is short. (A kernel may have a [sleeping one](System::LOCKS_AREAS) before it.)
//! So nothing is done with it that sleeps, waits for a CPU, or may drop a file: page
//! locks are taken without it, TLBs are flushed without it, and handles of open files move out
//! before they are dropped. Below it are the lists of `rmap` and the short locks of Faultless. Two
//! of them are held by [`fork`](AddressSpace::fork) alone: the parent's, then the child's.
//!
//! # Invariants
//! - Each entry owns one count of its frame, and lies in a mapping.
//! - Entries of a frame that is not the space's alone allow no store, but for shared mappings.
//! - An entry that is taken out keeps its count until the flush: see `Gone` in `remove`.
//! - A space with a mapping of a file is in the file's reverse map.
#![forbid(unsafe_code)]

use core::fmt;
use core::ops::{Deref, Range};

use alloc::collections::BTreeMap;
use alloc::vec::Vec;

use faultless::page::{SleepRwLock, Spin, SpinLock};
use faultless::prelude::{Kernel, PAGE_SIZE, PageCache};

use crate::errno::Errno;
use crate::mm::area::Area;
use crate::mm::table::PageTable;
use crate::system::System;

/// The user half of a process.
pub struct AddressSpace<S: System> {
    pub(crate) cache: <S::Kernel as Kernel>::Cache,
    pub(crate) root: usize,
    pub(crate) age: u64,
    /// M: taken before the short lock, if the kernel [has it](System::LOCKS_AREAS).
    pub(crate) areas: Option<SleepRwLock<S::Kernel>>,
    pub(crate) state: SpinLock<S::Kernel, State<S>>,
}

/// What the lock guards.
pub(crate) struct State<S: System> {
    pub(crate) table: S::PageTable,
    /// By their first pages. They do not overlap.
    areas: BTreeMap<usize, Area<S>>,
    /// Forks that have begun.
    pub(crate) forks: u64,
    /// Forks that have taken rights away from entries, and have not flushed yet.
    pub(crate) unflushed_forks: usize,
}

impl<S: System> State<S> {
    /// The mapping of a page.
    pub(crate) fn area(&self, page: usize) -> Option<&Area<S>> {
        let (_, area) = self.areas.range(..=page).next_back()?;
        area.pages.contains(&page).then_some(area)
    }

    /// The mappings that have one of these pages, in order.
    pub(crate) fn areas(&self, pages: &Range<usize>) -> impl Iterator<Item = &Area<S>> {
        // An empty or reversed range has none, wherever it lies.
        let first = match self.area(pages.start) {
            Some(area) if !pages.is_empty() => area.pages.start,
            _ => pages.start,
        };
        self.areas.range(first..pages.end.max(first)).map(|(_, area)| area)
    }

    /// All mappings, in order.
    pub(crate) fn all_areas(&self) -> impl Iterator<Item = &Area<S>> {
        self.areas.values()
    }

    /// The table, and all mappings in order.
    pub(crate) fn table_and_areas(
        &mut self,
    ) -> (&mut S::PageTable, impl Iterator<Item = &Area<S>>) {
        (&mut self.table, self.areas.values())
    }

    /// Whether `page` still is what it was when the lock was let go.
    pub(crate) fn still_maps(&self, page: usize, area: &Area<S>) -> bool {
        self.area(page).is_some_and(|now| now.is_as(area, page))
    }

    /// Whether a mapping is of the same file as `area`.
    pub(crate) fn maps_file_of(&self, area: &Area<S>) -> bool {
        self.areas.values().any(|other| core::ptr::eq(other.inode(), area.inode()))
    }

    /// Adds a mapping of pages that have none.
    pub(crate) fn insert(&mut self, area: Area<S>) {
        debug_assert!(self.areas(&area.pages).next().is_none(), "mappings do not overlap");
        self.areas.insert(area.pages.start, area);
    }

    /// Takes `pages` out of the mappings. What is taken out goes to `cut`, in order.
    pub(crate) fn cut(&mut self, pages: &Range<usize>, cut: &mut Vec<Area<S>>) {
        let found: Vec<usize> = self.areas(pages).map(|area| area.pages.start).collect();
        for start in found {
            let Some(area) = self.areas.remove(&start) else { continue };
            for rest in [area.part(&(0..pages.start)), area.part(&(pages.end..usize::MAX))] {
                rest.into_iter().for_each(|rest| self.insert(rest));
            }
            cut.extend(area.part(pages));
        }
    }

    /// Whether every one of `pages` has a mapping.
    pub(crate) fn covers(&self, pages: &Range<usize>) -> bool {
        let mut from = pages.start;
        for area in self.areas(pages) {
            if area.pages.start > from {
                return false;
            }
            from = area.pages.end;
        }
        from >= pages.end
    }
}

impl<S: System> AddressSpace<S> {
    /// An empty address space, which gets its memory where `cache` gets it.
    #[must_use]
    pub fn new(cache: <S::Kernel as Kernel>::Cache, table: S::PageTable) -> Self {
        let root = table.root();
        Self {
            cache,
            root,
            age: S::unique(),
            areas: S::LOCKS_AREAS.then(SleepRwLock::new),
            state: Spin::new(State { table, areas: BTreeMap::new(), forks: 0, unflushed_forks: 0 }),
        }
    }

    /// The name of its page table: [`PageTable::root`].
    #[must_use]
    pub const fn root(&self) -> usize {
        self.root
    }

    /// The mapping at an address. Takes the short lock.
    #[must_use]
    pub fn area_at(&self, address: usize) -> Option<Area<S>> {
        self.state.lock().area(address / PAGE_SIZE).cloned()
    }

    /// All mappings, in order. Takes the short lock.
    #[must_use]
    pub fn areas(&self) -> Vec<Area<S>> {
        self.state.lock().all_areas().cloned().collect()
    }

    /// How many mappings there are. Takes the short lock.
    #[must_use]
    pub fn area_count(&self) -> usize {
        self.state.lock().areas.len()
    }

    /// Whether a mapping has one of the bytes in `addresses`. Takes the short lock.
    #[must_use]
    pub fn has_mapping_in(&self, addresses: Range<usize>) -> bool {
        let pages = addresses.start / PAGE_SIZE..addresses.end.div_ceil(PAGE_SIZE);
        self.state.lock().areas(&pages).next().is_some()
    }

    /// Whether all bytes in `addresses` have a mapping. Takes the short lock.
    #[must_use]
    pub fn is_covered(&self, addresses: Range<usize>) -> bool {
        let pages = addresses.start / PAGE_SIZE..addresses.end.div_ceil(PAGE_SIZE);
        self.state.lock().covers(&pages)
    }

    /// The end of what is mapped from the start of `addresses` on without a gap, up to their end.
    /// Takes the short lock.
    #[must_use]
    pub fn mapped_end(&self, addresses: Range<usize>) -> usize {
        let pages = addresses.start / PAGE_SIZE..addresses.end.div_ceil(PAGE_SIZE);
        let state = self.state.lock();
        let mut end = pages.start;
        for area in state.areas(&pages) {
            if area.pages.start > end {
                break;
            }
            end = area.pages.end;
        }
        end.min(pages.end) * PAGE_SIZE
    }

    /// What `change` makes of the page table, under the lock. For the owner of the table: the
    /// entries stay as they are.
    pub fn with_table<R>(&self, change: impl FnOnce(&mut S::PageTable) -> R) -> R {
        change(&mut self.state.lock().table)
    }
}

/// The pages of a range of user addresses: `address` is the start of a page, `len` is rounded up.
///
/// # Errors
/// `EINVAL`: the address is not, or the range does not end.
pub(crate) fn pages_of(address: usize, len: usize) -> Result<Range<usize>, Errno> {
    if !address.is_multiple_of(PAGE_SIZE) {
        return Err(Errno::INVAL);
    }
    let end = address.checked_add(len).ok_or(Errno::INVAL)?;
    Ok(address / PAGE_SIZE..end.div_ceil(PAGE_SIZE))
}

/// As [`pages_of`], for calls that say of a range that does not end that it is not mapped.
///
/// # Errors
/// `EINVAL`: the address is not the start of a page. `ENOMEM`: the range does not end.
pub(crate) fn mapped_pages_of(address: usize, len: usize) -> Result<Range<usize>, Errno> {
    let first = pages_of(address, 0)?.start;
    let pages = pages_of(address, len).map_err(|_| Errno::NOMEM)?;
    Ok(first..pages.end)
}

impl<S: System> fmt::Debug for AddressSpace<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AddressSpace").field("root", &self.root).finish_non_exhaustive()
    }
}

/// The cache, through whatever handle the kernel keeps.
pub(crate) fn cache<S: System>(space: &AddressSpace<S>) -> &PageCache<S::Kernel> {
    space.cache.deref()
}
