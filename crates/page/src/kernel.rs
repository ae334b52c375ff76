//! The one seam for words, locks, waiting and memory: everything that a kernel supplies, bundled in
//! the trait [`Kernel`].
//!
//! The model checkers implement the same trait and so explore the code that ships; a real kernel
//! names [`CoreSync`] and pays nothing. There are no link-time symbols and no globals: two kernels
//! fit in one program.

use core::fmt;
use core::ops::{Deref, DerefMut};
use core::sync::atomic::Ordering;

use crate::{AddressSpaceOperations, Frames, PageCache, UserMappings};

/// An atomic word of 64 or 32 bits. The methods are those of `core::sync::atomic`.
///
/// `Ordering::SeqCst` must be honoured as the single total order of C11, for loads, stores and
/// read-modify-writes alike. Three pairs are store-buffering patterns and hang or expose recycled
/// frames without it: unlock/waiters against waiters/locked ([`LockedRun`](crate::LockedRun); the end of a writeback
/// and those who wait for it do the same),
/// enter/read against remove/synchronise ([`Epoch`](crate::Epoch)), and leave/waiting against
/// waiting/leave (the same). A checker that treats a `SeqCst` access as acquire-release (loom does) puts a
/// `SeqCst` fence before and after each such access in its implementation of this trait.
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

/// The family of words and short locks. [`CoreSync`] for every kernel; a model checker supplies its own.
pub trait SyncFamily: 'static {
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

impl SyncFamily for CoreSync {
    type Word64 = core::sync::atomic::AtomicU64;
    type Word32 = core::sync::atomic::AtomicU32;
    type Spin<T: Send> = spin::Mutex<T>;
    #[inline(always)]
    fn fence(order: Ordering) {
        core::sync::atomic::fence(order);
    }
}

/// What a sleeper waits on. Keys may collide: a waiter then wakes for nothing and looks again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct WaitKey(pub usize);

/// Sleeping and waking. A lost wake may hang a kernel but never corrupts a page, so the trait is safe.
pub trait Wait: Send + Sync {
    /// Returns once `condition` has returned `true`. May sleep.
    ///
    /// The condition is evaluated on the calling thread, at least once, after the caller is
    /// registered under `key` (or under a lock that [`wake`](Self::wake) takes): a `wake` that
    /// comes after the condition became true must not be lost. It does not sleep itself.
    ///
    /// The condition of an interruptible wait asks whether the caller was killed. So the condition must also be evaluated
    /// again, on the waiting thread, when a fatal signal arrives for that thread; a kernel's signal code wakes it, as it
    /// does for any killable sleep. Otherwise a killed thread stays until the next wake under its key (L3).
    fn wait_until(&self, key: WaitKey, condition: &mut dyn FnMut() -> bool);
    /// Makes every waiter under `key` evaluate its condition again. Never sleeps.
    fn wake(&self, key: WaitKey);
}

/// The fallback for a kernel without wait queues: spins.
#[derive(Clone, Copy, Debug, Default)]
pub struct SpinWait;

impl Wait for SpinWait {
    fn wait_until(&self, _key: WaitKey, condition: &mut dyn FnMut() -> bool) {
        while !condition() {
            core::hint::spin_loop();
        }
    }
    fn wake(&self, _key: WaitKey) {}
}

/// What happened, for counters and for lock checkers. See [`Kernel::trace`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Trace {
    /// About to wait for or take `lock`; nothing is held of it yet.
    Acquiring(LockId),
    /// `lock` is now held by this thread.
    Acquired(LockId),
    /// `lock` is no longer held by this thread.
    Released(LockId),
    /// The wait for `lock` is over, without it: given up, or what was waited for is gone.
    GaveUp(LockId),
    /// This many bytes were copied between user memory and pages (or a temporary page).
    Copied(usize),
    /// This many bytes of frames were set to zero.
    Zeroed(usize),
    /// An atomic copy fell short.
    ShortCopy,
    /// Pages that took the straight copy: uptodate and backed, no preparation.
    Straight(u32),
    /// User memory is being faulted in, this many bytes at most.
    FaultIn(usize),
    /// A temporary page carried this many bytes (strategy A, or the bounded-progress fallback).
    Bounced(usize),
    /// A frame was allocated.
    Allocated,
    /// A grace period is about to be waited for.
    GracePeriod,
    /// About to make an access that may fault: no page lock may be held.
    MayFault,
}

/// A lock instance, as a checker sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum LockId {
    /// I: the inode lock of the mapping with this id.
    Inode(u64),
    /// A range of the file held by a writer: the mapping's id, and the first byte.
    Range(u64, u64),
    /// The lock under which the store of the mapping with this id is told the size. Nothing else is taken in it.
    Size(u64),
    /// P: pages of the mapping with this id: the first page and the mask of slots from its leaf's base.
    Pages {
        /// The mapping's id.
        mapping: u64,
        /// First page of the leaf.
        base: PageIndexRaw,
        /// Which of its slots.
        slots: u64,
    },
}

/// A page number without its type, so that [`LockId`] sorts.
pub type PageIndexRaw = u64;

/// Everything static that a kernel supplies, in one trait, so that types read `Mapping<K>`.
///
/// # Safety
/// The other seams may lie without breaking memory, but for [`Frames`], which is unsafe by itself. Here the
/// implementor promises that:
/// - words of [`Sync`](Self::Sync) are atomic, with the orderings asked for, and its short locks exclude;
/// - every clone of a [`Cache`](Self::Cache) derefs to the same [`PageCache`] each time, at one address, and
///   keeps it from being dropped or moved.
pub unsafe trait Kernel: Sized + Send + Sync + 'static {
    /// Words and short locks: [`CoreSync`].
    type Sync: SyncFamily;
    /// Memory.
    type Frames: Frames;
    /// Sleeping and waking: [`SpinWait`] until there is a scheduler.
    type Wait: Wait;
    /// How a mapping reaches its cache: `&'static PageCache<Self>`, or an `Arc`. See `# Safety`.
    type Cache: Deref<Target = PageCache<Self>> + Clone + Send + Sync;
    /// How a mapping reaches its store: `&'static dyn AddressSpaceOperations`, `Arc<dyn …>`, `Box<dyn …>`.
    type Store: Deref<Target: AddressSpaceOperations> + Send + Sync;
    /// How user mappings of a file's pages are found and removed.
    type UserMappings: UserMappings;

    /// A hint of the current CPU, for striping of reader counters. Any value is sound.
    #[inline(always)]
    fn cpu() -> usize {
        0
    }

    /// An inode of mapping `mapping` was dropped with `pages` pages that were dirty or under writeback, of a store that
    /// keeps data: what was in them is lost. The embedder has called neither `close` nor `discard` of the
    /// inode (F6). Called from the drop.
    ///
    /// # Panics
    /// The default does, so that data is not lost in silence. A kernel that goes on after such a mistake overrides it.
    fn dirty_pages_dropped(mapping: u64, pages: u64) {
        panic!("inode {mapping} was dropped with {pages} dirty pages: close or discard it");
    }

    /// Called at each event of interest; the default compiles to nothing.
    #[inline(always)]
    fn trace(_event: Trace) {}
}

/// A 64-bit word of the kernel `K`.
pub type Word64<K> = <<K as Kernel>::Sync as SyncFamily>::Word64;
/// A 32-bit word of the kernel `K`.
pub type Word32<K> = <<K as Kernel>::Sync as SyncFamily>::Word32;
/// A short lock of the kernel `K`.
pub type SpinLock<K, T> = <<K as Kernel>::Sync as SyncFamily>::Spin<T>;

impl fmt::Display for LockId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Inode(id) => write!(f, "I({id})"),
            Self::Range(id, pos) => write!(f, "R({id},{pos})"),
            Self::Size(id) => write!(f, "S({id})"),
            Self::Pages { mapping, base, slots } => {
                write!(f, "P({mapping},{}", base + u64::from(slots.trailing_zeros()))?;
                if slots.count_ones() > 1 {
                    write!(f, "+{}", slots.count_ones())?;
                }
                f.write_str(")")
            }
        }
    }
}
