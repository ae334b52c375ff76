//! A store that is written by the strategy that the case asks for.

#![forbid(unsafe_code)]

use std::sync::Arc;

use faultless_page::{
    AddressSpaceOperations, Begun, Errno, FillBuf, PageIndex, Strategy, SyncKind, WritebackRun,
};

/// Any store, with a strategy of choice.
pub(super) struct Chosen {
    store: Arc<dyn AddressSpaceOperations>,
    strategy: Strategy,
}

impl Chosen {
    pub(super) fn new(store: Arc<dyn AddressSpaceOperations>, strategy: Strategy) -> Arc<Self> {
        Arc::new(Self { store, strategy })
    }
}

impl AddressSpaceOperations for Chosen {
    fn read(&self, index: PageIndex, buf: &mut FillBuf<'_>) -> Result<(), Errno> {
        self.store.read(index, buf)
    }

    fn write_begin(&self, pos: u64, len: usize) -> Result<Begun, Errno> {
        self.store.write_begin(pos, len)
    }

    fn write_end(&self, pos: u64, len: usize, copied: usize) {
        self.store.write_end(pos, len, copied);
    }

    fn writeback(&self, run: &WritebackRun<'_>) -> Result<(), Errno> {
        self.store.writeback(run)
    }

    fn truncate_blocks(&self, size: u64) {
        self.store.truncate_blocks(size);
    }

    fn set_size(&self, size: u64) {
        self.store.set_size(size);
    }

    fn sync(&self, kind: SyncKind) -> Result<(), Errno> {
        self.store.sync(kind)
    }

    fn strategy(&self) -> Strategy {
        self.strategy
    }

    fn max_size(&self) -> u64 {
        self.store.max_size()
    }

    fn is_persistent(&self) -> bool {
        self.store.is_persistent()
    }
}
