//! The fault handler: what an embedder's would do. Takes M for reading, finds the area, and has
//! private memory or the page cache supply the page.

use std::ptr::NonNull;

use faultless_filemap as filemap;
use faultless_filemap::{FaultError, InFault, Inode, MappedFrame, NoTask};
use faultless_page::{Errno, FrameNumber, Kernel, PageIndex};

use super::Space;
use super::table::FilePage;
use super::vma::Sharing;
use crate::counters::Counters;
use crate::kernel::{Flavor, HostKernel};
use crate::lockcheck;
use crate::memory::PhysicalMemory;
use crate::mmu::{Access, Handler, Mmu, Protection, UserFault};
use crate::script::Event;

impl<M: Mmu, F: Flavor> Handler for Space<M, F> {
    fn fault(&self, addr: usize, access: Access) -> Result<(), UserFault> {
        let under_lock = F::CHECKED && lockcheck::holds_pages();
        Counters::update(|counters| {
            counters.faults += 1;
            counters.faults_under_page_lock += u64::from(under_lock);
        });
        self.play(Event::Fault, addr, 1);
        let _m = self.lock.read();
        self.resolve(self.page_of(addr), access)
    }

    fn atomic_fault(&self, addr: usize) {
        self.play(Event::AtomicFault, addr, 1);
    }

    fn with_page(&self, addr: usize, access: Access, with: &mut dyn FnMut(NonNull<u8>)) -> bool {
        self.table().with_page(&self.memory, self.page_of(addr), access, with)
    }
}

/// What a fault found behind the page.
enum Found<I> {
    Anonymous(Protection),
    File(I, PageIndex, Protection),
    /// A private mapping of a page of a file.
    Private(I, PageIndex, Protection),
}

/// A frame that no entry shows yet. Dropping it gives its count back.
struct NewFrame<'m> {
    memory: &'m PhysicalMemory,
    frame: Option<FrameNumber>,
}

impl Drop for NewFrame<'_> {
    fn drop(&mut self) {
        if let Some(frame) = self.frame.take() {
            // SAFETY: the one count is ours: no entry has taken it.
            unsafe { self.memory.release(frame) };
        }
    }
}

impl<M: Mmu, F: Flavor> Space<M, F> {
    /// Makes `page` present for `access`. M is held, for reading or for writing.
    pub(super) fn resolve(&self, page: usize, access: Access) -> Result<(), UserFault> {
        let found = {
            let areas = self.areas();
            let (offset, area) = areas.find(page).ok_or(UserFault::Segv)?;
            if !area.protection.allows(access) {
                return Err(UserFault::Segv);
            }
            match (area.file_page(offset), area.sharing()) {
                (None, _) => Found::Anonymous(area.protection),
                (Some((inode, index)), Sharing::Shared) => {
                    Found::File(inode.clone(), index, area.protection)
                }
                (Some((inode, index)), Sharing::Private) => {
                    Found::Private(inode.clone(), index, area.protection)
                }
            }
        };
        if self.table().allows(page, access) {
            // Another thread was faster.
            return Ok(());
        }
        match found {
            Found::Anonymous(protection) => self
                .table()
                .show_private(&self.hardware(), page, protection)
                .map_err(|()| UserFault::Error(Errno::NoMemory)),
            Found::File(inode, index, limit) => {
                let install = |mapped: MappedFrame<'_, _>, file| {
                    let protection = weaker(limit, mapped.protection);
                    let mut table = self.table();
                    let frame = mapped.frame.into_number();
                    table.show_file(&self.hardware(), page, frame, file, protection);
                };
                fault_page(&inode, index, access, install)
            }
            Found::Private(inode, index, protection) => {
                if self.table().show_own_copy(&self.hardware(), page, protection) {
                    return Ok(());
                }
                match access {
                    Access::Read => fault_page(&inode, index, Access::Read, |mapped, file| {
                        let mut table = self.table();
                        let protection = weaker(protection, filemap::Protection::ReadOnly);
                        let frame = mapped.frame.into_number();
                        table.show_file(&self.hardware(), page, frame, file, protection);
                    }),
                    Access::Write => self.copy_on_write(page, &inode, index, protection),
                }
            }
        }
    }

    /// Shows a copy of a page of a file that `page` has for itself. The file's own page is only
    /// read.
    fn copy_on_write(
        &self,
        page: usize,
        inode: &Inode<HostKernel<F>>,
        index: PageIndex,
        protection: Protection,
    ) -> Result<(), UserFault> {
        // Before the page is locked (P3).
        let frame = self.memory.allocate_user().ok_or(UserFault::Error(Errno::NoMemory))?;
        let mut new = NewFrame { memory: &self.memory, frame: Some(frame) };
        fault_page(inode, index, Access::Read, |mapped, file| {
            // SAFETY: the page is locked while this runs, so its frame stays; the other count is
            // ours.
            unsafe { self.memory.copy(mapped.frame.number(), frame) };
            // The entry takes the count.
            new.frame = None;
            self.table().show_copy(&self.hardware(), page, frame, file, protection);
        })
    }
}

/// Has the page cache supply a page; `install` sets the entry.
pub(crate) fn fault_page<K: Kernel>(
    inode: &Inode<K>,
    index: PageIndex,
    access: Access,
    install: impl FnOnce(MappedFrame<'_, K>, FilePage),
) -> Result<(), UserFault> {
    let file = FilePage { mapping: inode.mapping().id(), index: index.get() };
    // SAFETY: the fault was taken by an access that needs a `MayFault`, or by user code, which
    // holds no lock; the checkers watch it. (A historical write path that faults under a page lock
    // hangs, or is found; it endangers no memory.) This is the only handler on this thread: it
    // makes no user access itself.
    let mut in_fault = unsafe { InFault::enter() };
    let install = |mapped: MappedFrame<'_, _>| install(mapped, file);
    inode.fault(&mut in_fault, index, access.into(), &NoTask, install).map_err(UserFault::from)
}

fn weaker(area: Protection, page: filemap::Protection) -> Protection {
    match (area, page) {
        (Protection::ReadWrite, filemap::Protection::ReadOnly) => Protection::Read,
        _ => area,
    }
}

impl From<Access> for filemap::Access {
    fn from(access: Access) -> Self {
        match access {
            Access::Read => Self::Read,
            Access::Write => Self::Write,
        }
    }
}

impl From<FaultError> for UserFault {
    fn from(error: FaultError) -> Self {
        match error {
            FaultError::PastEnd => Self::Bus,
            FaultError::Failed(errno) => Self::Error(errno),
        }
    }
}
