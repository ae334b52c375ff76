//! Open files beside those that move bytes: a place without what is there (`O_PATH`), and what a
//! name of a FIFO or a device stands for.
#![forbid(unsafe_code)]

use core::any::Any;

use alloc::vec::Vec;

use faultless::prelude::MayFault;
use faultless_posix::Errno;
use linux_raw_sys::general as linux;

use crate::files::file::{File, OpenFile, Ready};
use crate::files::nodes::Attributes;
use crate::files::paths::OpenedBy;
use crate::files::vnode::Handle;
use crate::files::watches::OpenNode;
use crate::memory::UserBytes;

/// The flags of an open file that stand for a place alone.
const KEPT: u32 = linux::O_PATH | linux::O_DIRECTORY | linux::O_NOFOLLOW;

/// A place in the tree (`O_PATH`): its node can be looked at, and paths begin there.
pub(super) struct PathOnly {
    node: Handle,
    flags: u32,
}

impl PathOnly {
    pub(super) const fn new(node: Handle, flags: u32) -> Self {
        Self { node, flags: flags & KEPT }
    }
}

impl File for PathOnly {
    fn node(&self) -> Option<&Handle> {
        Some(&self.node)
    }

    fn attributes(&self) -> Result<Attributes, Errno> {
        self.node.attributes()
    }

    fn flags(&self) -> u32 {
        self.flags
    }

    fn set_flags(&self, _flags: u32) {}
}

/// An open device or an end of a FIFO, with the node that it was opened by.
pub(super) struct Named {
    pub(super) node: Handle,
    pub(super) path: OpenedBy,
    pub(super) inner: OpenFile,
    pub(super) _opened: OpenNode,
}

impl File for Named {
    fn read(&self, token: &mut MayFault, to: &mut UserBytes<'_>) -> Result<usize, Errno> {
        self.inner.read(token, to)
    }

    fn write(&self, token: &mut MayFault, from: &mut UserBytes<'_>) -> Result<usize, Errno> {
        self.inner.write(token, from)
    }

    fn put(&self, bytes: &[u8]) -> Result<usize, Errno> {
        self.inner.put(bytes)
    }

    fn take(&self, bytes: &mut [u8]) -> Result<usize, Errno> {
        self.inner.take(bytes)
    }

    fn read_at(
        &self,
        token: &mut MayFault,
        to: &mut UserBytes<'_>,
        position: u64,
    ) -> Result<usize, Errno> {
        self.inner.read_at(token, to, position)
    }

    fn write_at(
        &self,
        token: &mut MayFault,
        from: &mut UserBytes<'_>,
        position: u64,
    ) -> Result<usize, Errno> {
        self.inner.write_at(token, from, position)
    }

    fn seek(&self, token: &mut MayFault, offset: i64, whence: u32) -> Result<u64, Errno> {
        self.inner.seek(token, offset, whence)
    }

    fn path(&self) -> Option<Vec<u8>> {
        Some(self.path.absolute())
    }

    fn node(&self) -> Option<&Handle> {
        Some(&self.node)
    }

    fn as_any(&self) -> Option<&dyn Any> {
        self.inner.as_any()
    }

    fn attributes(&self) -> Result<Attributes, Errno> {
        self.node.attributes()
    }

    fn control(&self, token: &mut MayFault, request: u32, argument: usize) -> Result<usize, Errno> {
        self.inner.control(token, request, argument)
    }

    fn flags(&self) -> u32 {
        self.inner.flags()
    }

    fn set_flags(&self, flags: u32) {
        self.inner.set_flags(flags);
    }

    fn ready(&self) -> Ready {
        self.inner.ready()
    }
}
