//! What the cache tells counters and lock checkers: events, and the identities of its locks.
#![forbid(unsafe_code)]

use core::fmt;

use crate::SlotMask;

/// What happened, for counters and for lock checkers. See [`Kernel::trace`](crate::Kernel::trace).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Trace {
    /// About to wait for or take `lock`; nothing is held of it yet.
    Acquiring(LockId),
    /// `lock` is now held by this thread.
    Acquired(LockId),
    /// `lock` is no longer held by this thread.
    Released(LockId),
    /// The wait for `lock` is over, without it: given up, or what was waited for is gone.
    GaveUp(LockId),
    /// This many bytes were copied between user memory and pages (or a temporary page).
    Copied(usize),
    /// This many bytes of frames were set to zero.
    Zeroed(usize),
    /// An atomic copy fell short.
    ShortCopy,
    /// Pages that took the fast path: uptodate and reserved, no preparation.
    FastPath(u32),
    /// User memory is being faulted in, this many bytes at most.
    FaultIn(usize),
    /// A temporary page carried this many bytes (strategy A, or the bounded-progress fallback).
    Bounced(usize),
    /// A frame was allocated.
    Allocated,
    /// A grace period is about to be waited for.
    GracePeriod,
    /// About to make an access that may fault: no page lock may be held.
    MayFault,
}

/// A lock instance, as a checker sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum LockId {
    /// A lock of an open file, such as that of its position: a number that the embedder gives.
    /// Outermost: an operation on the inode runs inside.
    OpenFile(u64),
    /// I: the inode lock of the mapping with this id.
    Inode(u64),
    /// A range of the file held by a writer: the mapping's id, and the first byte.
    Range(u64, u64),
    /// The lock under which the store of the mapping with this id is told the size. Nothing else is
    /// taken in it.
    Size(u64),
    /// Held while the store moves pages of the mapping with this id, and none of them comes into
    /// the cache. A fault waits for it.
    Shift(u64),
    /// P: pages of the mapping with this id: the first page and the mask of slots from its leaf's
    /// base.
    Pages {
        /// The mapping's id.
        mapping: u64,
        /// First page of the leaf.
        base: u64,
        /// Which of its slots.
        slots: SlotMask,
    },
    /// A lock of a store, by a number that it gives. Innermost: taken with pages locked.
    Store(u64),
    /// Pages under writeback, named as the pages of [`Pages`](Self::Pages). Held by the thread that
    /// began it until the [`WritebackRequest`](crate::WritebackRequest) ends, or is let go; a wait
    /// for its end never acquires it.
    Writeback {
        /// The mapping's id.
        mapping: u64,
        /// First page of the leaf.
        base: u64,
        /// Which of its slots.
        slots: SlotMask,
    },
}

impl fmt::Display for LockId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::OpenFile(id) => write!(f, "F({id})"),
            Self::Inode(id) => write!(f, "I({id})"),
            Self::Range(id, pos) => write!(f, "R({id},{pos})"),
            Self::Size(id) => write!(f, "S({id})"),
            Self::Shift(id) => write!(f, "shift({id})"),
            Self::Store(id) => write!(f, "store({id})"),
            Self::Pages { mapping, base, slots } => write_pages(f, "P", mapping, base, slots),
            Self::Writeback { mapping, base, slots } => write_pages(f, "W", mapping, base, slots),
        }
    }
}

/// Pages of a leaf: the first of `slots`, and how many if there are more.
fn write_pages(
    f: &mut fmt::Formatter<'_>,
    class: &str,
    mapping: u64,
    base: u64,
    slots: SlotMask,
) -> fmt::Result {
    write!(f, "{class}({mapping},{}", base + u64::from(slots.first().unwrap_or(0)))?;
    if slots.count() > 1 {
        write!(f, "+{}", slots.count())?;
    }
    f.write_str(")")
}
