//! Open regular files: everything is Faultless'.
#![forbid(unsafe_code)]

use alloc::vec::Vec;

use faultless::prelude::MayFault;
use faultless_posix::{Errno, RwFlags};
use linux_raw_sys::general as linux;

use crate::files::paths::OpenedBy;
use crate::files::uses::Use;
use crate::files::vnode::Handle;
use crate::files::watches::{OpenNode, notify};
use crate::memory::{Open, UserBytes};
use crate::task::Running;

/// An open regular file.
pub(crate) struct Regular {
    node: Handle,
    description: Open,
    path: OpenedBy,
    /// It is open for writing.
    _writing: Option<Use>,
    _opened: OpenNode,
}

impl Regular {
    /// What `open` has made of a node.
    ///
    /// # Errors
    /// `ETXTBSY`: it is to be written, and is a running program.
    pub(super) fn new(node: Handle, description: Open, path: OpenedBy) -> Result<Self, Errno> {
        let flags = description.flags();
        let writes = flags & linux::O_PATH == 0 && flags & linux::O_ACCMODE != linux::O_RDONLY;
        let writing = if writes { Some(Use::writing(&*node)?) } else { None };
        let opened = OpenNode::new(&node, flags);
        Ok(Self { node, description, path, _writing: writing, _opened: opened })
    }

    /// The path that it was opened by; without a name any more, with a remark.
    pub(super) fn path(&self) -> Vec<u8> {
        let is_named = self.node.attributes().is_ok_and(|told| told.status.links > 0);
        let path = self.path.absolute();
        if is_named { path } else { [&*path, b" (deleted)"].concat() }
    }

    /// Its position and flags, and what can be done with it.
    pub(crate) const fn description(&self) -> &Open {
        &self.description
    }

    /// Its node.
    pub(crate) const fn node(&self) -> &Handle {
        &self.node
    }

    /// `preadv2`: at a position, or at the file's own. May sleep.
    ///
    /// # Errors
    /// Those of the description; `EINVAL` for what `O_DIRECT` does not allow.
    pub(crate) fn read(
        &self,
        token: &mut MayFault,
        to: &mut UserBytes<'_>,
        position: Option<u64>,
        flags: RwFlags,
    ) -> Result<usize, Errno> {
        let open = &self.description;
        if let Some(unit) = self.direct_alignment() {
            let at = self.position(token, position)?;
            // Behind the end there is nothing to transfer.
            if at < open.inode().size() {
                need_aligned(to, at, unit)?;
            }
        }
        let bytes = match position {
            Some(position) => open.read_at_with(token, to, position, flags, &Running)?,
            None => open.read_with(token, to, flags, &Running)?,
        };
        self.accessed(bytes);
        Ok(bytes)
    }

    /// `pwritev2`: at a position, or at the file's own. May sleep.
    ///
    /// # Errors
    /// As [`read`](Self::read).
    pub(crate) fn write(
        &self,
        token: &mut MayFault,
        from: &mut UserBytes<'_>,
        position: Option<u64>,
        flags: RwFlags,
    ) -> Result<usize, Errno> {
        let open = &self.description;
        if let Some(unit) = self.direct_alignment() {
            let appends = open.flags() & linux::O_APPEND != 0;
            let at = if appends { open.inode().size() } else { self.position(token, position)? };
            need_aligned(from, at, unit)?;
        }
        let bytes = match position {
            Some(position) => open.write_at(token, from, position, flags, &Running)?,
            None => open.write(token, from, flags, &Running)?,
        };
        self.modified(bytes);
        Ok(bytes)
    }

    /// What bytes have to lie in whole multiples of to go past the cache (`O_DIRECT`). They are in
    /// the cache all the same, where all others see them.
    fn direct_alignment(&self) -> Option<usize> {
        let is_direct = self.description.flags() & linux::O_DIRECT != 0;
        is_direct.then(|| self.node.direct_alignment() as usize)
    }

    fn position(&self, token: &mut MayFault, position: Option<u64>) -> Result<u64, Errno> {
        let own = |token| self.description.seek(token, 0, linux::SEEK_CUR, &Running);
        position.map_or_else(|| own(token), Ok)
    }

    /// So many bytes of the file were read.
    pub(crate) fn accessed(&self, bytes: usize) {
        if self.description.flags() & linux::O_NOATIME == 0 {
            self.node.accessed();
        }
        if bytes > 0 {
            notify(&self.node, linux::IN_ACCESS);
        }
    }

    /// So many bytes of the file were written.
    pub(crate) fn modified(&self, bytes: usize) {
        if bytes > 0 {
            notify(&self.node, linux::IN_MODIFY);
        }
    }
}

/// Checks that bytes lie in whole units, in the file and in memory.
///
/// # Errors
/// `EINVAL`.
fn need_aligned(bytes: &mut UserBytes<'_>, position: u64, unit: usize) -> Result<(), Errno> {
    let count = bytes.count();
    let mut is_aligned = count == 0 || position.is_multiple_of(unit as u64);
    while is_aligned && bytes.count() > 0 {
        let segment = bytes.segment();
        let start = segment.addr().get();
        is_aligned = start.is_multiple_of(unit) && segment.len().is_multiple_of(unit);
        bytes.advance(segment.len());
    }
    bytes.revert(count - bytes.count());
    if is_aligned { Ok(()) } else { Err(Errno::INVAL) }
}
