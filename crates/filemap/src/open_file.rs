//! An open file: a position and flags over an [`Inode`], with the rules of `write(2)` for both (W3, W8).
#![forbid(unsafe_code)]

use bitflags::bitflags;
use faultless_page::{Errno, Kernel, SyncKind};
use faultless_usercopy::{IovIter, MayFault, UserMemory};

use crate::inode::Inode;
use crate::options::{Position, WriteOptions};
use crate::task::Task;

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

/// An open file description. The embedder's lock of the position (Linux's `f_pos_lock`) is the `&mut`.
#[derive(Clone, Copy, Debug, Default)]
#[doc(alias = "struct file")]
pub struct OpenFile {
    position: u64,
    flags: OpenFlags,
}

impl OpenFile {
    /// An open file at position 0.
    #[must_use]
    pub const fn new(flags: OpenFlags) -> Self {
        Self { position: 0, flags }
    }

    /// The position of the next read or write, in bytes.
    #[must_use]
    pub const fn position(&self) -> u64 {
        self.position
    }

    /// Moves the position.
    ///
    /// # Errors
    /// [`Errno::Invalid`] beyond [`MAX_FILE_SIZE`](faultless_page::MAX_FILE_SIZE); the position stays.
    #[doc(alias = "lseek")]
    pub fn seek(&mut self, position: u64) -> Result<(), Errno> {
        if position > faultless_page::MAX_FILE_SIZE {
            return Err(Errno::Invalid);
        }
        self.position = position;
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
        let sync = if self.flags.contains(OpenFlags::SYNC) {
            Some(SyncKind::All)
        } else if self.flags.contains(OpenFlags::DATA_SYNC) {
            Some(SyncKind::Data)
        } else {
            None
        };
        WriteOptions { position, sync, strategy: None }
    }

    /// `write(2)`: writes at the position, or at the end with [`OpenFlags::APPEND`]; moves the position behind
    /// what landed, and not at all on an error (W3).
    ///
    /// # Errors
    /// As [`Inode::write`].
    pub fn write<K: Kernel, U: UserMemory, T: Task>(
        &mut self,
        inode: &Inode<K>,
        may: &mut MayFault,
        user: &U,
        from: &mut IovIter<'_>,
        task: &T,
    ) -> Result<usize, Errno> {
        let options = self.write_options(self.position);
        let written = inode.write(may, user, from, &options, task)?;
        if written.bytes > 0 {
            self.position = written.end;
        }
        Ok(written.bytes)
    }

    /// `pwrite(2)`: writes at `position`; the file's own stays. With [`OpenFlags::APPEND`] it appends, as Linux does.
    ///
    /// # Errors
    /// As [`Inode::write`].
    pub fn write_at<K: Kernel, U: UserMemory, T: Task>(
        &self,
        inode: &Inode<K>,
        may: &mut MayFault,
        user: &U,
        from: &mut IovIter<'_>,
        position: u64,
        task: &T,
    ) -> Result<usize, Errno> {
        let options = self.write_options(position);
        inode.write(may, user, from, &options, task).map(|written| written.bytes)
    }

    /// `read(2)`: reads at the position and moves it behind what arrived.
    ///
    /// # Errors
    /// As [`Inode::read`]; the position stays.
    pub fn read<K: Kernel, U: UserMemory, T: Task>(
        &mut self,
        inode: &Inode<K>,
        may: &mut MayFault,
        user: &U,
        to: &mut IovIter<'_>,
        task: &T,
    ) -> Result<usize, Errno> {
        let bytes = inode.read(may, user, to, self.position, task)?;
        self.position += bytes as u64;
        Ok(bytes)
    }
}
