//! A kernel whose words, locks and waits are points of the scheduler.

use std::cell::UnsafeCell;
use std::ops::{Deref, DerefMut};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};

use faultless_page::{
    AddressSpaceOperations, Kernel, PageCache, Spin, SyncFamily, Trace, Wait, WaitKey, Word,
};

use super::super::Plant;
use super::baton;
use super::space::Maps;
use crate::memory::HostFrames;

/// The kernel.
#[derive(Debug)]
pub(super) enum BatonKernel {}
impl Kernel for BatonKernel {
    type Sync = BatonSync;
    type Frames = HostFrames;
    type Wait = BatonWait;
    type Cache = Arc<PageCache<Self>>;
    type Store = Arc<dyn AddressSpaceOperations>;
    type UserMappings = Maps;

    /// Checks drop their files as they please: what is lost with them is looked for where it
    /// matters.
    fn dirty_pages_dropped(_mapping: u64, _pages: u64) {}

    fn trace(_event: Trace) {
        baton::point();
    }
}

/// Words and short locks.
pub(super) enum BatonSync {}

// SAFETY: the words are `core`'s atomics; the short lock excludes by its flag.
unsafe impl SyncFamily for BatonSync {
    type Word64 = BatonWord<AtomicU64>;
    type Word32 = BatonWord<AtomicU32>;
    type Spin<T: Send> = BatonSpin<T>;
    const SPIN_ROUNDS: u32 = 0;

    fn fence(order: Ordering) {
        std::sync::atomic::fence(order);
    }

    fn relax() {
        baton::relax();
    }
}

/// A word, before each access to which another thread may come.
#[derive(Debug)]
pub(super) struct BatonWord<A>(A);

macro_rules! word {
    ($atomic:ty, $value:ty) => {
        impl Word<$value> for BatonWord<$atomic> {
            fn new(value: $value) -> Self {
                Self(<$atomic>::new(value))
            }
            fn load(&self, order: Ordering) -> $value {
                baton::point();
                self.0.load(order)
            }
            fn store(&self, value: $value, order: Ordering) {
                baton::point();
                self.0.store(value, order);
            }
            fn swap(&self, value: $value, order: Ordering) -> $value {
                baton::point();
                self.0.swap(value, order)
            }
            fn fetch_add(&self, value: $value, order: Ordering) -> $value {
                baton::point();
                self.0.fetch_add(value, order)
            }
            fn fetch_sub(&self, value: $value, order: Ordering) -> $value {
                baton::point();
                self.0.fetch_sub(value, order)
            }
            fn fetch_and(&self, value: $value, order: Ordering) -> $value {
                baton::point();
                self.0.fetch_and(value, order)
            }
            fn fetch_or(&self, value: $value, order: Ordering) -> $value {
                baton::point();
                self.0.fetch_or(value, order)
            }
            fn compare_exchange(
                &self,
                current: $value,
                new: $value,
                success: Ordering,
                failure: Ordering,
            ) -> Result<$value, $value> {
                baton::point();
                self.0.compare_exchange(current, new, success, failure)
            }
        }
    };
}

word!(AtomicU64, u64);
word!(AtomicU32, u32);

/// A short lock.
pub(super) struct BatonSpin<T> {
    held: AtomicBool,
    value: UnsafeCell<T>,
}

// SAFETY: the flag lets one thread at a time to the value.
unsafe impl<T: Send> Sync for BatonSpin<T> {}

/// The short lock, held.
pub(super) struct BatonSpinGuard<'a, T>(&'a BatonSpin<T>);

impl<T: Send> Spin<T> for BatonSpin<T> {
    type Guard<'a>
        = BatonSpinGuard<'a, T>
    where
        T: 'a;

    fn new(value: T) -> Self {
        Self { held: AtomicBool::new(false), value: UnsafeCell::new(value) }
    }

    fn lock(&self) -> BatonSpinGuard<'_, T> {
        baton::point();
        while self.held.swap(true, Ordering::Acquire) {
            baton::relax();
        }
        BatonSpinGuard(self)
    }
}

impl<T> Deref for BatonSpinGuard<'_, T> {
    type Target = T;
    fn deref(&self) -> &T {
        // SAFETY: the flag is ours.
        unsafe { &*self.0.value.get() }
    }
}

impl<T> DerefMut for BatonSpinGuard<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        // SAFETY: the flag is ours, and so is the guard.
        unsafe { &mut *self.0.value.get() }
    }
}

impl<T> Drop for BatonSpinGuard<'_, T> {
    fn drop(&mut self) {
        self.0.held.store(false, Ordering::Release);
    }
}

/// Sleeping and waking.
#[derive(Debug)]
pub(super) struct BatonWait {
    plant: Plant,
}

impl BatonWait {
    pub(super) const fn new(plant: Plant) -> Self {
        Self { plant }
    }
}

impl Wait for BatonWait {
    fn wait_until(&self, key: WaitKey, condition: &mut dyn FnMut() -> bool) {
        loop {
            let (before, signals) = (baton::wakes(key.0), baton::signals());
            if condition() {
                return;
            }
            baton::point();
            // What is planted: a wake that came since the look is lost.
            let missed = baton::wakes(key.0) != before || baton::signals() != signals;
            if self.plant == Plant::ConcurrencyLostWake || !missed {
                baton::block(key.0, "a wake of the core");
            }
        }
    }

    fn wake(&self, key: WaitKey) {
        baton::point();
        baton::wake(key.0);
    }
}
