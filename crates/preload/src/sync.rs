//! Short locks that let other threads run while they wait: a thread that holds one may be preempted
//! by Linux at any instruction.

use core::ops::{Deref, DerefMut};
use core::sync::atomic::Ordering;

use faultless::page::{ConstSync, Initial, Spin, SyncFamily};
use spin::RelaxStrategy;
use spin::mutex::{SpinMutex, SpinMutexGuard};

use crate::raw;

/// How a waiter passes its time.
pub(crate) struct Yield;

impl RelaxStrategy for Yield {
    fn relax() {
        raw::yield_now();
    }
}

/// A short lock.
pub(crate) struct Short<T>(SpinMutex<T, Yield>);

impl<T> Short<T> {
    pub(crate) const fn new(value: T) -> Self {
        Self(SpinMutex::new(value))
    }

    pub(crate) fn lock(&self) -> Held<'_, T> {
        Held(self.0.lock())
    }
}

impl<T: Default> Default for Short<T> {
    fn default() -> Self {
        Self::new(T::default())
    }
}

/// A short lock that is held.
pub(crate) struct Held<'a, T>(SpinMutexGuard<'a, T, Yield>);

impl<T> Deref for Held<'_, T> {
    type Target = T;
    fn deref(&self) -> &T {
        &self.0
    }
}

impl<T> DerefMut for Held<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        &mut self.0
    }
}

impl<T: Send> Spin<T> for Short<T> {
    type Guard<'a>
        = Held<'a, T>
    where
        T: 'a;
    fn new(value: T) -> Self {
        Self::new(value)
    }
    fn lock(&self) -> Held<'_, T> {
        self.lock()
    }
}

/// The words of `core`, and locks that yield. All of it works between processes.
pub(crate) struct Words;

// SAFETY: the words and the fence are those of `core`; the lock is that of `spin`.
unsafe impl SyncFamily for Words {
    type Word64 = core::sync::atomic::AtomicU64;
    type Word32 = core::sync::atomic::AtomicU32;
    type Spin<T: Send> = Short<T>;
    fn fence(order: Ordering) {
        core::sync::atomic::fence(order);
    }
    fn relax() {
        raw::yield_now();
    }
    const SPIN_ROUNDS: u32 = 2;
}

impl<T: Initial> Initial for Short<T> {
    const INITIAL: Self = Self::new(T::INITIAL);
}

impl ConstSync for Words {
    type Free<T: Send + Initial> = Short<T>;
}
