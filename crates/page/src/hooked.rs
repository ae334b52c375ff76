//! [`Hooked`]: the words and short locks of [`CoreSync`], with a hook before each access.
//!
//! For checkers that count accesses, or let another thread come between two of them. One family
//! serves all of them: only the [`Hook`] differs. A checker that needs words of its own (loom)
//! implements [`SyncFamily`] instead.
use core::fmt;
use core::marker::PhantomData;
use core::sync::atomic::Ordering;

use crate::{ConstSync, CoreSync, Initial, Spin, SyncFamily, Word};

/// An access to a word or a short lock of [`Hooked`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// A load.
    Load(Ordering),
    /// A store.
    Store(Ordering),
    /// A read-modify-write that always succeeds: `fetch_or` and its like.
    Update,
    /// A swap or a compare-and-exchange, as locks are taken by.
    Exchange,
    /// A fence.
    Fence(Ordering),
    /// A short lock is about to be taken.
    Lock,
}

impl Access {
    /// Whether it costs a locked instruction on x86-64: read-modify-writes, short locks, and what
    /// stores or orders sequentially consistently.
    #[must_use]
    pub const fn is_locked_instruction(self) -> bool {
        match self {
            Self::Update | Self::Exchange | Self::Lock => true,
            Self::Store(order) | Self::Fence(order) => matches!(order, Ordering::SeqCst),
            Self::Load(_) => false,
        }
    }
}

/// What happens just before each access.
pub trait Hook: Send + Sync + 'static {
    /// As [`SyncFamily::SPIN_ROUNDS`].
    const SPIN_ROUNDS: u32 = 0;

    /// The access follows when this returns. It may be made by any function of this crate, with its
    /// short locks held: the hook does not use the cache.
    fn before(access: Access);

    /// A busy loop, of a short lock too, goes round: another thread has to run.
    fn relax() {
        core::hint::spin_loop();
    }
}

/// `core`'s words and the short lock of the crate `spin`, with the hook `H`.
///
/// ```
/// use core::cell::Cell;
/// use faultless_page::{Access, Hook, Hooked, SyncFamily, Word};
///
/// thread_local!(static LOCKED: Cell<u32> = const { Cell::new(0) });
///
/// struct Count;
///
/// impl Hook for Count {
///     fn before(access: Access) {
///         LOCKED.set(LOCKED.get() + u32::from(access.is_locked_instruction()));
///     }
/// }
///
/// let word = <Hooked<Count> as SyncFamily>::Word64::new(1);
/// word.fetch_or(2, core::sync::atomic::Ordering::AcqRel);
/// assert_eq!((word.load(core::sync::atomic::Ordering::Acquire), LOCKED.get()), (3, 1));
/// ```
pub struct Hooked<H>(PhantomData<fn() -> H>);

// SAFETY: the words pass on to those of `CoreSync`; the short lock is `spin`'s.
unsafe impl<H: Hook> SyncFamily for Hooked<H> {
    type Word64 = HookedWord<<CoreSync as SyncFamily>::Word64, H>;
    type Word32 = HookedWord<<CoreSync as SyncFamily>::Word32, H>;
    type Spin<T: Send> = HookedSpin<T, H>;
    const SPIN_ROUNDS: u32 = H::SPIN_ROUNDS;

    fn fence(order: Ordering) {
        H::before(Access::Fence(order));
        CoreSync::fence(order);
    }

    fn relax() {
        H::relax();
    }
}

impl<H: Hook> ConstSync for Hooked<H> {
    type Free<T: Send + Initial> = HookedSpin<T, H>;
}

/// A word of [`Hooked`].
pub struct HookedWord<W, H>(W, PhantomData<fn() -> H>);

impl<W: Initial, H> Initial for HookedWord<W, H> {
    const INITIAL: Self = Self(W::INITIAL, PhantomData);
}

impl<T, W: Word<T>, H: Hook> Word<T> for HookedWord<W, H> {
    fn new(value: T) -> Self {
        Self(W::new(value), PhantomData)
    }
    fn load(&self, order: Ordering) -> T {
        H::before(Access::Load(order));
        self.0.load(order)
    }
    fn store(&self, value: T, order: Ordering) {
        H::before(Access::Store(order));
        self.0.store(value, order);
    }
    fn swap(&self, value: T, order: Ordering) -> T {
        H::before(Access::Exchange);
        self.0.swap(value, order)
    }
    fn fetch_add(&self, value: T, order: Ordering) -> T {
        H::before(Access::Update);
        self.0.fetch_add(value, order)
    }
    fn fetch_sub(&self, value: T, order: Ordering) -> T {
        H::before(Access::Update);
        self.0.fetch_sub(value, order)
    }
    fn fetch_and(&self, value: T, order: Ordering) -> T {
        H::before(Access::Update);
        self.0.fetch_and(value, order)
    }
    fn fetch_or(&self, value: T, order: Ordering) -> T {
        H::before(Access::Update);
        self.0.fetch_or(value, order)
    }
    fn compare_exchange(
        &self,
        current: T,
        new: T,
        success: Ordering,
        failure: Ordering,
    ) -> Result<T, T> {
        H::before(Access::Exchange);
        self.0.compare_exchange(current, new, success, failure)
    }
}

/// A short lock of [`Hooked`].
pub struct HookedSpin<T, H>(spin::Mutex<T>, PhantomData<fn() -> H>);

impl<T, H> HookedSpin<T, H> {
    /// Whether a thread holds it, at this moment.
    #[must_use]
    pub fn is_locked(&self) -> bool {
        self.0.is_locked()
    }
}

impl<T: Initial, H> Initial for HookedSpin<T, H> {
    const INITIAL: Self = Self(spin::Mutex::INITIAL, PhantomData);
}

impl<T: Send, H: Hook> Spin<T> for HookedSpin<T, H> {
    type Guard<'a>
        = spin::MutexGuard<'a, T>
    where
        T: 'a;

    fn new(value: T) -> Self {
        Self(spin::Mutex::new(value), PhantomData)
    }

    fn lock(&self) -> Self::Guard<'_> {
        H::before(Access::Lock);
        loop {
            if let Some(guard) = self.0.try_lock() {
                return guard;
            }
            H::relax();
        }
    }
}

impl<H> fmt::Debug for Hooked<H> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Hooked")
    }
}

impl<W: fmt::Debug, H> fmt::Debug for HookedWord<W, H> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl<T, H> fmt::Debug for HookedSpin<T, H> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HookedSpin").field("held", &self.is_locked()).finish_non_exhaustive()
    }
}
