//! An open file, of whatever kind.
#![forbid(unsafe_code)]

use core::any::Any;

use alloc::sync::Arc;
use alloc::vec::Vec;

use bitflags::bitflags;

use faultless::prelude::MayFault;
use faultless_posix::{Errno, RwFlags};
use linux_raw_sys::general as linux;

use crate::files::directory::OpenDirectory;
use crate::files::edges::Seen;
use crate::files::nodes::Attributes;
use crate::files::regular::Regular;
use crate::files::vnode::Handle;
use crate::memory::UserBytes;
use crate::task::Running;

/// A counted handle of an open file, which descriptors share.
pub(crate) type OpenFile = Arc<dyn File>;

bitflags! {
    /// What can be done without waiting, as `poll` has it.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub(crate) struct Ready: u32 {
        const IN = linux::POLLIN;
        const OUT = linux::POLLOUT;
        const HANG_UP = linux::POLLHUP;
        const ERROR = linux::POLLERR;
        /// The other side sends no more.
        const HANG_UP_IN = linux::POLLRDHUP;
    }
}

impl Ready {
    /// What is told whether it was asked for or not.
    pub(crate) const ALWAYS: Self = Self::HANG_UP.union(Self::ERROR);

    /// The bits of `poll` that a program is told of that asks for these.
    pub(crate) fn told(self, asked: u32) -> u32 {
        let mut all = self.bits();
        // Nothing is read or written out of its turn.
        for (ready, normal) in [(Self::IN, linux::POLLRDNORM), (Self::OUT, linux::POLLWRNORM)] {
            all |= if self.contains(ready) { normal } else { 0 };
        }
        all & (asked | Self::ALWAYS.bits())
    }
}

/// An open file. What a kind does not know fails as on Linux.
pub(crate) trait File: Send + Sync {
    /// `read`. May sleep.
    ///
    /// # Errors
    /// `EINVAL` if it cannot be read.
    fn read(&self, _token: &mut MayFault, _to: &mut UserBytes<'_>) -> Result<usize, Errno> {
        Err(Errno::INVAL)
    }

    /// `write`. May sleep.
    ///
    /// # Errors
    /// `EINVAL` if it cannot be written.
    fn write(&self, _token: &mut MayFault, _from: &mut UserBytes<'_>) -> Result<usize, Errno> {
        Err(Errno::INVAL)
    }

    /// As [`write`](Self::write), of bytes of the kernel's (`splice`, `sendfile`). May sleep.
    ///
    /// # Errors
    /// `EINVAL` if it cannot be written that way.
    fn put(&self, _bytes: &[u8]) -> Result<usize, Errno> {
        Err(Errno::INVAL)
    }

    /// As [`read`](Self::read), to bytes of the kernel's, and with no position moved. May sleep.
    ///
    /// # Errors
    /// `EINVAL` if it cannot be read that way.
    fn take(&self, _bytes: &mut [u8]) -> Result<usize, Errno> {
        Err(Errno::INVAL)
    }

    /// `pread`. May sleep.
    ///
    /// # Errors
    /// `ESPIPE` if a position means nothing to it.
    fn read_at(
        &self,
        _token: &mut MayFault,
        _to: &mut UserBytes<'_>,
        _position: u64,
    ) -> Result<usize, Errno> {
        Err(Errno::SPIPE)
    }

    /// `pwrite`. May sleep.
    ///
    /// # Errors
    /// `ESPIPE` if a position means nothing to it.
    fn write_at(
        &self,
        _token: &mut MayFault,
        _from: &mut UserBytes<'_>,
        _position: u64,
    ) -> Result<usize, Errno> {
        Err(Errno::SPIPE)
    }

    /// `lseek`. May sleep.
    ///
    /// # Errors
    /// `ESPIPE` if a position means nothing to it; `EINVAL` for one that cannot be.
    fn seek(&self, _token: &mut MayFault, _offset: i64, _whence: u32) -> Result<u64, Errno> {
        Err(Errno::SPIPE)
    }

    /// Opens it once more, by `/proc/self/fd`.
    ///
    /// # Errors
    /// `ENXIO` if that is not possible.
    fn again(&self, _flags: u32) -> Result<OpenFile, Errno> {
        Err(Errno::NXIO)
    }

    /// The path that it was opened by, from the root.
    fn path(&self) -> Option<Vec<u8>> {
        None
    }

    /// Its node, unless it was made without a name.
    fn node(&self) -> Option<&Handle> {
        None
    }

    /// As what it is, of kinds that some calls have to know: see `kind`.
    fn as_any(&self) -> Option<&dyn Any> {
        None
    }

    /// `fstat`. May sleep.
    ///
    /// # Errors
    /// `EIO`.
    fn attributes(&self) -> Result<Attributes, Errno>;

    /// `ioctl`.
    ///
    /// # Errors
    /// `ENOTTY` for a request that it does not know.
    fn control(
        &self,
        _token: &mut MayFault,
        _request: u32,
        _argument: usize,
    ) -> Result<usize, Errno> {
        Err(Errno::NOTTY)
    }

    /// Its position, in bytes; 0 for one that has none.
    fn position(&self) -> u64 {
        0
    }

    /// The flags of `open`, as `F_GETFL` returns them.
    fn flags(&self) -> u32;

    /// `F_SETFL`.
    fn set_flags(&self, flags: u32);

    /// What can be done without waiting.
    fn ready(&self) -> Ready {
        Ready::IN | Ready::OUT
    }

    /// How often it became ready; none for a kind that does not count, and is told of as long as it
    /// is ready.
    fn edges(&self) -> Option<Seen> {
        None
    }

    /// When it becomes ready by itself, on the monotonic clock.
    fn wakes_at(&self) -> Option<u64> {
        None
    }

    /// As a regular file, whose calls are those of [`Description`](faultless_posix::Description).
    fn regular(&self) -> Option<&Regular> {
        None
    }

    /// As a directory.
    fn directory(&self) -> Option<&OpenDirectory> {
        None
    }
}

impl dyn File {
    /// The open file as one of this kind, if it is one.
    pub(crate) fn kind<T: Any>(&self) -> Option<&T> {
        self.as_any()?.downcast_ref()
    }
}

impl File for Regular {
    fn read(&self, token: &mut MayFault, to: &mut UserBytes<'_>) -> Result<usize, Errno> {
        Self::read(self, token, to, None, RwFlags::empty())
    }

    fn write(&self, token: &mut MayFault, from: &mut UserBytes<'_>) -> Result<usize, Errno> {
        Self::write(self, token, from, None, RwFlags::empty())
    }

    fn read_at(
        &self,
        token: &mut MayFault,
        to: &mut UserBytes<'_>,
        position: u64,
    ) -> Result<usize, Errno> {
        Self::read(self, token, to, Some(position), RwFlags::empty())
    }

    fn write_at(
        &self,
        token: &mut MayFault,
        from: &mut UserBytes<'_>,
        position: u64,
    ) -> Result<usize, Errno> {
        Self::write(self, token, from, Some(position), RwFlags::empty())
    }

    fn seek(&self, token: &mut MayFault, offset: i64, whence: u32) -> Result<u64, Errno> {
        self.description().seek(token, offset, whence, &Running)
    }

    fn path(&self) -> Option<Vec<u8>> {
        Some(Self::path(self))
    }

    fn node(&self) -> Option<&Handle> {
        Some(Self::node(self))
    }

    fn attributes(&self) -> Result<Attributes, Errno> {
        Self::node(self).attributes()
    }

    fn position(&self) -> u64 {
        self.description().position()
    }

    fn flags(&self) -> u32 {
        self.description().flags()
    }

    fn set_flags(&self, flags: u32) {
        self.description().set_flags(flags);
    }

    fn regular(&self) -> Option<&Self> {
        Some(self)
    }
}

impl File for OpenDirectory {
    fn read(&self, _token: &mut MayFault, _to: &mut UserBytes<'_>) -> Result<usize, Errno> {
        Err(Errno::ISDIR)
    }

    fn write(&self, _token: &mut MayFault, _from: &mut UserBytes<'_>) -> Result<usize, Errno> {
        Err(Errno::BADF)
    }

    fn read_at(
        &self,
        _token: &mut MayFault,
        _to: &mut UserBytes<'_>,
        _position: u64,
    ) -> Result<usize, Errno> {
        Err(Errno::ISDIR)
    }

    fn write_at(
        &self,
        _token: &mut MayFault,
        _from: &mut UserBytes<'_>,
        _position: u64,
    ) -> Result<usize, Errno> {
        Err(Errno::BADF)
    }

    fn seek(&self, _token: &mut MayFault, offset: i64, whence: u32) -> Result<u64, Errno> {
        Self::seek(self, offset, whence)
    }

    fn node(&self) -> Option<&Handle> {
        Some(Self::node(self))
    }

    fn attributes(&self) -> Result<Attributes, Errno> {
        Self::node(self).attributes()
    }

    fn flags(&self) -> u32 {
        Self::flags(self)
    }

    fn set_flags(&self, flags: u32) {
        Self::set_flags(self, flags);
    }

    fn directory(&self) -> Option<&Self> {
        Some(self)
    }
}
