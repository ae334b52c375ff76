//! Words that note which cache lines a thread writes and reads, and how many locked operations it
//! takes: what a call costs that does not depend on the machine.
//!
//! Key types: [`Recorded`], a family of words for [`Kernel::Sync`](faultless_page::Kernel::Sync);
//! [`Trail`], what one CPU left. The CPUs take turns on one thread, so that each run counts the
//! same.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::sync::atomic::Ordering;

use faultless_page::{ConstSync, CoreSync, Initial, Spin, SyncFamily, Word};

use super::memory;

/// Bytes of a cache line.
const LINE: usize = 64;

/// What the calls of one CPU left.
#[derive(Clone, Debug, Default)]
pub(super) struct Trail {
    /// Locked operations: read-modify-writes, short locks, and what stores or orders sequentially
    /// consistently.
    pub(super) locked: u64,
    /// Lines with a word that it wrote, by number.
    written: BTreeSet<usize>,
    /// Lines with a word that it read or wrote.
    touched: BTreeSet<usize>,
}

thread_local! {
    static TRAIL: RefCell<Option<Trail>> = const { RefCell::new(None) };
}

/// What `call` leaves on CPU number `cpu`.
pub(super) fn record(cpu: usize, call: impl FnOnce()) -> Trail {
    let before = memory::cpu();
    memory::set_cpu(cpu);
    TRAIL.set(Some(Trail::default()));
    call();
    memory::set_cpu(before);
    TRAIL.take().unwrap_or_default()
}

/// The lines that one of the CPUs wrote and another one touched: those that travel between them
/// again and again.
pub(super) fn shared(trails: &[Trail]) -> usize {
    let mut lines = BTreeSet::new();
    for (at, one) in trails.iter().enumerate() {
        for (_, other) in trails.iter().enumerate().filter(|(number, _)| *number != at) {
            lines.extend(one.written.intersection(&other.touched).copied());
        }
    }
    lines.len()
}

/// What is about to happen to a word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Event {
    Load,
    Store(Ordering),
    Update,
}

fn note<T>(word: &T, event: Event) {
    let line = std::ptr::from_ref(word).addr() / LINE;
    TRAIL.with_borrow_mut(|trail| {
        let Some(trail) = trail else { return };
        trail.touched.insert(line);
        if event != Event::Load {
            trail.written.insert(line);
        }
        let is_locked = matches!(event, Event::Update | Event::Store(Ordering::SeqCst));
        trail.locked += u64::from(is_locked);
    });
}

/// The family of the words that are noted. They do what [`CoreSync`]'s do.
#[derive(Debug)]
pub(super) enum Recorded {}

// SAFETY: the words and locks pass on to those of `CoreSync`.
unsafe impl SyncFamily for Recorded {
    type Word64 = RecordedWord<<CoreSync as SyncFamily>::Word64>;
    type Word32 = RecordedWord<<CoreSync as SyncFamily>::Word32>;
    type Spin<T: Send> = RecordedSpin<T>;

    fn fence(order: Ordering) {
        TRAIL.with_borrow_mut(|trail| {
            if let Some(trail) = trail {
                trail.locked += u64::from(order == Ordering::SeqCst);
            }
        });
        CoreSync::fence(order);
    }
}

impl ConstSync for Recorded {
    type Free<T: Send + Initial> = RecordedSpin<T>;
}

/// A word of [`Recorded`].
#[derive(Debug)]
#[repr(transparent)]
pub(super) struct RecordedWord<W>(W);

impl<W: Initial> Initial for RecordedWord<W> {
    const INITIAL: Self = Self(W::INITIAL);
}

impl<T, W: Word<T>> Word<T> for RecordedWord<W> {
    fn new(value: T) -> Self {
        Self(W::new(value))
    }
    fn load(&self, order: Ordering) -> T {
        note(self, Event::Load);
        self.0.load(order)
    }
    fn store(&self, value: T, order: Ordering) {
        note(self, Event::Store(order));
        self.0.store(value, order);
    }
    fn swap(&self, value: T, order: Ordering) -> T {
        note(self, Event::Update);
        self.0.swap(value, order)
    }
    fn fetch_add(&self, value: T, order: Ordering) -> T {
        note(self, Event::Update);
        self.0.fetch_add(value, order)
    }
    fn fetch_sub(&self, value: T, order: Ordering) -> T {
        note(self, Event::Update);
        self.0.fetch_sub(value, order)
    }
    fn fetch_and(&self, value: T, order: Ordering) -> T {
        note(self, Event::Update);
        self.0.fetch_and(value, order)
    }
    fn fetch_or(&self, value: T, order: Ordering) -> T {
        note(self, Event::Update);
        self.0.fetch_or(value, order)
    }
    fn compare_exchange(
        &self,
        current: T,
        new: T,
        success: Ordering,
        failure: Ordering,
    ) -> Result<T, T> {
        note(self, Event::Update);
        self.0.compare_exchange(current, new, success, failure)
    }
}

/// A short lock of [`Recorded`]. What it holds lies beside its word.
#[derive(Debug)]
pub(super) struct RecordedSpin<T: Send>(<CoreSync as SyncFamily>::Spin<T>);

impl<T: Initial + Send> Initial for RecordedSpin<T> {
    const INITIAL: Self = Self(<CoreSync as ConstSync>::Free::<T>::INITIAL);
}

impl<T: Send> Spin<T> for RecordedSpin<T> {
    type Guard<'a>
        = <<CoreSync as SyncFamily>::Spin<T> as Spin<T>>::Guard<'a>
    where
        T: 'a;

    fn new(value: T) -> Self {
        Self(Spin::new(value))
    }

    fn lock(&self) -> Self::Guard<'_> {
        note(self, Event::Update);
        self.0.lock()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    type Word64 = <Recorded as SyncFamily>::Word64;

    #[repr(align(64))]
    struct Apart(Word64);

    #[test]
    fn a_line_is_shared_if_one_writes_what_another_touches() {
        let words = [Apart(Word64::new(0)), Apart(Word64::new(0)), Apart(Word64::new(0))];
        let read = |at: usize| {
            let _ = words[at].0.load(Ordering::Relaxed);
        };
        let write = |at: usize| words[at].0.store(1, Ordering::Release);
        let one = record(0, || {
            read(0);
            write(1);
        });
        let shared_with = |other: &dyn Fn()| shared(&[one.clone(), record(1, other)]);
        assert_eq!(shared_with(&|| read(0)), 0, "both read");
        assert_eq!(shared_with(&|| read(1)), 1, "one reads what the other writes");
        assert_eq!(shared_with(&|| write(1)), 1);
        assert_eq!(shared_with(&|| write(0)), 1);
        assert_eq!(shared_with(&|| write(2)), 0);
    }

    #[test]
    fn locked_operations_are_counted_while_something_records() {
        let word = Word64::new(0);
        let trail = record(3, || {
            assert_eq!(memory::cpu(), 3);
            word.fetch_or(1, Ordering::AcqRel);
            word.store(2, Ordering::SeqCst);
            word.store(2, Ordering::Release);
            let _ = word.compare_exchange(0, 1, Ordering::Acquire, Ordering::Relaxed);
            let _ = word.load(Ordering::SeqCst);
            Recorded::fence(Ordering::SeqCst);
            drop(<Recorded as SyncFamily>::Spin::new(0_u8).lock());
        });
        word.fetch_or(1, Ordering::AcqRel);
        assert_eq!(trail.locked, 5);
    }
}
