//! The part of `open` that finds or makes the node.
#![forbid(unsafe_code)]

use alloc::sync::Arc;

use linux_raw_sys::general as linux;

use crate::errno::Errno;
use crate::names::add::Spot;
use crate::names::node::{Attributes, Caller, Content, Kind, Node, Place, Unnamed};
use crate::names::tree::Tree;
use crate::names::walk::{Follow, Last, Slash, Walk};
use crate::system::System;

/// What `open` has found.
#[derive(Debug)]
pub struct Opened<S: System> {
    /// The node. A symbolic link only with `O_PATH`.
    pub node: Arc<Node<S>>,
    /// Where it comes from. `O_TRUNC` is for regular files that were found, and not with `O_PATH`:
    /// the caller cuts them and stamps their times, even if they are empty.
    pub origin: Origin,
}

/// Where an opened node comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// It was there.
    Found,
    /// The call has made it.
    Made,
}

/// The flags of `open`, as far as names care.
#[derive(Clone, Copy)]
struct Flags(u32);

impl Flags {
    /// The flags of a call. Those that mean nothing to names are passed over.
    ///
    /// # Errors
    /// `EINVAL` for those that contradict each other.
    const fn new(mut flags: u32) -> Result<Self, Errno> {
        if flags & linux::O_PATH != 0 {
            flags &= linux::O_PATH | linux::O_DIRECTORY | linux::O_NOFOLLOW;
        }
        let this = Self(flags);
        let contradicts = if this.has(linux::__O_TMPFILE) {
            !this.has(linux::O_TMPFILE) || this.has(linux::O_CREAT) || !this.writes()
        } else {
            this.has(linux::O_CREAT | linux::O_DIRECTORY)
        };
        if contradicts { Err(Errno::INVAL) } else { Ok(this) }
    }

    const fn has(self, all: u32) -> bool {
        self.0 & all == all
    }

    const fn writes(self) -> bool {
        self.0 & linux::O_ACCMODE != linux::O_RDONLY || self.has(linux::O_TRUNC)
    }

    /// Whether a link at the end is followed.
    const fn follow(self) -> Follow {
        if self.has(linux::O_NOFOLLOW) || self.has(linux::O_CREAT | linux::O_EXCL) {
            Follow::NotLast
        } else {
            Follow::Last
        }
    }
}

impl<S: System> Tree<S> {
    /// The node that `open` opens, with `O_CREAT`, `O_EXCL`, `O_DIRECTORY`, `O_NOFOLLOW`, `O_PATH`
    /// and `O_TMPFILE`; other flags are the caller's. A new file has this mode, from which the
    /// caller has taken its umask; `make` makes its contents, and is called with nothing locked. If
    /// another task takes the name meanwhile, what it made is dropped.
    ///
    /// # Errors
    /// `EINVAL` for flags that contradict each other; `EEXIST` with `O_EXCL`; `EISDIR` for a
    /// directory that is to be written, or with `O_CREAT`; `ENOTDIR` with `O_DIRECTORY`; `ELOOP`
    /// for a symbolic link with `O_NOFOLLOW`; those of a path and of `make`.
    pub fn open(
        &self,
        caller: &Caller,
        at: &Arc<Node<S>>,
        path: &[u8],
        flags: u32,
        mode: u32,
        mut make: impl FnMut() -> Result<S::File, Errno>,
    ) -> Result<Opened<S>, Errno> {
        let flags = Flags::new(flags)?;
        let walk = Walk::new(self, at, path, caller.now)?;
        if flags.has(linux::__O_TMPFILE) {
            let directory = walk.reach_node(flags.follow())?;
            directory.need_directory()?;
            let node = self.unnamed(caller, &directory, flags, mode, make()?);
            return Ok(Opened { node, origin: Origin::Made });
        }
        if flags.has(linux::O_CREAT) {
            return self.open_or_make(caller, walk, flags, mode, make);
        }
        Self::found(walk.reach_node(flags.follow())?, flags)
    }

    /// A node that is there.
    ///
    /// # Errors
    /// Why it cannot be opened with these flags.
    fn found(node: Arc<Node<S>>, flags: Flags) -> Result<Opened<S>, Errno> {
        if flags.has(linux::O_CREAT | linux::O_EXCL) {
            return Err(Errno::EXIST);
        }
        if flags.has(linux::O_DIRECTORY) {
            node.need_directory()?;
        }
        match node.kind() {
            Kind::Link if !flags.has(linux::O_PATH) => Err(Errno::LOOP),
            Kind::Directory if flags.writes() || flags.has(linux::O_CREAT) => Err(Errno::ISDIR),
            _ => Ok(Opened { node, origin: Origin::Found }),
        }
    }

    /// With `O_CREAT`: a symbolic link that leads nowhere is followed to where it leads.
    fn open_or_make(
        &self,
        caller: &Caller,
        mut walk: Walk<'_, S>,
        flags: Flags,
        mode: u32,
        mut make: impl FnMut() -> Result<S::File, Errno>,
    ) -> Result<Opened<S>, Errno> {
        loop {
            let name = match walk.reach_last()? {
                Last::Root | Last::Dot => return Self::found(walk.current, flags),
                Last::DotDot => {
                    walk.up()?;
                    return Self::found(walk.current, flags);
                }
                Last::Name(_, Slash::Behind) => return Err(Errno::ISDIR),
                Last::Name(name, Slash::None) => name,
            };
            let node = match walk.current.get(walk.name(&name))? {
                Some(node) => node,
                None => {
                    let name = walk.name(&name).into();
                    let spot = Spot { parent: Arc::clone(&walk.current), name };
                    let node = self.new_node(caller, &spot, Content::File(make()?), mode);
                    match self.insert(caller, &spot, &node)? {
                        None => return Ok(Opened { node, origin: Origin::Made }),
                        // Made by another task meanwhile.
                        Some(other) => other,
                    }
                }
            };
            if node.kind() != Kind::Link || flags.follow() == Follow::NotLast {
                return Self::found(node, flags);
            }
            walk.follow_last(&node)?;
        }
    }

    /// A file without a name (`O_TMPFILE`).
    fn unnamed(
        &self,
        caller: &Caller,
        directory: &Node<S>,
        flags: Flags,
        mode: u32,
        file: S::File,
    ) -> Arc<Node<S>> {
        let content = Content::File(file);
        let unnamed =
            if flags.has(linux::O_EXCL) { Unnamed::ForGood } else { Unnamed::UntilLinked };
        let attributes = Attributes::new_in(directory, &content, caller, mode);
        let attributes = Attributes { links: 0, unnamed, ..attributes };
        let node = Node::new(self.device(), content, attributes, Place::None);
        node.mark_set_id(attributes.mode);
        node
    }
}
