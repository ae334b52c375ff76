//! Open regular files: everything is Faultless'.
#![forbid(unsafe_code)]

use linux_raw_sys::general as linux;

use crate::files::vnode::Handle;
use crate::memory::Open;

/// An open regular file.
pub(crate) struct Regular {
    node: Handle,
    description: Open,
}

impl Regular {
    pub(super) const fn new(node: Handle, description: Open) -> Self {
        Self { node, description }
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
