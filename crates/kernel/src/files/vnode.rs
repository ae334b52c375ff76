//! A node of a file system, as paths and calls see it: the seam between them and the file systems.
//!
//! A name here is one component of a path: neither empty, nor `.` or `..`, and without `/`. Paths
//! are walked in `walk`. All calls but [`id`](Vnode::id) and [`kind`](Vnode::kind) may sleep, and
//! are made with no lock held.
#![forbid(unsafe_code)]

use core::any::Any;

use alloc::boxed::Box;
use alloc::sync::Arc;
use alloc::vec::Vec;

use faultless_posix::{Errno, Kind, SetFlags};

use crate::files::nodes::Attributes;
use crate::memory::{FileHandle, Open};

/// A counted handle of a node. Dropping the last one may sleep: a file that has no name goes.
pub(crate) type Handle = Arc<dyn Vnode>;

/// A node that is to be made.
#[derive(Clone, Copy, Debug)]
pub(crate) enum New<'t> {
    /// An empty file of this mode.
    File(u32),
    /// A directory of this mode.
    Directory(u32),
    /// A symbolic link to this path.
    Link(&'t [u8]),
    /// A FIFO, a socket or a device of this number, of this mode.
    Special(Kind, u64, u32),
}

/// A name of a directory.
#[derive(Clone, Debug)]
pub(crate) struct Entry {
    pub(crate) name: Vec<u8>,
    pub(crate) number: u64,
    /// `d_type`.
    pub(crate) kind: u8,
    /// The cookie of the entry behind it.
    pub(crate) next: u64,
}

/// What `statfs` returns, as `struct statfs` has it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Space {
    pub(crate) magic: u64,
    pub(crate) block_size: u64,
    pub(crate) blocks: u64,
    pub(crate) free_blocks: u64,
    pub(crate) available_blocks: u64,
    pub(crate) inodes: u64,
    pub(crate) free_inodes: u64,
}

/// Times that a call sets; what is `None` stays.
#[derive(Clone, Copy, Debug)]
pub(crate) struct NewTimes {
    pub(crate) accessed: Option<u64>,
    pub(crate) modified: Option<u64>,
}

/// The name that a handle was found by.
pub(crate) struct Place {
    /// The directory, by a handle without a place.
    pub(crate) directory: Handle,
    pub(crate) name: Vec<u8>,
}

/// Bytes of a file that lie one behind the other on the disk.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Extent {
    pub(crate) position: u64,
    /// Where the first one is on the disk.
    pub(crate) place: u64,
    pub(crate) len: u64,
}

/// The flags of a node that forbid something: it is only appended to, or does not change at all.
pub(crate) const APPEND: u32 = 0x20;
pub(crate) const IMMUTABLE: u32 = 0x10;

/// Checks that what is told of a node may change, and its names.
///
/// # Errors
/// `EPERM`.
pub(crate) fn need_changeable(node: &dyn Vnode) -> Result<(), Errno> {
    if node.flags()? & (APPEND | IMMUTABLE) == 0 { Ok(()) } else { Err(Errno::PERM) }
}

/// A node: a file, a directory or a symbolic link. The calls about names are those of a directory,
/// and fail with `ENOTDIR` for others.
pub(crate) trait Vnode: Any + Send + Sync {
    /// The numbers of its file system and of the node: `st_dev` and `st_ino`.
    fn id(&self) -> (u64, u64);

    /// What it is.
    fn kind(&self) -> Kind;

    /// As the type that it has in its file system.
    fn as_any(&self) -> &dyn Any;

    /// The name that this handle was found by, if that is known.
    fn place(&self) -> Option<&Place> {
        None
    }

    /// Another handle of the node, with this place; `None` if the file system's have none.
    fn at(&self, _place: Option<Place>) -> Option<Handle> {
        None
    }

    /// `stat`.
    ///
    /// # Errors
    /// Those of the disk, as for all calls below.
    fn attributes(&self) -> Result<Attributes, Errno>;

    /// The contents of a regular file.
    ///
    /// # Errors
    /// `EISDIR` for a directory, `EINVAL` for a link.
    fn file(&self) -> Result<FileHandle, Errno>;

    /// Opens the contents of a regular file.
    ///
    /// # Errors
    /// As [`file`](Self::file); `EINVAL` for flags that mean nothing.
    fn open(&self, flags: u32) -> Result<Open, Errno>;

    /// The text of a file that is none of the cache's, and is made when it is opened. `None` for
    /// all others.
    ///
    /// # Errors
    /// Those of the text.
    fn text(&self) -> Result<Option<Vec<u8>>, Errno> {
        Ok(None)
    }

    /// The open file that a link leads to, whatever names it has (`/proc/self/fd`): an `OpenFile`,
    /// which nodes do not know.
    fn open_file(&self) -> Option<Box<dyn Any>> {
        None
    }

    /// What a symbolic link stands for.
    ///
    /// # Errors
    /// `EINVAL` for any other node.
    fn target(&self) -> Result<Vec<u8>, Errno>;

    /// The node of a name, if there is one.
    fn find(&self, name: &[u8]) -> Result<Option<Handle>, Errno>;

    /// The parent of a directory; that of a root is the root.
    fn parent(&self) -> Result<Handle, Errno>;

    /// The path of a directory in its file system, from the root.
    fn path(&self) -> Result<Vec<u8>, Errno>;

    /// Makes a node.
    ///
    /// # Errors
    /// `EEXIST`.
    fn make(&self, name: &[u8], new: New<'_>) -> Result<Handle, Errno>;

    /// Makes a file without a name (`O_TMPFILE`).
    ///
    /// # Errors
    /// `EOPNOTSUPP` if the file system has none.
    fn make_unnamed(&self, _flags: u32, _mode: u32) -> Result<Handle, Errno> {
        Err(Errno::OPNOTSUPP)
    }

    /// Gives a node of the same file system one more name.
    ///
    /// # Errors
    /// `EEXIST`; `EPERM` for a directory.
    fn link(&self, node: &dyn Vnode, name: &[u8]) -> Result<(), Errno>;

    /// Removes a name of something else than a directory.
    ///
    /// # Errors
    /// `EISDIR`, `ENOENT`.
    fn unlink(&self, name: &[u8]) -> Result<(), Errno>;

    /// Removes an empty directory.
    ///
    /// # Errors
    /// `ENOTEMPTY`, `ENOENT`.
    fn remove_directory(&self, name: &[u8]) -> Result<(), Errno>;

    /// Gives the node of `old` the name `new` in a directory of the same file system, by the flags
    /// of `renameat2`.
    ///
    /// # Errors
    /// Those of `rename`.
    fn rename(
        &self,
        old: &[u8],
        directory: &dyn Vnode,
        new: &[u8],
        flags: u32,
    ) -> Result<(), Errno>;

    /// One step of `getdents`: the entry at this cookie or else the next one, up to `end`.
    fn entry(&self, cookie: u64, end: u64) -> Result<Option<Entry>, Errno>;

    /// The cookie that names have which are made from now on, or the highest.
    fn end_cookie(&self) -> u64;

    /// The value of an extended attribute.
    ///
    /// # Errors
    /// `ENODATA`; `EOPNOTSUPP` if the file system has none.
    fn extended(&self, _name: &[u8]) -> Result<Vec<u8>, Errno> {
        Err(Errno::OPNOTSUPP)
    }

    /// The names of the extended attributes.
    ///
    /// # Errors
    /// As [`extended`](Self::extended).
    fn extended_names(&self) -> Result<Vec<Vec<u8>>, Errno> {
        Err(Errno::OPNOTSUPP)
    }

    /// Sets an extended attribute.
    ///
    /// # Errors
    /// Those of the flags; `ENOSPC`; `EOPNOTSUPP`.
    fn set_extended(&self, _name: &[u8], _value: &[u8], _flags: SetFlags) -> Result<(), Errno> {
        Err(Errno::OPNOTSUPP)
    }

    /// Removes an extended attribute.
    ///
    /// # Errors
    /// `ENODATA`; `EOPNOTSUPP`.
    fn remove_extended(&self, _name: &[u8]) -> Result<(), Errno> {
        Err(Errno::OPNOTSUPP)
    }

    /// `FS_IOC_GETFLAGS`.
    fn flags(&self) -> Result<u32, Errno> {
        Ok(0)
    }

    /// `FS_IOC_SETFLAGS`.
    ///
    /// # Errors
    /// `ENOTTY` if the file system has no flags; `EOPNOTSUPP` for those that it does not have.
    fn set_flags(&self, _flags: u32) -> Result<(), Errno> {
        Err(Errno::NOTTY)
    }

    /// Where bytes of a file are on the disk, from a position on: those that were written back.
    ///
    /// # Errors
    /// `EOPNOTSUPP` if there is no disk.
    fn extent_from(&self, _position: u64) -> Result<Option<Extent>, Errno> {
        Err(Errno::OPNOTSUPP)
    }

    /// What positions, lengths and addresses of a transfer with `O_DIRECT` have to be multiples of.
    fn direct_alignment(&self) -> u32 {
        1
    }

    /// `chmod`.
    fn set_mode(&self, mode: u32) -> Result<(), Errno>;

    /// `chown`.
    fn set_owner(&self, uid: Option<u32>, gid: Option<u32>) -> Result<(), Errno>;

    /// `utimensat`.
    fn set_times(&self, times: NewTimes) -> Result<(), Errno>;

    /// It was read now.
    fn accessed(&self);

    /// `statfs`.
    fn space(&self) -> Space;

    /// `fsync` of a directory: names become durable.
    fn sync_names(&self) -> Result<(), Errno>;

    /// `syncfs`, of a regular file that is open, or of a directory.
    fn sync_all(&self, open: Option<&Open>) -> Result<(), Errno>;
}

/// Whether two handles are of one node.
pub(super) fn is_same(one: &dyn Vnode, other: &dyn Vnode) -> bool {
    one.id() == other.id()
}
