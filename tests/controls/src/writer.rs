//! One request on its way: what the loops of all controls keep.

#![forbid(unsafe_code)]

use faultless_filemap::Inode;
use faultless_page::Kernel;
use faultless_usercopy::MayFault;

use super::request::Failure;
use super::segments::Segments;

/// One request on its way.
pub(super) struct Writer<'w, K: Kernel, U, T> {
    pub(super) inode: &'w Inode<K>,
    pub(super) token: &'w mut MayFault,
    pub(super) user: &'w U,
    pub(super) task: &'w T,
    pub(super) from: Segments<'w>,
    pub(super) pos: u64,
    pub(super) written: usize,
    pub(super) steps: u64,
}

impl<K: Kernel, U, T> Writer<'_, K, U, T> {
    /// One more round.
    pub(super) fn step(&mut self) -> Result<(), Failure> {
        self.steps = self.steps.checked_sub(1).ok_or(Failure::Livelock)?;
        Ok(())
    }

    /// Moves on by `bytes` that landed.
    pub(super) fn landed(&mut self, bytes: usize) {
        self.from.advance(bytes);
        self.pos += bytes as u64;
        self.written += bytes;
    }
}
