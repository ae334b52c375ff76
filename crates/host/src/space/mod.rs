//! An address space: areas, a page table, M, a fault handler and a script, the same over both MMUs.
//!
//! Key type: [`AddressSpace`], a handle that can be cloned and sent to other threads. It implements
//! [`UserMemory`](faultless_usercopy::UserMemory) (`user`), takes faults (`fault`) and plays the
//! user program (`program`). Pages are counted from 0; [`at`](AddressSpace::at) makes addresses.
//!
//! Lock order: M (`lock`) → page lock (inside `Inode::fault`) → page table (`table`). The areas
//! have a short lock of their own, so that the lock checker can look at them at any time; what
//! changes them holds M for writing.

mod calls;
mod fault;
mod lock;
mod program;
#[cfg(test)]
mod stress;
mod table;
#[cfg(test)]
mod tests;
mod user;
mod vma;

use std::fmt;
use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use faultless_filemap::Inode;
use faultless_page::{LockId, PAGE_SIZE, PageIndex};
use faultless_usercopy::{UserAddr, UserSlice};

use self::table::{Hardware, PageTable};
use self::vma::{Area, Areas, Backing, Sharing};
use crate::kernel::{Checked, Flavor, HostKernel};
use crate::memory::PhysicalMemory;
use crate::mmu::{Access, Mmu, Protection, UserFault};
use crate::rmap::{HostUserMappings, RmapCall, ShowsFiles};
use crate::script::Script;
use crate::wait::Watchdog;

pub use self::lock::{SpaceGuard, SpaceLock};

pub(crate) use self::fault::fault_page;
pub(crate) use self::table::FilePage;

static NEXT_ID: AtomicU64 = AtomicU64::new(1);

/// A user address space on the MMU `M`. Clones are handles of the same space.
pub struct AddressSpace<M: Mmu, F: Flavor = Checked> {
    inner: Arc<Space<M, F>>,
}

struct Space<M: Mmu, F: Flavor> {
    id: u64,
    pages: usize,
    mmu: M,
    memory: Arc<PhysicalMemory>,
    lock: SpaceLock,
    areas: Mutex<Areas<F>>,
    table: Mutex<PageTable>,
    script: Script,
    watchdog: Watchdog,
}

impl<M: Mmu, F: Flavor> AddressSpace<M, F> {
    /// An empty address space of `pages` pages. [`Machine::space`](crate::Machine::space) is the
    /// way to make one.
    pub(crate) fn new(
        pages: usize,
        memory: Arc<PhysicalMemory>,
        watchdog: Watchdog,
        rmap: &HostUserMappings,
    ) -> Self {
        let id = NEXT_ID.fetch_add(1, Ordering::Relaxed);
        let inner = Arc::new(Space {
            id,
            pages,
            mmu: M::reserve(pages),
            memory,
            lock: SpaceLock::new(id, watchdog.clone()),
            areas: Mutex::default(),
            table: Mutex::new(PageTable::new(pages)),
            script: Script::default(),
            watchdog,
        });
        let weak = Arc::downgrade(&inner);
        rmap.register(weak);
        Self { inner }
    }

    /// Pages that the address space has room for.
    #[must_use]
    pub fn pages(&self) -> usize {
        self.inner.pages
    }

    /// User address of byte `offset` of page `page`. May lie beyond the end: addresses are only
    /// numbers.
    #[must_use]
    pub fn at(&self, page: usize, offset: usize) -> UserAddr {
        UserAddr::new(self.inner.mmu.base() + page * PAGE_SIZE + offset)
    }

    /// `len` bytes of user memory from byte `offset` of page `page`.
    ///
    /// # Panics
    /// If they do not lie in the address space (mapped or not).
    #[must_use]
    #[track_caller]
    pub fn slice(&self, page: usize, offset: usize, len: usize) -> UserSlice {
        UserSlice::new(self, self.at(page, offset), len).expect("a range inside the address space")
    }

    /// What goes wrong here, and when.
    #[must_use]
    pub fn script(&self) -> &Script {
        &self.inner.script
    }

    /// M, for tests that want to hold it.
    #[must_use]
    pub fn lock(&self) -> &SpaceLock {
        &self.inner.lock
    }

    /// Maps zero-filled private memory at `page`, in place of whatever is there. Nothing is
    /// resident yet.
    pub fn map_anonymous(&self, page: usize, pages: usize, protection: Protection) {
        self.map(page, Area { pages, protection, backing: Backing::Anonymous });
    }

    /// Maps `pages` pages of a file from page `first` of the file at `page`, shared, in place of
    /// whatever is there.
    pub fn map_file(
        &self,
        page: usize,
        pages: usize,
        inode: &Arc<Inode<HostKernel<F>>>,
        first: PageIndex,
        protection: Protection,
    ) {
        let (inode, first) = (Arc::clone(inode), first.get());
        let backing = Backing::File { inode, first, sharing: Sharing::Shared };
        self.map(page, Area { pages, protection, backing });
    }

    /// The same, private (`MAP_PRIVATE`): the first store to a page makes a copy of it, which the
    /// file never sees.
    pub fn map_file_private(
        &self,
        page: usize,
        pages: usize,
        inode: &Arc<Inode<HostKernel<F>>>,
        first: PageIndex,
        protection: Protection,
    ) {
        let (inode, first) = (Arc::clone(inode), first.get());
        let backing = Backing::File { inode, first, sharing: Sharing::Private };
        self.map(page, Area { pages, protection, backing });
    }

    /// Unmaps what is at `page` (`munmap`). Takes M for writing.
    pub fn unmap(&self, page: usize, pages: usize) {
        let m = self.inner.lock.write();
        let gone = self.inner.take_away(page..page + pages);
        drop(m);
        // To drop the last handle of a file is to drop its pages: not under M.
        drop(gone);
    }

    /// Changes the protection of what is at `page` (`mprotect`). Takes M for writing.
    pub fn protect(&self, page: usize, pages: usize, protection: Protection) {
        let _m = self.inner.lock.write();
        self.inner.set_protection(page..page + pages, protection);
    }

    /// Makes resident what is at `page` (`mlock`, populate): faults each page in for as much as its
    /// area allows, *holding M for writing*, as DL3 has it.
    ///
    /// # Errors
    /// The first page that cannot be had ends it.
    pub fn populate(&self, page: usize, pages: usize) -> Result<(), UserFault> {
        let _m = self.inner.lock.write();
        (page..page + pages).try_for_each(|page| {
            let access = self.inner.most(page)?;
            self.inner.resolve(page, access)
        })
    }

    /// Makes what is at `page` non-resident without losing anything: the next access faults. M is
    /// not taken.
    pub fn evict(&self, page: usize, pages: usize) {
        self.inner.swap_out(page..page + pages);
    }

    /// Drops what is at `page` (`madvise(MADV_DONTNEED)`): private memory reads as zeros again,
    /// pages of a file come back from the file. Takes M for reading.
    pub fn discard(&self, page: usize, pages: usize) {
        let _m = self.inner.lock.read();
        let mut table = self.inner.table();
        for page in page..(page + pages).min(self.inner.pages) {
            table.clear(&self.inner.hardware(), page);
        }
    }

    /// Whether the page is resident.
    #[must_use]
    pub fn is_resident(&self, page: usize) -> bool {
        self.inner.table().is_present(page)
    }

    fn map(&self, page: usize, area: Area<F>) {
        let pages = page..page + area.pages;
        assert!(pages.end <= self.inner.pages, "pages {pages:?} of {}", self.inner.pages);
        let m = self.inner.lock.write();
        let gone = self.inner.take_away(pages);
        self.inner.areas().insert(page, area);
        drop(m);
        drop(gone);
    }
}

impl<M: Mmu, F: Flavor> Space<M, F> {
    fn areas(&self) -> MutexGuard<'_, Areas<F>> {
        self.areas.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn table(&self) -> MutexGuard<'_, PageTable> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn hardware(&self) -> Hardware<'_, M> {
        Hardware { mmu: &self.mmu, memory: &self.memory }
    }

    /// The page that holds `addr`.
    fn page_of(&self, addr: usize) -> usize {
        addr.wrapping_sub(self.mmu.base()) / PAGE_SIZE
    }

    /// The pages that `len` bytes at `addr` touch.
    fn pages_of(&self, addr: usize, len: usize) -> Range<usize> {
        let first = self.page_of(addr);
        let last = self.page_of(addr + len.max(1) - 1);
        first..(last + 1).min(self.pages)
    }

    /// Removes areas and entries; what is returned is to be dropped outside all locks.
    fn take_away(&self, pages: Range<usize>) -> Vec<Area<F>> {
        let gone = self.areas().remove(pages.clone());
        let mut table = self.table();
        for page in pages.start..pages.end.min(self.pages) {
            table.clear(&self.hardware(), page);
        }
        gone
    }

    fn set_protection(&self, pages: Range<usize>, protection: Protection) {
        self.areas().protect(pages.clone(), protection);
        let pages = pages.start..pages.end.min(self.pages);
        self.table().protect(&self.hardware(), pages, protection);
    }

    fn swap_out(&self, pages: Range<usize>) {
        let mut table = self.table();
        for page in pages.start..pages.end.min(self.pages) {
            table.swap_out(&self.hardware(), page);
        }
    }

    /// The strongest access that the page's area allows.
    fn most(&self, page: usize) -> Result<Access, UserFault> {
        let areas = self.areas();
        match areas.find(page).map(|(_, area)| area.protection) {
            Some(Protection::ReadWrite) => Ok(Access::Write),
            Some(Protection::Read) => Ok(Access::Read),
            Some(Protection::None) | None => Err(UserFault::Segv),
        }
    }

    /// The page locks that the fault handler may take for these pages, a run for each leaf.
    fn reachable(&self, pages: Range<usize>) -> Vec<LockId> {
        let areas = self.areas();
        let mut locks: Vec<LockId> = Vec::new();
        for page in pages {
            let Some((offset, area)) = areas.find(page) else { continue };
            let Some((inode, index)) = area.file_page(offset) else { continue };
            let (id, base) = (inode.mapping().id(), index.leaf_base().get());
            let slot = index.bit();
            match locks.last_mut() {
                Some(LockId::Pages { mapping, base: last, slots })
                    if (*mapping, *last) == (id, base) =>
                {
                    *slots |= slot;
                }
                _ => locks.push(LockId::Pages { mapping: id, base, slots: slot }),
            }
        }
        locks
    }
}

impl<M: Mmu, F: Flavor> ShowsFiles for Space<M, F> {
    fn apply(&self, id: u64, first: PageIndex, end: PageIndex, call: RmapCall) {
        self.table().change_file(&self.hardware(), id, first..end, call);
    }
}

impl<M: Mmu, F: Flavor> Drop for Space<M, F> {
    fn drop(&mut self) {
        drop(self.take_away(0..self.pages));
    }
}

impl<M: Mmu, F: Flavor> Clone for AddressSpace<M, F> {
    fn clone(&self) -> Self {
        Self { inner: Arc::clone(&self.inner) }
    }
}

impl<M: Mmu, F: Flavor> fmt::Debug for AddressSpace<M, F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AddressSpace")
            .field("id", &self.inner.id)
            .field("mmu", &self.inner.mmu)
            .field("pages", &self.inner.pages)
            .finish_non_exhaustive()
    }
}
