//! The promises and the pauses of a task that dirties pages.
//!
//! [`DirtyWriter`] belongs to a task, whose [`Task`](crate::Task) passes the calls on. What is
//! promised is charged to [`DirtyLimit`]; how long to pause is
//! [`faultless_policy::throttle::Writer`]'s.
#![forbid(unsafe_code)]

use core::cell::Cell;
use core::fmt;

use faultless_page::{Kernel, StoreId, WaitKey};
use faultless_policy::throttle::{MOST_STEP, Writer};

use crate::dirty_limit::DirtyLimit;

/// A task that writes, as its [`Task`](crate::Task) keeps it: what it is promised, and when it
/// pauses. Dropping it gives back what is left of a promise: it lives as long as a system call, or
/// a task. It may write to one store after the other; it pauses for the one that it wrote to last.
pub struct DirtyWriter<'l, K: Kernel, const STORES: usize = 1> {
    limit: &'l DirtyLimit<K, STORES>,
    wait: &'l K::Wait,
    pauses: Cell<Writer>,
    /// The store of the last step.
    store: Cell<StoreId>,
    /// Charged pages that are not dirty: zero between two steps, unless one unwound.
    promised: Cell<u32>,
    /// Pages that became dirty since the last question for a pause.
    dirtied: Cell<u32>,
    /// Pages of the next step at most.
    most: Cell<u32>,
}

impl<'l, K: Kernel, const STORES: usize> DirtyWriter<'l, K, STORES> {
    /// A task that is promised nothing.
    #[must_use]
    pub const fn new(limit: &'l DirtyLimit<K, STORES>, wait: &'l K::Wait) -> Self {
        let (promised, dirtied, most) = (Cell::new(0), Cell::new(0), Cell::new(MOST_STEP));
        let (pauses, store) = (Cell::new(Writer::new()), Cell::new(StoreId(0)));
        Self { limit, wait, pauses, store, promised, dirtied, most }
    }

    /// For [`Task::admit_dirty`](crate::Task::admit_dirty): up to `wanted` pages of files on
    /// `store`; zero if `killed` said yes. Sleeps while the limit or the store's share is reached,
    /// until pages are written or given back: the embedder sees to it that a flusher is at work by
    /// then, see [`DirtyLimit::to_flush`]. Under the same conditions as the task's method.
    pub fn admit(&self, store: StoreId, wanted: u32, killed: &impl Fn() -> bool) -> u32 {
        self.give_back();
        self.store.set(store);
        let wanted = wanted.clamp(1, self.most.get());
        let store = self.limit.store(store);
        self.promised.set(self.limit.promise_waiting(store, wanted, self.wait, killed));
        self.promised.get()
    }

    /// For [`Task::try_admit_dirty`](crate::Task::try_admit_dirty): as [`admit`](Self::admit), but
    /// does not sleep. Zero: `would_wait` was told the key that is woken when there are fewer
    /// pages.
    pub fn try_admit(&self, store: StoreId, wanted: u32, would_wait: &dyn Fn(WaitKey)) -> u32 {
        self.give_back();
        self.store.set(store);
        let wanted = wanted.clamp(1, self.most.get());
        let store = self.limit.store(store);
        self.promised.set(self.limit.promise_or_watch(store, wanted, self.wait, would_wait));
        self.promised.get()
    }

    /// For [`Task::settle_dirty`](crate::Task::settle_dirty). The pages that became dirty are
    /// charged by themselves now, and the promise ends: a task that waits for something else holds
    /// nothing.
    pub fn settle(&self, dirtied: u32) {
        self.dirtied.set(self.dirtied.get().saturating_add(dirtied));
        self.give_back();
    }

    /// For [`Task::throttle`](crate::Task::throttle), and for a fault handler that has let M go:
    /// how many nanoseconds to sleep now, 200 ms at most. Zero, and nothing is looked at, if no
    /// page has become dirty since the last call.
    #[inline(always)]
    pub fn pause_ns(&self, now: u64) -> u64 {
        if self.dirtied.get() == 0 { 0 } else { self.pause_after(self.dirtied.take(), now) }
    }

    #[cold] // beside a call that dirtied nothing, which keeps the registers
    #[inline(never)]
    fn pause_after(&self, dirtied: u32, now: u64) -> u64 {
        let store = self.limit.store(self.store.get());
        let share = self.limit.share(store);
        let known = self.limit.look(store, &share, now);
        let mut pauses = self.pauses.get();
        let step = pauses.landed(dirtied, &known, (&share, store.charged.pages()), now);
        self.pauses.set(pauses);
        self.most.set(step.pages);
        step.pause_ns
    }

    fn give_back(&self) {
        let store = self.limit.store(self.store.get());
        self.limit.take_off(store, u64::from(self.promised.take()), self.wait);
    }
}

impl<K: Kernel, const STORES: usize> Drop for DirtyWriter<'_, K, STORES> {
    fn drop(&mut self) {
        self.give_back();
    }
}

impl<K: Kernel, const STORES: usize> fmt::Debug for DirtyWriter<'_, K, STORES> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DirtyWriter")
            .field("promised", &self.promised.get())
            .finish_non_exhaustive()
    }
}
