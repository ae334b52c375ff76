//! The position of an open file: `lseek`.
#![forbid(unsafe_code)]

use faultless::page::{AddressSpaceOperations, MAX_FILE_SIZE, SleepGuard, Spin};
use faultless::prelude::{MayFault, Task};
use linux_raw_sys::general as linux;

use crate::errno::Errno;
use crate::file::description::Description;
use crate::system::System;

impl<S: System> Description<S> {
    /// `lseek`: moves the position; where it is then. May sleep. No lock is held, which `token`
    /// shows.
    ///
    /// `SEEK_DATA` and `SEEK_HOLE` go by what the store says of its blocks, and by pages that it
    /// has not got yet: [`Inode::seek_data`](faultless::filemap::Inode::seek_data). Linux's file
    /// systems differ in what they call data that was never written.
    ///
    /// # Errors
    /// `EINVAL` for a position before the start or past the largest file, and for a `whence` that
    /// means nothing; `ENXIO` for `SEEK_DATA` and `SEEK_HOLE` at or past the end of the file, and
    /// for `SEEK_DATA` behind the last data; what the store says when it is asked. The position
    /// stays. `EINTR` if the task is to die.
    pub fn seek<T: Task>(
        &self,
        _token: &mut MayFault,
        offset: i64,
        whence: u32,
        task: &T,
    ) -> Result<u64, Errno> {
        let _held = self.lock_position(task)?;
        let size = self.inode().size();
        let base = match whence {
            linux::SEEK_SET => 0,
            linux::SEEK_CUR => *self.position.lock(),
            linux::SEEK_END => size,
            linux::SEEK_DATA | linux::SEEK_HOLE => {
                let from = u64::try_from(offset).map_err(|_| Errno::NXIO)?;
                let found = match whence {
                    linux::SEEK_DATA => self.inode().seek_data(from)?,
                    _ => self.inode().seek_hole(from, task)?,
                };
                let to = found.ok_or(Errno::NXIO)?;
                *self.position.lock() = to;
                return Ok(to);
            }
            _ => return Err(Errno::INVAL),
        };
        let largest = self.inode().mapping().store().max_size().min(MAX_FILE_SIZE);
        let to = base.checked_add_signed(offset).filter(|to| *to <= largest);
        let to = to.ok_or(Errno::INVAL)?;
        *self.position.lock() = to;
        Ok(to)
    }

    /// Nothing else uses the position until the guard is dropped. May sleep.
    ///
    /// # Errors
    /// `EINTR` if the task is to die.
    pub(super) fn lock_position<T: Task>(
        &self,
        task: &T,
    ) -> Result<SleepGuard<'_, S::Kernel>, Errno> {
        Ok(self.position_lock.lock_killable(self.wait(), &|| task.fatal_signal_pending())?)
    }
}
