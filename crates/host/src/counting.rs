//! Words and short locks that count the locked instructions of the calling thread.
//!
//! On x86-64 a locked instruction is the price of every read-modify-write, of a sequentially
//! consistent store and of a full fence; [`locked`] counts them all, so that "an overwrite costs
//! two" is a test.

use std::cell::Cell;
use std::fmt;
use std::ops::{Deref, DerefMut};
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use faultless_page::{Spin, SyncFamily, Word};

thread_local! {
    static LOCKED: Cell<u64> = const { Cell::new(0) };
}

/// Locked instructions of the calling thread so far, among those that went through
/// [`CountingSync`].
#[must_use]
pub fn locked() -> u64 {
    LOCKED.get()
}

fn count() {
    let _ = LOCKED.try_with(|locked| locked.set(locked.get() + 1));
}

/// The family of counting words.
#[derive(Clone, Copy, Debug)]
pub enum CountingSync {}

// SAFETY: the words pass on to `core`'s atomics; the short lock is a mutex.
unsafe impl SyncFamily for CountingSync {
    type Word64 = CountingWord<AtomicU64>;
    type Word32 = CountingWord<AtomicU32>;
    type Spin<T: Send> = CountingSpin<T>;
    fn fence(order: Ordering) {
        if order == Ordering::SeqCst {
            count();
        }
        std::sync::atomic::fence(order);
    }
}

/// A word that counts.
#[derive(Debug)]
pub struct CountingWord<A>(A);

impl<T, A: Word<T>> Word<T> for CountingWord<A> {
    fn new(value: T) -> Self {
        Self(A::new(value))
    }
    fn load(&self, order: Ordering) -> T {
        self.0.load(order)
    }
    fn store(&self, value: T, order: Ordering) {
        if order == Ordering::SeqCst {
            count();
        }
        self.0.store(value, order);
    }
    fn swap(&self, value: T, order: Ordering) -> T {
        count();
        self.0.swap(value, order)
    }
    fn fetch_add(&self, value: T, order: Ordering) -> T {
        count();
        self.0.fetch_add(value, order)
    }
    fn fetch_sub(&self, value: T, order: Ordering) -> T {
        count();
        self.0.fetch_sub(value, order)
    }
    fn fetch_and(&self, value: T, order: Ordering) -> T {
        count();
        self.0.fetch_and(value, order)
    }
    fn fetch_or(&self, value: T, order: Ordering) -> T {
        count();
        self.0.fetch_or(value, order)
    }
    fn compare_exchange(
        &self,
        current: T,
        new: T,
        success: Ordering,
        failure: Ordering,
    ) -> Result<T, T> {
        count();
        self.0.compare_exchange(current, new, success, failure)
    }
}

/// A short lock that counts one locked instruction for each time it is taken.
#[derive(Debug)]
pub struct CountingSpin<T>(Mutex<T>);

/// Proof that a [`CountingSpin`] is held.
pub struct CountingGuard<'a, T>(MutexGuard<'a, T>);

impl<T: Send> Spin<T> for CountingSpin<T> {
    type Guard<'a>
        = CountingGuard<'a, T>
    where
        T: 'a;
    fn new(value: T) -> Self {
        Self(Mutex::new(value))
    }
    fn lock(&self) -> Self::Guard<'_> {
        count();
        CountingGuard(self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl<T> Deref for CountingGuard<'_, T> {
    type Target = T;
    fn deref(&self) -> &T {
        &self.0
    }
}

impl<T> DerefMut for CountingGuard<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        &mut self.0
    }
}

impl<T: fmt::Debug> fmt::Debug for CountingGuard<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernel::Counted;
    use crate::machine::{Machine, MachineConfig};
    use crate::mm_scripted::ScriptedMmu;
    use crate::mmu::Protection;
    use crate::stores::MemoryStore;
    use faultless_filemap::WriteOptions;

    #[test]
    fn only_locked_instructions_count() {
        let before = locked();
        let word = CountingWord::<AtomicU64>::new(1);
        let _ = Word::load(&word, Ordering::SeqCst);
        word.store(2, Ordering::Release);
        assert_eq!(locked() - before, 0);
        let _ = word.compare_exchange(2, 3, Ordering::Acquire, Ordering::Relaxed);
        let _ = word.fetch_and(1, Ordering::Release);
        word.store(2, Ordering::SeqCst);
        drop(CountingSpin::new(()).lock());
        assert_eq!(locked() - before, 4);
    }

    #[test]
    fn a_hot_overwrite_locks_the_page_and_unlocks_it_and_that_is_all() {
        let machine = Machine::<ScriptedMmu, Counted>::build(MachineConfig::new());
        let file = machine.inode(&MemoryStore::volatile(), 0);
        let space = machine.space();
        space.map_anonymous(0, 1, Protection::ReadWrite);
        space.fill(space.at(0, 0), 1, 4096).expect("mapped");
        let write = || {
            let before = locked();
            let from = [space.slice(0, 0, 64)];
            let written = space.sys_write(&file, &from, &WriteOptions::at(0));
            assert_eq!(written.map(|done| done.bytes), Ok(64));
            locked() - before
        };
        let _cold = write();
        assert_eq!([write(), write()], [2, 2]);
    }
}
