//! Words and short locks under observation: counted, slowed down, or interrupted.
use core::marker::PhantomData;
use core::sync::atomic::Ordering;
use std::boxed::Box;
use std::cell::{Cell, RefCell};

use crate::{Spin, SyncFamily, Word};

std::thread_local! {
    static LOCKED_INSTRUCTIONS: Cell<u32> = const { Cell::new(0) };
    static ACCESSES: Cell<u32> = const { Cell::new(0) };
}

/// Locked read-modify-writes by this thread, through [`Counting`] words, since the last call.
pub(crate) fn take_locked_instructions() -> u32 {
    LOCKED_INSTRUCTIONS.with(|count| count.replace(0))
}

/// Accesses of any kind by this thread to [`Counting`] words, since the last call.
pub(crate) fn take_accesses() -> u32 {
    ACCESSES.with(|count| count.replace(0))
}

/// What happens just before each access of an [`Observed`] word, and before a short lock is taken.
pub(crate) trait Observer: Send + Sync + 'static {
    fn read_modify_write();
    fn plain();
}

/// Counts read-modify-writes, and accesses.
pub(crate) struct Count;

impl Observer for Count {
    fn read_modify_write() {
        LOCKED_INSTRUCTIONS.with(|count| count.set(count.get() + 1));
        Self::plain();
    }
    fn plain() {
        ACCESSES.with(|count| count.set(count.get() + 1));
    }
}

/// Gives the CPU away now and then, between any two accesses, so that narrow races are run into.
pub(crate) struct Yield;

impl Observer for Yield {
    fn read_modify_write() {
        Self::plain();
    }
    fn plain() {
        std::thread_local!(static STATE: Cell<u64> = const { Cell::new(1) });
        let mut state = STATE.get();
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        STATE.set(state);
        if state.is_multiple_of(61) {
            std::thread::yield_now();
        }
    }
}

type Interruption = Box<dyn FnOnce()>;

std::thread_local! {
    /// Accesses until the interruption happens, and what it is.
    static INTERRUPTION: RefCell<Option<(u32, Interruption)>> = const { RefCell::new(None) };
}

/// Lets a test do something between two chosen accesses of an operation.
pub(crate) struct Interrupt;

impl Observer for Interrupt {
    fn read_modify_write() {
        Self::plain();
    }
    fn plain() {
        let now = INTERRUPTION.with(|slot| {
            let mut slot = slot.borrow_mut();
            match slot.as_mut() {
                Some((0, _)) => slot.take().map(|(_, interruption)| interruption),
                Some((left, _)) => {
                    *left -= 1;
                    None
                }
                None => None,
            }
        });
        if let Some(interruption) = now {
            interruption();
        }
    }
}

/// Runs `operation`, and `interruption` in the middle of it: just before its access number `before`
/// to an [`Interrupted`] word or lock. Tells whether it came to that.
pub(crate) fn interrupt<R>(
    before: u32,
    interruption: impl FnOnce() + 'static,
    operation: impl FnOnce() -> R,
) -> (R, bool) {
    INTERRUPTION.set(Some((before, Box::new(interruption))));
    let result = operation();
    (result, INTERRUPTION.take().is_none())
}

/// `core::sync::atomic` under observation.
pub(crate) struct Observed<O>(PhantomData<O>);

pub(crate) type Counting = Observed<Count>;
pub(crate) type Yielding = Observed<Yield>;
pub(crate) type Interrupted = Observed<Interrupt>;

pub(crate) struct ObservedWord<A, O>(A, PhantomData<O>);

macro_rules! observed {
    ($atomic:ty, $value:ty) => {
        impl<O: Observer> Word<$value> for ObservedWord<$atomic, O> {
            fn new(value: $value) -> Self {
                Self(<$atomic>::new(value), PhantomData)
            }
            fn load(&self, order: Ordering) -> $value {
                O::plain();
                self.0.load(order)
            }
            fn store(&self, value: $value, order: Ordering) {
                if order == Ordering::SeqCst {
                    // An exchange on x86.
                    O::read_modify_write();
                } else {
                    O::plain();
                }
                self.0.store(value, order);
            }
            fn swap(&self, value: $value, order: Ordering) -> $value {
                O::read_modify_write();
                self.0.swap(value, order)
            }
            fn fetch_add(&self, value: $value, order: Ordering) -> $value {
                O::read_modify_write();
                self.0.fetch_add(value, order)
            }
            fn fetch_sub(&self, value: $value, order: Ordering) -> $value {
                O::read_modify_write();
                self.0.fetch_sub(value, order)
            }
            fn fetch_and(&self, value: $value, order: Ordering) -> $value {
                O::read_modify_write();
                self.0.fetch_and(value, order)
            }
            fn fetch_or(&self, value: $value, order: Ordering) -> $value {
                O::read_modify_write();
                self.0.fetch_or(value, order)
            }
            fn compare_exchange(
                &self,
                current: $value,
                new: $value,
                success: Ordering,
                failure: Ordering,
            ) -> Result<$value, $value> {
                O::read_modify_write();
                self.0.compare_exchange(current, new, success, failure)
            }
        }
    };
}

observed!(core::sync::atomic::AtomicU64, u64);
observed!(core::sync::atomic::AtomicU32, u32);

pub(crate) struct ObservedSpin<T, O>(spin::Mutex<T>, PhantomData<O>);

impl<T, O> ObservedSpin<T, O> {
    pub(crate) fn is_locked(&self) -> bool {
        self.0.is_locked()
    }
}

impl<T: Send, O: Observer> Spin<T> for ObservedSpin<T, O> {
    type Guard<'a>
        = spin::MutexGuard<'a, T>
    where
        T: 'a;
    fn new(value: T) -> Self {
        Self(spin::Mutex::new(value), PhantomData)
    }
    fn lock(&self) -> Self::Guard<'_> {
        O::plain();
        self.0.lock()
    }
}

// SAFETY: the words pass on to `core`'s atomics; the short lock is `spin`'s.
unsafe impl<O: Observer> SyncFamily for Observed<O> {
    type Word64 = ObservedWord<core::sync::atomic::AtomicU64, O>;
    type Word32 = ObservedWord<core::sync::atomic::AtomicU32, O>;
    type Spin<T: Send> = ObservedSpin<T, O>;
    const SPIN_ROUNDS: u32 = 4;
    fn fence(order: Ordering) {
        O::read_modify_write();
        core::sync::atomic::fence(order);
    }
}
