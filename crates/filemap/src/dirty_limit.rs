//! The limit of dirty pages, and the pauses of the tasks that write.
//!
//! [`faultless_policy::throttle`] decides. Here are the counters that it asks for, the promises,
//! and the wait for one. [`DirtyLimit`] belongs to a kernel, [`DirtyWriter`] to a task, whose
//! [`Task`](crate::Task) passes the calls on.
//!
//! A page is *charged* once while it is dirty and once while it is under writeback, by what
//! [`Kernel::count`] is told, whichever task dirties it; and each promised page is. A page that
//! becomes dirty is charged before its promise is taken off, and one whose writeback fails before
//! the end of the writeback is. So the pages that are dirty, under writeback or promised are never
//! more than what is charged, and a promise is only given while that stays within the hard limit.
#![forbid(unsafe_code)]

use core::cell::Cell;
use core::fmt;
use core::ptr;
use core::sync::atomic::Ordering::{Acquire, Relaxed, SeqCst};

use faultless_page::{
    ConstSync, Count, Initial, Kernel, Spin, SpinLock, Wait, WaitKey, Word, Word64,
};
use faultless_policy::throttle::{
    Counters, LONGEST_PAUSE_NS, Limits, MOST_STEP, Rate, Store, Writer,
};

/// Pages per second that a store writes until it is known better: 100 MiB.
const GUESS: Rate = Rate::per_second(25_600);

/// How many pages of a cache may be dirty or under writeback.
///
/// The limit is never exceeded by tasks that [ask](crate::Task::LIMITS_DIRTY_PAGES). Pages that
/// other tasks dirty count as well, and leave less to those that ask. All stores of the kernel are
/// taken for one.
///
/// A kernel has one in a `static`, for its [`Kernel::count`] to reach.
#[doc(alias = "balance_dirty_pages")]
pub struct DirtyLimit<K: Kernel> {
    limits: Limits,
    charged: Word64<K>,
    dirtied: Word64<K>,
    written: Word64<K>,
    under_writeback: Word64<K>,
    /// Non-zero if a task may be waiting for a promise.
    awaited: Word64<K>,
    measured: SpinLock<K, Measured>,
}

/// What is known of the bandwidth.
#[derive(Debug)]
struct Measured {
    store: Store,
    /// Pages and time of the last look.
    seen: Option<(u64, u64)>,
    /// Pages written in the time that counts as busy.
    written: u64,
    busy_ns: u64,
}

impl Initial for Measured {
    const INITIAL: Self = Self { store: Store::new(GUESS), seen: None, written: 0, busy_ns: 0 };
}

impl<K: Kernel> DirtyLimit<K> {
    /// No page is dirty.
    #[must_use]
    pub const fn new(limits: Limits) -> Self
    where
        K::Sync: ConstSync,
    {
        Self {
            limits,
            charged: <Word64<K> as Initial>::INITIAL,
            dirtied: <Word64<K> as Initial>::INITIAL,
            written: <Word64<K> as Initial>::INITIAL,
            under_writeback: <Word64<K> as Initial>::INITIAL,
            awaited: <Word64<K> as Initial>::INITIAL,
            measured:
                <<K::Sync as ConstSync>::Free<Measured> as Initial<SpinLock<K, Measured>>>::INITIAL,
        }
    }

    /// To be called by [`Kernel::count`], with all that it is told, from the first page on. Wakes
    /// tasks that wait for a promise, through the cache's `wait`. Does not sleep; any lock may be
    /// held.
    pub fn count(&self, what: Count, pages: u32, wait: &K::Wait) {
        let pages = u64::from(pages);
        match what {
            Count::Dirtied => {
                self.charged.fetch_add(pages, SeqCst);
                self.dirtied.fetch_add(pages, Relaxed);
            }
            Count::WritebackBegun => {
                self.charged.fetch_add(pages, SeqCst);
                self.under_writeback.fetch_add(pages, Relaxed);
            }
            Count::WritebackEnded => {
                self.under_writeback.fetch_sub(pages, Relaxed);
                self.written.fetch_add(pages, Relaxed);
                self.uncharge(pages, wait);
            }
            Count::Cleaned => self.uncharge(pages, wait),
            _ => {}
        }
    }

    /// Pages that are dirty, under writeback or promised. A page that is two of these counts twice.
    #[must_use]
    pub fn charged(&self) -> u64 {
        self.charged.load(Acquire)
    }

    /// The thresholds.
    #[must_use]
    pub const fn limits(&self) -> &Limits {
        &self.limits
    }

    /// Adds as many of `wanted` pages as may be promised; how many.
    fn charge(&self, wanted: u32) -> u32 {
        let mut charged = self.charged.load(SeqCst);
        loop {
            // At most `wanted`.
            let pages = self.limits.admit(charged, u64::from(wanted));
            if pages == 0 {
                return 0;
            }
            match self.charged.compare_exchange(charged, charged + pages, SeqCst, SeqCst) {
                Ok(_) => return pages as u32,
                Err(now) => charged = now,
            }
        }
    }

    /// As [`charge`](Self::charge), but sleeps until there is a page, or `killed` says yes: zero
    /// then.
    ///
    /// A waiter announces itself and then looks at the counter; a page leaves the counter, and then
    /// the waiters are looked at. All four accesses are sequentially consistent, so one of the two
    /// sees the other.
    #[cold]
    fn charge_waiting(&self, wanted: u32, wait: &K::Wait, killed: &dyn Fn() -> bool) -> u32 {
        let (mut pages, mut ends) = (0, false);
        // `Wait` is a safe trait: it may return too early, or ask again after a yes.
        while !ends {
            wait.wait_until(self.key(), &mut || {
                if !ends {
                    self.awaited.store(1, SeqCst);
                    pages = self.charge(wanted);
                    ends = pages > 0 || killed();
                }
                ends
            });
        }
        pages
    }

    fn uncharge(&self, pages: u64, wait: &K::Wait) {
        if pages == 0 {
            return;
        }
        self.charged.fetch_sub(pages, SeqCst);
        if self.awaited.load(SeqCst) != 0 {
            self.awaited.store(0, SeqCst);
            wait.wake(self.key());
        }
    }

    fn key(&self) -> WaitKey {
        WaitKey(ptr::from_ref(&self.awaited).addr())
    }

    /// What is known of the bandwidth at time `now`.
    fn look(&self, now: u64) -> Store {
        let (written, dirtied) = (self.written.load(Relaxed), self.dirtied.load(Relaxed));
        let under_writeback = self.under_writeback.load(Relaxed);
        let charged = self.charged();
        let mut measured = self.measured.lock();
        measured.progress(written, under_writeback, now);
        let counters =
            Counters { charged, dirtied, written: measured.written, busy_ns: measured.busy_ns };
        measured.store.update(&counters, &self.limits, now);
        measured.store
    }
}

impl Measured {
    /// The time since the last look was busy if pages were written in it or are under writeback. A
    /// time longer than the longest pause says nothing: no task was writing.
    fn progress(&mut self, written: u64, under_writeback: u64, now: u64) {
        if let Some((before, then)) = self.seen {
            let (pages, elapsed) = (written.wrapping_sub(before), now.saturating_sub(then));
            if (pages > 0 || under_writeback > 0) && elapsed <= LONGEST_PAUSE_NS {
                self.written = self.written.wrapping_add(pages);
                self.busy_ns = self.busy_ns.saturating_add(elapsed);
            }
        }
        self.seen = Some((written, now));
    }
}

/// A task that writes, as its [`Task`](crate::Task) keeps it: what it is promised, and when it
/// pauses. Dropping it gives back what is left of the promise: it lives as long as a system call,
/// or a task.
pub struct DirtyWriter<'l, K: Kernel> {
    limit: &'l DirtyLimit<K>,
    wait: &'l K::Wait,
    pauses: Cell<Writer>,
    /// Charged pages that are not dirty.
    promised: Cell<u32>,
    /// Pages that became dirty since the last question for a pause.
    dirtied: Cell<u32>,
    /// Pages of the next step at most.
    most: Cell<u32>,
}

impl<'l, K: Kernel> DirtyWriter<'l, K> {
    /// A task that is promised nothing.
    #[must_use]
    pub const fn new(limit: &'l DirtyLimit<K>, wait: &'l K::Wait) -> Self {
        let (promised, dirtied, most) = (Cell::new(0), Cell::new(0), Cell::new(MOST_STEP));
        Self { limit, wait, pauses: Cell::new(Writer::new()), promised, dirtied, most }
    }

    /// For [`Task::admit_dirty`](crate::Task::admit_dirty): up to `wanted` pages; zero if `killed`
    /// said yes. Sleeps while the limit is reached, until pages are written or given back: the
    /// embedder sees to it that a flusher is at work by then. Under the same conditions as the
    /// task's method.
    pub fn admit(&self, wanted: u32, killed: &impl Fn() -> bool) -> u32 {
        let wanted = wanted.clamp(1, self.most.get());
        let missing = wanted.saturating_sub(self.promised.get());
        if missing > 0 {
            let mut pages = self.limit.charge(missing);
            if pages + self.promised.get() == 0 {
                pages = self.limit.charge_waiting(missing, self.wait, killed);
            }
            self.promised.set(self.promised.get() + pages);
        }
        wanted.min(self.promised.get())
    }

    /// For [`Task::settle_dirty`](crate::Task::settle_dirty). Where pauses begin, the rest of the
    /// promise is given back: a task that waits for something else holds nothing then.
    pub fn settle(&self, dirtied: u32) {
        let used = dirtied.min(self.promised.get());
        self.dirtied.set(self.dirtied.get().saturating_add(dirtied));
        // The pages are charged by themselves now.
        self.give_back(used);
        if self.limit.charged() >= self.limit.limits.free() {
            self.give_back(self.promised.get());
        }
    }

    /// For [`Task::throttle`](crate::Task::throttle), and for a fault handler that has let M go:
    /// how many nanoseconds to sleep now, 200 ms at most. Zero, and nothing is looked at, if no
    /// page has become dirty since the last call.
    pub fn pause_ns(&self, now: u64) -> u64 {
        let dirtied = self.dirtied.take();
        if dirtied == 0 {
            return 0;
        }
        let store = self.limit.look(now);
        let mut pauses = self.pauses.get();
        pauses.promise(self.promised.get().saturating_add(dirtied));
        let step = pauses.landed(dirtied, &store, (&self.limit.limits, self.limit.charged()), now);
        // The promise itself is kept here.
        let _kept = pauses.leave();
        self.pauses.set(pauses);
        self.most.set(step.pages);
        self.give_back(step.give_back.min(self.promised.get()));
        step.pause_ns
    }

    fn give_back(&self, pages: u32) {
        self.promised.set(self.promised.get() - pages);
        self.limit.uncharge(u64::from(pages), self.wait);
    }
}

impl<K: Kernel> Drop for DirtyWriter<'_, K> {
    fn drop(&mut self) {
        self.give_back(self.promised.get());
    }
}

impl<K: Kernel> fmt::Debug for DirtyLimit<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DirtyLimit")
            .field("limits", &self.limits)
            .field("charged", &self.charged())
            .finish_non_exhaustive()
    }
}

impl<K: Kernel> fmt::Debug for DirtyWriter<'_, K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DirtyWriter")
            .field("promised", &self.promised.get())
            .finish_non_exhaustive()
    }
}
