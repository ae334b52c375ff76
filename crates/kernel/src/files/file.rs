//! An open file, of whatever kind.
#![forbid(unsafe_code)]

use alloc::sync::Arc;

use bitflags::bitflags;

use faultless::prelude::MayFault;
use faultless_posix::{Errno, RwFlags};
use linux_raw_sys::general as linux;

use crate::files::directory::OpenDirectory;
use crate::files::nodes::Attributes;
use crate::files::regular::Regular;
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

    /// The flags of `open`, as `F_GETFL` returns them.
    fn flags(&self) -> u32;

    /// `F_SETFL`.
    fn set_flags(&self, flags: u32);

    /// What can be done without waiting.
    fn ready(&self) -> Ready {
        Ready::IN | Ready::OUT
    }

    /// As a regular file, whose calls are those of [`Description`](faultless_posix::Description).
    fn regular(&self) -> Option<&Regular> {
        None
    }

    /// As a directory.
    fn directory(&self) -> Option<&OpenDirectory> {
        None
    }

    /// Whether a position means nothing to it: `lseek` fails.
    fn is_stream(&self) -> bool {
        true
    }
}

impl File for Regular {
    fn read(&self, token: &mut MayFault, to: &mut UserBytes<'_>) -> Result<usize, Errno> {
        let bytes = self.description().read(token, to, &Running)?;
        self.accessed();
        Ok(bytes)
    }

    fn write(&self, token: &mut MayFault, from: &mut UserBytes<'_>) -> Result<usize, Errno> {
        self.description().write(token, from, RwFlags::empty(), &Running)
    }

    fn attributes(&self) -> Result<Attributes, Errno> {
        self.node().attributes()
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

    fn is_stream(&self) -> bool {
        false
    }
}

impl File for OpenDirectory {
    fn read(&self, _token: &mut MayFault, _to: &mut UserBytes<'_>) -> Result<usize, Errno> {
        Err(Errno::ISDIR)
    }

    fn write(&self, _token: &mut MayFault, _from: &mut UserBytes<'_>) -> Result<usize, Errno> {
        Err(Errno::BADF)
    }

    fn attributes(&self) -> Result<Attributes, Errno> {
        self.node().attributes()
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
