//! Texts that are made when they are opened, as those of `/proc`.
#![forbid(unsafe_code)]

use alloc::sync::Arc;
use alloc::vec::Vec;

use faultless::prelude::MayFault;
use faultless_posix::Errno;
use linux_raw_sys::general as linux;

use crate::files::file::{File, OpenFile};
use crate::files::nodes::Attributes;
use crate::files::vnode::Handle;
use crate::memory::{UserBytes, copy_out};
use crate::waits::SleepLock;

/// A text that is open. What is written to it is taken and forgotten.
struct Text {
    node: Handle,
    text: Vec<u8>,
    position: SleepLock<u64>,
    flags: u32,
}

/// Opens a text by its node.
pub(crate) fn text(node: Handle, text: Vec<u8>, flags: u32) -> OpenFile {
    Arc::new(Text { node, text, position: SleepLock::new(0), flags })
}

impl File for Text {
    fn read(&self, token: &mut MayFault, to: &mut UserBytes<'_>) -> Result<usize, Errno> {
        let mut position = self.position.lock();
        let done = self.read_at(token, to, *position)?;
        *position += done as u64;
        Ok(done)
    }

    fn read_at(
        &self,
        token: &mut MayFault,
        to: &mut UserBytes<'_>,
        position: u64,
    ) -> Result<usize, Errno> {
        let start = usize::try_from(position).map_or(self.text.len(), |at| at.min(self.text.len()));
        let rest = &self.text[start..];
        let len = rest.len().min(to.count());
        let done = copy_out(to, token, &rest[..len]);
        if done == 0 && len > 0 { Err(Errno::FAULT) } else { Ok(done) }
    }

    fn write(&self, _token: &mut MayFault, from: &mut UserBytes<'_>) -> Result<usize, Errno> {
        Ok(from.count())
    }

    fn seek(&self, _token: &mut MayFault, offset: i64, whence: u32) -> Result<u64, Errno> {
        let mut position = self.position.lock();
        let base = match whence {
            linux::SEEK_SET => 0,
            linux::SEEK_CUR => *position,
            _ => return Err(Errno::INVAL),
        };
        *position = base.checked_add_signed(offset).ok_or(Errno::INVAL)?;
        Ok(*position)
    }

    fn node(&self) -> Option<&Handle> {
        Some(&self.node)
    }

    fn attributes(&self) -> Result<Attributes, Errno> {
        self.node.attributes()
    }

    fn flags(&self) -> u32 {
        self.flags & linux::O_ACCMODE
    }

    fn set_flags(&self, _flags: u32) {}
}
