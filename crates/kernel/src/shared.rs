//! What one process has, or several have together.
#![forbid(unsafe_code)]

use alloc::sync::Arc;

use crate::sync::Lock;

/// What one process has, or several have together, until one of them gets another.
#[derive(Debug)]
pub(crate) struct Shared<T>(Lock<Arc<T>>);

impl<T> Shared<T> {
    pub(crate) const fn new(value: Arc<T>) -> Self {
        Self(Lock::new(value))
    }

    /// What it has now.
    pub(crate) fn get(&self) -> Arc<T> {
        Arc::clone(&self.0.lock())
    }

    /// Where it is: another address for each that there is now.
    pub(crate) fn address(&self) -> usize {
        Arc::as_ptr(&*self.0.lock()).addr()
    }

    /// Has the same as another process from now on, or something of its own; what it had.
    pub(crate) fn replace(&self, value: Arc<T>) -> Arc<T> {
        core::mem::replace(&mut *self.0.lock(), value)
    }
}
