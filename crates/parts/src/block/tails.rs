//! Ends of files that could not be zeroed on the device.
//!
//! Truncation must not fail, and a device may. What could not be zeroed is noted here: reads take
//! it for zeros, the next writeback of its block replaces it, and a sync zeroes it or fails.
#![forbid(unsafe_code)]

use faultless_page::Errno;
use heapless::Vec;

/// How many ends are noted. One that finds no room makes the whole store fail, rather than show
/// what was cut off.
const NOTES: usize = 8;

/// Bytes of a block that count as zeros: from `from` on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Tail {
    pub(super) block: u64,
    pub(super) from: usize,
}

/// The notes of one file, at most one for a block.
#[derive(Clone, Debug, Default)]
pub(super) struct Tails {
    notes: Vec<Tail, NOTES>,
    /// A note was lost.
    overflowed: bool,
}

impl Tails {
    /// Whether there is nothing to be minded.
    pub(super) fn is_empty(&self) -> bool {
        self.notes.is_empty() && !self.overflowed
    }

    /// Whether every note is there.
    ///
    /// # Errors
    /// [`Errno::Io`]: one was lost, and any block may have bytes that were cut off.
    pub(super) fn are_complete(&self) -> Result<(), Errno> {
        if self.overflowed { Err(Errno::Io) } else { Ok(()) }
    }

    /// Notes a tail. A note for the same block that begins earlier stays.
    pub(super) fn note(&mut self, tail: Tail) {
        match self.notes.iter_mut().find(|note| note.block == tail.block) {
            Some(note) => note.from = note.from.min(tail.from),
            None => self.overflowed |= self.notes.push(tail).is_err(),
        }
    }

    /// The block is as it should be, or not the file's any more.
    pub(super) fn forget(&mut self, block: u64) {
        self.notes.retain(|note| note.block != block);
    }

    /// Blocks from `first` on are not the file's any more.
    pub(super) fn forget_from(&mut self, first: u64) {
        self.notes.retain(|note| note.block < first);
    }

    /// From which byte on a block counts as zeros.
    pub(super) fn of(&self, block: u64) -> Option<usize> {
        self.notes.iter().find(|note| note.block == block).map(|note| note.from)
    }

    /// Some note.
    pub(super) fn any(&self) -> Option<Tail> {
        self.notes.first().copied()
    }

    /// Zeroes what counts as zeros in `bytes`, which were read from the blocks from `first` on.
    pub(super) fn apply(&self, first: u64, bytes: &mut [u8], block_size: usize) {
        for (block, bytes) in (first..).zip(bytes.chunks_mut(block_size)) {
            if let Some(from) = self.of(block) {
                bytes[from..].fill(0);
            }
        }
    }
}
