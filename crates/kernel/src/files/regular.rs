//! Open regular files: everything is Faultless'.
#![forbid(unsafe_code)]

use alloc::vec::Vec;

use faultless_posix::Errno;
use linux_raw_sys::general as linux;

use crate::files::paths::OpenedBy;
use crate::files::uses::Use;
use crate::files::vnode::Handle;
use crate::memory::Open;

/// An open regular file.
pub(crate) struct Regular {
    node: Handle,
    description: Open,
    path: OpenedBy,
    /// It is open for writing.
    _writing: Option<Use>,
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
        Ok(Self { node, description, path, _writing: writing })
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

    /// The file was read.
    pub(crate) fn accessed(&self) {
        if self.description.flags() & linux::O_NOATIME == 0 {
            self.node.accessed();
        }
    }
}
