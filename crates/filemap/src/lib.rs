//! The file-map logic of a page cache: `write`, `read`, the fault handler's part, truncation,
//! writeback.
//!
//! Everything here works on an [`Inode`]: a [`Mapping`](faultless_page::Mapping) with its inode
//! lock. User memory comes in as an [`IovIter`](faultless_usercopy::IovIter) over a
//! [`UserMemory`](faultless_usercopy::UserMemory). Neither of those two crates knows the other;
//! here they meet, and here it is decided what may happen under which lock.
//!
//! The rules in parentheses (W1, P6, U3, …) are the project's contract; `ARCHITECTURE.md` lists
//! them, with the lock order: I (inode) → range → M (address space, the embedder's) → P (pages,
//! ascending) → internals.
//!
//! What it does not own: frames and nodes (`faultless-page`), copies and their fix-ups
//! (`faultless-usercopy`), page tables and address spaces (the embedder).
#![no_std]

#[cfg(test)]
extern crate std;

mod buffers;
mod direct;
mod dirty_age;
mod dirty_limit;
mod dirty_store;
mod dirty_writer;
mod drop_behind;
mod eof;
mod errors;
mod evict;
mod fallocate;
mod fault;
mod fault_hole;
mod fault_huge;
mod flush;
mod flusher;
mod inode;
mod invalidate;
mod last_handle;
mod legacy;
mod limits;
mod migrate;
mod moving;
mod nonblocking;
mod nonblocking_sync;
mod open_file;
mod options;
mod pos;
mod ranges;
mod read;
mod read_ahead;
mod read_by_hand;
mod read_hole;
mod reclaim;
mod remote_size;
mod residency;
mod seek;
mod shift;
mod size_changes;
mod sync_files;
mod syncing;
mod task;
mod token;
mod transfer;
mod truncate;
mod uptodate;
mod write;
mod writeback;

pub use direct::DirectWrite;
pub use dirty_limit::DirtyLimit;
pub use dirty_writer::DirtyWriter;
pub use drop_behind::DropBehind;
pub use errors::ErrorCursor;
pub use fault::{Access, FaultError, MappedFrame, Protection};
pub use fault_huge::{HUGE_PAGES, HugeFrames};
pub use faultless_policy::readahead::{Advice, Limits as ReadAheadLimits};
pub use faultless_policy::throttle::Limits as DirtyThresholds;
pub use flush::{Flushed, Left};
pub use flusher::{Flusher, Inodes};
pub use inode::{Inode, Times};
pub use invalidate::Dirty;
pub use legacy::{PrepareCommit, PrepareCommitStore};
pub use migrate::NotMigrated;
pub use nonblocking::{NonBlocking, NotYet};
pub use open_file::{OpenFile, OpenFlags};
pub use options::{FileSize, MsyncKind, Position, Strategy, SyncKind, WriteOptions, Written};
pub use read_ahead::ReadAhead;
pub use reclaim::{DirtyVictims, Files, Reclaimed, Reclaimer};
pub use residency::CacheStat;
pub use sync_files::{StoreCursor, StoreErrors};
pub use task::{NoTask, Task};
pub use token::{InFault, InKernel, InodeLocks, PageLocks};

#[cfg(test)]
mod tests;
