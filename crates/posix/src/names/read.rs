//! What looks at the tree: `stat`'s way to a node, `readlink`, `getdents`, `getcwd`.
#![forbid(unsafe_code)]

use core::fmt;

use alloc::sync::Arc;
use alloc::vec::Vec;

use faultless::page::Spin;
use linux_raw_sys::general as linux;

use crate::errno::Errno;
use crate::names::entries::FIRST_COOKIE;
use crate::names::node::{Caller, Content, Kind, Node, Place};
use crate::names::status::Accessed;
use crate::names::tree::Tree;
use crate::names::walk::{Follow, Walk};
use crate::system::System;

/// A name of a directory, as `getdents64` returns it.
pub struct DirectoryEntry {
    name: EntryName,
    /// The number of its node (`d_ino`).
    pub number: u64,
    /// What the node is (`d_type` is [`Kind::entry_type`]).
    pub kind: Kind,
    /// The cookie at which the next entry is looked for (`d_off`).
    pub next: u64,
}

/// The parent of a directory, and its name there.
type Above<S> = (Arc<Node<S>>, Arc<[u8]>);

enum EntryName {
    Dot,
    DotDot,
    Other(Arc<[u8]>),
}

impl DirectoryEntry {
    /// The name.
    #[must_use]
    pub fn name(&self) -> &[u8] {
        match &self.name {
            EntryName::Dot => b".",
            EntryName::DotDot => b"..",
            EntryName::Other(name) => name,
        }
    }
}

impl<S: System> Tree<S> {
    /// The node of a path (`stat`, `lstat`, `chdir`, the old path of `link`, …).
    ///
    /// # Errors
    /// `ENOENT`, `ENOTDIR`, `ELOOP`, `ENAMETOOLONG`; `EXDEV` if the directory is of another tree.
    pub fn lookup(
        &self,
        caller: &Caller,
        at: &Arc<Node<S>>,
        path: &[u8],
        follow: Follow,
    ) -> Result<Arc<Node<S>>, Errno> {
        Walk::new(self, at, path, caller.now)?.reach_node(follow)
    }

    /// `getcwd`: the path of a directory from the root.
    ///
    /// # Errors
    /// `ENOTDIR`; `ENOENT` if the directory was removed; `ENAMETOOLONG` if the path, with the 0
    /// behind it, is longer than `PATH_MAX`; `EXDEV` for a directory of another tree.
    pub fn path(&self, directory: &Arc<Node<S>>) -> Result<Vec<u8>, Errno> {
        directory.need_directory()?;
        self.need_own(directory)?;
        let mut names = Vec::new();
        let mut len = 0;
        {
            let _changes = self.changes.lock();
            let mut at = Arc::clone(directory);
            while let Some((parent, name)) = at.place()? {
                len += 1 + name.len();
                if len >= linux::PATH_MAX as usize {
                    return Err(Errno::NAMETOOLONG);
                }
                names.push(name);
                // The handle of `at` is not the last one: it has a name.
                at = parent;
            }
        }
        let mut path = Vec::with_capacity(len.max(1));
        for name in names.iter().rev() {
            path.push(b'/');
            path.extend_from_slice(name);
        }
        if path.is_empty() {
            path.push(b'/');
        }
        Ok(path)
    }
}

impl<S: System> Node<S> {
    /// `readlink`: the path that a symbolic link stands for. Takes the node's short lock.
    ///
    /// # Errors
    /// `EINVAL` for any other node.
    pub fn target(&self, caller: &Caller) -> Result<&[u8], Errno> {
        let Content::Link(target) = &self.content else { return Err(Errno::INVAL) };
        self.accessed_at(Accessed::Now(caller.now));
        Ok(target)
    }

    /// One step of `getdents`: the entry at `cookie`, or else the next one; none at the end. An
    /// open directory has its cookie for a position. It begins at 0, and the program may set it to
    /// any (`lseek`). The time of the access is [`accessed_at`](Self::accessed_at), once a call.
    ///
    /// A walk from 0 up to an `end` of [`end_cookie`](Self::end_cookie), taken when it begins,
    /// returns every name that is there all the time exactly once, and none that was added since:
    /// so it ends, even if each entry is renamed as soon as it was returned. Takes the node's short
    /// lock, and allocates nothing.
    ///
    /// # Errors
    /// `ENOTDIR`; `ENOENT` if the directory was removed.
    pub fn entry(self: &Arc<Self>, cookie: u64, end: u64) -> Result<Option<DirectoryEntry>, Errno> {
        self.need_directory()?;
        // The parent's handle may be the last one by the time that it is dropped.
        let parent = if cookie == 1 { self.parent() } else { None };
        let state = self.state.lock();
        state.need_alive()?;
        let dots = |name, node: &Self| {
            let number = node.number;
            DirectoryEntry { name, number, kind: Kind::Directory, next: cookie + 1 }
        };
        Ok(match cookie {
            0 => Some(dots(EntryName::Dot, self)),
            1 => Some(dots(EntryName::DotDot, parent.as_ref().unwrap_or(self))),
            _ => state.entries.at_or_after(cookie, end).map(|(at, name, node)| DirectoryEntry {
                name: EntryName::Other(Arc::clone(name)),
                number: node.number,
                kind: node.kind(),
                next: at + 1,
            }),
        })
    }

    /// The cookie that the next new name of the directory gets. Takes the node's short lock.
    #[must_use]
    pub fn end_cookie(&self) -> u64 {
        if self.is_directory() { self.state.lock().entries.next_cookie() } else { FIRST_COOKIE }
    }

    /// Where a directory is; `None` for the root.
    ///
    /// # Errors
    /// `ENOENT` if it was removed.
    fn place(&self) -> Result<Option<Above<S>>, Errno> {
        match &self.state.lock().place {
            Place::None => Ok(None),
            Place::Removed { .. } => Err(Errno::NOENT),
            Place::Named { parent, name } => {
                let parent = parent.upgrade().ok_or(Errno::NOENT)?;
                Ok(Some((parent, Arc::clone(name))))
            }
        }
    }
}

impl fmt::Debug for DirectoryEntry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut entry = f.debug_struct("DirectoryEntry");
        entry.field("name", &format_args!("{}", self.name().escape_ascii()));
        entry.field("number", &self.number).field("kind", &self.kind).field("next", &self.next);
        entry.finish()
    }
}
