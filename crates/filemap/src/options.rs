//! What a caller asks of a read or a write, and what it gets back.
#![forbid(unsafe_code)]

use faultless_page::{Kernel, LockedRun, SlotMask};
pub use faultless_page::{Strategy, SyncKind};

/// Where a write goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Position {
    /// At this byte of the file.
    At(u64),
    /// At the end of the file, found under the inode lock (`O_APPEND`).
    Append,
}

/// What becomes of the size when room is made past it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FileSize {
    /// It is at least the end of the range afterwards.
    Grows,
    /// It is what it was.
    #[doc(alias = "FALLOC_FL_KEEP_SIZE")]
    Stays,
}

/// How to write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WriteOptions {
    /// Where the first byte goes.
    pub position: Position,
    /// What to make durable before returning (`O_DSYNC`, `O_SYNC`), if anything (W11).
    pub sync: Option<SyncKind>,
    /// The algorithm; `None` leaves the choice to the store.
    pub strategy: Option<Strategy>,
}

impl WriteOptions {
    /// A plain write at byte `pos`.
    #[must_use]
    pub const fn at(pos: u64) -> Self {
        Self { position: Position::At(pos), sync: None, strategy: None }
    }

    /// A plain write at the end of the file.
    #[must_use]
    pub const fn append() -> Self {
        Self { position: Position::Append, sync: None, strategy: None }
    }

    /// Whether nothing but strategy B is asked for, besides the position.
    #[inline(always)]
    pub(crate) const fn is_plain(&self) -> bool {
        self.sync.is_none() && !matches!(self.strategy, Some(Strategy::PrepareCommit))
    }

    /// The same, with this algorithm.
    #[must_use]
    pub const fn with_strategy(mut self, strategy: Strategy) -> Self {
        self.strategy = Some(strategy);
        self
    }

    /// The same, made durable before the call returns.
    #[must_use]
    pub const fn with_sync(mut self, kind: SyncKind) -> Self {
        self.sync = Some(kind);
        self
    }
}

/// What a write did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Written {
    /// Bytes that landed: what the system call returns.
    pub bytes: usize,
    /// The position after the last of them.
    pub end: u64,
}

/// Whether `msync` waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MsyncKind {
    /// `MS_ASYNC`: dirty pages are already in the page cache; nothing to do but check.
    Async,
    /// `MS_SYNC`: writes the range back and makes it durable.
    Sync,
}

/// Whether pages that an operation brings in are to stay in the cache.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Retention {
    /// They are.
    Kept,
    /// They are dropped behind it, unless they are used otherwise before.
    Transient,
}

impl Retention {
    /// Marks pages of a locked run that were just put in.
    #[inline]
    pub(crate) fn mark<K: Kernel>(self, locked: &mut LockedRun<'_, K>, inserted: SlotMask) {
        if self == Self::Transient {
            locked.set_transient(inserted);
        }
    }
}
