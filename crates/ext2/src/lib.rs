//! The ext2 file system for kernels that embed [`faultless`]: images of `mke2fs`, which `e2fsck`
//! checks afterwards.
//!
//! | what | where |
//! |---|---|
//! | what the kernel's driver supplies | [`BlockDevice`], [`ReadTransfer`], [`WriteTransfer`] |
//! | mount, unmount, `sync`, `statfs` | [`Ext2`] |
//! | names: `create`, `unlink`, `rename`, … | [`Ext2`] |
//! | the store of a file, for the kernel to make an [`Inode`](faultless::prelude::Inode) of | [`File`] |
//! | attributes, extended ones too | [`Status`], [`Change`], [`Ext2`] |
//!
//! It is `no_std` and needs an allocator. It knows revision 1 with blocks of 1, 2 and 4 KiB and
//! inodes of 128 and 256 bytes; an image with a feature that it does not know is mounted read-only,
//! or not at all, as its superblock says. There are no quotas and no
//! journal: after a power cut `e2fsck -p` comes first.
//!
//! # Data
//! Pages go between the cache and the device by the requests of the cache, which the device keeps
//! until they are done: see [`BlockDevice`]. A write is promised room when it begins, so that a
//! full disk is told by the write (W9); the room is found when its pages are sent, in one piece if
//! there is one. Holes have no blocks.
//!
//! # Metadata
//! Bitmaps, inodes, indirect blocks and directories are read into buffers, and change there. A
//! commit writes all of them, behind the data that they lead to: `fsync` of any file is one. A
//! block that was freed is not used again before the commit that frees it on the disk. So what was
//! synced is there after a power cut, with its contents, and no file shows bytes of another one.
//!
//! They are not in a mapping of the cache: a write has pages locked when it asks for room, and no
//! page of another file may be locked or brought in then (P3, P4).
//!
//! # In a kernel
//! - The driver implements [`BlockDevice`]: it puts the [stretches](ReadTransfer::stretches) of a
//!   transfer in the device's queue, keeps the transfer, and
//!   [completes](ReadTransfer::complete) it where the device's interrupt is handled.
//! - [`Ext2::lookup`] leads to a [`File`], one for each inode in use. For a regular file the kernel
//!   makes one [`Inode`](faultless::prelude::Inode) of it, with the file as its store and the size
//!   and times of its [`Status`]; a table by [`File::number`] finds it again. From then on the size
//!   and the times of that inode are the file's.
//! - When the last handle of that inode goes: [`discard`](faultless::prelude::Inode::discard) if
//!   the [`Status`] says no links, or else [`close`](faultless::prelude::Inode::close). The drop of
//!   the inode drops the file, and that of a file without names frees its blocks.
//! - `fsync` is the inode's; `sync` and `syncfs` are
//!   [`StoreErrors::sync_files`](faultless::filemap::StoreErrors::sync_files) over the table, with
//!   [`Ext2::sync`] to have the store sync. A thread that calls it every few seconds bounds what a
//!   power cut takes.
//! - Before [`Ext2::unmount`] the table is empty.
//!
//! # Failures
//! A read that fails is its caller's. A failed write of data makes its pages dirty again; blocks
//! that were to get their first bytes by it are given back. A failed write of metadata fails the
//! sync, and is made again by the next one. A flush that fails has lost what was sent: from then on
//! each sync fails, and nothing can be changed, until the image is mounted again. An image that
//! contradicts itself gives [`Errno::Io`](faultless::prelude::Errno::Io), and stays marked for
//! `e2fsck`.
//!
//! # Locks
//! One sleeping lock for each file system, behind the page locks
//! ([`LockId::Store`](faultless::page::LockId::Store)), which is had in order of arrival. A thread
//! that has it waits for the device and for nothing else. An end of a transfer takes short locks
//! alone. The allocator is called with short locks held, and where transfers end.
#![no_std]

extern crate alloc;

mod attributes;
mod commit;
mod device;
mod directory;
mod error;
mod extended;
mod file;
mod index;
mod layout;
mod map;
mod mount;
mod names;
mod space;
mod state;
mod transfers;
mod unnamed;
mod waiting;

pub use attributes::{Change, Status};
pub use device::{BlockDevice, ReadTransfer, Stretch, WriteTransfer};
pub use directory::DirectoryEntry;
pub use error::Error;
pub use file::Extent;
pub use layout::Kind;
pub use mount::{Ext2, Space};
pub use names::{Caller, Replace};
pub use state::{Access, File, Linking};
