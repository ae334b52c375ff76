//! What changes the size of an open file, and the room it has.
#![forbid(unsafe_code)]

use faultless::prelude::{Fallocate, FileSize, InodeLocks, Task};
use linux_raw_sys::general as linux;

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

    /// `fallocate`: makes room for `len` bytes at `offset`, or zeros of them, as `mode` says. May
    /// sleep. No lock is held.
    ///
    /// # Errors
    /// `EINVAL` for a range that is empty or negative; `EOPNOTSUPP` for flags that are not known or
    /// do not go together, and for `FALLOC_FL_COLLAPSE_RANGE` and `FALLOC_FL_INSERT_RANGE`; `EBADF`
    /// if the file is not open for writing; `EFBIG` for a range past the largest file; what
    /// [`Inode::allocate`](faultless::filemap::Inode::allocate),
    /// [`punch_hole`](faultless::filemap::Inode::punch_hole) and
    /// [`zero_range`](faultless::filemap::Inode::zero_range) return.
    pub fn allocate<T: Task>(
        &self,
        token: &mut impl InodeLocks,
        mode: u32,
        offset: i64,
        len: i64,
        task: &T,
    ) -> Result<(), Errno> {
        if offset < 0 || len <= 0 {
            return Err(Errno::INVAL);
        }
        let size = match mode & linux::FALLOC_FL_KEEP_SIZE {
            0 => FileSize::Grows,
            _ => FileSize::Stays,
        };
        let change = match (mode & !linux::FALLOC_FL_KEEP_SIZE, size) {
            (0, _) => Fallocate::Allocate,
            (linux::FALLOC_FL_PUNCH_HOLE, FileSize::Stays) => Fallocate::PunchHole,
            (linux::FALLOC_FL_ZERO_RANGE, _) => Fallocate::ZeroRange,
            _ => return Err(Errno::OPNOTSUPP),
        };
        self.need(AccessMode::WRITE)?;
        let end = offset.checked_add(len).ok_or(Errno::FBIG)?;
        let (inode, range) = (self.inode(), offset as u64..end as u64);
        match change {
            Fallocate::Allocate => inode.allocate(token, range, size, task)?,
            Fallocate::PunchHole => inode.punch_hole(token, range, task)?,
            Fallocate::ZeroRange => inode.zero_range(token, range, size, task)?,
        }
        Ok(())
    }
}
