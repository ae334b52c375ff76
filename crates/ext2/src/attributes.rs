//! The attributes of inodes: `stat`, `chmod`, `chown`, `utimensat`.
#![forbid(unsafe_code)]

use core::sync::atomic::Ordering::Acquire;

use faultless::page::Spin;
use faultless::prelude::{Errno, Kernel, Times};

use crate::error::Error;
use crate::layout::{CHANGED_FLAGS, Kind, SHOWN_FLAGS};
use crate::mount::Ext2;
use crate::state::File;

/// What `stat` returns. Of a file that is in the page cache the size and the times are the cache's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Status {
    /// The number of the inode.
    pub number: u32,
    /// What it is.
    pub kind: Kind,
    /// Its mode with the type.
    pub mode: u32,
    /// The number of its device, as `st_rdev` has it; 0 for what is none.
    pub device: u32,
    /// Its names.
    pub links: u32,
    /// The owner.
    pub uid: u32,
    /// The group.
    pub gid: u32,
    /// Bytes.
    pub size: u64,
    /// Room on the disk, in units of 512 bytes (`st_blocks`), with what was promised to writes: a
    /// file that has bytes is not told to have no room, which some programs take for a hole.
    pub sectors: u64,
    /// When it was last read, in nanoseconds since 1970.
    pub accessed: u64,
    /// When its contents changed.
    pub modified: u64,
    /// When anything changed.
    pub changed: u64,
    /// Its flags, as far as programs are told of them (`FS_IOC_GETFLAGS`). What they forbid is the
    /// caller's.
    pub flags: u32,
}

/// What `chmod`, `chown` and `utimensat` change; what is `None` stays.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Change {
    /// The mode, without the type.
    pub mode: Option<u32>,
    /// The owner.
    pub uid: Option<u32>,
    /// The group.
    pub gid: Option<u32>,
    /// When it was last read.
    pub accessed: Option<u64>,
    /// When its contents changed.
    pub modified: Option<u64>,
    /// The flags that can be changed; other bits are ignored.
    pub flags: Option<u32>,
}

impl<K: Kernel> Ext2<K> {
    /// `fstat`.
    ///
    /// # Errors
    /// [`Errno::Io`].
    pub fn status(&self, node: &File<K>) -> Result<Status, Error> {
        let mut meta = self.lock();
        let inode = meta.inode(node.inode)?;
        let told = *node.told.times.lock();
        let times = told.unwrap_or(Times { modified: inode.modified, changed: inode.changed });
        let changed = inode.changed.max(times.changed);
        let size = match node.told.size.load(Acquire) {
            u64::MAX => inode.size,
            size => size,
        };
        let promised = meta.open.get(&node.inode).map_or(0, |open| open.reserved.len() as u64);
        let promised = promised * u64::from(meta.disk().sectors());
        Ok(Status {
            number: node.inode,
            kind: inode.kind().ok_or(Errno::Io)?,
            mode: u32::from(inode.mode),
            device: inode.device(),
            links: u32::from(inode.links),
            uid: inode.uid,
            gid: inode.gid,
            size,
            sectors: u64::from(inode.sectors) + promised,
            accessed: inode.accessed,
            modified: times.modified,
            changed,
            flags: inode.flags & SHOWN_FLAGS,
        })
    }

    /// Changes attributes, at the time `now`. Times of a file in the page cache are set there, too,
    /// by the caller.
    ///
    /// # Errors
    /// [`Errno::ReadOnly`], [`Errno::Io`].
    pub fn change(&self, node: &File<K>, change: &Change, now: u64) -> Result<(), Error> {
        let mut meta = self.lock();
        meta.need_writable()?;
        meta.at(now);
        let mut inode = meta.inode(node.inode)?;
        if let Some(mode) = change.mode {
            inode.mode = inode.mode & !0o7777 | mode as u16 & 0o7777;
        }
        inode.uid = change.uid.unwrap_or(inode.uid);
        inode.gid = change.gid.unwrap_or(inode.gid);
        if let Some(flags) = change.flags {
            inode.flags = inode.flags & !CHANGED_FLAGS | flags & CHANGED_FLAGS;
        }
        inode.accessed = change.accessed.unwrap_or(inode.accessed);
        let mut told = node.told.times.lock();
        inode.modified =
            change.modified.or(told.map(|told| told.modified)).unwrap_or(inode.modified);
        inode.changed = now;
        *told = None;
        drop(told);
        Ok(meta.put_inode(node.inode, &inode)?)
    }
}
