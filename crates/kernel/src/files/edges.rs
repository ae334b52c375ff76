//! How often a file became ready: what `epoll` tells of that asks for edges.
#![forbid(unsafe_code)]

use core::sync::atomic::AtomicU64;
use core::sync::atomic::Ordering::{Acquire, Release};

/// Counts how often there was something new to read, and new room to write.
#[derive(Debug, Default)]
pub(super) struct Edges {
    ins: AtomicU64,
    outs: AtomicU64,
}

impl Edges {
    /// Something came that can be read, or the other side went.
    pub(super) fn came(&self) {
        self.ins.fetch_add(1, Release);
    }

    /// There is room again, or nothing reads any more.
    pub(super) fn left(&self) {
        self.outs.fetch_add(1, Release);
    }

    /// The counts.
    pub(super) fn now(&self) -> Seen {
        Seen { ins: self.ins.load(Acquire), outs: self.outs.load(Acquire) }
    }
}

/// The counts of a file at one time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Seen {
    pub(super) ins: u64,
    pub(super) outs: u64,
}
