//! Where threads wait, and locks that a thread may sleep with.

use core::cell::UnsafeCell;
use core::fmt;
use core::ops::{Deref, DerefMut};
use core::ptr;
use core::sync::atomic::AtomicBool;
use core::sync::atomic::Ordering::{Acquire, SeqCst};

use faultless::parts::QueueWait;
use faultless::prelude::{Wait, WaitKey};
use spin::Once;

use crate::sched::Sleepers;
use crate::sync::Short;

/// Where threads wait.
pub(crate) type Waits = QueueWait<Sleepers, Short>;

static WAITS: Once<Waits> = Once::new();

/// The wait queues: one set for the kernel and the cache.
pub(crate) fn waits() -> &'static Waits {
    WAITS.call_once(|| QueueWait::with_locks(Sleepers))
}

/// What names an object to waiters.
pub(crate) fn key_of<T: ?Sized>(object: &T) -> WaitKey {
    WaitKey(ptr::from_ref(object).addr())
}

/// A lock that a thread may sleep with.
pub(crate) struct SleepLock<T> {
    held: AtomicBool,
    value: UnsafeCell<T>,
}

// SAFETY: the lock excludes.
unsafe impl<T: Send> Sync for SleepLock<T> {}

impl<T> SleepLock<T> {
    pub(crate) const fn new(value: T) -> Self {
        Self { held: AtomicBool::new(false), value: UnsafeCell::new(value) }
    }

    /// Sleeps until the lock is free, whatever signals come: so the holder must not wait for what
    /// programs do. No short lock is held.
    pub(crate) fn lock(&self) -> Held<'_, T> {
        let mut take = || self.take();
        if !take() {
            waits().wait_until(key_of(self), &mut take);
        }
        Held(self)
    }

    /// The lock, if it is free.
    pub(crate) fn try_lock(&self) -> Option<Held<'_, T>> {
        // Made only if it is taken: its drop frees the lock.
        self.take().then(|| Held(self))
    }

    fn take(&self) -> bool {
        self.held.compare_exchange(false, true, Acquire, Acquire).is_ok()
    }
}

/// A [`SleepLock`] that is held.
pub(crate) struct Held<'l, T>(&'l SleepLock<T>);

impl<T> Deref for Held<'_, T> {
    type Target = T;
    fn deref(&self) -> &T {
        // SAFETY: the lock is held.
        unsafe { &*self.0.value.get() }
    }
}

impl<T> DerefMut for Held<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        // SAFETY: as above.
        unsafe { &mut *self.0.value.get() }
    }
}

impl<T> Drop for Held<'_, T> {
    fn drop(&mut self) {
        self.0.held.store(false, SeqCst);
        waits().wake(key_of(self.0));
    }
}

impl<T> fmt::Debug for SleepLock<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SleepLock").field("held", &self.held).finish_non_exhaustive()
    }
}

/// Where `poll` and `select` wait.
static POLLERS: AtomicBool = AtomicBool::new(false);

/// What `poll` and `select` wait under.
pub(crate) fn poll_key() -> WaitKey {
    key_of(&POLLERS)
}

/// Has those look again that wait for a file to be read or written, and `poll` and `select`.
pub(crate) fn wake_pollers(key: WaitKey) {
    wake(key);
    wake(poll_key());
}

/// Has those that wait for an object look again.
pub(crate) fn wake(key: WaitKey) {
    waits().wake(key);
}
