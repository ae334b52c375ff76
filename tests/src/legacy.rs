//! A store of blocks behind the interface of 2007: prepare and commit, and nothing that can be taken back.

use std::sync::Arc;

use faultless::filemap::PrepareCommit;
use faultless::page::{
    AddressSpaceOperations, Contents, Errno, FillBuf, PageIndex, SyncKind, WritebackRun,
};
use faultless_host::stores::BlockStore;

/// The old interface over a [`BlockStore`].
#[derive(Debug)]
pub struct Legacy {
    blocks: Arc<BlockStore>,
}

impl Legacy {
    /// The old interface over `blocks`.
    #[must_use]
    pub fn new(blocks: Arc<BlockStore>) -> Self {
        Self { blocks }
    }
}

impl PrepareCommit for Legacy {
    fn read(&self, index: PageIndex, buf: &mut FillBuf<'_>) -> Result<(), Errno> {
        self.blocks.read(index, buf)
    }

    fn prepare_write(&self, index: PageIndex, from: usize, to: usize) -> Result<Contents, Errno> {
        let (mut pos, end) = (index.start() + from as u64, index.start() + to as u64);
        let mut contents = None;
        while pos < end {
            // All or nothing: the old interface knows no part of a piece.
            let begun = self.blocks.write_begin(pos, (end - pos) as usize)?;
            contents.get_or_insert(begun.contents);
            pos += begun.len as u64;
        }
        Ok(contents.unwrap_or(Contents::Hole))
    }

    fn commit_write(&self, index: PageIndex, from: usize, to: usize) {
        assert!(from <= to && to <= crate::PAGE, "commit of {from}..{to} in page {index:?}");
    }

    fn writeback(&self, run: &WritebackRun<'_>) -> Result<(), Errno> {
        self.blocks.writeback(run)
    }

    fn trim(&self, size: u64) {
        self.blocks.trim(size);
    }

    fn set_size(&self, size: u64) {
        AddressSpaceOperations::set_size(&*self.blocks, size);
    }

    fn sync(&self, kind: SyncKind) -> Result<(), Errno> {
        self.blocks.sync(kind)
    }

    fn max_size(&self) -> u64 {
        self.blocks.max_size()
    }
}
