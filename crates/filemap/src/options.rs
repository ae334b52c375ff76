//! What a caller asks of a read or a write, and what it gets back.
#![forbid(unsafe_code)]

use bitflags::bitflags;
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

/// How to write: where, what to make durable before returning (W11), by which algorithm.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WriteOptions {
    /// Where the first byte goes; 0 with [`Asked::APPEND`].
    start: u64,
    asked: Asked,
}

bitflags! {
    /// What is asked for besides a plain write at a byte of the file.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    struct Asked: u8 {
        const APPEND = 1;
        const SYNC_DATA = 1 << 1;
        const SYNC_ALL = 1 << 2;
        const BEGIN_END = 1 << 3;
        const PREPARE_COMMIT = 1 << 4;
    }
}

impl WriteOptions {
    /// A plain write at byte `pos`.
    #[must_use]
    #[inline]
    pub const fn at(pos: u64) -> Self {
        Self { start: pos, asked: Asked::empty() }
    }

    /// A plain write at the end of the file.
    #[must_use]
    pub const fn append() -> Self {
        Self { start: 0, asked: Asked::APPEND }
    }

    /// A plain write there.
    #[must_use]
    pub const fn to(position: Position) -> Self {
        match position {
            Position::At(pos) => Self::at(pos),
            Position::Append => Self::append(),
        }
    }

    /// The same, with this algorithm; without a word here, the choice is the store's.
    #[must_use]
    pub const fn with_strategy(self, strategy: Strategy) -> Self {
        let asked = self.asked.difference(Asked::BEGIN_END.union(Asked::PREPARE_COMMIT));
        let strategy = match strategy {
            Strategy::BeginEnd => Asked::BEGIN_END,
            Strategy::PrepareCommit => Asked::PREPARE_COMMIT,
        };
        Self { asked: asked.union(strategy), ..self }
    }

    /// The same, made durable before the call returns (`O_DSYNC`, `O_SYNC`).
    #[must_use]
    pub const fn with_sync(self, kind: SyncKind) -> Self {
        let sync = match kind {
            SyncKind::Data => Asked::SYNC_DATA,
            SyncKind::All => Asked::SYNC_ALL,
        };
        let plain = self.without_sync();
        Self { asked: plain.asked.union(sync), ..plain }
    }

    /// The same, with nothing made durable.
    #[must_use]
    pub const fn without_sync(self) -> Self {
        let asked = self.asked.difference(Asked::SYNC_DATA.union(Asked::SYNC_ALL));
        Self { asked, ..self }
    }

    /// Where the first byte goes.
    #[must_use]
    pub const fn position(&self) -> Position {
        if self.asked.contains(Asked::APPEND) { Position::Append } else { Position::At(self.start) }
    }

    /// What to make durable before returning, if anything.
    #[must_use]
    pub const fn sync(&self) -> Option<SyncKind> {
        if self.asked.contains(Asked::SYNC_ALL) {
            Some(SyncKind::All)
        } else if self.asked.contains(Asked::SYNC_DATA) {
            Some(SyncKind::Data)
        } else {
            None
        }
    }

    /// The algorithm, if it is not the store's choice.
    #[must_use]
    pub const fn strategy(&self) -> Option<Strategy> {
        if self.asked.contains(Asked::PREPARE_COMMIT) {
            Some(Strategy::PrepareCommit)
        } else if self.asked.contains(Asked::BEGIN_END) {
            Some(Strategy::BeginEnd)
        } else {
            None
        }
    }

    /// Where the first byte goes, if nothing else is asked for, but strategy B.
    #[inline(always)]
    pub(crate) const fn plain(&self) -> Option<u64> {
        let others = self.asked.difference(Asked::BEGIN_END);
        if others.is_empty() { Some(self.start) } else { None }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_asked_for_is_told() {
        let strategies = [None, Some(Strategy::BeginEnd), Some(Strategy::PrepareCommit)];
        let syncs = [None, Some(SyncKind::Data), Some(SyncKind::All)];
        for position in [Position::At(0), Position::At(u64::MAX), Position::Append] {
            for (strategy, sync) in strategies.iter().flat_map(|s| syncs.map(|sync| (*s, sync))) {
                let mut options = WriteOptions::to(position);
                if let Some(strategy) = strategy {
                    options = options.with_strategy(Strategy::BeginEnd).with_strategy(strategy);
                }
                if let Some(sync) = sync {
                    options = options.with_sync(SyncKind::All).with_sync(sync);
                }
                assert_eq!(options.position(), position);
                assert_eq!((options.strategy(), options.sync()), (strategy, sync));
                assert_eq!(options.without_sync().sync(), None);
                assert_eq!(options.without_sync().strategy(), strategy);
                let is_plain = strategy != Some(Strategy::PrepareCommit) && sync.is_none();
                let start = match position {
                    Position::At(start) if is_plain => Some(start),
                    _ => None,
                };
                assert_eq!(options.plain(), start, "{options:?}");
            }
        }
    }
}
