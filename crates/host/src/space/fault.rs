//! The fault handler: what an embedder's would do. Takes M for reading, finds the area, and has private memory or
//! the page cache supply the page.

use std::ptr::NonNull;

use faultless_filemap as filemap;
use faultless_filemap::{FaultError, InFault, MappedFrame, NoTask};

use super::Space;
use super::table::FilePage;
use crate::counters::Counters;
use crate::kernel::Flavor;
use crate::lockcheck;
use crate::mmu::{Access, Handler, Mmu, Protection, UserFault};
use crate::script::Event;
use faultless_page::Errno;

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

    fn with_page(&self, addr: usize, access: Access, with: &mut dyn FnMut(NonNull<u8>)) -> bool {
        self.table().with_page(&self.memory, self.page_of(addr), access, with)
    }
}

/// What a fault found behind the page.
enum Found<I> {
    Private(Protection),
    File(I, faultless_page::PageIndex, Protection),
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
            match area.file_page(offset) {
                None => Found::Private(area.protection),
                Some((inode, index)) => Found::File(inode.clone(), index, area.protection),
            }
        };
        if self.table().allows(page, access) {
            // Somebody else was faster.
            return Ok(());
        }
        match found {
            Found::Private(protection) => self
                .table()
                .show_private(&self.hardware(), page, protection)
                .map_err(|()| UserFault::Error(Errno::NoMemory)),
            Found::File(inode, index, limit) => {
                let file = FilePage { mapping: inode.mapping().id(), index: index.get() };
                // SAFETY: the fault was taken by an access that needs a `MayFault`, or by user code, which holds no
                // lock; the lock checker watches it. This is the only handler on this thread: it makes no
                // user access itself.
                let mut in_fault = unsafe { InFault::enter() };
                let install = |mapped: MappedFrame| {
                    let protection = weaker(limit, mapped.protection);
                    let mut table = self.table();
                    table.show_file(&self.hardware(), page, mapped.frame, file, protection);
                };
                inode
                    .fault(&mut in_fault, index, access.into(), &NoTask, install)
                    .map_err(UserFault::from)
            }
        }
    }
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
