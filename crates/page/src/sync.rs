//! Words and short locks: the seam that the model checkers implement, so that they explore the code
//! that ships.
//!
//! Key types: [`SyncFamily`], [`Word`], [`Spin`]; [`CoreSync`] is the family of a real kernel and
//! costs nothing. There are no link-time symbols and no globals: two kernels fit in one program.
use core::ops::{Deref, DerefMut};
use core::sync::atomic::Ordering;

/// The family of words and short locks. [`CoreSync`] for every kernel; a model checker supplies its
/// own.
///
/// # Safety
/// The words are atomic, with the orderings asked for, and the short locks exclude.
pub unsafe trait SyncFamily: 'static {
    /// A 64-bit word.
    type Word64: Word<u64>;
    /// A 32-bit word.
    type Word32: Word<u32>;
    /// A short lock.
    type Spin<T: Send>: Spin<T>;
    /// A sequentially consistent or weaker fence.
    fn fence(order: Ordering);
    /// How often a contended lock is tried again before its taker sleeps. A model checker says 0.
    const SPIN_ROUNDS: u32 = 128;
    /// Called in each round of a busy loop. The default tells the CPU.
    fn relax() {
        core::hint::spin_loop();
    }
}

/// `core::sync::atomic` and the spin lock of the `spin` crate.
#[derive(Clone, Copy, Debug, Default)]
pub struct CoreSync;

// SAFETY: the words are `core`'s atomics; the short lock is `spin`'s.
unsafe impl SyncFamily for CoreSync {
    type Word64 = core::sync::atomic::AtomicU64;
    type Word32 = core::sync::atomic::AtomicU32;
    type Spin<T: Send> = spin::Mutex<T>;
    #[inline(always)]
    fn fence(order: Ordering) {
        core::sync::atomic::fence(order);
    }
}

/// An atomic word of 64 or 32 bits. The methods are those of `core::sync::atomic`.
///
/// `Ordering::SeqCst` must be honoured as the single total order of C11, for loads, stores and
/// read-modify-writes alike. Three pairs are store-buffering patterns and hang or expose recycled
/// frames without it: unlock/waiters against waiters/locked ([`LockedRun`](crate::LockedRun); the
/// end of a writeback and the waits for it do the same), enter/read against remove/synchronise
/// ([`Epoch`](crate::Epoch)), and leave/waiting against waiting/leave (the same). A checker that
/// treats a `SeqCst` access as acquire-release (loom does) puts a `SeqCst` fence before and after
/// each such access in its implementation of this trait.
pub trait Word<T>: Send + Sync + 'static {
    /// A word holding `value`.
    fn new(value: T) -> Self;
    /// Atomic load.
    fn load(&self, order: Ordering) -> T;
    /// Atomic store.
    fn store(&self, value: T, order: Ordering);
    /// Replaces the value and returns the old one.
    fn swap(&self, value: T, order: Ordering) -> T;
    /// Adds with wrap-around; returns the old value.
    fn fetch_add(&self, value: T, order: Ordering) -> T;
    /// Subtracts with wrap-around; returns the old value.
    fn fetch_sub(&self, value: T, order: Ordering) -> T;
    /// Bitwise and; returns the old value.
    fn fetch_and(&self, value: T, order: Ordering) -> T;
    /// Bitwise or; returns the old value.
    fn fetch_or(&self, value: T, order: Ordering) -> T;
    /// Stores `new` if the word holds `current`; the old value either way.
    ///
    /// # Errors
    /// The value found, when it was not `current`.
    fn compare_exchange(
        &self,
        current: T,
        new: T,
        success: Ordering,
        failure: Ordering,
    ) -> Result<T, T>;
}

macro_rules! impl_word {
    ($atomic:ty, $value:ty) => {
        impl Word<$value> for $atomic {
            #[inline(always)]
            fn new(value: $value) -> Self {
                Self::new(value)
            }
            #[inline(always)]
            fn load(&self, order: Ordering) -> $value {
                self.load(order)
            }
            #[inline(always)]
            fn store(&self, value: $value, order: Ordering) {
                self.store(value, order);
            }
            #[inline(always)]
            fn swap(&self, value: $value, order: Ordering) -> $value {
                self.swap(value, order)
            }
            #[inline(always)]
            fn fetch_add(&self, value: $value, order: Ordering) -> $value {
                self.fetch_add(value, order)
            }
            #[inline(always)]
            fn fetch_sub(&self, value: $value, order: Ordering) -> $value {
                self.fetch_sub(value, order)
            }
            #[inline(always)]
            fn fetch_and(&self, value: $value, order: Ordering) -> $value {
                self.fetch_and(value, order)
            }
            #[inline(always)]
            fn fetch_or(&self, value: $value, order: Ordering) -> $value {
                self.fetch_or(value, order)
            }
            #[inline(always)]
            fn compare_exchange(
                &self,
                current: $value,
                new: $value,
                success: Ordering,
                failure: Ordering,
            ) -> Result<$value, $value> {
                self.compare_exchange(current, new, success, failure)
            }
        }
    };
}

impl_word!(core::sync::atomic::AtomicU64, u64);
impl_word!(core::sync::atomic::AtomicU32, u32);

/// A short lock: held for a bounded number of instructions, never across a call out of the crate,
/// never while sleeping. In a kernel it also disables preemption (and interrupts, where the page
/// cache is entered from them).
pub trait Spin<T>: Send + Sync {
    /// Proof that the lock is held.
    type Guard<'a>: DerefMut + Deref<Target = T>
    where
        Self: 'a;
    /// A lock around `value`.
    fn new(value: T) -> Self;
    /// Takes the lock, spinning.
    fn lock(&self) -> Self::Guard<'_>;
}

impl<T: Send> Spin<T> for spin::Mutex<T> {
    type Guard<'a>
        = spin::MutexGuard<'a, T>
    where
        T: 'a;
    #[inline]
    fn new(value: T) -> Self {
        Self::new(value)
    }
    #[inline]
    fn lock(&self) -> Self::Guard<'_> {
        self.lock()
    }
}
