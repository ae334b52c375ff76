//! Open regular files: everything is Faultless'.
#![forbid(unsafe_code)]

use alloc::vec::Vec;

use linux_raw_sys::general as linux;

use crate::files::paths::OpenedBy;
use crate::files::vnode::Handle;
use crate::memory::Open;

/// An open regular file.
pub(crate) struct Regular {
    node: Handle,
    description: Open,
    path: OpenedBy,
}

impl Regular {
    pub(super) const fn new(node: Handle, description: Open, path: OpenedBy) -> Self {
        Self { node, description, path }
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
