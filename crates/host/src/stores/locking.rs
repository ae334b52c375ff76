//! A lock of a store's own, which its `read` takes too: the fault handler reaches it (DL4, D3).

#![forbid(unsafe_code)]

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::faulty::Call;
use super::hooked::HookedStore;
use crate::lockcheck::{self, Lock};

static NEXT_ID: AtomicU64 = AtomicU64::new(1);

/// A lock of a store. The lock checker knows it as `store(n)`.
#[derive(Debug)]
pub struct StoreLock {
    lock: Mutex<()>,
    id: u64,
}

/// The store's lock, held.
pub struct StoreGuard<'a> {
    _guard: MutexGuard<'a, ()>,
    id: u64,
}

impl StoreLock {
    /// A free lock.
    #[must_use]
    pub fn new() -> Arc<Self> {
        let id = NEXT_ID.fetch_add(1, Ordering::Relaxed);
        Arc::new(Self { lock: Mutex::new(()), id })
    }

    /// `inner` with this lock held within each call but `set_size`, which does not sleep.
    #[must_use]
    pub fn around<S: ?Sized>(self: &Arc<Self>, inner: Arc<S>) -> Arc<HookedStore<S>> {
        let lock = Arc::clone(self);
        Arc::new(HookedStore::new(inner).around(move |at, below| {
            let _lock = (at.call != Call::SetSize).then(|| lock.lock());
            below()
        }))
    }

    /// Takes the lock: for a control that holds it where it must not be held.
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
