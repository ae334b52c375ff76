//! A kernel whose words, locks and waits are points of the scheduler.

use std::cell::UnsafeCell;
use std::ops::{Deref, DerefMut};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};

use faultless_page::{
    AddressSpaceOperations, Kernel, PageCache, Spin, SyncFamily, Trace, Wait, WaitKey, Word,
};

use super::super::Plant;
use super::maps::Maps;
use super::scheduler;
use faultless_host::memory::HostFrames;

/// The kernel.
#[derive(Debug)]
pub(super) enum ScheduledKernel {}
impl Kernel for ScheduledKernel {
    type Sync = ScheduledSync;
    type Frames = HostFrames;
    type Wait = ScheduledWait;
    type Cache = Arc<PageCache<Self>>;
    type Store = Arc<dyn AddressSpaceOperations>;
    type UserMappings = Maps;

    /// Checks drop their files as they please: what is lost with them is looked for where it
    /// matters.
    fn dirty_pages_dropped(_mapping: u64, _pages: u64) {}

    fn trace(_event: Trace) {
        scheduler::point();
    }
}

/// Words and short locks.
pub(super) enum ScheduledSync {}

// SAFETY: the words are `core`'s atomics; the short lock excludes by its flag.
unsafe impl SyncFamily for ScheduledSync {
    type Word64 = ScheduledWord<AtomicU64>;
    type Word32 = ScheduledWord<AtomicU32>;
    type Spin<T: Send> = ScheduledSpin<T>;
    const SPIN_ROUNDS: u32 = 0;

    fn fence(order: Ordering) {
        std::sync::atomic::fence(order);
    }

    fn relax() {
        scheduler::relax();
    }
}

/// A word, before each access to which another thread may come.
#[derive(Debug)]
pub(super) struct ScheduledWord<A>(A);

macro_rules! word {
    ($atomic:ty, $value:ty) => {
        impl Word<$value> for ScheduledWord<$atomic> {
            fn new(value: $value) -> Self {
                Self(<$atomic>::new(value))
            }
            fn load(&self, order: Ordering) -> $value {
                scheduler::point();
                self.0.load(order)
            }
            fn store(&self, value: $value, order: Ordering) {
                scheduler::point();
                self.0.store(value, order);
            }
            fn swap(&self, value: $value, order: Ordering) -> $value {
                scheduler::point();
                self.0.swap(value, order)
            }
            fn fetch_add(&self, value: $value, order: Ordering) -> $value {
                scheduler::point();
                self.0.fetch_add(value, order)
            }
            fn fetch_sub(&self, value: $value, order: Ordering) -> $value {
                scheduler::point();
                self.0.fetch_sub(value, order)
            }
            fn fetch_and(&self, value: $value, order: Ordering) -> $value {
                scheduler::point();
                self.0.fetch_and(value, order)
            }
            fn fetch_or(&self, value: $value, order: Ordering) -> $value {
                scheduler::point();
                self.0.fetch_or(value, order)
            }
            fn compare_exchange(
                &self,
                current: $value,
                new: $value,
                success: Ordering,
                failure: Ordering,
            ) -> Result<$value, $value> {
                scheduler::point();
                self.0.compare_exchange(current, new, success, failure)
            }
        }
    };
}

word!(AtomicU64, u64);
word!(AtomicU32, u32);

/// A short lock.
pub(super) struct ScheduledSpin<T> {
    held: AtomicBool,
    value: UnsafeCell<T>,
}

// SAFETY: the flag lets one thread at a time to the value.
unsafe impl<T: Send> Sync for ScheduledSpin<T> {}

/// The short lock, held.
pub(super) struct ScheduledSpinGuard<'a, T>(&'a ScheduledSpin<T>);

impl<T: Send> Spin<T> for ScheduledSpin<T> {
    type Guard<'a>
        = ScheduledSpinGuard<'a, T>
    where
        T: 'a;

    fn new(value: T) -> Self {
        Self { held: AtomicBool::new(false), value: UnsafeCell::new(value) }
    }

    fn lock(&self) -> ScheduledSpinGuard<'_, T> {
        scheduler::point();
        while self.held.swap(true, Ordering::Acquire) {
            scheduler::relax();
        }
        ScheduledSpinGuard(self)
    }
}

impl<T> Deref for ScheduledSpinGuard<'_, T> {
    type Target = T;
    fn deref(&self) -> &T {
        // SAFETY: the flag is ours.
        unsafe { &*self.0.value.get() }
    }
}

impl<T> DerefMut for ScheduledSpinGuard<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        // SAFETY: the flag is ours, and so is the guard.
        unsafe { &mut *self.0.value.get() }
    }
}

impl<T> Drop for ScheduledSpinGuard<'_, T> {
    fn drop(&mut self) {
        self.0.held.store(false, Ordering::Release);
    }
}

/// Sleeping and waking.
#[derive(Debug)]
pub(super) struct ScheduledWait {
    plant: Plant,
}

impl ScheduledWait {
    pub(super) const fn new(plant: Plant) -> Self {
        Self { plant }
    }
}

impl Wait for ScheduledWait {
    fn wait_until(&self, key: WaitKey, condition: &mut dyn FnMut() -> bool) {
        loop {
            let (before, signals) = (scheduler::wakes(key.0), scheduler::signals());
            if condition() {
                return;
            }
            scheduler::point();
            // What is planted: a wake that came since the look is lost.
            let missed = scheduler::wakes(key.0) != before || scheduler::signals() != signals;
            if self.plant == Plant::ConcurrencyLostWake || !missed {
                scheduler::block(key.0, "a wake of the core");
            }
        }
    }

    fn wake(&self, key: WaitKey) {
        scheduler::point();
        scheduler::wake(key.0);
    }
}
