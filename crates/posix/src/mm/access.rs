//! Accesses of the kernel's to an address space, by faults: pages are brought in, and bytes are
//! copied that are another process's (`process_vm_readv`).

use core::ops::Deref;

use faultless::page::Spin;
use faultless::prelude::{Access, Frames, InFault, PAGE_SIZE, Task};
use faultless::usercopy::copy_kernel;

use crate::errno::Errno;
use crate::mm::area::{Area, Sharing};
use crate::mm::fault::Signal;
use crate::mm::space::{AddressSpace, cache, pages_of};
use crate::mm::table::{PageTable, Rights};
use crate::system::System;

impl<S: System<Space: Deref<Target = Self>>> AddressSpace<S> {
    /// Brings the pages of a range in, as `MAP_POPULATE` and `mlock` do, by faults: private pages
    /// that can be stored to are copied. May sleep. No lock is held.
    ///
    /// # Errors
    /// `EINVAL` for an address that is not the start of a page; `ENOMEM` at the first page that
    /// cannot be brought in.
    pub fn populate<T: Task>(
        space: &S::Space,
        token: &mut InFault,
        address: usize,
        len: usize,
        task: &T,
    ) -> Result<(), Errno> {
        let access = |area: &Area<S>| {
            let stores = area.sharing == Sharing::Private && area.rights.contains(Rights::WRITE);
            if stores { Access::Write } else { Access::Read }
        };
        let brought = Self::bring_in(space, token, (address, len), access, task);
        brought.map_err(|why| if why == Errno::INVAL { why } else { Errno::NOMEM })
    }

    /// Brings the pages of a range in for loads (`MADV_POPULATE_READ`) or for stores
    /// (`MADV_POPULATE_WRITE`). May sleep. No lock is held.
    ///
    /// # Errors
    /// `EINVAL` for an address that is not the start of a page; at the first page that cannot be
    /// brought in, `EACCES` if the mapping does not allow the access, `EFAULT` if the file has no
    /// such page, `ENOMEM` if there is no mapping or no memory.
    pub fn populate_for<T: Task>(
        space: &S::Space,
        token: &mut InFault,
        address: usize,
        len: usize,
        access: Access,
        task: &T,
    ) -> Result<(), Errno> {
        Self::bring_in(space, token, (address, len), |_| access, task)
    }

    fn bring_in<T: Task>(
        space: &S::Space,
        token: &mut InFault,
        (address, len): (usize, usize),
        access: impl Fn(&Area<S>) -> Access,
        task: &T,
    ) -> Result<(), Errno> {
        for page in pages_of(address, len)? {
            let address = page * PAGE_SIZE;
            let area = space.area_at(address).ok_or(Errno::NOMEM)?;
            space.fault(token, address, access(&area), task).map_err(|signal| match signal {
                Signal::Segv => Errno::ACCES,
                Signal::Bus => Errno::FAULT,
                Signal::Kill => Errno::NOMEM,
            })?;
        }
        Ok(())
    }
}

impl<S: System> AddressSpace<S> {
    /// Copies bytes at `address` to `bytes`; how many, up to the first that a load could not have.
    /// May sleep. No lock is held.
    pub fn read_bytes<T: Task>(
        &self,
        token: &mut InFault,
        address: usize,
        bytes: &mut [u8],
        task: &T,
    ) -> usize {
        let base = bytes.as_mut_ptr();
        self.each_page(token, address, bytes.len(), Access::Read, task, |page, done, len| {
            // SAFETY: the bytes of one page of memory that the caller holds, and of the slice; the
            // two do not overlap. User mode may store to the source, to which there is no
            // reference.
            unsafe { copy_kernel(base.wrapping_add(done), page, len) };
        })
    }

    /// Copies `bytes` to `address`; how many, up to the first that a CPU store could not have
    /// changed. May sleep. No lock is held.
    pub fn write_bytes<T: Task>(
        &self,
        token: &mut InFault,
        address: usize,
        bytes: &[u8],
        task: &T,
    ) -> usize {
        let base = bytes.as_ptr();
        self.each_page(token, address, bytes.len(), Access::Write, task, |page, done, len| {
            // SAFETY: as above, the other way.
            unsafe { copy_kernel(page, base.wrapping_add(done), len) };
        })
    }

    /// Calls `copy` for what of the range lies in each page, with the address of it, the bytes that
    /// were before it, and its length; how many bytes there were. The short lock is held: the entry
    /// keeps its frame, and allows the access.
    fn each_page<T: Task>(
        &self,
        token: &mut InFault,
        address: usize,
        len: usize,
        access: Access,
        task: &T,
        mut copy: impl FnMut(*mut u8, usize, usize),
    ) -> usize {
        let mut done = 0;
        while done < len && !task.fatal_signal_pending() {
            let at = address.wrapping_add(done);
            if self.fault(token, at, access, task).is_err() {
                break;
            }
            let state = self.state.lock();
            // Taken out again since the fault: once more.
            let entry = state.table.get(at / PAGE_SIZE).filter(|entry| entry.rights.allow(access));
            let Some(entry) = entry else { continue };
            let piece = (PAGE_SIZE - at % PAGE_SIZE).min(len - done);
            let page = cache(self).frames().address(entry.frame).as_ptr();
            copy(page.wrapping_add(at % PAGE_SIZE), done, piece);
            done += piece;
        }
        done
    }
}
