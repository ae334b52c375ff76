//! An open file: a position and flags over an [`Inode`], with the rules of `write(2)` for both (W3,
//! W8).
#![forbid(unsafe_code)]

use core::ops::Range;

use bitflags::bitflags;
use faultless_page::{Errno, Kernel, SyncKind};
use faultless_usercopy::{IovIter, UserMemory};

use crate::errors::ErrorCursor;
use crate::inode::Inode;
use crate::options::{MsyncKind, Position, WriteOptions, Written};
use crate::pos::FilePos;
use crate::task::Task;
use crate::token::{InodeLocks, PageLocks};

bitflags! {
    /// How a file was opened, as far as reading and writing care.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
    pub struct OpenFlags: u32 {
        /// `O_APPEND`: each write goes to the end of the file.
        const APPEND = 1;
        /// `O_DSYNC`: each write is durable, with what is needed to read it back.
        const DATA_SYNC = 1 << 1;
        /// `O_SYNC`: each write is durable, with all metadata.
        const SYNC = 1 << 2;
    }
}

/// An open file description. The embedder's lock of the position (Linux's `f_pos_lock`) is the
/// `&mut`.
///
/// It remembers up to where it was told of failed writebacks of its inode: each sync through it,
/// and each write with [`OpenFlags::DATA_SYNC`] or [`OpenFlags::SYNC`], reports every failure since
/// its last one, once (F2). An embedder that syncs and reads through one description at the same
/// time keeps an [`ErrorCursor`] of its own, and calls [`Inode::fsync_since`].
#[derive(Clone, Copy, Debug, Default)]
#[doc(alias = "struct file")]
pub struct OpenFile {
    position: FilePos,
    flags: OpenFlags,
    errors: ErrorCursor,
}

impl OpenFile {
    /// An open file at position 0. A failed writeback that no caller has been told of yet is
    /// reported to it.
    #[must_use]
    pub fn new<K: Kernel>(inode: &Inode<K>, flags: OpenFlags) -> Self {
        Self { position: FilePos::ZERO, flags, errors: inode.error_cursor() }
    }

    /// The position of the next read or write, in bytes.
    #[must_use]
    pub const fn position(&self) -> u64 {
        self.position.get()
    }

    /// Moves the position.
    ///
    /// # Errors
    /// [`Errno::Invalid`] beyond [`MAX_FILE_SIZE`](faultless_page::MAX_FILE_SIZE); the position
    /// stays.
    #[doc(alias = "lseek")]
    pub fn seek(&mut self, position: u64) -> Result<(), Errno> {
        self.position = FilePos::new(position)?;
        Ok(())
    }

    /// The options that the flags ask for, at `position`.
    #[must_use]
    pub fn write_options(&self, position: u64) -> WriteOptions {
        let position = if self.flags.contains(OpenFlags::APPEND) {
            Position::Append
        } else {
            Position::At(position)
        };
        let options = WriteOptions::to(position);
        if self.flags.contains(OpenFlags::SYNC) {
            options.with_sync(SyncKind::All)
        } else if self.flags.contains(OpenFlags::DATA_SYNC) {
            options.with_sync(SyncKind::Data)
        } else {
            options
        }
    }

    /// `write(2)`: writes at the position, or at the end with [`OpenFlags::APPEND`]; moves the
    /// position behind what landed, and not at all on an error (W3).
    ///
    /// # Errors
    /// As [`Inode::write`].
    pub fn write<K: Kernel, U: UserMemory<Token: InodeLocks> + ?Sized, T: Task>(
        &mut self,
        inode: &Inode<K>,
        token: &mut U::Token,
        from: &mut IovIter<'_, U>,
        task: &T,
    ) -> Result<usize, Errno> {
        let options = self.write_options(self.position());
        let written = self.write_and_sync(inode, token, from, &options, task)?;
        if written.bytes > 0 {
            self.position = FilePos::clipped(written.end);
        }
        Ok(written.bytes)
    }

    /// `pwrite(2)`: writes at `position`; the file's own stays. With [`OpenFlags::APPEND`] it
    /// appends, as Linux does.
    ///
    /// # Errors
    /// As [`Inode::write`].
    pub fn write_at<K: Kernel, U: UserMemory<Token: InodeLocks> + ?Sized, T: Task>(
        &mut self,
        inode: &Inode<K>,
        token: &mut U::Token,
        from: &mut IovIter<'_, U>,
        position: u64,
        task: &T,
    ) -> Result<usize, Errno> {
        let options = self.write_options(position);
        self.write_and_sync(inode, token, from, &options, task).map(|written| written.bytes)
    }

    /// Writes, and syncs in the name of this open file.
    fn write_and_sync<K: Kernel, U: UserMemory<Token: InodeLocks> + ?Sized, T: Task>(
        &mut self,
        inode: &Inode<K>,
        token: &mut U::Token,
        from: &mut IovIter<'_, U>,
        options: &WriteOptions,
        task: &T,
    ) -> Result<Written, Errno> {
        let written = inode.write(token, from, &options.without_sync(), task)?;
        if let Some(kind) = options.sync()
            && written.bytes > 0
        {
            let range = written.end - written.bytes as u64..written.end;
            inode.fsync_since(token, kind, range, &mut self.errors, task)?;
        }
        Ok(written)
    }

    /// `fsync(2)` and `fdatasync(2)`.
    ///
    /// # Errors
    /// As [`Inode::fsync_since`].
    #[doc(alias = "fdatasync")]
    pub fn fsync<K: Kernel, T: Task>(
        &mut self,
        inode: &Inode<K>,
        token: &mut impl PageLocks,
        kind: SyncKind,
        task: &T,
    ) -> Result<(), Errno> {
        inode.fsync_since(token, kind, 0..u64::MAX, &mut self.errors, task)
    }

    /// `msync(2)` of the bytes in `range`, through a mapping of this open file.
    ///
    /// # Errors
    /// [`MsyncKind::Sync`]: as [`Inode::fsync_since`].
    pub fn msync<K: Kernel, T: Task>(
        &mut self,
        inode: &Inode<K>,
        token: &mut impl PageLocks,
        range: Range<u64>,
        kind: MsyncKind,
        task: &T,
    ) -> Result<(), Errno> {
        match kind {
            MsyncKind::Async => Ok(()),
            MsyncKind::Sync => {
                inode.fsync_since(token, SyncKind::Data, range, &mut self.errors, task)
            }
        }
    }

    /// `read(2)`: reads at the position and moves it behind what arrived.
    ///
    /// # Errors
    /// As [`Inode::read`]; the position stays.
    pub fn read<K: Kernel, U: UserMemory<Token: InodeLocks> + ?Sized, T: Task>(
        &mut self,
        inode: &Inode<K>,
        token: &mut U::Token,
        to: &mut IovIter<'_, U>,
        task: &T,
    ) -> Result<usize, Errno> {
        let bytes = inode.read(token, to, self.position(), task)?;
        self.position = self.position.plus(bytes);
        Ok(bytes)
    }
}
