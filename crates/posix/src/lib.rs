//! What Linux's file and memory calls mean on top of [`faultless`]: open files with a position and
//! flags, and address spaces with mappings of files.
//!
//! | what | where |
//! |---|---|
//! | what the kernel supplies | [`System`], [`PageTable`] |
//! | open file descriptions: `read`, `write`, `lseek`, `ftruncate`, `fsync`, … | [`Description`] |
//! | a mounted store: `sync`, `syncfs`, a step of the flusher | [`Volume`] |
//! | the store of a file in memory, within a limit | [`TmpfsStore`], [`Room`] |
//! | file descriptors: `dup`, `close`, `fork` | [`Descriptors`] |
//! | advisory locks: `fcntl`, `flock` | [`RangeLocks`] |
//! | address spaces: `mmap`, `munmap`, `mprotect`, `mremap`, `madvise`, `msync`, … | [`AddressSpace`] |
//! | which address spaces map a file | [`ReverseMap`] |
//! | names: `open`, `mkdir`, `rename`, `unlink`, `readlink`, `getdents`, `stat`, … | [`Tree`], [`Node`] |
//! | error numbers | [`Errno`] |
//!
//! It is `no_std` and needs an allocator. Arguments are those of the system calls, numbers of
//! Linux included, so that a kernel's table of system calls is one line for each.
//!
//! # Locks
//! The order is: position of an open file, inode, page, address space (the parent's before the
//! child's), list of the reverse map, locks inside Faultless. The lock of an address space and
//! those behind it are short. The allocator is called with short locks held, so it must not sleep
//! or reclaim. The two locks of a [`Tree`] are short as well, and meet none of the others.
#![no_std]

extern crate alloc;

mod descriptors;
mod errno;
mod file;
mod mm;
mod names;
mod system;

pub use descriptors::{Descriptors, OnExec};
pub use errno::Errno;
pub use file::{
    AccessMode, Description, LockKind, RangeLock, RangeLocks, Room, RwFlags, TmpfsStore, Volume,
};
pub use mm::{
    AddressSpace, Advised, Area, AreasGuard, Change, Entry, MapRequest, Owner, PageTable,
    ReverseMap, Rights, Sharing, ShowsFile, Signal,
};
pub use names::{
    Accessed, Caller, DirectoryEntry, Follow, Kind, Node, Opened, Origin, SetFlags, Status, Tree,
};
pub use system::{AreasEvent, System};
