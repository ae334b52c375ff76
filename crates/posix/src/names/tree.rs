//! The tree: its root, and the lock of all changes that span several nodes.
//!
//! Key type: [`Tree`]. The calls are in the modules beside this one.
#![forbid(unsafe_code)]

use core::fmt;

use alloc::sync::Arc;

use faultless::page::{Spin, SpinLock};
use linux_raw_sys::general as linux;

use crate::errno::Errno;
use crate::names::node::{Attributes, Caller, Content, Node, PERMISSIONS, Place, Unnamed};
use crate::system::System;

/// The flags of a directory that what is made in it has, too: `FS_NODUMP_FL` and `FS_NOATIME_FL`.
const INHERITED: u32 = 0x40 | 0x80;

/// A tree of names in memory.
///
/// Every call takes the directory that a relative path begins at (the task's working directory, or
/// that of a descriptor), and a path without the 0 at its end. No call may have a short lock held,
/// none sleeps but for what a dropped file does, and one that fails has changed nothing, but for
/// times of access.
#[doc(alias = "tmpfs")]
#[doc(alias = "struct super_block")]
pub struct Tree<S: System> {
    device: u64,
    root: Arc<Node<S>>,
    /// Held while names are added and removed, and while links are counted.
    pub(super) changes: SpinLock<S::Kernel, ()>,
}

impl<S: System> Tree<S> {
    /// A tree with an empty root directory of this mode. `device` is the number that
    /// [`Status`](crate::Status) shows; no two trees of a kernel have the same.
    #[must_use]
    pub fn new(device: u64, caller: &Caller, mode: u32) -> Self {
        let attributes = Attributes { links: 2, ..Attributes::new(caller, mode) };
        let root = Node::new(device, Content::Directory, attributes, Place::None);
        Self { device, root, changes: Spin::new(()) }
    }

    /// The root directory.
    #[must_use]
    pub const fn root(&self) -> &Arc<Node<S>> {
        &self.root
    }

    /// The number that the tree was made with.
    #[must_use]
    pub const fn device(&self) -> u64 {
        self.device
    }

    /// Checks that a node belongs to this tree.
    ///
    /// # Errors
    /// `EXDEV` if not.
    pub(super) fn need_own(&self, node: &Node<S>) -> Result<(), Errno> {
        if node.device == self.device { Ok(()) } else { Err(Errno::XDEV) }
    }
}

impl Attributes {
    /// Those of a node that is made now, with one link.
    pub(super) const fn new(caller: &Caller, mode: u32) -> Self {
        let Caller { uid, gid, now } = *caller;
        Self {
            mode: mode & PERMISSIONS,
            uid,
            gid,
            links: 1,
            unnamed: Unnamed::ForGood,
            flags: 0,
            accessed: now,
            modified: now,
            changed: now,
        }
    }

    /// Those of a node that is made in a directory: set-group-id of the directory hands its group
    /// on, and to directories itself. A program that is to run as that group loses set-group-id if
    /// the caller is neither root nor of the group; further groups of the caller do not count.
    pub(super) fn new_in<S: System>(
        directory: &Node<S>,
        content: &Content<S>,
        caller: &Caller,
        mode: u32,
    ) -> Self {
        let mut attributes = Self::new(caller, mode);
        let of_directory = directory.state.lock().attributes;
        attributes.flags = of_directory.flags & INHERITED;
        if of_directory.mode & linux::S_ISGID != 0 {
            attributes.gid = of_directory.gid;
            let program = linux::S_ISGID | linux::S_IXGRP;
            let may = caller.uid == 0 || caller.gid == of_directory.gid;
            if matches!(content, Content::Directory) {
                attributes.mode |= linux::S_ISGID;
            } else if attributes.mode & program == program && !may {
                attributes.mode &= !linux::S_ISGID;
            }
        }
        if matches!(content, Content::Directory) {
            attributes.links = 2;
        }
        attributes
    }
}

impl<S: System> fmt::Debug for Tree<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tree").field("root", &self.root).finish_non_exhaustive()
    }
}
