//! Reads and writes of an open file: all forms of `read(2)` and `write(2)`.
#![forbid(unsafe_code)]

use bitflags::bitflags;
use faultless::page::Spin;
use faultless::prelude::{
    Errno as CacheErrno, InodeLocks, IovIter, Position, SyncKind, Task, UserMemory, WriteOptions,
    Written,
};
use linux_raw_sys::general as linux;

use crate::errno::Errno;
use crate::file::description::{AccessMode, Description};
use crate::system::System;

bitflags! {
    /// The flags of `preadv2` and `pwritev2`.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
    pub struct RwFlags: u32 {
        /// A hint, which is ignored.
        const HIPRI = linux::RWF_HIPRI;
        /// The data is durable when the call returns.
        const DSYNC = linux::RWF_DSYNC;
        /// The data and all metadata are.
        const SYNC = linux::RWF_SYNC;
        /// Reads what is in the cache, and waits for no store: see [`Description::try_read`]. No
        /// write takes it.
        const NOWAIT = linux::RWF_NOWAIT;
        /// Writes to the end of the file, wherever the position is.
        const APPEND = linux::RWF_APPEND;
        /// Writes at the position, also with `O_APPEND`.
        const NOAPPEND = 0x20;
        /// Pages that the call brings into the cache are dropped behind it, by and by, unless they
        /// are used otherwise: see
        /// [`DropBehind`](faultless::filemap::DropBehind). No effect on a store that keeps no data
        /// elsewhere, and on a read with `NOWAIT`, which brings nothing in.
        const DONTCACHE = 0x80;
    }
}

impl RwFlags {
    /// The flags of a call. Linux looks at them after the position and the descriptor, and not at
    /// all for a length of 0.
    ///
    /// # Errors
    /// `EOPNOTSUPP` for one that is not known or not implemented (`RWF_ATOMIC`);
    /// `EINVAL` for flags that contradict each other.
    pub fn from_raw(flags: u32) -> Result<Self, Errno> {
        let flags = Self::from_bits(flags).ok_or(Errno::OPNOTSUPP)?;
        if flags.contains(Self::APPEND | Self::NOAPPEND) { Err(Errno::INVAL) } else { Ok(flags) }
    }

    /// Whether a write does without what the flags ask for.
    ///
    /// # Errors
    /// `EOPNOTSUPP`: a write may wait.
    const fn may_write(self) -> Result<(), Errno> {
        if self.contains(Self::NOWAIT) { Err(Errno::OPNOTSUPP) } else { Ok(()) }
    }
}

impl<S: System> Description<S> {
    /// `read` and `readv`: reads at the position, and moves it behind what arrived. May sleep. No
    /// lock is held, which `token` shows.
    ///
    /// # Errors
    /// `EBADF` if the file is not open for reading; `EINVAL` if the last byte would lie past the
    /// largest position; what [`Inode::read`](faultless::filemap::Inode::read) returns. The
    /// position stays.
    pub fn read<U: UserMemory<Token: InodeLocks> + ?Sized, T: Task>(
        &self,
        token: &mut U::Token,
        to: &mut IovIter<'_, U>,
        task: &T,
    ) -> Result<usize, Errno> {
        self.read_with(token, to, RwFlags::empty(), task)
    }

    /// `preadv2` with `RWF_NOWAIT`, at the position: as [`read`](Self::read), but waits for no
    /// page and no store. Another read at the position is waited for, as on Linux.
    ///
    /// # Errors
    /// As `read`; `EAGAIN` if the first byte is not in the cache.
    pub fn try_read<U: UserMemory<Token: InodeLocks> + ?Sized, T: Task>(
        &self,
        token: &mut U::Token,
        to: &mut IovIter<'_, U>,
        task: &T,
    ) -> Result<usize, Errno> {
        self.read_with(token, to, RwFlags::NOWAIT, task)
    }

    /// `preadv2` at the position, with `flags`: those that are for writes have no effect.
    ///
    /// # Errors
    /// As [`read`](Self::read), or [`try_read`](Self::try_read) with [`RwFlags::NOWAIT`].
    pub fn read_with<U: UserMemory<Token: InodeLocks> + ?Sized, T: Task>(
        &self,
        token: &mut U::Token,
        to: &mut IovIter<'_, U>,
        flags: RwFlags,
        task: &T,
    ) -> Result<usize, Errno> {
        self.need(AccessMode::READ)?;
        let _held = self.lock_position(task)?;
        let position = *self.position.lock();
        ends(position, to)?;
        let bytes = self.read_by(token, to, position, flags, task)?;
        *self.position.lock() = position + bytes as u64;
        Ok(bytes)
    }

    /// `preadv2` at `position`, with `flags`: as [`read_with`](Self::read_with). The file's own
    /// position stays.
    ///
    /// # Errors
    /// As `read_with`; `EINVAL` for a position that is negative as a signed number.
    pub fn read_at_with<U: UserMemory<Token: InodeLocks> + ?Sized, T: Task>(
        &self,
        token: &mut U::Token,
        to: &mut IovIter<'_, U>,
        position: u64,
        flags: RwFlags,
        task: &T,
    ) -> Result<usize, Errno> {
        signed(position)?;
        self.need(AccessMode::READ)?;
        ends(position, to)?;
        Ok(self.read_by(token, to, position, flags, task)?)
    }

    /// Reads the file as `flags` say.
    fn read_by<U: UserMemory<Token: InodeLocks> + ?Sized, T: Task>(
        &self,
        token: &mut U::Token,
        to: &mut IovIter<'_, U>,
        position: u64,
        flags: RwFlags,
        task: &T,
    ) -> Result<usize, CacheErrno> {
        let (inode, ahead) = (self.inode(), &self.ahead);
        if flags.contains(RwFlags::NOWAIT) {
            inode.try_read(token, to, position, task)
        } else if flags.contains(RwFlags::DONTCACHE) {
            inode.read_behind(token, to, position, ahead, &self.behind, task)
        } else {
            inode.read_ahead(token, to, position, ahead, task)
        }
    }

    /// `pread`, `preadv` and `preadv2` at `position`. The file's own stays.
    ///
    /// # Errors
    /// As [`read`](Self::read); `EINVAL` for a position that is negative as a signed number.
    pub fn read_at<U: UserMemory<Token: InodeLocks> + ?Sized, T: Task>(
        &self,
        token: &mut U::Token,
        to: &mut IovIter<'_, U>,
        position: u64,
        task: &T,
    ) -> Result<usize, Errno> {
        self.read_at_with(token, to, position, RwFlags::empty(), task)
    }

    /// `preadv2` with `RWF_NOWAIT` at `position`: as [`try_read`](Self::try_read).
    ///
    /// # Errors
    /// As [`read_at`](Self::read_at); `EAGAIN` if the first byte is not in the cache.
    pub fn try_read_at<U: UserMemory<Token: InodeLocks> + ?Sized, T: Task>(
        &self,
        token: &mut U::Token,
        to: &mut IovIter<'_, U>,
        position: u64,
        task: &T,
    ) -> Result<usize, Errno> {
        self.read_at_with(token, to, position, RwFlags::NOWAIT, task)
    }

    /// `write` and `writev`: writes at the position, or at the end with `O_APPEND`, and moves the
    /// position behind what landed. May sleep. No lock is held.
    ///
    /// # Errors
    /// `EBADF` if the file is not open for writing; `EINVAL` if the last byte would lie past the
    /// largest position, also for a write that appends; `EOPNOTSUPP` for [`RwFlags::NOWAIT`]; what
    /// [`Inode::write`](faultless::filemap::Inode::write) returns, and what a sync does that
    /// `O_DSYNC` or `O_SYNC` asks for, although bytes have landed then (W11). The position stays
    /// (W3).
    pub fn write<U: UserMemory<Token: InodeLocks> + ?Sized, T: Task>(
        &self,
        token: &mut U::Token,
        from: &mut IovIter<'_, U>,
        flags: RwFlags,
        task: &T,
    ) -> Result<usize, Errno> {
        self.need(AccessMode::WRITE)?;
        flags.may_write()?;
        // Held across the sync, too: the position moves only if that succeeds.
        let _held = self.lock_position(task)?;
        let position = *self.position.lock();
        ends(position, from)?;
        let written = self.write_by(token, from, position, flags, task)?;
        let bytes = self.sync_written(token, written, flags, task)?;
        if bytes > 0 {
            *self.position.lock() = written.end;
        }
        Ok(bytes)
    }

    /// `pwrite`, `pwritev` and `pwritev2` at `position`; at the end with `O_APPEND`, as on Linux.
    /// The file's own position stays.
    ///
    /// # Errors
    /// As [`write`](Self::write); `EINVAL` for a position that is negative as a signed number.
    pub fn write_at<U: UserMemory<Token: InodeLocks> + ?Sized, T: Task>(
        &self,
        token: &mut U::Token,
        from: &mut IovIter<'_, U>,
        position: u64,
        flags: RwFlags,
        task: &T,
    ) -> Result<usize, Errno> {
        signed(position)?;
        self.need(AccessMode::WRITE)?;
        flags.may_write()?;
        ends(position, from)?;
        let written = self.write_by(token, from, position, flags, task)?;
        self.sync_written(token, written, flags, task)
    }

    /// Writes the file as `flags` say, and syncs nothing.
    fn write_by<U: UserMemory<Token: InodeLocks> + ?Sized, T: Task>(
        &self,
        token: &mut U::Token,
        from: &mut IovIter<'_, U>,
        position: u64,
        flags: RwFlags,
        task: &T,
    ) -> Result<Written, CacheErrno> {
        let options = self.options(position, flags);
        if flags.contains(RwFlags::DONTCACHE) {
            self.inode().write_behind(token, from, &options, &self.behind, task)
        } else {
            self.inode().write(token, from, &options, task)
        }
    }

    fn options(&self, position: u64, flags: RwFlags) -> WriteOptions {
        let file_appends =
            self.flags() & linux::O_APPEND != 0 && !flags.contains(RwFlags::NOAPPEND);
        let position = if file_appends || flags.contains(RwFlags::APPEND) {
            Position::Append
        } else {
            Position::At(position)
        };
        WriteOptions::to(position)
    }

    /// Makes durable what a write has written, if it is to be; what the write returns.
    fn sync_written<T: Task>(
        &self,
        token: &mut impl InodeLocks,
        written: Written,
        flags: RwFlags,
        task: &T,
    ) -> Result<usize, Errno> {
        if let Some(kind) = self.sync_kind(flags)
            && written.bytes > 0
        {
            let range = written.end - written.bytes as u64..written.end;
            self.sync_range_of(token, kind, range, task)?;
        }
        Ok(written.bytes)
    }

    fn sync_kind(&self, flags: RwFlags) -> Option<SyncKind> {
        let own = self.flags();
        // `O_SYNC` has the bit of `O_DSYNC` and one more.
        if own & linux::O_SYNC == linux::O_SYNC || flags.contains(RwFlags::SYNC) {
            Some(SyncKind::All)
        } else if own & linux::O_DSYNC != 0 || flags.contains(RwFlags::DSYNC) {
            Some(SyncKind::Data)
        } else {
            None
        }
    }
}

/// Checks a position that a program gave as a signed number.
///
/// # Errors
/// `EINVAL`: it is negative.
pub(super) const fn signed(position: u64) -> Result<(), Errno> {
    if position > i64::MAX as u64 { Err(Errno::INVAL) } else { Ok(()) }
}

/// Checks that a request at `position` ends where a position can be.
///
/// # Errors
/// `EINVAL`: it does not.
fn ends<U: UserMemory + ?Sized>(position: u64, bytes: &IovIter<'_, U>) -> Result<(), Errno> {
    signed(position.saturating_add(bytes.count() as u64))
}
