//! DL4's store: it holds a lock of its own from `write_begin` to `write_end`, and its `read` takes
//! the same lock (as gfs2 held its own over the copy, 00bfe02f). The interface of the core does not
//! ask for this, but it cannot prevent it either.
//!
//! The lock is not recursive: such a store is for writes of whole pages, which need no `read` in
//! between.

#![forbid(unsafe_code)]

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use faultless_page::{
    AddressSpaceOperations, Begun, Errno, FillBuf, PageCache, PageIndex, Reserved, SyncKind, Wait,
    WaitKey, WritebackRun,
};

use super::flavor::Notifying;
use faultless_host::kernel::HostKernel;
use faultless_host::lockcheck::{self, Lock};
use faultless_host::stores::MemoryStore;

static NEXT_ID: AtomicU64 = AtomicU64::new(1);

/// The lock, which several stores may share: a volume's.
pub(super) struct VolumeLock {
    id: u64,
    held: AtomicBool,
    cache: Arc<PageCache<HostKernel<Notifying>>>,
}

impl VolumeLock {
    pub(super) fn new(cache: &Arc<PageCache<HostKernel<Notifying>>>) -> Arc<Self> {
        let id = NEXT_ID.fetch_add(1, Ordering::Relaxed);
        Arc::new(Self { id, held: AtomicBool::new(false), cache: Arc::clone(cache) })
    }

    fn lock(&self) {
        lockcheck::acquiring(self.name());
        self.cache.wait().wait_until(self.key(), &mut || !self.held.swap(true, Ordering::SeqCst));
        lockcheck::acquired(self.name());
    }

    fn unlock(&self) {
        lockcheck::released(self.name());
        self.held.store(false, Ordering::SeqCst);
        self.cache.wait().wake(self.key());
    }

    fn name(&self) -> Lock {
        Lock::Other("store", self.id)
    }

    fn key(&self) -> WaitKey {
        WaitKey(std::ptr::from_ref(self).addr())
    }
}

/// The store.
pub(super) struct VolumeStore {
    inner: Arc<MemoryStore>,
    lock: Arc<VolumeLock>,
    /// Called by each `read`, before it takes the lock.
    at_read: Box<dyn Fn() + Send + Sync>,
}

impl VolumeStore {
    /// A store that holds these bytes.
    pub(super) fn new(
        bytes: &[u8],
        lock: &Arc<VolumeLock>,
        at_read: impl Fn() + Send + Sync + 'static,
    ) -> Arc<Self> {
        let (inner, lock) = (MemoryStore::with_contents(bytes), Arc::clone(lock));
        Arc::new(Self { inner, lock, at_read: Box::new(at_read) })
    }
}

impl fmt::Debug for VolumeStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "VolumeStore({})", self.lock.id)
    }
}

impl AddressSpaceOperations for VolumeStore {
    fn read(&self, index: PageIndex, buf: &mut FillBuf<'_>) -> Result<(), Errno> {
        (self.at_read)();
        self.lock.lock();
        let result = self.inner.read(index, buf);
        self.lock.unlock();
        result
    }

    fn write_begin(&self, pos: u64, len: usize) -> Result<Begun, Errno> {
        self.lock.lock();
        // Partly: every write has to begin, and so to hold the lock over its copy.
        self.inner.write_begin(pos, len).map(|begun| Begun { reserved: Reserved::Partly, ..begun })
    }

    fn write_end(&self, pos: u64, len: usize, copied: usize) {
        self.inner.write_end(pos, len, copied);
        self.lock.unlock();
    }

    fn writeback(&self, run: &WritebackRun<'_>) -> Result<(), Errno> {
        self.inner.writeback(run)
    }

    fn truncate_blocks(&self, size: u64) {
        self.inner.truncate_blocks(size);
    }

    fn set_size(&self, size: u64) {
        self.inner.set_size(size);
    }

    fn sync(&self, kind: SyncKind) -> Result<(), Errno> {
        self.inner.sync(kind)
    }
}
