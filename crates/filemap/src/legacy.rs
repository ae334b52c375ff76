//! Stores that offer only prepare and commit: strategy A as an adapter.
//!
//! A store of 2007 is told that bytes of a page are about to change
//! ([`PrepareCommit::prepare_write`]) and that they have ([`PrepareCommit::commit_write`]); it
//! cannot take back a promise in between, so the write path has to know beforehand that the bytes
//! will come. That is what the temporary page is for.
#![forbid(unsafe_code)]

use faultless_page::{
    AddressSpaceOperations, Begun, Contents, Errno, FailedSync, FillBuf, PageIndex, Reserved,
    StoreId, Strategy, SyncKind, WritebackRun,
};

/// The interface of a store from before `write_begin` and `write_end`. Each method is called as the
/// method of [`AddressSpaceOperations`] that it resembles is.
#[doc(alias = "prepare_write")]
#[doc(alias = "commit_write")]
pub trait PrepareCommit: Send + Sync {
    /// Reads a page; see [`AddressSpaceOperations::read`].
    ///
    /// # Errors
    /// The page stays not uptodate.
    fn read(&self, index: PageIndex, buf: &mut FillBuf<'_>) -> Result<(), Errno>;

    /// Bytes `from..to` of the page are about to change: makes room for them, and says what the
    /// page held. The page is locked.
    ///
    /// # Errors
    /// Nothing was prepared; no commit follows.
    fn prepare_write(&self, index: PageIndex, from: usize, to: usize) -> Result<Contents, Errno>;

    /// Bytes `from..to` of the page have changed. `to == from`: none of the bytes that were
    /// prepared, whether the page is uptodate (the source was gone) or not (the temporary page
    /// could not be landed). The page is locked.
    fn commit_write(&self, index: PageIndex, from: usize, to: usize);

    /// Sends pages to the store; see [`AddressSpaceOperations::writeback`].
    ///
    /// # Errors
    /// The pages are dirty again.
    fn writeback(&self, run: &WritebackRun<'_>) -> Result<(), Errno>;

    /// Gives back blocks past `size`; see [`AddressSpaceOperations::truncate_blocks`].
    fn truncate_blocks(&self, size: u64);

    /// The size has changed; see [`AddressSpaceOperations::set_size`].
    fn set_size(&self, size: u64);

    /// Makes durable what was sent; see [`AddressSpaceOperations::sync`].
    ///
    /// # Errors
    /// What was sent may not be durable.
    fn sync(&self, kind: SyncKind) -> Result<(), Errno>;

    /// Largest size of a file, in bytes.
    fn max_size(&self) -> u64 {
        faultless_page::MAX_FILE_SIZE
    }

    /// See [`AddressSpaceOperations::failed_sync`].
    fn failed_sync(&self) -> FailedSync {
        FailedSync::Loses
    }

    /// Whether clean pages may be dropped; see [`AddressSpaceOperations::is_persistent`].
    fn is_persistent(&self) -> bool {
        true
    }

    /// Which of the kernel's stores the file is on; see [`AddressSpaceOperations::store_id`].
    fn store_id(&self) -> StoreId {
        StoreId::default()
    }
}

/// Makes a store of the old kind one of the new kind, written to by strategy A.
#[derive(Clone, Copy, Debug, Default)]
pub struct PrepareCommitStore<S>(S);

impl<S: PrepareCommit> PrepareCommitStore<S> {
    /// Adapts `store`.
    #[must_use]
    pub const fn new(store: S) -> Self {
        Self(store)
    }

    /// The store itself.
    #[must_use]
    pub const fn inner(&self) -> &S {
        &self.0
    }
}

/// The page of `pos`, and the byte of it that `pos` is.
fn place(pos: u64) -> (PageIndex, usize) {
    let index = PageIndex::containing(pos);
    (index, (pos - index.start()) as usize)
}

impl<S: PrepareCommit> AddressSpaceOperations for PrepareCommitStore<S> {
    fn read(&self, index: PageIndex, buf: &mut FillBuf<'_>) -> Result<(), Errno> {
        self.0.read(index, buf)
    }

    fn write_begin(&self, pos: u64, len: usize) -> Result<Begun, Errno> {
        let (index, from) = place(pos);
        let contents = self.0.prepare_write(index, from, from + len)?;
        // Every write is prepared and committed: that is all that such a store has to learn from.
        Ok(Begun { len, contents, reserved: Reserved::Partly })
    }

    fn write_end(&self, pos: u64, _len: usize, copied: usize) {
        let (index, from) = place(pos);
        self.0.commit_write(index, from, from + copied);
    }

    fn writeback(&self, run: &WritebackRun<'_>) -> Result<(), Errno> {
        self.0.writeback(run)
    }

    fn truncate_blocks(&self, size: u64) {
        self.0.truncate_blocks(size);
    }

    fn set_size(&self, size: u64) {
        self.0.set_size(size);
    }

    fn sync(&self, kind: SyncKind) -> Result<(), Errno> {
        self.0.sync(kind)
    }

    fn failed_sync(&self) -> FailedSync {
        self.0.failed_sync()
    }

    fn strategy(&self) -> Strategy {
        Strategy::PrepareCommit
    }

    fn max_size(&self) -> u64 {
        self.0.max_size()
    }

    fn is_persistent(&self) -> bool {
        self.0.is_persistent()
    }

    fn store_id(&self) -> StoreId {
        self.0.store_id()
    }
}
