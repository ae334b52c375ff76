//! Open regular files: everything is Faultless'.
#![forbid(unsafe_code)]

use alloc::sync::Arc;

use faultless_posix::{Accessed, Node};
use linux_raw_sys::general as linux;

use crate::memory::{Machine, Open};
use crate::task::caller;

/// An open regular file.
#[derive(Debug)]
pub(crate) struct Regular {
    node: Arc<Node<Machine>>,
    description: Open,
}

impl Regular {
    pub(super) const fn new(node: Arc<Node<Machine>>, description: Open) -> Self {
        Self { node, description }
    }

    /// Its position and flags, and what can be done with it.
    pub(crate) const fn description(&self) -> &Open {
        &self.description
    }

    /// Its node.
    pub(crate) const fn node(&self) -> &Arc<Node<Machine>> {
        &self.node
    }

    /// The file was read.
    pub(crate) fn accessed(&self) {
        if self.description.flags() & linux::O_NOATIME == 0 {
            self.node.accessed_at(Accessed::Now(caller().now));
        }
    }
}
