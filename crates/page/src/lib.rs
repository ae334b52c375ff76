//! Page frames, page state in leaf bitmaps, page locks, mappings and their lock-free index.
//!
//! The lower half of Faultless. A [`PageCache`] owns memory; a [`Mapping`] is one file's cached
//! pages; a [`LockedRun`] is some of them, locked; a [`ReadSection`] keeps them readable without a
//! lock. This crate knows nothing of user memory, of system calls or of policy: `faultless-filemap`
//! is above it, and `faultless-usercopy` beside it.
//!
//! # Lock order
//! Page locks are taken in ascending order inside one mapping, one [`LockContext`] at a time, and
//! at most one run in a leaf. Below them are only the short locks of this crate (a mapping's tree,
//! the node pools, the queues of waiters; none nested in another), which are never held across a
//! call out of the crate. A grace period ([`Epoch`]) may be waited for under a page lock, because a
//! read section never waits for anything.
//!
//! # How nodes and frames stay alive
//! See [the leaf](LockedRun#locking) for locks and [the epoch](Epoch) for readers.
//! - Node memory (leaves, inner nodes) is *type-stable*: it is carved from frames that go back to
//!   [`Frames`] only when the [`PageCache`] is dropped, and a leaf is only ever reused as a leaf. A
//!   pointer to a node therefore stays a pointer to a node of its kind, whatever happens.
//! - A thread that locks pages needs nothing more: it locks slots of whatever leaf it found, then
//!   checks that the leaf still belongs to its mapping at its index. A leaf changes hands only by
//!   way of *all* its slots being locked, so the answer cannot change while the lock is held (P6).
//!   A lock of a stale leaf is harmless: its new owner waits it out. A *wait* in a stale leaf ends
//!   at once: no request sleeps for another file's pages (L5).
//! - Readers in a [`ReadSection`] take no lock, so leaves, inner nodes and frames that have been
//!   taken out of a mapping are reused only after a grace period.
#![no_std]

#[cfg(test)]
extern crate std;

mod anchor;
mod anchored;
mod batch;
mod books;
mod context;
mod count;
mod debug;
mod direct_reclaim;
mod epoch;
mod erased;
mod errno;
mod failures;
mod fill;
mod find;
mod frame;
mod hooked;
mod kernel;
mod leaf;
mod lock;
mod locked;
mod locked_bytes;
mod mapping;
mod migrate;
mod mutex;
mod node;
mod nodes;
mod page_lock;
mod pool;
mod prefetch;
mod prune;
mod queue;
mod racing;
mod read_request;
mod recent;
mod removed;
mod replacement;
mod request;
mod rmap;
mod rwlock;
mod section;
mod shadow_frames;
mod slots;
mod store;
mod store_request;
mod submit;
mod sync;
mod trace;
mod tree;
mod two_queues;
mod units;
mod users;
mod victims;
mod wait;
mod writeback;
mod writeback_request;
mod writeback_run;

pub use batch::{FrameBatch, OwnedFrame, SharedFrame};
pub use context::LockContext;
pub use count::Count;
pub use epoch::{Epoch, EpochGuard};
pub use errno::Errno;
pub use failures::Failures;
pub use fill::FillBuf;
pub use find::{LeafMarks, Mark};
pub use frame::{FrameNumber, Frames};
pub use hooked::{Access, Hook, Hooked, HookedSpin, HookedWord};
pub use stable_deref_trait::CloneStableDeref;

pub use kernel::{Kernel, PageCache, SpinLock, Word32, Word64};
pub use locked::LockedRun;
pub use locked_bytes::LockedBytes;
pub use mapping::Mapping;
pub use mutex::{SleepGuard, SleepMutex};
pub use prefetch::fetch_for_write;
pub use queue::{Linked, OwnRequest, Request, RequestList, Requests};
pub use read_request::{FileEnd, ReadRequest};
pub use removed::{Removals, Removed};
pub use replacement::Replacement;
pub use request::{Segment, Segments};
pub use rmap::{NoUserMappings, Unmap, UserMappings};
pub use rwlock::{SleepRwGuard, SleepRwLock};
pub use section::{ReadSection, Usage};
pub use slots::SlotMask;
pub use store::{
    AddressSpaceOperations, Begun, Contents, FailedSync, Fallocate, Reserved, Shift, StoreId,
    Strategy, SyncKind,
};
pub use store_request::StoreRequest;
pub use sync::{ConstSync, CoreSync, Initial, LockedWord, Spin, SyncFamily, Word};
pub use trace::{LockId, Trace};
pub use two_queues::TwoQueues;
pub use units::{
    LEAF_SIZE, MAX_FILE_SIZE, PAGE_SHIFT, PAGE_SIZE, PAGES_PER_LEAF, PageIndex, PageRun,
};
pub use victims::{Search, Victims};
pub use wait::{Patience, SpinWait, Wait, WaitKey};
pub use writeback_request::WritebackRequest;
pub use writeback_run::WritebackRun;

#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;
