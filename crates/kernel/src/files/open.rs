//! The part of `open` that finds or makes the node.
#![forbid(unsafe_code)]

use faultless_posix::{Errno, Follow, Kind, Origin};
use linux_raw_sys::general as linux;

use crate::files::directory::Directory;
use crate::files::file::OpenFile;
use crate::files::vnode::{Handle, New};
use crate::files::walk::{Last, Name, Reached, Resolve, Walk, need_change};
use crate::files::watches::notify_name;

/// What `open` is asked for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct How {
    /// The flags of `open`.
    pub(crate) flags: u32,
    /// The mode of a new file.
    pub(crate) mode: u32,
    /// How far the path may lead.
    pub(crate) resolve: Resolve,
}

impl How {
    /// What `open` asks for, which lets a path lead anywhere.
    pub(crate) const fn plain(flags: u32, mode: u32) -> Self {
        Self { flags, mode, resolve: Resolve::empty() }
    }
}

/// What `open` has found.
pub(super) enum Opened {
    Node(Handle, Origin),
    /// A file that is open, by a name that leads to it.
    Again(OpenFile),
}

/// The flags of `open`, as far as names care.
#[derive(Clone, Copy)]
struct Flags(u32);

impl Flags {
    /// Checks the flags. With `O_PATH` most mean nothing.
    ///
    /// # Errors
    /// `EINVAL` for those that contradict each other.
    const fn new(flags: u32) -> Result<Self, Errno> {
        let path = linux::O_PATH | linux::O_DIRECTORY | linux::O_NOFOLLOW;
        let this = Self(if flags & linux::O_PATH != 0 { flags & path } else { flags });
        let unnamed = this.has(linux::__O_TMPFILE);
        let sound = if unnamed {
            this.has(linux::O_TMPFILE) && !this.has(linux::O_CREAT) && this.writes()
        } else {
            !this.has(linux::O_CREAT | linux::O_DIRECTORY)
        };
        if sound { Ok(this) } else { Err(Errno::INVAL) }
    }

    const fn has(self, all: u32) -> bool {
        self.0 & all == all
    }

    const fn writes(self) -> bool {
        self.0 & linux::O_ACCMODE != linux::O_RDONLY || self.has(linux::O_TRUNC)
    }

    /// Whether a link at the end is followed.
    const fn follow(self) -> Follow {
        let not = self.has(linux::O_NOFOLLOW) || self.has(linux::O_CREAT | linux::O_EXCL);
        if not { Follow::NotLast } else { Follow::Last }
    }
}

/// The node that `open` opens.
///
/// # Errors
/// Those of `open`.
pub(super) fn open_node(at: &Directory, path: &[u8], how: How) -> Result<Opened, Errno> {
    let (flags, mode) = (Flags::new(how.flags)?, how.mode);
    let mut walk = Walk::within(at, path, how.resolve)?;
    if flags.has(linux::__O_TMPFILE) {
        let directory = walk.reach_node(flags.follow())?;
        if directory.kind() != Kind::Directory {
            return Err(Errno::NOTDIR);
        }
        need_change(&directory)?;
        return Ok(Opened::Node(directory.make_unnamed(flags.0, mode)?, Origin::Made));
    }
    if !flags.has(linux::O_CREAT) {
        return match walk.reach(flags.follow())? {
            Reached::Node(node) => found(node, flags),
            Reached::Open(file) => Ok(Opened::Again(file)),
        };
    }
    loop {
        let name = match walk.reach_last()? {
            Last::Root | Last::Dot => return found(walk.current, flags),
            Last::DotDot => {
                walk.up()?;
                return found(walk.current, flags);
            }
            Last::Name(Name { has_slash: true, .. }) => return Err(Errno::ISDIR),
            Last::Name(name) => name.name,
        };
        let node = match walk.find(&name)? {
            Some(node) => node,
            None => {
                need_change(&walk.current)?;
                match walk.current.make(&name, New::File(mode)) {
                    Ok(node) => {
                        notify_name(&walk.current, &name, &node, linux::IN_CREATE);
                        return Ok(Opened::Node(walk.placed(node, &name), Origin::Made));
                    }
                    // Made by another task meanwhile.
                    Err(Errno::EXIST) if !flags.has(linux::O_EXCL) => {
                        walk.find(&name)?.ok_or(Errno::NOENT)?
                    }
                    Err(why) => return Err(why),
                }
            }
        };
        if node.kind() != Kind::Link || flags.follow() == Follow::NotLast {
            return found(node, flags);
        }
        if let Some(file) = walk.open_behind(&node)? {
            return Ok(Opened::Again(file));
        }
        walk.follow_last(&node)?;
    }
}

/// A node that is there.
///
/// # Errors
/// Why it cannot be opened with these flags.
fn found(node: Handle, flags: Flags) -> Result<Opened, Errno> {
    if flags.has(linux::O_CREAT | linux::O_EXCL) {
        return Err(Errno::EXIST);
    }
    let kind = node.kind();
    if flags.has(linux::O_DIRECTORY) && kind != Kind::Directory {
        return Err(Errno::NOTDIR);
    }
    match kind {
        Kind::Link if !flags.has(linux::O_PATH) => Err(Errno::LOOP),
        Kind::Directory if flags.writes() || flags.has(linux::O_CREAT) => Err(Errno::ISDIR),
        _ => Ok(Opened::Node(node, Origin::Found)),
    }
}
