//! Words and short locks for shuttle: plain values, and a place where threads may be switched
//! before each operation.

use std::cell::{Cell, RefCell};
use std::ops::{Deref, DerefMut};
use std::rc::Rc;
use std::sync::atomic::Ordering::{self, Relaxed, SeqCst};
use std::sync::atomic::{AtomicU32, AtomicU64};
use std::sync::{Mutex, MutexGuard, TryLockError};

use faultless_page::{Spin, SyncFamily, Word};

/// The family.
#[derive(Clone, Copy, Debug)]
pub struct ShuttleSync;

// SAFETY: the words and short locks are shuttle's.
unsafe impl SyncFamily for ShuttleSync {
    type Word64 = ShuttleWord<AtomicU64>;
    type Word32 = ShuttleWord<AtomicU32>;
    type Spin<T: Send> = ShuttleSpin<T>;
    const SPIN_ROUNDS: u32 = 0;

    fn fence(_order: Ordering) {}

    fn relax() {
        shuttle::thread::yield_now();
    }
}

/// A short lock. Who finds it taken yields: it never blocks for long, and its taker is no point of
/// an exhaustive search.
#[derive(Debug)]
pub struct ShuttleSpin<T>(Mutex<T>);

/// Proof that a [`ShuttleSpin`] is held.
#[derive(Debug)]
pub struct ShuttleSpinGuard<'a, T>(MutexGuard<'a, T>);

impl<T: Send> Spin<T> for ShuttleSpin<T> {
    type Guard<'a>
        = ShuttleSpinGuard<'a, T>
    where
        T: 'a;

    fn new(value: T) -> Self {
        Self(Mutex::new(value))
    }

    fn lock(&self) -> Self::Guard<'_> {
        word_point();
        loop {
            match self.0.try_lock() {
                Ok(guard) => return ShuttleSpinGuard(guard),
                Err(TryLockError::Poisoned(guard)) => return ShuttleSpinGuard(guard.into_inner()),
                Err(TryLockError::WouldBlock) => shuttle::thread::yield_now(),
            }
        }
    }
}

impl<T> Deref for ShuttleSpinGuard<'_, T> {
    type Target = T;
    fn deref(&self) -> &T {
        &self.0
    }
}

impl<T> DerefMut for ShuttleSpinGuard<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        &mut self.0
    }
}

/// Where threads may be switched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Points {
    /// Before each operation on a word but relaxed loads, and before each lock.
    Words,
    /// Before page locks, inode locks and M only: for exhaustive search.
    Locks,
}

thread_local! {
    static POINTS: Cell<Points> = const { Cell::new(Points::Words) };
    /// An atomic of shuttle's: touching it is a point.
    static POINT: RefCell<Option<Rc<shuttle::sync::atomic::AtomicBool>>> = const { RefCell::new(None) };
}

/// Begins an execution.
pub fn begin(points: Points) {
    POINTS.with(|now| now.set(points));
    let point = shuttle::sync::atomic::AtomicBool::new(false);
    POINT.with(|now| *now.borrow_mut() = Some(Rc::new(point)));
}

fn word_point() {
    if POINTS.with(Cell::get) == Points::Words {
        lock_point();
    }
}

/// A place where threads may be switched in any search.
pub fn lock_point() {
    if let Some(point) = POINT.with(|point| point.borrow().clone()) {
        point.load(SeqCst);
    }
}

/// A word.
#[derive(Debug)]
pub struct ShuttleWord<A>(A);

macro_rules! impl_word {
    ($atomic:ty, $value:ty) => {
        impl Word<$value> for ShuttleWord<$atomic> {
            fn new(value: $value) -> Self {
                Self(<$atomic>::new(value))
            }
            fn load(&self, order: Ordering) -> $value {
                if order != Relaxed {
                    word_point();
                }
                self.0.load(SeqCst)
            }
            fn store(&self, value: $value, _order: Ordering) {
                word_point();
                self.0.store(value, SeqCst);
            }
            fn swap(&self, value: $value, _order: Ordering) -> $value {
                lock_point();
                self.0.swap(value, SeqCst)
            }
            fn fetch_add(&self, value: $value, _order: Ordering) -> $value {
                word_point();
                self.0.fetch_add(value, SeqCst)
            }
            fn fetch_sub(&self, value: $value, _order: Ordering) -> $value {
                word_point();
                self.0.fetch_sub(value, SeqCst)
            }
            fn fetch_and(&self, value: $value, _order: Ordering) -> $value {
                word_point();
                self.0.fetch_and(value, SeqCst)
            }
            fn fetch_or(&self, value: $value, _order: Ordering) -> $value {
                word_point();
                self.0.fetch_or(value, SeqCst)
            }
            fn compare_exchange(
                &self,
                current: $value,
                new: $value,
                _success: Ordering,
                _failure: Ordering,
            ) -> Result<$value, $value> {
                lock_point();
                self.0.compare_exchange(current, new, SeqCst, SeqCst)
            }
        }
    };
}

impl_word!(AtomicU64, u64);
impl_word!(AtomicU32, u32);
