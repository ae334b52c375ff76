//! What changes the size of an open file, and the room it has.
#![forbid(unsafe_code)]

use faultless::prelude::{InodeLocks, Task};

use crate::errno::Errno;
use crate::file::description::{AccessMode, Description};
use crate::file::transfer::signed;
use crate::system::System;

impl<S: System> Description<S> {
    /// `ftruncate`. May sleep. No lock is held.
    ///
    /// # Errors
    /// `EINVAL` for a size that is negative as a signed number, or a file that is not open for
    /// writing; what [`Inode::set_size`](faultless::filemap::Inode::set_size) returns.
    pub fn truncate<T: Task>(
        &self,
        token: &mut impl InodeLocks,
        size: u64,
        task: &T,
    ) -> Result<(), Errno> {
        signed(size)?;
        self.need(AccessMode::WRITE).map_err(|_| Errno::INVAL)?;
        Ok(self.inode().set_size(token, size, task)?)
    }

    /// `fallocate`: no mode is implemented, which the C library makes up for.
    ///
    /// # Errors
    /// `EINVAL` for a range that is empty or negative; `EBADF` if the file is not open for writing;
    /// `EFBIG` for one past the largest file; else `EOPNOTSUPP`.
    pub fn allocate(&self, offset: i64, len: i64) -> Result<(), Errno> {
        if offset < 0 || len <= 0 {
            return Err(Errno::INVAL);
        }
        self.need(AccessMode::WRITE)?;
        offset.checked_add(len).ok_or(Errno::FBIG)?;
        Err(Errno::OPNOTSUPP)
    }
}
