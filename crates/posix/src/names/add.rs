//! What adds names: `mkdir`, `symlink`, `link`, `mknod`.
#![forbid(unsafe_code)]

use alloc::sync::Arc;

use faultless::page::Spin;
use linux_raw_sys::general as linux;

use crate::errno::Errno;
use crate::names::node::{Attributes, Caller, Content, Kind, Node, Place, Unnamed};
use crate::names::tree::Tree;
use crate::names::walk::{Last, Slash, Walk, check_length};
use crate::system::System;

/// What a slash behind a name that is to be made asks for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Made {
    /// A directory, which is being made.
    Directory,
    /// A directory, and something else is being made.
    Other,
}

/// A place for a name: nothing had it when it was looked up.
pub(super) struct Spot<S: System> {
    pub(super) parent: Arc<Node<S>>,
    pub(super) name: Arc<[u8]>,
}

impl<S: System> Tree<S> {
    /// `mkdir`: makes a directory of this mode, from which the caller has taken its umask.
    ///
    /// # Errors
    /// `EEXIST`, also for `.`, `..` and the root; those of a path.
    pub fn make_directory(
        &self,
        caller: &Caller,
        at: &Arc<Node<S>>,
        path: &[u8],
        mode: u32,
    ) -> Result<Arc<Node<S>>, Errno> {
        let spot = self.spot(caller, at, path, Made::Directory)?;
        let mode = mode & (0o777 | linux::S_ISVTX);
        self.add(caller, &spot, Content::Directory, mode)
    }

    /// `symlink`: makes a link that stands for the path `target`, which need not lead anywhere.
    ///
    /// # Errors
    /// `ENOENT` and `ENAMETOOLONG` for a target that is no path, too; `EEXIST`; those of a path.
    pub fn make_link(
        &self,
        caller: &Caller,
        target: &[u8],
        at: &Arc<Node<S>>,
        path: &[u8],
    ) -> Result<Arc<Node<S>>, Errno> {
        check_length(target)?;
        let spot = self.spot(caller, at, path, Made::Other)?;
        self.add(caller, &spot, Content::Link(target.into()), 0o777)
    }

    /// `mknod` of a regular file: gives a name to a new file, for which `make` is called with
    /// nothing locked, if the name is free. Files that the kernel has before it runs programs come
    /// this way, too.
    ///
    /// # Errors
    /// `EEXIST`; those of a path and of `make`.
    pub fn make_file(
        &self,
        caller: &Caller,
        at: &Arc<Node<S>>,
        path: &[u8],
        mode: u32,
        make: impl FnOnce() -> Result<S::File, Errno>,
    ) -> Result<Arc<Node<S>>, Errno> {
        let spot = self.spot(caller, at, path, Made::Other)?;
        self.add(caller, &spot, Content::File(make()?), mode)
    }

    /// `mknod` of a FIFO, a socket or a device, which has this number. What is open when the node
    /// is opened is the kernel's.
    ///
    /// # Errors
    /// `EINVAL` for a kind that other calls make; `EEXIST`; those of a path.
    pub fn make_special(
        &self,
        caller: &Caller,
        at: &Arc<Node<S>>,
        path: &[u8],
        mode: u32,
        (kind, device): (Kind, u64),
    ) -> Result<Arc<Node<S>>, Errno> {
        if matches!(kind, Kind::File | Kind::Directory | Kind::Link) {
            return Err(Errno::INVAL);
        }
        let spot = self.spot(caller, at, path, Made::Other)?;
        self.add(caller, &spot, Content::Special(kind, device), mode)
    }

    /// `link`, of a node that was looked up: gives it one more name. A file of `O_TMPFILE` gets its
    /// first one this way (`AT_EMPTY_PATH`, `/proc/self/fd`).
    ///
    /// # Errors
    /// `EEXIST`; `EPERM` for a directory; `EXDEV` for a node of another tree; `ENOENT` for one
    /// whose last name is gone, or that must not get one (`O_EXCL`); those of a path.
    pub fn link(
        &self,
        caller: &Caller,
        node: &Arc<Node<S>>,
        at: &Arc<Node<S>>,
        path: &[u8],
    ) -> Result<(), Errno> {
        let spot = self.spot(caller, at, path, Made::Other)?;
        self.need_own(node)?;
        let _changes = self.changes.lock();
        spot.need_free()?;
        if node.is_directory() {
            return Err(Errno::PERM);
        }
        {
            let attributes = &mut node.state.lock().attributes;
            if attributes.links == 0 && attributes.unnamed == Unnamed::ForGood {
                return Err(Errno::NOENT);
            }
            attributes.links += 1;
            attributes.unnamed = Unnamed::ForGood;
            attributes.changed = caller.now;
        }
        spot.fill(caller, node);
        Ok(())
    }

    /// Makes a node and gives it its name.
    ///
    /// # Errors
    /// `EEXIST` if another one has the name by now; `ENOENT` if the directory is gone.
    fn add(
        &self,
        caller: &Caller,
        spot: &Spot<S>,
        content: Content<S>,
        mode: u32,
    ) -> Result<Arc<Node<S>>, Errno> {
        let node = self.new_node(caller, spot, content, mode);
        match self.insert(caller, spot, &node)? {
            None => Ok(node),
            Some(_) => Err(Errno::EXIST),
        }
    }

    /// A node that is about to have this name.
    pub(super) fn new_node(
        &self,
        caller: &Caller,
        spot: &Spot<S>,
        content: Content<S>,
        mode: u32,
    ) -> Arc<Node<S>> {
        let attributes = Attributes::new_in(&spot.parent, &content, caller, mode);
        let place = match content {
            Content::Directory => Place::named(&spot.parent, &spot.name),
            Content::File(_) | Content::Link(_) | Content::Special(..) => Place::None,
        };
        let node = Node::new(self.device(), content, attributes, place);
        node.mark_set_id(attributes.mode);
        node
    }

    /// Gives a new node its name, unless another one has it: that one.
    ///
    /// # Errors
    /// `ENOENT` if the directory is gone.
    pub(super) fn insert(
        &self,
        caller: &Caller,
        spot: &Spot<S>,
        node: &Arc<Node<S>>,
    ) -> Result<Option<Arc<Node<S>>>, Errno> {
        let _changes = self.changes.lock();
        let other = spot.parent.get(&spot.name)?;
        if other.is_none() {
            spot.fill(caller, node);
            if node.is_directory() {
                spot.parent.state.lock().attributes.links += 1;
            }
        }
        Ok(other)
    }

    /// The place that a path names, where nothing is.
    ///
    /// # Errors
    /// `EEXIST` if something is there; `ENOENT` for a slash behind a name that is not to become a
    /// directory.
    fn spot(
        &self,
        caller: &Caller,
        at: &Arc<Node<S>>,
        path: &[u8],
        made: Made,
    ) -> Result<Spot<S>, Errno> {
        let mut walk = Walk::new(self, at, path, caller.now)?;
        let Last::Name(name, slash) = walk.reach_last()? else { return Err(Errno::EXIST) };
        let name = walk.name(&name);
        if walk.current.get(name)?.is_some() {
            return Err(Errno::EXIST);
        }
        if slash == Slash::Behind && made == Made::Other {
            return Err(Errno::NOENT);
        }
        let name = name.into();
        Ok(Spot { parent: walk.current, name })
    }
}

impl<S: System> Spot<S> {
    /// Looks again, with the tree locked.
    ///
    /// # Errors
    /// `EEXIST`, or `ENOENT` if the directory is gone.
    fn need_free(&self) -> Result<(), Errno> {
        match self.parent.get(&self.name)? {
            None => Ok(()),
            Some(_) => Err(Errno::EXIST),
        }
    }

    /// Puts a node into the free place. The tree is locked.
    fn fill(&self, caller: &Caller, node: &Arc<Node<S>>) {
        let mut parent = self.parent.state.lock();
        // The place is free: no handle is dropped.
        parent.entries.set(&self.name, Arc::clone(node));
        parent.stamp(caller.now);
    }
}
