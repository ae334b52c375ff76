//! From a path to a node, across file systems: the mount and `..` out of it, and symbolic links.
//!
//! Key type: [`Walk`]. It holds no lock from one component to the next.
#![forbid(unsafe_code)]

use alloc::sync::Arc;
use alloc::vec::Vec;

use bitflags::bitflags;
use faultless_posix::{Errno, Follow, Kind};
use linux_raw_sys::general as linux;

use crate::credentials::{EXECUTE, WRITE};
use crate::files::file::OpenFile;
use crate::files::in_tree::root;
use crate::files::mount;
use crate::files::vnode::{APPEND, Handle, IMMUTABLE, Place, is_same, need_changeable};
use crate::files::watches;
use crate::task::credentials;

/// Symbolic links that one path may follow.
pub(super) const MAX_LINKS: u32 = 40;

/// The last component of a path.
pub(super) enum Last {
    /// There is none: the path is all slashes.
    Root,
    Dot,
    DotDot,
    Name(Name),
}

/// A name in the directory that the walk has come to.
pub(super) struct Name {
    pub(super) name: Vec<u8>,
    /// Slashes stand behind it: it is a directory's.
    pub(super) has_slash: bool,
}

/// Where a path leads.
pub(super) enum Reached {
    Node(Handle),
    /// A file that is open, whatever names it has (`/proc/self/fd`).
    Open(OpenFile),
}

bitflags! {
    /// How far a path may lead (`openat2`).
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
    pub(crate) struct Resolve: u32 {
        /// Into no other file system.
        const NO_XDEV = linux::RESOLVE_NO_XDEV;
        /// By no link to an open file.
        const NO_MAGICLINKS = linux::RESOLVE_NO_MAGICLINKS;
        /// By no link.
        const NO_SYMLINKS = linux::RESOLVE_NO_SYMLINKS;
        /// Not out of the directory that it begins at.
        const BENEATH = linux::RESOLVE_BENEATH;
        /// The directory that it begins at is its root.
        const IN_ROOT = linux::RESOLVE_IN_ROOT;
        /// Only if that takes no time: here nothing is looked up without.
        const CACHED = linux::RESOLVE_CACHED;
    }
}

/// A path on the way to its end.
pub(super) struct Walk {
    /// The directory that the rest of the path is relative to.
    pub(super) current: Handle,
    /// What is left of the path.
    rest: Vec<u8>,
    followed: u32,
    resolve: Resolve,
    /// The directory that it begins at.
    top: Handle,
}

/// Checks that a node is a directory.
///
/// # Errors
/// `ENOTDIR`.
fn need_directory(node: &Handle) -> Result<(), Errno> {
    if node.kind() == Kind::Directory { Ok(()) } else { Err(Errno::NOTDIR) }
}

/// Checks that the caller may do with a node what the bits say.
///
/// # Errors
/// `EACCES`; `EPERM` for writes to a node that does not change.
fn need(node: &Handle, wanted: u32) -> Result<(), Errno> {
    if wanted & WRITE != 0 && node.flags()? & IMMUTABLE != 0 {
        return Err(Errno::PERM);
    }
    let credentials = credentials();
    if credentials.is_root_of_files() && node.kind() == Kind::Directory {
        return Ok(());
    }
    credentials.need(&node.attributes()?.status, wanted)
}

/// Checks that the caller may change the names of a directory.
///
/// # Errors
/// `EACCES`.
pub(super) fn need_change(directory: &Handle) -> Result<(), Errno> {
    need(directory, WRITE | EXECUTE)
}

/// Checks that the caller may take a name of a node out of a directory.
///
/// # Errors
/// `EACCES`; `EPERM` for a node of another user, where each may only remove its own, and for one
/// that does not change, or whose directory only grows.
pub(super) fn need_removal(directory: &Handle, node: &Handle) -> Result<(), Errno> {
    need_change(directory)?;
    need_changeable(&**node)?;
    if directory.flags()? & APPEND != 0 {
        return Err(Errno::PERM);
    }
    let credentials = credentials();
    if credentials.is_root_of_files() {
        return Ok(());
    }
    let status = directory.attributes()?.status;
    let is_kept = status.mode & linux::S_ISVTX != 0
        && !credentials.owns(&status)
        && !credentials.owns(&node.attributes()?.status);
    if is_kept { Err(Errno::PERM) } else { Ok(()) }
}

impl Walk {
    /// A walk from the directory `at`, or from the root for a path with a slash in front.
    ///
    /// # Errors
    /// `ENOENT` for the empty path; `ENAMETOOLONG`; `ENOTDIR`.
    pub(super) fn new(at: &Handle, path: &[u8]) -> Result<Self, Errno> {
        Self::within(at, path, Resolve::empty())
    }

    /// As [`new`](Self::new), no further than `resolve` says.
    ///
    /// # Errors
    /// Those of `new`; `EXDEV`.
    pub(super) fn within(at: &Handle, path: &[u8], resolve: Resolve) -> Result<Self, Errno> {
        if path.is_empty() {
            return Err(Errno::NOENT);
        }
        if path.len() >= linux::PATH_MAX as usize {
            return Err(Errno::NAMETOOLONG);
        }
        let (current, top) = (Arc::clone(at), Arc::clone(at));
        let mut walk = Self { current, rest: path.to_vec(), followed: 0, resolve, top };
        if path.starts_with(b"/") {
            walk.current = walk.root()?;
        }
        need_directory(&walk.current)?;
        Ok(walk)
    }

    /// Goes on at another node.
    ///
    /// # Errors
    /// `EXDEV`: it is of another file system, and must not be.
    fn go(&mut self, to: Handle) -> Result<(), Errno> {
        self.need_same_system(&to)?;
        self.current = to;
        Ok(())
    }

    /// Where a path with a slash in front begins.
    ///
    /// # Errors
    /// `EXDEV`: the walk must not go there.
    fn root(&self) -> Result<Handle, Errno> {
        if self.resolve.contains(Resolve::BENEATH) {
            return Err(Errno::XDEV);
        }
        let in_root = self.resolve.contains(Resolve::IN_ROOT);
        Ok(if in_root { Arc::clone(&self.top) } else { root() })
    }

    /// Checks that the walk may go to a node as far as file systems go.
    ///
    /// # Errors
    /// `EXDEV`.
    fn need_same_system(&self, to: &Handle) -> Result<(), Errno> {
        let stays = !self.resolve.contains(Resolve::NO_XDEV) || to.id().0 == self.current.id().0;
        if stays { Ok(()) } else { Err(Errno::XDEV) }
    }

    /// Walks to the directory of the last component.
    ///
    /// # Errors
    /// `ENOENT`, `ENOTDIR`, `ENAMETOOLONG`, `ELOOP`.
    pub(super) fn reach_last(&mut self) -> Result<Last, Errno> {
        loop {
            let slash = |byte: &u8| *byte == b'/';
            let Some(start) = self.rest.iter().position(|byte| !slash(byte)) else {
                return Ok(Last::Root);
            };
            let tail = &self.rest[start..];
            let len = tail.iter().position(slash).unwrap_or(tail.len());
            let (name, rest) = (tail[..len].to_vec(), tail[len..].to_vec());
            if rest.iter().all(slash) {
                let has_slash = !rest.is_empty();
                return Ok(match &*name {
                    b"." => Last::Dot,
                    b".." => Last::DotDot,
                    _ => Last::Name(Name { name, has_slash }),
                });
            }
            self.rest = rest;
            match &*name {
                b"." => {}
                b".." => self.up()?,
                name => {
                    let next = self.find(name)?.ok_or(Errno::NOENT)?;
                    if next.kind() == Kind::Link {
                        self.follow(&next)?;
                    } else {
                        need_directory(&next)?;
                        self.go(next)?;
                    }
                }
            }
        }
    }

    /// The node of the last component.
    ///
    /// # Errors
    /// Those of [`reach_last`](Self::reach_last); `ENXIO` for an open file without a node.
    pub(super) fn reach_node(self, follow: Follow) -> Result<Handle, Errno> {
        match self.reach(follow)? {
            Reached::Node(node) => Ok(node),
            Reached::Open(file) => file.node().cloned().ok_or(Errno::NXIO),
        }
    }

    /// Where the path leads.
    ///
    /// # Errors
    /// Those of [`reach_last`](Self::reach_last).
    pub(super) fn reach(mut self, follow: Follow) -> Result<Reached, Errno> {
        let mut wants_directory = false;
        loop {
            let Name { name, has_slash } = match self.reach_last()? {
                Last::Root | Last::Dot => return Ok(Reached::Node(self.current)),
                Last::DotDot => {
                    self.up()?;
                    return Ok(Reached::Node(self.current));
                }
                Last::Name(name) => name,
            };
            wants_directory |= has_slash;
            let node = self.find(&name)?.ok_or(Errno::NOENT)?;
            if node.kind() == Kind::Link && (follow == Follow::Last || wants_directory) {
                if let Some(file) = self.open_behind(&node)? {
                    return Ok(Reached::Open(file));
                }
                self.follow_last(&node)?;
                continue;
            }
            if wants_directory {
                need_directory(&node)?;
            }
            return Ok(Reached::Node(node));
        }
    }

    /// The node of a name in the directory that the walk has come to: of a directory that something
    /// is mounted on, the root of that.
    ///
    /// # Errors
    /// `EACCES`; those of the file system.
    pub(super) fn find(&self, name: &[u8]) -> Result<Option<Handle>, Errno> {
        need(&self.current, EXECUTE)?;
        let found = self.current.find(name)?.map(mount::enter);
        found.iter().try_for_each(|node| self.need_same_system(node))?;
        Ok(found.map(|node| self.placed(node, name)))
    }

    /// The node with the place that it was found or made at, if a program could be told of it.
    pub(super) fn placed(&self, node: Handle, name: &[u8]) -> Handle {
        if !watches::are_there() {
            return node;
        }
        let bare = self.current.at(None);
        let place = bare.map(|directory| Place { directory, name: name.into() });
        node.at(place).unwrap_or(node)
    }

    /// The open file that a link leads to, whatever names it has; none for any other link.
    ///
    /// # Errors
    /// `ELOOP`, `EXDEV`: the walk must not go by it.
    pub(super) fn open_behind(&self, link: &Handle) -> Result<Option<OpenFile>, Errno> {
        let behind = link.open_file().and_then(|file| file.downcast().ok());
        let Some(file) = behind else { return Ok(None) };
        if self.resolve.intersects(Resolve::NO_MAGICLINKS | Resolve::NO_SYMLINKS) {
            return Err(Errno::LOOP);
        }
        if self.resolve.intersects(Resolve::BENEATH | Resolve::IN_ROOT) {
            return Err(Errno::XDEV);
        }
        Ok(Some(*file))
    }

    /// Follows a symbolic link at the end of the path.
    ///
    /// # Errors
    /// `ELOOP`: it is one too many.
    pub(super) fn follow_last(&mut self, link: &Handle) -> Result<(), Errno> {
        self.rest.clear();
        self.follow(link)
    }

    /// Goes to the parent; that of the root is the root.
    ///
    /// # Errors
    /// `EXDEV`: the walk must not; those of the file system.
    pub(super) fn up(&mut self) -> Result<(), Errno> {
        if self.resolve.intersects(Resolve::BENEATH | Resolve::IN_ROOT)
            && is_same(&*self.current, &*self.top)
        {
            let stays = self.resolve.contains(Resolve::IN_ROOT);
            return if stays { Ok(()) } else { Err(Errno::XDEV) };
        }
        let here = mount::leave(Arc::clone(&self.current));
        let above = if is_same(&*here, &*root()) { here } else { here.parent()? };
        self.go(above)
    }

    /// Puts what a link stands for before the rest of the path.
    fn follow(&mut self, link: &Handle) -> Result<(), Errno> {
        if self.followed == MAX_LINKS || self.resolve.contains(Resolve::NO_SYMLINKS) {
            return Err(Errno::LOOP);
        }
        self.followed += 1;
        if let Some(file) = self.open_behind(link)? {
            self.current = file.node().cloned().ok_or(Errno::NOTDIR)?;
            return need_directory(&self.current);
        }
        let mut path = link.target()?;
        if path.is_empty() {
            return Err(Errno::NOENT);
        }
        if path.starts_with(b"/") {
            let root = self.root()?;
            self.go(root)?;
        }
        path.extend_from_slice(&self.rest);
        self.rest = path;
        Ok(())
    }
}
