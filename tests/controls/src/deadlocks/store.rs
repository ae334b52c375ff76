//! DL4's store: it holds a lock of its own from `write_begin` to `write_end`, and its `read` takes
//! the same lock (as gfs2 held its own over the copy, 00bfe02f). The interface of the core does not
//! ask for this, but it cannot prevent it either.
//!
//! The lock is not recursive: such a store is for writes of whole pages, which need no `read` in
//! between.

#![forbid(unsafe_code)]

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use faultless_page::{Begun, PageCache, Reserved, Wait, WaitKey};

use super::flavor::Notifying;
use faultless_host::kernel::HostKernel;
use faultless_host::lockcheck::{self, Lock};
use faultless_host::stores::{At, Below, Call, HookedStore, MemoryStore};

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

/// A store that holds these bytes, on the volume of this lock. Each `read` calls `at_read` before
/// it takes the lock.
pub(super) fn on_volume(
    bytes: &[u8],
    lock: &Arc<VolumeLock>,
    at_read: impl Fn() + Send + Sync + 'static,
) -> Arc<HookedStore<MemoryStore>> {
    let lock = Arc::clone(lock);
    let hook = move |at: &At, below: &mut Below<'_>| match at.call {
        Call::Read => {
            at_read();
            lock.lock();
            let result = below();
            lock.unlock();
            result
        }
        Call::WriteBegin => {
            lock.lock();
            below()
        }
        Call::WriteEnd => {
            let result = below();
            lock.unlock();
            result
        }
        _ => below(),
    };
    // Partly: every write has to begin, and so to hold the lock over its copy.
    let partly = |_: &At, begun| Begun { reserved: Reserved::Partly, ..begun };
    Arc::new(HookedStore::new(MemoryStore::with_contents(bytes)).around(hook).granting(partly))
}
