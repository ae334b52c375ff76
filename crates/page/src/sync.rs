//! Words, short locks and read sections: the seam that the model checkers implement, so that they
//! explore the code that ships.
//!
//! Key types: [`SyncFamily`], [`Word`], [`Spin`]; [`CoreSync`] is the family of a real kernel and
//! costs nothing. A family that is a [`ConstSync`] can be used in a `static`. There are no
//! link-time symbols and no globals: two kernels fit in one program.
use core::ops::{Deref, DerefMut};
use core::sync::atomic::Ordering;

/// The family of words and short locks. [`CoreSync`] for every kernel; a model checker supplies its
/// own.
///
/// # Safety
/// The words are atomic, with the orderings asked for, and the short locks exclude. Read sections
/// of the family's own are what [`wait_for_readers`](Self::wait_for_readers) says.
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
    /// Whether read sections are the kernel's own: RCU, or preemption that is off. They then cost
    /// what they cost there, often no locked instruction; the [`Epoch`](crate::Epoch) of a cache
    /// takes two.
    const HAS_READ_SECTIONS: bool = false;
    /// Begins a read section of the kernel's own. The thread may be in others: they nest. It does
    /// not sleep in them, and takes no page fault that does: user memory is copied atomically.
    #[doc(alias = "rcu_read_lock")]
    fn enter_read_section() {}
    /// Ends the innermost one of this thread.
    #[doc(alias = "rcu_read_unlock")]
    fn leave_read_section() {}
    /// Waits for a grace period: until every section that is open now has ended. May sleep; the
    /// thread is in no section, and holds no lock that one could wait for.
    ///
    /// Of each section one is true: it ended before this returns, and all that was done in it
    /// happens before the return; or it began after the call, and all that was done before the call
    /// happens before it.
    #[doc(alias = "synchronize_rcu")]
    fn wait_for_readers() {}
}

/// A value that exists at compile time: the `V` that every one begins as.
///
/// A word begins as 0; a short lock begins free, around the value that its content begins as.
pub trait Initial<V = Self> {
    /// The value.
    const INITIAL: V;
}

/// A [`SyncFamily`] whose words and short locks can be made at compile time, so that a
/// [`PageCache`](crate::PageCache) can be a `static`. Model checkers have no such words.
///
/// ```
/// use faultless_page::{ConstSync, CoreSync, Initial, Spin, SyncFamily};
///
/// struct MyLock<T>(spin::Mutex<T>);
///
/// impl<T: Initial> Initial for MyLock<T> {
///     const INITIAL: Self = Self(<spin::Mutex<T> as Initial>::INITIAL);
/// }
///
/// impl<T: Send> Spin<T> for MyLock<T> {
///     type Guard<'a> = spin::MutexGuard<'a, T> where T: 'a;
///     fn new(value: T) -> Self {
///         Self(spin::Mutex::new(value))
///     }
///     fn lock(&self) -> Self::Guard<'_> {
///         self.0.lock()
///     }
/// }
///
/// struct MySync;
///
/// // SAFETY: the words and the fence are `CoreSync`'s, and the lock is `spin`'s.
/// unsafe impl SyncFamily for MySync {
///     type Word64 = <CoreSync as SyncFamily>::Word64;
///     type Word32 = <CoreSync as SyncFamily>::Word32;
///     type Spin<T: Send> = MyLock<T>;
///     fn fence(order: core::sync::atomic::Ordering) {
///         CoreSync::fence(order);
///     }
/// }
///
/// impl ConstSync for MySync {
///     type Free<T: Send + Initial> = MyLock<T>;
/// }
/// ```
pub trait ConstSync: SyncFamily<Word64: Initial, Word32: Initial> {
    /// The short lock [`SyncFamily::Spin`] once more, as one that begins free.
    type Free<T: Send + Initial>: Initial<Self::Spin<T>>;
}

/// `core::sync::atomic` and the spin lock of the `spin` crate. On a machine without 64-bit atomics
/// (RISC-V 32, some ARM) the 64-bit words are [`LockedWord`]s.
#[derive(Clone, Copy, Debug, Default)]
pub struct CoreSync;

// SAFETY: the words are `core`'s atomics; the short lock is `spin`'s.
unsafe impl SyncFamily for CoreSync {
    #[cfg(target_has_atomic = "64")]
    type Word64 = core::sync::atomic::AtomicU64;
    #[cfg(not(target_has_atomic = "64"))]
    type Word64 = LockedWord<spin::Mutex<u64>>;
    type Word32 = core::sync::atomic::AtomicU32;
    type Spin<T: Send> = spin::Mutex<T>;
    #[inline(always)]
    fn fence(order: Ordering) {
        core::sync::atomic::fence(order);
    }
}

impl ConstSync for CoreSync {
    type Free<T: Send + Initial> = spin::Mutex<T>;
}

impl<T: Initial> Initial for spin::Mutex<T> {
    const INITIAL: Self = Self::new(T::INITIAL);
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
        impl Initial for $atomic {
            const INITIAL: Self = Self::new(0);
        }

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

#[cfg(target_has_atomic = "64")]
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

impl Initial for u64 {
    const INITIAL: Self = 0;
}

/// A 64-bit word for machines without 64-bit atomics: a number in a short lock.
///
/// Readers of a file take no lock of the cache and loop over such words, so the lock has to be one
/// that a thread may take wherever it reads: [`InterruptsOff`] of the crate `faultless-parts` in a
/// kernel with preemption.
///
/// [`InterruptsOff`]: https://docs.rs/faultless-parts
#[derive(Debug)]
pub struct LockedWord<L>(L);

impl<L: Initial> Initial for LockedWord<L> {
    const INITIAL: Self = Self(L::INITIAL);
}

impl<L: Spin<u64>> LockedWord<L> {
    /// Changes the word; the old value. One lock orders its own word only: what `SeqCst` asks
    /// beyond that comes from the fences on both sides.
    #[inline]
    fn update(&self, order: Ordering, change: impl FnOnce(u64) -> u64) -> u64 {
        if order == Ordering::SeqCst {
            core::sync::atomic::fence(order);
        }
        let mut word = self.0.lock();
        let old = *word;
        *word = change(old);
        drop(word);
        if order == Ordering::SeqCst {
            core::sync::atomic::fence(order);
        }
        old
    }
}

impl<L: Spin<u64> + 'static> Word<u64> for LockedWord<L> {
    fn new(value: u64) -> Self {
        Self(L::new(value))
    }
    fn load(&self, order: Ordering) -> u64 {
        self.update(order, |word| word)
    }
    fn store(&self, value: u64, order: Ordering) {
        self.update(order, |_| value);
    }
    fn swap(&self, value: u64, order: Ordering) -> u64 {
        self.update(order, |_| value)
    }
    fn fetch_add(&self, value: u64, order: Ordering) -> u64 {
        self.update(order, |word| word.wrapping_add(value))
    }
    fn fetch_sub(&self, value: u64, order: Ordering) -> u64 {
        self.update(order, |word| word.wrapping_sub(value))
    }
    fn fetch_and(&self, value: u64, order: Ordering) -> u64 {
        self.update(order, |word| word & value)
    }
    fn fetch_or(&self, value: u64, order: Ordering) -> u64 {
        self.update(order, |word| word | value)
    }
    fn compare_exchange(
        &self,
        current: u64,
        new: u64,
        success: Ordering,
        _failure: Ordering,
    ) -> Result<u64, u64> {
        let old = self.update(success, |word| if word == current { new } else { word });
        if old == current { Ok(old) } else { Err(old) }
    }
}

#[cfg(test)]
mod tests {
    use core::sync::atomic::AtomicU64;
    use core::sync::atomic::Ordering::{AcqRel, Acquire, Release, SeqCst};

    use super::*;

    /// Every operation of a word in turn; what each returned, and the value after it.
    fn all<W: Word<u64>>() -> [(Result<u64, u64>, u64); 8] {
        let word = W::new(u64::MAX - 1);
        [
            Ok(word.fetch_add(3, SeqCst)),
            Ok(word.fetch_sub(2, AcqRel)),
            Ok(word.fetch_and(0xff00_ff00_ff00_fff0, Release)),
            Ok(word.fetch_or(1 << 63 | 5, SeqCst)),
            Ok(word.swap(7, AcqRel)),
            word.compare_exchange(8, 9, SeqCst, Acquire),
            word.compare_exchange(7, 10, SeqCst, Acquire),
            Ok({
                word.store(1 << 40, SeqCst);
                word.load(Acquire)
            }),
        ]
        .map(|result| (result, word.load(SeqCst)))
    }

    #[test]
    fn a_number_in_a_lock_is_a_word() {
        assert_eq!(all::<LockedWord<spin::Mutex<u64>>>(), all::<AtomicU64>());
    }

    #[test]
    fn what_begins_at_compile_time_is_what_begins_at_run_time() {
        static WORD: LockedWord<spin::Mutex<u64>> = LockedWord::INITIAL;
        let word = AtomicU64::INITIAL;
        assert_eq!((WORD.fetch_or(4, SeqCst), word.load(SeqCst)), (0, 0));
        assert_eq!(WORD.load(SeqCst), 4);
    }
}
