//! What changes the size of an open file, and the room it has.
#![forbid(unsafe_code)]

use faultless::prelude::{FileSize, InodeLocks, Task};
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

    /// `fallocate`: makes room for `len` bytes at `offset`, or zeros of them, or takes them out of
    /// the file, or puts as many in, as `mode` says. May sleep. No lock is held.
    ///
    /// # Errors
    /// `EINVAL` for a range that is empty or negative; `EOPNOTSUPP` for flags that are not known or
    /// do not go together; `EBADF` if the file is not open for writing; `EFBIG` for a range past
    /// the largest file; what [`Inode::allocate`](faultless::filemap::Inode::allocate),
    /// [`punch_hole`](faultless::filemap::Inode::punch_hole),
    /// [`zero_range`](faultless::filemap::Inode::zero_range),
    /// [`collapse_range`](faultless::filemap::Inode::collapse_range) and
    /// [`insert_range`](faultless::filemap::Inode::insert_range) return.
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
        let change = Change::of(mode)?;
        self.need(AccessMode::WRITE)?;
        let end = offset.checked_add(len).ok_or(Errno::FBIG)?;
        let (inode, range) = (self.inode(), offset as u64..end as u64);
        match change {
            Change::Allocate(size) => inode.allocate(token, range, size, task)?,
            Change::PunchHole => inode.punch_hole(token, range, task)?,
            Change::ZeroRange(size) => inode.zero_range(token, range, size, task)?,
            Change::Collapse => inode.collapse_range(token, range, task)?,
            Change::Insert => inode.insert_range(token, range, task)?,
        }
        Ok(())
    }
}

/// What a mode of `fallocate` asks for.
enum Change {
    Allocate(FileSize),
    PunchHole,
    ZeroRange(FileSize),
    Collapse,
    Insert,
}

impl Change {
    fn of(mode: u32) -> Result<Self, Errno> {
        let size = match mode & linux::FALLOC_FL_KEEP_SIZE {
            0 => FileSize::Grows,
            _ => FileSize::Stays,
        };
        match (mode & !linux::FALLOC_FL_KEEP_SIZE, size) {
            (0, _) => Ok(Self::Allocate(size)),
            (linux::FALLOC_FL_PUNCH_HOLE, FileSize::Stays) => Ok(Self::PunchHole),
            (linux::FALLOC_FL_ZERO_RANGE, _) => Ok(Self::ZeroRange(size)),
            (linux::FALLOC_FL_COLLAPSE_RANGE, FileSize::Grows) => Ok(Self::Collapse),
            (linux::FALLOC_FL_INSERT_RANGE, FileSize::Grows) => Ok(Self::Insert),
            _ => Err(Errno::OPNOTSUPP),
        }
    }
}
