//! What removes names: `unlink`, `rmdir`.
//!
//! The node that loses its name moves out of the lock of the tree before its handle is dropped: it
//! may be the last one.
#![forbid(unsafe_code)]

use alloc::sync::Arc;

use faultless::page::Spin;

use crate::errno::Errno;
use crate::names::node::{Caller, Node, Place, Unnamed};
use crate::names::tree::Tree;
use crate::names::walk::{Last, Slash, Walk};
use crate::system::System;

impl<S: System> Tree<S> {
    /// `unlink`: removes a name. The node stays as long as it has others, or handles.
    ///
    /// # Errors
    /// `EISDIR` for a directory; `ENOTDIR` for a slash behind the name of something else; those of
    /// a path.
    pub fn unlink(&self, caller: &Caller, at: &Arc<Node<S>>, path: &[u8]) -> Result<(), Errno> {
        let mut walk = Walk::new(self, at, path, caller.now)?;
        let Last::Name(name, slash) = walk.reach_last()? else { return Err(Errno::ISDIR) };
        let name = walk.name(&name);
        let removed = {
            let _changes = self.changes.lock();
            let node = walk.current.get(name)?.ok_or(Errno::NOENT)?;
            if node.is_directory() {
                return Err(Errno::ISDIR);
            }
            if slash == Slash::Behind {
                return Err(Errno::NOTDIR);
            }
            let entry = walk.current.remove_entry(caller, name);
            node.lose_name(caller, &walk.current);
            (node, entry)
        };
        drop(removed);
        Ok(())
    }

    /// `rmdir`: removes an empty directory. Handles of it stay, and so does its `..`.
    ///
    /// # Errors
    /// `EINVAL` for `.`; `ENOTEMPTY`, also for `..`; `EBUSY` for the root; `ENOTDIR`; those of a
    /// path.
    pub fn remove_directory(
        &self,
        caller: &Caller,
        at: &Arc<Node<S>>,
        path: &[u8],
    ) -> Result<(), Errno> {
        let mut walk = Walk::new(self, at, path, caller.now)?;
        let name = match walk.reach_last()? {
            Last::Root => return Err(Errno::BUSY),
            Last::Dot => return Err(Errno::INVAL),
            Last::DotDot => return Err(Errno::NOTEMPTY),
            Last::Name(name, _) => name,
        };
        let name = walk.name(&name);
        let removed = {
            let _changes = self.changes.lock();
            let node = walk.current.get(name)?.ok_or(Errno::NOENT)?;
            node.need_directory()?;
            node.need_empty()?;
            let entry = walk.current.remove_entry(caller, name);
            node.lose_name(caller, &walk.current);
            walk.current.state.lock().attributes.links -= 1;
            (node, entry)
        };
        drop(removed);
        Ok(())
    }
}

impl<S: System> Node<S> {
    /// Checks that a directory has no names. The tree is locked.
    ///
    /// # Errors
    /// `ENOTEMPTY` if it has some.
    pub(super) fn need_empty(&self) -> Result<(), Errno> {
        if self.state.lock().entries.is_empty() { Ok(()) } else { Err(Errno::NOTEMPTY) }
    }

    /// Removes a name of this directory; the handle that it had. The tree is locked.
    fn remove_entry(&self, caller: &Caller, name: &[u8]) -> Option<Arc<Self>> {
        let mut state = self.state.lock();
        state.stamp(caller.now);
        state.entries.remove(name)
    }

    /// Counts one name less, or marks a directory in `parent` as removed. The tree is locked.
    pub(super) fn lose_name(&self, caller: &Caller, parent: &Arc<Self>) {
        let mut state = self.state.lock();
        state.attributes.changed = caller.now;
        if self.is_directory() {
            state.attributes.links = 0;
            state.place = Place::Removed { parent: Arc::clone(parent) };
        } else {
            state.attributes.links -= 1;
            state.attributes.unnamed = Unnamed::ForGood;
        }
    }
}
