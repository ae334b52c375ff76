//! Directories: as places that paths begin at, and open, to be listed.
#![forbid(unsafe_code)]

use core::sync::atomic::AtomicU32;
use core::sync::atomic::Ordering::Relaxed;

use alloc::vec::Vec;

use faultless::prelude::MayFault;
use faultless_posix::Errno;
use linux_raw_sys::general as linux;

use crate::files::vnode::{Entry, Handle};
use crate::files::watches::{OpenNode, notify};
use crate::memory::put;
use crate::waits::SleepLock;

/// A directory, where a path may begin.
pub(crate) type Directory = Handle;

/// Bytes of `struct linux_dirent64` before the name.
const ENTRY: usize = 19;

/// Bytes of `struct linux_dirent` before the name.
const OLD_ENTRY: usize = 18;

/// An open directory.
pub(crate) struct OpenDirectory {
    node: Directory,
    flags: AtomicU32,
    /// The cookie of the next entry.
    position: SleepLock<u64>,
    _opened: OpenNode,
}

impl OpenDirectory {
    pub(super) fn new(node: Directory, flags: u32) -> Self {
        let (opened, position) = (OpenNode::new(&node, flags), SleepLock::new(0));
        Self { node, flags: AtomicU32::new(flags), position, _opened: opened }
    }

    /// Its node.
    pub(crate) const fn node(&self) -> &Directory {
        &self.node
    }

    /// The flags of `open`.
    pub(super) fn flags(&self) -> u32 {
        self.flags.load(Relaxed) | linux::O_DIRECTORY
    }

    pub(super) fn set_flags(&self, flags: u32) {
        self.flags.store(flags, Relaxed);
    }

    /// `getdents64` into `len` bytes at `to`; how many were filled.
    ///
    /// # Errors
    /// `EINVAL` if not even one entry fits; `EFAULT`; `ENOENT` if the directory was removed.
    pub(crate) fn list(&self, token: &mut MayFault, to: usize, len: usize) -> Result<usize, Errno> {
        self.list_by(token, to, len, |entry| {
            let size = (ENTRY + entry.name.len() + 1).next_multiple_of(8);
            let mut bytes = Vec::with_capacity(size);
            bytes.extend_from_slice(&entry.number.to_ne_bytes());
            bytes.extend_from_slice(&entry.next.to_ne_bytes());
            bytes.extend_from_slice(&(size as u16).to_ne_bytes());
            bytes.push(entry.kind);
            bytes.extend_from_slice(&entry.name);
            bytes.resize(size, 0);
            bytes
        })
    }

    /// As [`list`](Self::list), by `getdents`.
    ///
    /// # Errors
    /// As [`list`](Self::list).
    pub(crate) fn list_old(
        &self,
        token: &mut MayFault,
        to: usize,
        len: usize,
    ) -> Result<usize, Errno> {
        self.list_by(token, to, len, |entry| {
            let size = (OLD_ENTRY + entry.name.len() + 2).next_multiple_of(8);
            let mut bytes = Vec::with_capacity(size);
            bytes.extend_from_slice(&entry.number.to_ne_bytes());
            bytes.extend_from_slice(&entry.next.to_ne_bytes());
            bytes.extend_from_slice(&(size as u16).to_ne_bytes());
            bytes.extend_from_slice(&entry.name);
            bytes.resize(size - 1, 0);
            bytes.push(entry.kind);
            bytes
        })
    }

    fn list_by(
        &self,
        token: &mut MayFault,
        to: usize,
        len: usize,
        bytes_of: impl Fn(&Entry) -> Vec<u8>,
    ) -> Result<usize, Errno> {
        let mut position = self.position.lock();
        let end = self.node.end_cookie();
        if self.flags() & linux::O_NOATIME == 0 {
            self.node.accessed();
        }
        notify(&self.node, linux::IN_ACCESS);
        let mut done = 0;
        while let Some(entry) = self.node.entry(*position, end)? {
            let bytes = bytes_of(&entry);
            if bytes.len() > len - done {
                return if done == 0 { Err(Errno::INVAL) } else { Ok(done) };
            }
            match put(token, to.wrapping_add(done), &bytes) {
                Ok(()) => {}
                Err(errno) if done == 0 => return Err(errno),
                Err(_) => return Ok(done),
            }
            done += bytes.len();
            *position = entry.next;
        }
        Ok(done)
    }

    /// `lseek`, to a cookie.
    ///
    /// # Errors
    /// `EINVAL` for a place that is none.
    pub(crate) fn seek(&self, offset: i64, whence: u32) -> Result<u64, Errno> {
        let mut position = self.position.lock();
        let base = match whence {
            linux::SEEK_SET => 0,
            linux::SEEK_CUR => *position,
            _ => return Err(Errno::INVAL),
        };
        *position = base.checked_add_signed(offset).ok_or(Errno::INVAL)?;
        Ok(*position)
    }
}
