//! A store under a lock of its own, which its `read` takes too: the fault handler reaches it (DL4,
//! D3).

#![forbid(unsafe_code)]

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use faultless_page::{
    AddressSpaceOperations, Begun, Errno, FillBuf, PageIndex, Strategy, SyncKind, WritebackRun,
};

use crate::lockcheck::{self, Lock};

static NEXT_ID: AtomicU64 = AtomicU64::new(1);

/// A store that holds its own lock within each call. The lock checker knows it as `store(n)`.
#[derive(Debug)]
pub struct LockingStore<S> {
    inner: Arc<S>,
    lock: Mutex<()>,
    id: u64,
}

/// The store's lock, held.
pub struct StoreGuard<'a> {
    _guard: MutexGuard<'a, ()>,
    id: u64,
}

impl<S> LockingStore<S> {
    /// `inner` under a lock.
    #[must_use]
    pub fn new(inner: Arc<S>) -> Arc<Self> {
        let id = NEXT_ID.fetch_add(1, Ordering::Relaxed);
        Arc::new(Self { inner, lock: Mutex::new(()), id })
    }

    /// The store below.
    #[must_use]
    pub fn inner(&self) -> &Arc<S> {
        &self.inner
    }

    /// Takes the store's lock: for a control that holds it where it must not be held.
    pub fn lock(&self) -> StoreGuard<'_> {
        lockcheck::acquiring(Lock::Other("store", self.id));
        let guard = self.lock.lock().unwrap_or_else(PoisonError::into_inner);
        lockcheck::acquired(Lock::Other("store", self.id));
        StoreGuard { _guard: guard, id: self.id }
    }
}

impl Drop for StoreGuard<'_> {
    fn drop(&mut self) {
        lockcheck::released(Lock::Other("store", self.id));
    }
}

impl fmt::Debug for StoreGuard<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "store({})", self.id)
    }
}

impl<S: AddressSpaceOperations> AddressSpaceOperations for LockingStore<S> {
    fn read(&self, index: PageIndex, buf: &mut FillBuf<'_>) -> Result<(), Errno> {
        let _lock = self.lock();
        self.inner.read(index, buf)
    }
    fn write_begin(&self, pos: u64, len: usize) -> Result<Begun, Errno> {
        let _lock = self.lock();
        self.inner.write_begin(pos, len)
    }
    fn write_end(&self, pos: u64, len: usize, copied: usize) {
        let _lock = self.lock();
        self.inner.write_end(pos, len, copied);
    }
    fn writeback(&self, run: &WritebackRun<'_>) -> Result<(), Errno> {
        let _lock = self.lock();
        self.inner.writeback(run)
    }
    fn truncate_blocks(&self, size: u64) {
        let _lock = self.lock();
        self.inner.truncate_blocks(size);
    }
    fn set_size(&self, size: u64) {
        self.inner.set_size(size);
    }
    fn sync(&self, kind: SyncKind) -> Result<(), Errno> {
        let _lock = self.lock();
        self.inner.sync(kind)
    }
    fn strategy(&self) -> Strategy {
        self.inner.strategy()
    }
    fn max_size(&self) -> u64 {
        self.inner.max_size()
    }
    fn is_persistent(&self) -> bool {
        self.inner.is_persistent()
    }
}
