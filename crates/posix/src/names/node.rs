//! A node of the tree: a file, a directory, a symbolic link, or the name of something else, with
//! its attributes.
//!
//! Key type: [`Node`]. Its short lock guards the attributes and a directory's names; the tree's
//! lock, which is taken before, guards what spans several nodes. What the calls do is in the
//! modules beside this one.
#![forbid(unsafe_code)]

use core::fmt;
use core::mem;

use alloc::boxed::Box;
use alloc::collections::BTreeMap;
use alloc::sync::{Arc, Weak};
use alloc::vec::Vec;

use faultless::page::{Spin, SpinLock};
use linux_raw_sys::general as linux;

use crate::errno::Errno;
use crate::names::entries::Entries;
use crate::system::System;

/// The bits of a mode that are no type.
pub(super) const PERMISSIONS: u32 = 0o7777;

/// What kind of node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A regular file.
    File,
    /// A directory.
    Directory,
    /// A symbolic link.
    Link,
    /// A FIFO: the name of a pipe.
    Fifo,
    /// The name of a socket.
    Socket,
    /// A device that moves bytes.
    Characters,
    /// A device that moves blocks.
    Blocks,
}

impl Kind {
    /// The type bits of `st_mode`: `S_IFREG`, …
    #[must_use]
    pub const fn mode_bits(self) -> u32 {
        match self {
            Self::File => linux::S_IFREG,
            Self::Directory => linux::S_IFDIR,
            Self::Link => linux::S_IFLNK,
            Self::Fifo => linux::S_IFIFO,
            Self::Socket => linux::S_IFSOCK,
            Self::Characters => linux::S_IFCHR,
            Self::Blocks => linux::S_IFBLK,
        }
    }

    /// The kind that the type bits of a mode mean; none if they mean nothing.
    #[must_use]
    pub const fn of_mode(mode: u32) -> Option<Self> {
        match mode & linux::S_IFMT {
            linux::S_IFREG => Some(Self::File),
            linux::S_IFDIR => Some(Self::Directory),
            linux::S_IFLNK => Some(Self::Link),
            linux::S_IFIFO => Some(Self::Fifo),
            linux::S_IFSOCK => Some(Self::Socket),
            linux::S_IFCHR => Some(Self::Characters),
            linux::S_IFBLK => Some(Self::Blocks),
            _ => None,
        }
    }

    /// `d_type` of a directory entry: `DT_REG`, …
    #[must_use]
    pub const fn entry_type(self) -> u8 {
        (self.mode_bits() >> 12) as u8
    }
}

/// The task that makes a call, and when.
#[derive(Clone, Copy, Debug, Default)]
pub struct Caller {
    /// The owner of nodes that it makes (`fsuid`).
    pub uid: u32,
    /// The group of nodes that it makes (`fsgid`).
    pub gid: u32,
    /// The time that is stamped on what it changes, in nanoseconds of the kernel's clock.
    pub now: u64,
}

/// A node of a tree. It lives as long as a name or a handle does; an open file of the kernel keeps
/// a handle of its node beside its [`Description`](crate::Description).
///
/// A handle is never dropped with a short lock held: the last one of a regular file drops the
/// file.
#[doc(alias = "struct inode")]
pub struct Node<S: System> {
    pub(super) number: u64,
    pub(super) device: u64,
    pub(super) content: Content<S>,
    pub(super) state: SpinLock<S::Kernel, State<S>>,
}

/// What does not change while a node lives.
pub(super) enum Content<S: System> {
    File(S::File),
    Directory,
    /// The path that it stands for.
    Link(Box<[u8]>),
    /// What the kernel knows how to open, with the number of a device.
    Special(Kind, u64),
}

/// What the lock of a node guards.
pub(super) struct State<S: System> {
    pub(super) attributes: Attributes,
    /// Of a directory; of others always empty.
    pub(super) entries: Entries<Arc<Node<S>>>,
    /// Changed with the tree locked.
    pub(super) place: Place<S>,
    pub(super) extended: BTreeMap<Arc<[u8]>, Arc<[u8]>>,
}

/// What all kinds of nodes have.
#[derive(Clone, Copy, Debug)]
pub(super) struct Attributes {
    /// Without the type.
    pub(super) mode: u32,
    pub(super) uid: u32,
    pub(super) gid: u32,
    /// Changed with the tree locked.
    pub(super) links: u64,
    /// Whether a node without links may get one.
    pub(super) unnamed: Unnamed,
    /// `FS_NODUMP_FL` and the like.
    pub(super) flags: u32,
    pub(super) accessed: u64,
    /// The time of the contents; a file's is the inode's.
    pub(super) modified: u64,
    /// The time of the attributes; a file's is the later one of this and the inode's.
    pub(super) changed: u64,
}

/// What a node without links can become.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unnamed {
    /// It stays without.
    ForGood,
    /// It can be linked: made by `O_TMPFILE` without `O_EXCL`.
    UntilLinked,
}

/// Where a directory is in the tree.
pub(super) enum Place<S: System> {
    /// The node is the root, or no directory.
    None,
    /// The parent lives, as it has the directory among its names.
    Named { parent: Weak<Node<S>>, name: Arc<[u8]> },
    /// The directory was removed. Its `..` stays.
    Removed { parent: Arc<Node<S>> },
}

impl<S: System> Place<S> {
    pub(super) fn named(parent: &Arc<Node<S>>, name: &Arc<[u8]>) -> Self {
        Self::Named { parent: Arc::downgrade(parent), name: Arc::clone(name) }
    }
}

impl<S: System> Node<S> {
    /// A node that has no name yet: `attributes.links` says how many it is about to have.
    pub(super) fn new(
        device: u64,
        content: Content<S>,
        attributes: Attributes,
        place: Place<S>,
    ) -> Arc<Self> {
        if let Content::File(file) = &content {
            file.set_times(faultless::prelude::Times {
                modified: attributes.modified,
                changed: attributes.changed,
            });
        }
        let (entries, extended) = (Entries::new(), BTreeMap::new());
        let state = Spin::new(State { attributes, entries, place, extended });
        Arc::new(Self { number: S::unique(), device, content, state })
    }

    /// The number (`st_ino`). It is not reused.
    #[must_use]
    pub const fn number(&self) -> u64 {
        self.number
    }

    /// What kind of node it is.
    #[must_use]
    pub const fn kind(&self) -> Kind {
        match &self.content {
            Content::File(_) => Kind::File,
            Content::Directory => Kind::Directory,
            Content::Link(_) => Kind::Link,
            Content::Special(kind, _) => *kind,
        }
    }

    /// The file of a regular file.
    #[must_use]
    pub const fn file(&self) -> Option<&S::File> {
        match &self.content {
            Content::File(file) => Some(file),
            Content::Directory | Content::Link(_) | Content::Special(..) => None,
        }
    }

    pub(super) const fn is_directory(&self) -> bool {
        matches!(self.content, Content::Directory)
    }

    /// Checks that the node is a directory.
    ///
    /// # Errors
    /// `ENOTDIR` if it is none.
    pub(super) const fn need_directory(&self) -> Result<(), Errno> {
        if self.is_directory() { Ok(()) } else { Err(Errno::NOTDIR) }
    }

    /// The node of a name in this directory.
    ///
    /// # Errors
    /// `ENOENT` if the directory was removed; `ENAMETOOLONG`.
    pub(super) fn get(&self, name: &[u8]) -> Result<Option<Arc<Self>>, Errno> {
        let state = self.state.lock();
        state.need_alive()?;
        if name.len() > linux::NAME_MAX as usize {
            return Err(Errno::NAMETOOLONG);
        }
        Ok(state.entries.get(name).cloned())
    }

    /// The parent of a directory; none for the root.
    pub(super) fn parent(&self) -> Option<Arc<Self>> {
        match &self.state.lock().place {
            Place::None => None,
            Place::Named { parent, .. } => parent.upgrade(),
            Place::Removed { parent } => Some(Arc::clone(parent)),
        }
    }

    /// All handles that a node has of others.
    fn take_handles(&self) -> Vec<Arc<Self>> {
        let mut state = self.state.lock();
        let mut handles: Vec<_> = state.entries.take().collect();
        if let Place::Removed { parent } = mem::replace(&mut state.place, Place::None) {
            handles.push(parent);
        }
        handles
    }
}

impl<S: System> State<S> {
    /// Checks that a directory was not removed.
    ///
    /// # Errors
    /// `ENOENT` if it was.
    pub(super) const fn need_alive(&self) -> Result<(), Errno> {
        if matches!(self.place, Place::Removed { .. }) { Err(Errno::NOENT) } else { Ok(()) }
    }

    /// Stamps a change of a directory's names.
    pub(super) const fn stamp(&mut self, now: u64) {
        self.attributes.modified = now;
        self.attributes.changed = now;
    }
}

/// Node by node: a drop that called itself could need a stack as deep as the tree.
impl<S: System> Drop for Node<S> {
    fn drop(&mut self) {
        let mut handles = self.take_handles();
        while let Some(handle) = handles.pop() {
            if let Some(node) = Arc::into_inner(handle) {
                handles.append(&mut node.take_handles());
            }
        }
    }
}

impl<S: System> fmt::Debug for Node<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut node = f.debug_struct("Node");
        node.field("number", &self.number).field("kind", &self.kind());
        node.field("attributes", &self.state.lock().attributes).finish_non_exhaustive()
    }
}
