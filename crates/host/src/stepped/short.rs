//! Short locks among threads that share one thread of the host.

#![forbid(unsafe_code)]

use std::sync::{Mutex, MutexGuard, TryLockError};

/// Takes a short lock, which is free if its last holder has panicked.
///
/// # Panics
/// If it is held: then its holder has come to a point with it.
pub(super) fn short<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    match mutex.try_lock() {
        Ok(guard) => guard,
        Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
        Err(TryLockError::WouldBlock) => panic!("a short lock of the address space is held"),
    }
}
