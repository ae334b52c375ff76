//! From a path to a node: `path_resolution(7)`.
//!
//! Key type: [`Walk`]. A walk holds no lock from one component to the next: each look at a
//! directory takes that directory's. So a walk beside a rename may take the old way for the begin
//! of a path and the new one for its rest, as on Linux. It allocates one buffer for each symbolic
//! link that it follows.
#![forbid(unsafe_code)]

use core::ops::Range;

use alloc::borrow::Cow;
use alloc::sync::Arc;
use alloc::vec::Vec;

use linux_raw_sys::general as linux;

use crate::errno::Errno;
use crate::names::node::{Content, Node};
use crate::names::status::Accessed;
use crate::names::tree::Tree;
use crate::system::System;

/// Symbolic links that one path may follow.
#[doc(alias = "MAXSYMLINKS")]
const MAX_LINKS: u32 = 40;

/// Whether a symbolic link at the end of a path is followed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Follow {
    /// It is.
    Last,
    /// The link itself is meant (`O_NOFOLLOW`, `AT_SYMLINK_NOFOLLOW`). A slash behind it asks for
    /// a directory, and follows it all the same.
    NotLast,
}

/// Whether slashes stand behind the last component.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Slash {
    None,
    Behind,
}

/// The last component of a path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Last {
    /// There is none: the path is all slashes.
    Root,
    Dot,
    DotDot,
    /// A name, as a range of the walk's path.
    Name(Range<usize>, Slash),
}

/// A path on the way to its end.
pub(super) struct Walk<'p, S: System> {
    root: &'p Arc<Node<S>>,
    /// The directory that the rest of the path is relative to.
    pub(super) current: Arc<Node<S>>,
    path: Cow<'p, [u8]>,
    /// Where the rest begins.
    at: usize,
    followed: u32,
    now: u64,
}

impl<'p, S: System> Walk<'p, S> {
    /// A walk from the directory `from`, or from the root for a path with a slash in front.
    ///
    /// # Errors
    /// `ENOENT` for the empty path; `ENAMETOOLONG` for one that, with the 0 behind it, is longer
    /// than `PATH_MAX`; `ENOTDIR` if `from` is no directory; `EXDEV` if it is of another tree.
    pub(super) fn new(
        tree: &'p Tree<S>,
        from: &Arc<Node<S>>,
        path: &'p [u8],
        now: u64,
    ) -> Result<Self, Errno> {
        check_length(path)?;
        let root = tree.root();
        let current = if path.starts_with(b"/") { root } else { from };
        current.need_directory()?;
        tree.need_own(current)?;
        let current = Arc::clone(current);
        Ok(Self { root, current, path: Cow::Borrowed(path), at: 0, followed: 0, now })
    }

    /// Walks to the directory of the last component, which is [`current`](Self::current) then.
    ///
    /// # Errors
    /// `ENOENT`, `ENOTDIR`, `ENAMETOOLONG`, `ELOOP`.
    pub(super) fn reach_last(&mut self) -> Result<Last, Errno> {
        loop {
            let name = self.component();
            if name.is_empty() {
                return Ok(Last::Root);
            }
            let rest = self.skip_slashes(name.end);
            let kind = &self.path[name.clone()];
            if rest == self.path.len() {
                let slash = if rest == name.end { Slash::None } else { Slash::Behind };
                return Ok(match kind {
                    b"." => Last::Dot,
                    b".." => Last::DotDot,
                    _ => Last::Name(name, slash),
                });
            }
            self.at = rest;
            match kind {
                b"." => {}
                b".." => self.up()?,
                name => {
                    let next = self.current.get(name)?.ok_or(Errno::NOENT)?;
                    self.enter(next)?;
                }
            }
        }
    }

    /// The node of the last component.
    ///
    /// # Errors
    /// Those of [`reach_last`](Self::reach_last).
    pub(super) fn reach_node(mut self, mut follow: Follow) -> Result<Arc<Node<S>>, Errno> {
        let mut wanted = Slash::None;
        loop {
            let (name, slash) = match self.reach_last()? {
                Last::Root | Last::Dot => return Ok(self.current),
                Last::DotDot => {
                    self.up()?;
                    return Ok(self.current);
                }
                Last::Name(name, slash) => (name, slash),
            };
            if slash == Slash::Behind {
                (wanted, follow) = (slash, Follow::Last);
            }
            let node = self.current.get(self.name(&name))?.ok_or(Errno::NOENT)?;
            if follow == Follow::Last && matches!(node.content, Content::Link(_)) {
                self.follow(&node, self.path.len())?;
                continue;
            }
            if wanted == Slash::Behind {
                node.need_directory()?;
            }
            return Ok(node);
        }
    }

    /// The bytes of a name that [`reach_last`](Self::reach_last) returned.
    pub(super) fn name(&self, name: &Range<usize>) -> &[u8] {
        &self.path[name.clone()]
    }

    /// Follows a symbolic link at the end of the path.
    ///
    /// # Errors
    /// `ELOOP`: it is one too many.
    pub(super) fn follow_last(&mut self, link: &Node<S>) -> Result<(), Errno> {
        self.follow(link, self.path.len())
    }

    /// Goes to the parent; that of the root is the root.
    ///
    /// # Errors
    /// `ENOENT`: the directory is of a tree that is gone.
    pub(super) fn up(&mut self) -> Result<(), Errno> {
        if !Arc::ptr_eq(&self.current, self.root) {
            self.current = self.current.parent().ok_or(Errno::NOENT)?;
        }
        Ok(())
    }

    /// Goes on in a node that is not the last one.
    fn enter(&mut self, next: Arc<Node<S>>) -> Result<(), Errno> {
        match &next.content {
            Content::Link(_) => self.follow(&next, self.at),
            Content::File(_) | Content::Special(..) => Err(Errno::NOTDIR),
            Content::Directory => {
                self.current = next;
                Ok(())
            }
        }
    }

    /// Puts what a link stands for in the place of the path up to `rest`.
    fn follow(&mut self, link: &Node<S>, rest: usize) -> Result<(), Errno> {
        let Content::Link(target) = &link.content else { return Err(Errno::INVAL) };
        if self.followed == MAX_LINKS {
            return Err(Errno::LOOP);
        }
        self.followed += 1;
        link.accessed_at(Accessed::Now(self.now));
        if target.starts_with(b"/") {
            self.current = Arc::clone(self.root);
        }
        let rest = &self.path[rest..];
        let mut path = Vec::with_capacity(target.len() + 1 + rest.len());
        path.extend_from_slice(target);
        if !rest.is_empty() {
            path.push(b'/');
            path.extend_from_slice(rest);
        }
        (self.path, self.at) = (Cow::Owned(path), 0);
        Ok(())
    }

    /// The next component; empty if there is none.
    fn component(&self) -> Range<usize> {
        let start = self.skip_slashes(self.at);
        let len = self.path[start..].iter().position(|byte| *byte == b'/');
        start..len.map_or(self.path.len(), |len| start + len)
    }

    fn skip_slashes(&self, from: usize) -> usize {
        let slashes = self.path[from..].iter().take_while(|byte| **byte == b'/').count();
        from + slashes
    }
}

/// Checks a path as it comes from the program.
///
/// # Errors
/// `ENOENT` if it is empty; `ENAMETOOLONG` if it is longer than `PATH_MAX` with the 0 behind it.
pub(super) const fn check_length(path: &[u8]) -> Result<(), Errno> {
    if path.is_empty() {
        Err(Errno::NOENT)
    } else if path.len() >= linux::PATH_MAX as usize {
        Err(Errno::NAMETOOLONG)
    } else {
        Ok(())
    }
}
