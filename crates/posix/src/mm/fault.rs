//! Page faults of user memory: look up, let go, have the page brought, take the lock again, look
//! again.
//!
//! This module takes the short lock of the address space twice, and holds nothing between but M, if
//! the kernel has it.

use core::ops::Range;

use faultless::page::{OwnedFrame, Spin};
use faultless::prelude::{
    Access, Errno as CacheErrno, FaultError, FrameNumber, Frames, InFault, MappedFrame, PAGE_SIZE,
    PageIndex, PageLocks, Protection, Task,
};
use faultless::usercopy::copy_kernel;

use crate::mm::area::{Area, Sharing};
use crate::mm::remove::Gone;
use crate::mm::space::{AddressSpace, cache};
use crate::mm::table::{Entry, Owner, PageTable, Rights};
use crate::system::System;

/// The signal for an access that cannot be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signal {
    /// `SIGSEGV`: no mapping there, or not for this access.
    Segv,
    /// `SIGBUS`: the file ends before the page, or its store failed.
    Bus,
    /// `SIGKILL`: no memory; or the task is to die already.
    Kill,
}

impl From<FaultError> for Signal {
    fn from(error: FaultError) -> Self {
        match error {
            FaultError::Failed(CacheErrno::NoMemory | CacheErrno::Interrupted) => Self::Kill,
            FaultError::PastEnd | FaultError::Failed(_) => Self::Bus,
        }
    }
}

/// What a fault has to do.
enum Needed<S: System> {
    /// Nothing: the entry allows the access. Another thread was faster.
    Nothing,
    /// The entry that shows the page of the file.
    Page(Area<S>),
    /// A copy of the page of the file.
    Copy(Area<S>),
    /// A copy of the private copy, which other address spaces count too.
    CopyOfCopy(Area<S>),
}

impl<S: System> AddressSpace<S> {
    /// Resolves a page fault at `address`: afterwards the access can be made again. May sleep. No
    /// lock is held, short or not. Takes M for reading, if there is [one](System::LOCKS_AREAS).
    ///
    /// # Errors
    /// The signal for the program; for an access of the kernel, that of `EFAULT`.
    pub fn fault<T: Task>(
        &self,
        token: &mut InFault,
        address: usize,
        access: Access,
        task: &T,
    ) -> Result<(), Signal> {
        let page = address / PAGE_SIZE;
        let _areas = self.read_areas().map_err(|_| Signal::Kill)?;
        match self.look_up(page, access)? {
            Needed::Nothing => Ok(()),
            Needed::Page(area) => self.show(token, page, &area, access, task),
            Needed::Copy(area) if S::is_zeros(area.description.file()) => {
                self.own_zeros(token, page, &area)
            }
            Needed::Copy(area) => self.copy(token, page, &area, task),
            Needed::CopyOfCopy(area) => self.copy_again(token, page, &area),
        }
    }

    /// The first hold of the lock. What is taken along keeps the file alive, and nothing else.
    fn look_up(&self, page: usize, access: Access) -> Result<Needed<S>, Signal> {
        let mut state = self.state.lock();
        let area = state.area(page).cloned().ok_or(Signal::Segv)?;
        if !area.rights.allow(access) {
            return Err(Signal::Segv);
        }
        for page in shown_around::<S>(page, &area) {
            state.table.prepare(page);
        }
        let store_to_own = access == Access::Write && area.sharing == Sharing::Private;
        Ok(match state.table.get(page) {
            Some(entry) if entry.rights.allow(access) => Needed::Nothing,
            // The others are gone. A count comes back by a fork of this space only, which takes
            // the lock.
            Some(entry)
                if entry.owner == Owner::Space
                    && cache(self).frames().references(entry.frame) == 1 =>
            {
                state.table.set(page, Some(Entry { rights: area.rights, ..entry }));
                Needed::Nothing
            }
            Some(entry) if entry.owner == Owner::Space => Needed::CopyOfCopy(area),
            _ if store_to_own => Needed::Copy(area),
            _ => Needed::Page(area),
        })
    }

    /// Shows the page of the file itself, and for loads what is in the cache around it.
    fn show<T: Task>(
        &self,
        token: &mut InFault,
        page: usize,
        area: &Area<S>,
        access: Access,
        task: &T,
    ) -> Result<(), Signal> {
        let install = |index: PageIndex, mapped: MappedFrame<'_, S::Kernel>| {
            let page = area.pages.start + (index.get() - area.first.get()) as usize;
            let mut state = self.state.lock();
            if !state.still_maps(page, area) {
                // Unmapped meanwhile. The frame gives its count back; the access is made again, and
                // finds what is there now.
                return;
            }
            let rights = match mapped.protection {
                Protection::Writable => area.rights,
                Protection::ReadOnly => area.rights.difference(Rights::WRITE),
            };
            match state.table.get(page) {
                None => {
                    let frame = mapped.frame.into_number();
                    state.table.set(page, Some(Entry { frame, rights, owner: Owner::File }));
                }
                Some(entry) if entry.frame == mapped.frame.number() => {
                    let rights = rights.union(entry.rights);
                    state.table.set(page, Some(Entry { rights, ..entry }));
                }
                // A private copy, made meanwhile.
                Some(_) => {}
            }
        };
        let mapped = area.first..area.index(area.pages.end);
        let ahead = &area.description.ahead;
        let index = area.index(page);
        Ok(area.inode().fault_around(token, index, access, mapped, ahead, task, install)?)
    }

    /// Shows a copy of the page of the file, for stores. The file is only read.
    fn copy<T: Task>(
        &self,
        token: &mut InFault,
        page: usize,
        area: &Area<S>,
        task: &T,
    ) -> Result<(), Signal> {
        // Before the page is locked: an allocation may reclaim pages (P3).
        let copy = self.allocate(token)?;
        let install = |copy| self.install_copy(page, area, copy);
        let gone = area.inode().fault_copy(token, area.index(page), copy, task, install)?;
        self.retire(page..page + 1, gone);
        Ok(())
    }

    /// Shows a frame of zeros, for stores to a mapping of a file that has nothing else.
    fn own_zeros(&self, token: &mut InFault, page: usize, area: &Area<S>) -> Result<(), Signal> {
        let mut zeros = self.allocate(token)?;
        zeros.zero();
        let gone = self.install_copy(page, area, zeros);
        self.retire(page..page + 1, gone);
        Ok(())
    }

    /// Sets the entry of a page to a private copy, unless there is one; what it replaces.
    fn install_copy(&self, page: usize, area: &Area<S>, copy: OwnedFrame<'_, S::Kernel>) -> Gone {
        let mut gone = Gone::default();
        let mut state = self.state.lock();
        let old = state.table.get(page);
        let has_copy = old.is_some_and(|entry| entry.owner == Owner::Space);
        if state.still_maps(page, area) && !has_copy {
            state.table.set(page, Some(private(copy, area)));
            old.into_iter().for_each(|entry| gone.push(entry));
        }
        gone
    }

    /// Copies a private copy on write, which a fork has shared.
    ///
    /// While a fork has not flushed, a CPU may still have an entry that allows stores to the old
    /// frame. A store that it makes after the copy would be lost to this address space. So such an
    /// entry is flushed before the copy is made.
    fn copy_again(&self, token: &mut InFault, page: usize, area: &Area<S>) -> Result<(), Signal> {
        let copy = self.allocate(token)?;
        let mut gone = Gone::default();
        let mut state = self.state.lock();
        let forks = state.forks;
        if state.unflushed_forks > 0 {
            drop(state);
            S::flush(self.root, page..page + 1);
            state = self.state.lock();
        }
        // A frame with several counts had them before the flush, unless there was a fork since: its
        // entry allowed no store all the time.
        if state.forks == forks
            && let Some(old) = state.table.get(page)
            && old.owner == Owner::Space
            && cache(self).frames().references(old.frame) > 1
            && state.still_maps(page, area)
        {
            // The entry keeps the old frame while the lock is held.
            self.copy_frame(old.frame, &copy);
            state.table.set(page, Some(private(copy, area)));
            gone.push(old);
        }
        drop(state);
        self.retire(page..page + 1, gone);
        Ok(())
    }

    /// A frame, for which pages may be given up. No page is locked (P3).
    fn allocate(&self, token: &mut InFault) -> Result<OwnedFrame<'_, S::Kernel>, Signal> {
        let batch = cache(self).allocate_or_reclaim(token.page_locks(), 1);
        batch.ok().and_then(|mut batch| batch.take_first()).ok_or(Signal::Kill)
    }

    /// Copies a page to a frame of one's own. The source has a count that outlives the call.
    fn copy_frame(&self, from: FrameNumber, to: &OwnedFrame<'_, S::Kernel>) {
        let from = cache(self).frames().address(from);
        // SAFETY: two frames are two pages, and both stay; nothing else has the new one. User mode
        // may store to the source meanwhile, to which there is no reference.
        unsafe { copy_kernel(to.as_ptr().as_ptr(), from.as_ptr(), PAGE_SIZE) };
    }
}

/// The user pages that a fault on `page` may show: those around it, as
/// [`fault_around`](faultless::filemap::Inode::fault_around) has them.
fn shown_around<S: System>(page: usize, area: &Area<S>) -> Range<usize> {
    let around = S::read_ahead_limits().around.clamp(1, 1 << 31).next_power_of_two() as usize;
    let before = area.index(page).get() as usize % around;
    let first = page.saturating_sub(before);
    first.max(area.pages.start)..first.saturating_add(around).min(area.pages.end)
}

/// The entry for a private copy, which takes its count.
fn private<S: System>(copy: OwnedFrame<'_, S::Kernel>, area: &Area<S>) -> Entry {
    Entry { frame: copy.into_number(), rights: area.rights, owner: Owner::Space }
}
