//! The system calls that change an address space.
#![forbid(unsafe_code)]

use core::ops::{Deref, Range};

use alloc::sync::Arc;
use alloc::vec::Vec;

use faultless::page::{Spin, SpinLock};
use faultless::prelude::{Frames, MayFault, PAGE_SIZE, PageIndex, SyncKind, Task};
use linux_raw_sys::general as linux;

use crate::errno::Errno;
use crate::file::{AccessMode, Description};
use crate::mm::area::{Advised, Area, Sharing};
use crate::mm::remove::{Unmapped, What};
use crate::mm::space::{AddressSpace, State, cache, mapped_pages_of, pages_of};
use crate::mm::table::{Entry, Owner, PageTable, Rights};
use crate::system::System;

/// What `mmap` is asked for, but for the address.
#[derive(Debug)]
pub struct MapRequest<S: System> {
    /// The open file.
    pub description: Arc<Description<S>>,
    /// Where in the file the mapping begins, in bytes.
    pub offset: u64,
    /// How long it is, in bytes.
    pub len: usize,
    /// What the program may do.
    pub rights: Rights,
    /// Where a CPU store goes.
    pub sharing: Sharing,
}

impl<S: System> MapRequest<S> {
    /// Checks a request before an address is looked for: how many pages it is of.
    ///
    /// # Errors
    /// `EINVAL` for a length of 0 or an offset that is not the start of a page, `EOVERFLOW` past
    /// the largest offset, `ENOMEM` for a length that no address space has, `EACCES` if the file
    /// is not open for it.
    pub fn check(&self) -> Result<usize, Errno> {
        if self.len == 0 || !self.offset.is_multiple_of(PAGE_SIZE as u64) {
            return Err(Errno::INVAL);
        }
        let len = self.len.checked_next_multiple_of(PAGE_SIZE).ok_or(Errno::NOMEM)?;
        if self.offset.checked_add(len as u64).is_none_or(|end| end > i64::MAX as u64) {
            return Err(Errno::OVERFLOW);
        }
        let mode = self.description.mode();
        let stores = self.sharing == Sharing::Shared && self.rights.contains(Rights::WRITE);
        if !mode.contains(AccessMode::READ) || (stores && !mode.contains(AccessMode::WRITE)) {
            return Err(Errno::ACCES);
        }
        Ok(len / PAGE_SIZE)
    }
}

/// What is where a mapping was that has moved.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Left {
    Nothing,
    /// The same mapping, without private copies.
    Mapping,
}

/// The held lock of an address space.
type Locked<'s, S> = <SpinLock<<S as System>::Kernel, State<S>> as Spin<State<S>>>::Guard<'s>;

impl<S: System<Space: Deref<Target = Self>>> AddressSpace<S> {
    /// `mmap` at `address`, the start of a page; what was mapped there goes. Nothing is resident
    /// yet. May sleep: files that are no longer mapped may be dropped.
    ///
    /// # Errors
    /// Those of [`MapRequest::check`]; `EINVAL` for an address that is not the start of a page.
    pub fn map(space: &S::Space, address: usize, request: MapRequest<S>) -> Result<(), Errno> {
        let len = request.check()? * PAGE_SIZE;
        let pages = pages_of(address, len)?;
        let MapRequest { description, offset, rights, sharing, .. } = request;
        let first = PageIndex::containing(offset);
        let area = Area {
            pages: pages.clone(),
            description,
            first,
            rights,
            sharing,
            advised: Advised::default(),
        };
        let mut unmapped = Vec::new();
        let _areas = space.write_areas()?;
        let mut state = Self::vacate(space, &pages, &mut unmapped);
        area.inode().mapping().user_mappings().as_ref().add(space);
        state.insert(area);
        Ok(())
    }

    /// Unmaps `pages`; the held lock, under which none of them has a mapping. What another thread
    /// maps there before the lock is taken goes as well.
    fn vacate<'s>(
        space: &'s S::Space,
        pages: &Range<usize>,
        unmapped: &mut Unmapped<S>,
    ) -> Locked<'s, S> {
        loop {
            Self::remove(space, pages, unmapped);
            let state = space.state.lock();
            if state.areas(pages).next().is_none() {
                return state;
            }
        }
    }

    /// `munmap`. May sleep: files that are no longer mapped may be dropped.
    ///
    /// # Errors
    /// `EINVAL` for an address that is not the start of a page, or a length of 0.
    pub fn unmap(space: &S::Space, address: usize, len: usize) -> Result<(), Errno> {
        let pages = pages_of(address, len)?;
        if pages.is_empty() {
            return Err(Errno::INVAL);
        }
        let mut unmapped = Vec::new();
        let _areas = space.write_areas()?;
        Self::remove(space, &pages, &mut unmapped);
        Ok(())
    }

    /// Unmaps everything (`exit`). No CPU is in the address space any more, or will be.
    pub fn exit(space: &S::Space) {
        Self::remove(space, &(0..usize::MAX / PAGE_SIZE), &mut Vec::new());
    }

    /// `mprotect` of the mappings in a range; pages without one are left alone.
    ///
    /// # Errors
    /// `EINVAL` for an address that is not the start of a page; `ENOMEM` for a range that does not
    /// end; `EACCES`, with nothing changed, if a shared mapping would allow stores to a file that
    /// is not open for writing. (Linux changes what lies before that mapping, and returns `ENOMEM`
    /// at a page without one.)
    pub fn protect(
        space: &S::Space,
        address: usize,
        len: usize,
        rights: Rights,
    ) -> Result<(), Errno> {
        let pages = mapped_pages_of(address, len)?;
        let _areas = space.write_areas()?;
        {
            let mut state = space.state.lock();
            let refused = |area: &Area<S>| {
                area.sharing == Sharing::Shared
                    && rights.contains(Rights::WRITE)
                    && !area.description.mode().contains(AccessMode::WRITE)
            };
            if state.areas(&pages).any(refused) {
                return Err(Errno::ACCES);
            }
            let mut cut = Vec::new();
            state.cut(&pages, &mut cut);
            for area in cut {
                state.insert(Area { rights, ..area });
            }
            let mut from = pages.start;
            // Stores have to fault first: whether they may go on is decided there.
            while let Some((page, entry)) = state.table.next(from..pages.end) {
                let rights = rights.difference(Rights::WRITE);
                state.table.set(page, Some(Entry { rights, ..entry }));
                from = page + 1;
            }
        }
        S::flush(space.root, pages);
        Ok(())
    }

    /// Moves the mappings of `from..from + len` to `to`, with their private copies (`mremap` with
    /// `MREMAP_MAYMOVE`). The ranges do not overlap; what was mapped at `to` goes.
    ///
    /// # Errors
    /// `EINVAL` for addresses that are not starts of pages, and ranges that overlap. `EFAULT` if a
    /// page of the range has no mapping.
    pub fn relocate(space: &S::Space, from: usize, to: usize, len: usize) -> Result<(), Errno> {
        Self::relocate_by(space, from, to, len, Left::Nothing)
    }

    /// As [`relocate`](Self::relocate), but the old place stays mapped, as if it was mapped just
    /// now (`MREMAP_DONTUNMAP`). It is no longer locked.
    ///
    /// # Errors
    /// Those of `relocate`.
    pub fn relocate_and_keep(
        space: &S::Space,
        from: usize,
        to: usize,
        len: usize,
    ) -> Result<(), Errno> {
        Self::relocate_by(space, from, to, len, Left::Mapping)
    }

    fn relocate_by(
        space: &S::Space,
        from: usize,
        to: usize,
        len: usize,
        left: Left,
    ) -> Result<(), Errno> {
        let (old, new) = (pages_of(from, len)?, pages_of(to, len)?);
        if old.start < new.end && new.start < old.end {
            return Err(Errno::INVAL);
        }
        let mut unmapped = Vec::new();
        let _areas = space.write_areas()?;
        if !space.state.lock().covers(&old) {
            return Err(Errno::FAULT);
        }
        // Pages of files come back by faults.
        space.clear(&old, What::Shown);
        {
            let mut state = Self::vacate(space, &new, &mut unmapped);
            let mut cut = Vec::new();
            state.cut(&old, &mut cut);
            let moved = |page: usize| page - old.start + new.start;
            for area in cut {
                let pages = moved(area.pages.start)..moved(area.pages.end);
                if left == Left::Mapping {
                    let advised = area.advised.difference(Advised::LOCKED);
                    state.insert(Area { advised, ..area.clone() });
                }
                state.insert(Area { pages, ..area });
            }
            let mut at = old.start;
            while let Some((page, entry)) = state.table.next(at..old.end) {
                at = page + 1;
                state.table.prepare(moved(page));
                state.table.set(page, None);
                // An entry of the file's that came meanwhile moves with the others.
                state.table.set(moved(page), Some(entry));
            }
        }
        S::flush(space.root, old);
        Ok(())
    }

    /// Makes the mapping that ends at `end` longer by `len` bytes, if there is room behind it
    /// (`mremap`). The caller has seen to it that nothing else is there.
    ///
    /// # Errors
    /// `EFAULT` if no mapping ends there; `ENOMEM` if another one begins too soon.
    pub fn extend(space: &S::Space, end: usize, len: usize) -> Result<(), Errno> {
        let more = pages_of(end, len)?;
        let _areas = space.write_areas()?;
        let mut state = space.state.lock();
        let last = more.start.checked_sub(1).ok_or(Errno::FAULT)?;
        let whole = state.area(last).ok_or(Errno::FAULT)?.pages.clone();
        if state.areas(&more).next().is_some() {
            return Err(Errno::NOMEM);
        }
        let mut cut = Vec::new();
        state.cut(&whole, &mut cut);
        for area in cut {
            state.insert(Area { pages: whole.start..more.end, ..area });
        }
        Ok(())
    }

    /// `MADV_DONTNEED`: the program no longer needs what it has in these pages. Private copies are
    /// lost, and pages of files come back by faults.
    ///
    /// # Errors
    /// `EINVAL` for an address that is not the start of a page, and for a mapping that is locked;
    /// `ENOMEM` if a page of the range has no mapping, after the others were done.
    pub fn discard(space: &S::Space, address: usize, len: usize) -> Result<(), Errno> {
        Self::discard_but(space, address, len, Advised::LOCKED)
    }

    /// `MADV_DONTNEED_LOCKED`: as [`discard`](Self::discard), of locked mappings, too.
    ///
    /// # Errors
    /// Those of [`discard`](Self::discard), but for locked mappings.
    pub fn discard_locked(space: &S::Space, address: usize, len: usize) -> Result<(), Errno> {
        Self::discard_but(space, address, len, Advised::empty())
    }

    /// Discards what none of `refused` is asked of.
    fn discard_but(
        space: &S::Space,
        address: usize,
        len: usize,
        refused: Advised,
    ) -> Result<(), Errno> {
        let pages = pages_of(address, len)?;
        let _areas = space.read_areas()?;
        let covered = {
            let state = space.state.lock();
            if state.areas(&pages).any(|area| area.advised.intersects(refused)) {
                return Err(Errno::INVAL);
            }
            state.covers(&pages)
        };
        space.clear(&pages, What::Everything);
        if covered { Ok(()) } else { Err(Errno::NOMEM) }
    }

    /// Takes entries of pages of files out, as a kernel that is short of page tables does: they
    /// come back by faults. Private copies stay.
    pub fn steal(&self, pages: Range<usize>) {
        self.clear(&pages, What::Shown);
    }

    /// `msync` of the mappings in a range. May sleep. No lock is held.
    ///
    /// # Errors
    /// `EINVAL` for an address that is not the start of a page, or flags that mean nothing;
    /// `ENOMEM` for a range that does not end, and, after the others were synced, if a page of the
    /// range has no mapping; `EBUSY` for `MS_INVALIDATE` of a mapping that is locked; what
    /// [`Description::sync_range_of`] returns.
    pub fn sync<T: Task>(
        space: &S::Space,
        token: &mut MayFault,
        address: usize,
        len: usize,
        flags: u32,
        task: &T,
    ) -> Result<(), Errno> {
        let known = linux::MS_ASYNC | linux::MS_SYNC | linux::MS_INVALIDATE;
        let both = linux::MS_ASYNC | linux::MS_SYNC;
        if flags & !known != 0 || flags & both == both {
            return Err(Errno::INVAL);
        }
        let pages = mapped_pages_of(address, len)?;
        let (areas, covered) = {
            let state = space.state.lock();
            let parts = state.areas(&pages).filter_map(|area| area.part(&pages));
            (parts.collect::<Vec<_>>(), state.covers(&pages))
        };
        let is_locked = |area: &Area<S>| area.advised.contains(Advised::LOCKED);
        if flags & linux::MS_INVALIDATE != 0 && areas.iter().any(is_locked) {
            return Err(Errno::BUSY);
        }
        if flags & linux::MS_SYNC != 0 {
            for area in areas.iter().filter(|area| area.sharing == Sharing::Shared) {
                let bytes = area.bytes(&area.pages);
                area.description.sync_range_of(token, SyncKind::Data, bytes, task)?;
            }
        }
        if covered { Ok(()) } else { Err(Errno::NOMEM) }
    }

    /// Gives `child`, an empty address space that was made after `parent`, what `parent` has
    /// (`fork`). Private copies are shared from here on, and no longer allow stores on both sides:
    /// the next one copies. What the files have is left to page faults.
    ///
    /// # Errors
    /// `EINTR`, with the child empty: the thread was killed while it waited for M.
    pub fn fork(parent: &S::Space, child: &S::Space) -> Result<(), Errno> {
        let _areas = parent.write_areas()?;
        {
            let mut from = parent.state.lock();
            let mut to = child.state.lock();
            from.forks += 1;
            from.unflushed_forks += 1;
            let areas: Vec<Area<S>> = from.all_areas().cloned().collect();
            for mut area in areas {
                area.advised.remove(Advised::LOCKED);
                if area.advised.contains(Advised::NOT_FORKED) {
                    continue;
                }
                let wiped = area.advised.contains(Advised::WIPED_BY_FORK);
                area.inode().mapping().user_mappings().as_ref().add(child);
                let mut pages = area.pages.clone();
                to.insert(area);
                if wiped {
                    continue;
                }
                while let Some((page, entry)) = from.table.next(pages.clone()) {
                    pages.start = page + 1;
                    if entry.owner == Owner::Space {
                        let entry = entry.read_only();
                        // The child's count.
                        cache(&**parent).frames().retain(entry.frame);
                        from.table.set(page, Some(entry));
                        to.table.prepare(page);
                        to.table.set(page, Some(entry));
                    }
                }
            }
        }
        // The parent's entries allow less now.
        S::flush(parent.root, 0..usize::MAX);
        parent.state.lock().unflushed_forks -= 1;
        Ok(())
    }
}
