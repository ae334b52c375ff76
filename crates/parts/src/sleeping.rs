//! A lock that a thread may sleep with, over any [`Wait`]: for stores that call a device.
//!
//! It is not fair: a thread that comes while the lock is free takes it. Stores hold it across a
//! bounded number of device calls each time.
#![forbid(unsafe_code)]

use core::ops::{Deref, DerefMut};

use faultless_page::{Wait, WaitKey};

/// A value behind a lock whose takers sleep by `W`.
pub(crate) struct WaitMutex<T, W> {
    value: spin::Mutex<T>,
    wait: W,
}

/// The held lock. Dropping it unlocks, and wakes the waiters.
pub(crate) struct WaitGuard<'l, T, W: Wait> {
    lock: &'l WaitMutex<T, W>,
    /// `None` only inside `drop`.
    held: Option<spin::MutexGuard<'l, T>>,
}

impl<T, W: Wait> WaitMutex<T, W> {
    /// A free lock.
    pub(crate) const fn new(value: T, wait: W) -> Self {
        Self { value: spin::Mutex::new(value), wait }
    }

    /// Takes the lock; may sleep. No short lock is held.
    pub(crate) fn lock(&self) -> WaitGuard<'_, T, W> {
        loop {
            let mut held = self.value.try_lock();
            if held.is_none() {
                self.wait.wait_until(self.key(), &mut || {
                    if held.is_none() {
                        held = self.value.try_lock();
                    }
                    held.is_some()
                });
            }
            // `Wait` is a safe trait: it may return too early.
            if held.is_some() {
                return WaitGuard { lock: self, held };
            }
        }
    }

    fn key(&self) -> WaitKey {
        WaitKey(core::ptr::from_ref(&self.value).addr())
    }
}

impl<T, W: Wait> Deref for WaitGuard<'_, T, W> {
    type Target = T;
    fn deref(&self) -> &T {
        self.held.as_ref().expect("held until the drop")
    }
}

impl<T, W: Wait> DerefMut for WaitGuard<'_, T, W> {
    fn deref_mut(&mut self) -> &mut T {
        self.held.as_mut().expect("held until the drop")
    }
}

impl<T, W: Wait> Drop for WaitGuard<'_, T, W> {
    fn drop(&mut self) {
        self.held = None;
        self.lock.wait.wake(self.lock.key());
    }
}
