//! A store, of blocks as a rule, behind the interface of 2007: prepare and commit, and nothing that
//! can be taken back.

use std::sync::Arc;

use faultless::filemap::PrepareCommit;
use faultless::page::{
    AddressSpaceOperations, Contents, Errno, FailedSync, FillBuf, PageIndex, SyncKind, WritebackRun,
};
use faultless_host::stores::BlockStore;

/// The old interface over a store of today.
#[derive(Debug)]
pub struct Legacy<S = BlockStore> {
    below: Arc<S>,
}

impl<S: AddressSpaceOperations> Legacy<S> {
    /// The old interface over `below`.
    #[must_use]
    pub fn new(below: Arc<S>) -> Self {
        Self { below }
    }
}

impl<S: AddressSpaceOperations> PrepareCommit for Legacy<S> {
    fn read(&self, index: PageIndex, buf: &mut FillBuf<'_>) -> Result<(), Errno> {
        self.below.read(index, buf)
    }

    fn prepare_write(&self, index: PageIndex, from: usize, to: usize) -> Result<Contents, Errno> {
        let (mut pos, end) = (index.start() + from as u64, index.start() + to as u64);
        let mut contents = None;
        while pos < end {
            // All or nothing: the old interface knows no part of a piece.
            let begun = self.below.write_begin(pos, (end - pos) as usize)?;
            contents.get_or_insert(begun.contents);
            pos += begun.len as u64;
        }
        Ok(contents.unwrap_or(Contents::Hole))
    }

    fn commit_write(&self, index: PageIndex, from: usize, to: usize) {
        assert!(from <= to && to <= crate::PAGE, "commit of {from}..{to} in page {index:?}");
    }

    fn writeback(&self, run: &WritebackRun<'_>) -> Result<(), Errno> {
        self.below.writeback(run)
    }

    fn truncate_blocks(&self, size: u64) {
        self.below.truncate_blocks(size);
    }

    fn set_size(&self, size: u64) {
        self.below.set_size(size);
    }

    fn sync(&self, kind: SyncKind) -> Result<(), Errno> {
        self.below.sync(kind)
    }

    fn failed_sync(&self) -> FailedSync {
        self.below.failed_sync()
    }

    fn max_size(&self) -> u64 {
        self.below.max_size()
    }

    fn is_persistent(&self) -> bool {
        self.below.is_persistent()
    }
}
