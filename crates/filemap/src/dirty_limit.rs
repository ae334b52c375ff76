//! The limit of dirty pages, and the share that each store has of it.
//!
//! [`faultless_policy::throttle`] decides. Here are the counters that it asks for, and the waits
//! for room. [`DirtyLimit`] belongs to a kernel; [`DirtyWriter`](crate::DirtyWriter), which asks on
//! behalf of a task, is next door.
//!
//! A page is *charged* once while it is dirty and once while it is under writeback, by what
//! [`Kernel::count`] is told, whichever task dirties it; and each promised page is. It is charged
//! to the limit and to its store. A page that becomes dirty is charged before its promise is taken
//! off, and one whose writeback fails before the end of the writeback is. So the pages that are
//! dirty, under writeback or promised are never more than what is charged, and a promise is only
//! given while that stays within the hard limit.
//!
//! A promise is charged to the store first, within its share, and then to the limit, which is
//! exact; what the limit does not admit is taken off the store again. A share moves with what the
//! other stores hold, so what is charged to a store may be above it.
#![forbid(unsafe_code)]

use core::fmt;
use core::ptr;
use core::sync::atomic::Ordering::{AcqRel, Relaxed, SeqCst};

use faultless_page::{
    ConstSync, Count, Initial, Kernel, Spin, SpinLock, StoreId, Wait, WaitKey, Word, Word64,
};
use faultless_policy::throttle::{Counters, LONGEST_PAUSE_NS, Limits, Rate, Store};

/// Pages per second that a store writes until it is known better: 100 MiB.
const GUESS: Rate = Rate::per_second(25_600);
/// Nanoseconds between two looks at the stores that others write to. Short enough that the time
/// between two looks counts as busy.
const LOOK_ROUND_NS: u64 = LONGEST_PAUSE_NS / 4;

/// How many pages of a cache may be dirty or under writeback, and how many of them of each store.
///
/// The limit is never exceeded by tasks that [ask](crate::Task::LIMITS_DIRTY_PAGES). Pages that
/// other tasks dirty count as well, and leave less to those that ask.
///
/// With one store, all of the limit is its. With several, a [`StoreId`] is the place of a store in
/// the table, and a number at or past `STORES` counts as the last place. Each store has a share in
/// proportion to the bandwidth that was measured of it, a 16th of the limit at least, and never the
/// last 16th of what the others leave: one that stops writing stops its own writers, and no others.
/// A look at a share is O(`STORES`).
///
/// A kernel has one in a `static`, for its [`Kernel::count`] to reach.
#[doc(alias = "balance_dirty_pages")]
pub struct DirtyLimit<K: Kernel, const STORES: usize = 1> {
    limits: Limits,
    all: Charged<K>,
    stores: [StoreDirty<K>; STORES],
    /// When all stores were looked at last.
    looked: Word64<K>,
}

/// What a store has of the limit.
pub(crate) struct StoreDirty<K: Kernel> {
    charged: Charged<K>,
    dirtied: Word64<K>,
    written: Word64<K>,
    under_writeback: Word64<K>,
    /// Pages per second; 0 until it was measured.
    bandwidth: Word64<K>,
    measured: SpinLock<K, Measured>,
}

/// Charged pages, and whether a task may be waiting until there are fewer.
struct Charged<K: Kernel> {
    pages: Word64<K>,
    awaited: Word64<K>,
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

/// Why no page is promised.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Full {
    /// The store has its share.
    Share,
    /// All stores have what there is.
    Limit,
}

impl<K: Kernel, const STORES: usize> DirtyLimit<K, STORES> {
    /// No page is dirty. `STORES` is not 0.
    #[must_use]
    pub const fn new(limits: Limits) -> Self
    where
        K::Sync: ConstSync,
    {
        const { assert!(STORES > 0, "a kernel has a store") };
        Self {
            limits,
            all: Charged::INITIAL,
            stores: [const { StoreDirty::INITIAL }; STORES],
            looked: <Word64<K> as Initial>::INITIAL,
        }
    }

    /// To be called by [`Kernel::count`], with all that it is told, from the first page on. Wakes
    /// tasks that wait for a promise, through the cache's `wait`. Does not sleep; any lock may be
    /// held.
    pub fn count(&self, store: StoreId, what: Count, pages: u32, wait: &K::Wait) {
        let (store, pages) = (self.store(store), u64::from(pages));
        match what {
            Count::Dirtied => {
                self.add(store, pages);
                store.dirtied.fetch_add(pages, Relaxed);
            }
            Count::WritebackBegun => {
                self.add(store, pages);
                store.under_writeback.fetch_add(pages, Relaxed);
            }
            Count::WritebackEnded => {
                store.under_writeback.fetch_sub(pages, Relaxed);
                store.written.fetch_add(pages, Relaxed);
                self.take_off(store, pages, wait);
            }
            Count::Cleaned => self.take_off(store, pages, wait),
            _ => {}
        }
    }

    /// Pages that are dirty, under writeback or promised. A page that is two of these counts twice.
    #[must_use]
    pub fn charged(&self) -> u64 {
        self.all.pages()
    }

    /// Those of a store.
    #[must_use]
    pub fn charged_to(&self, store: StoreId) -> u64 {
        self.store(store).charged.pages()
    }

    /// The thresholds.
    #[must_use]
    pub const fn limits(&self) -> &Limits {
        &self.limits
    }

    /// The thresholds of a store, as they are now.
    #[must_use]
    pub fn share_of(&self, store: StoreId) -> Limits {
        self.share(self.store(store))
    }

    /// How many pages of a store a flusher should hand to it now: those above the background
    /// threshold of all stores, or above that of its share; all that are dirty if a task waits for
    /// a promise. For a [`Flusher`](crate::Flusher) whose own threshold is 0.
    #[must_use]
    pub fn to_flush(&self, store: StoreId) -> u64 {
        let store = self.store(store);
        let dirty = store.charged.pages().saturating_sub(store.under_writeback.load(Relaxed));
        if self.all.is_awaited() || store.charged.is_awaited() {
            return dirty;
        }
        let above_own = dirty.saturating_sub(self.share(store).background());
        above_own.max(self.charged().saturating_sub(self.limits.background())).min(dirty)
    }

    /// Forgets what is known of the bandwidth of a store: its number is given to another one. No
    /// page of a file on it is dirty or under writeback.
    pub fn forget(&self, store: StoreId) {
        let store = self.store(store);
        *store.measured.lock() = Measured::INITIAL;
        store.bandwidth.store(0, Relaxed);
    }

    /// The place of a store.
    pub(crate) fn store(&self, store: StoreId) -> &StoreDirty<K> {
        &self.stores[(store.0 as usize).min(STORES - 1)]
    }

    /// The part of the limits that a store has now.
    pub(crate) fn share(&self, store: &StoreDirty<K>) -> Limits {
        if STORES == 1 {
            return self.limits;
        }
        let is_active =
            |other: &&StoreDirty<K>| ptr::eq(*other, store) || other.charged.pages() > 0;
        let active = self.stores.iter().filter(is_active);
        let together = active.fold(Rate::default(), |sum, store| sum.plus(store.bandwidth()));
        // Two counters, which do not change at once.
        let others = self.charged().saturating_sub(store.charged.pages());
        self.limits.share(store.bandwidth(), together, others)
    }

    /// Charges as many of `wanted` pages as may be promised, at least one; how many.
    fn promise(&self, store: &StoreDirty<K>, wanted: u32, wait: &K::Wait) -> Result<u32, Full> {
        if !self.all.has_room(&self.limits) {
            return Err(Full::Limit);
        }
        let own = store.charged.charge(&self.share(store), wanted);
        if own == 0 {
            return Err(Full::Share);
        }
        let pages = self.all.charge(&self.limits, own);
        store.charged.take_off(u64::from(own - pages), wait);
        if pages == 0 { Err(Full::Limit) } else { Ok(pages) }
    }

    /// As [`promise`](Self::promise), but sleeps until there is a page, or `killed` says yes: zero
    /// then.
    ///
    /// A task that finds its store's share used up waits for pages of that store. Some are there,
    /// and once the last of them is gone the share has room. The flusher has to be at work on it:
    /// [`to_flush`](Self::to_flush) says so.
    pub(crate) fn promise_waiting(
        &self,
        store: &StoreDirty<K>,
        wanted: u32,
        wait: &K::Wait,
        killed: &dyn Fn() -> bool,
    ) -> u32 {
        loop {
            let full = match self.promise(store, wanted, wait) {
                Ok(pages) => return pages,
                Err(full) => full,
            };
            match full {
                Full::Share => {
                    let has_room = || store.charged.has_room(&self.share(store));
                    store.charged.wait_for(wait, &|| has_room() || killed());
                }
                Full::Limit => {
                    let has_room = || self.all.has_room(&self.limits);
                    self.all.wait_for(wait, &|| has_room() || killed());
                }
            }
            if killed() {
                return 0;
            }
        }
    }

    fn add(&self, store: &StoreDirty<K>, pages: u64) {
        store.charged.add(pages);
        self.all.add(pages);
    }

    /// Pages are no longer dirty, under writeback or promised.
    pub(crate) fn take_off(&self, store: &StoreDirty<K>, pages: u64, wait: &K::Wait) {
        store.charged.take_off(pages, wait);
        self.all.take_off(pages, wait);
    }

    /// What is known of a store at time `now`. The other stores are looked at as well from time to
    /// time: one whose writers all wait has no task that would find out that it has stopped.
    pub(crate) fn look(&self, store: &StoreDirty<K>, share: &Limits, now: u64) -> Store {
        if STORES > 1 {
            let last = self.looked.load(Relaxed);
            let is_due = now.saturating_sub(last) >= LOOK_ROUND_NS;
            if is_due && self.looked.compare_exchange(last, now, AcqRel, Relaxed).is_ok() {
                for other in self.stores.iter().filter(|other| !ptr::eq(*other, store)) {
                    other.look(&self.share(other), now);
                }
            }
        }
        store.look(share, now)
    }
}

impl<K: Kernel> StoreDirty<K> {
    /// Pages that are dirty, under writeback or promised.
    pub(crate) fn charged(&self) -> u64 {
        self.charged.pages()
    }

    fn bandwidth(&self) -> Rate {
        match self.bandwidth.load(Relaxed) {
            0 => GUESS,
            pages => Rate::per_second(pages),
        }
    }

    /// What is known at time `now`.
    fn look(&self, share: &Limits, now: u64) -> Store {
        let (written, dirtied) = (self.written.load(Relaxed), self.dirtied.load(Relaxed));
        let under_writeback = self.under_writeback.load(Relaxed);
        let charged = self.charged.pages();
        let mut measured = self.measured.lock();
        measured.progress(written, under_writeback, now);
        let counters =
            Counters { charged, dirtied, written: measured.written, busy_ns: measured.busy_ns };
        measured.store.update(&counters, share, now);
        self.bandwidth.store(measured.store.bandwidth().pages_per_second(), Relaxed);
        measured.store
    }
}

impl<K: Kernel> Charged<K> {
    fn pages(&self) -> u64 {
        self.pages.load(SeqCst)
    }

    fn add(&self, pages: u64) {
        self.pages.fetch_add(pages, SeqCst);
    }

    fn has_room(&self, limits: &Limits) -> bool {
        limits.admit(self.pages(), 1) > 0
    }

    /// Adds as many of `wanted` pages as `limits` admit; how many.
    fn charge(&self, limits: &Limits, wanted: u32) -> u32 {
        let mut charged = self.pages();
        loop {
            // At most `wanted`.
            let pages = limits.admit(charged, u64::from(wanted));
            if pages == 0 {
                return 0;
            }
            match self.pages.compare_exchange(charged, charged + pages, SeqCst, SeqCst) {
                Ok(_) => return pages as u32,
                Err(now) => charged = now,
            }
        }
    }

    fn take_off(&self, pages: u64, wait: &K::Wait) {
        if pages == 0 {
            return;
        }
        self.pages.fetch_sub(pages, SeqCst);
        if self.is_awaited() {
            self.awaited.store(0, SeqCst);
            wait.wake(self.key());
        }
    }

    /// Sleeps until `is_over` says yes.
    ///
    /// A waiter announces itself and then looks at the pages; a page is taken off, and then the
    /// waiters are looked at. All four accesses are sequentially consistent, so one of the two
    /// sees the other.
    #[cold]
    fn wait_for(&self, wait: &K::Wait, is_over: &dyn Fn() -> bool) {
        wait.wait_until(self.key(), &mut || {
            self.awaited.store(1, SeqCst);
            is_over()
        });
    }

    fn is_awaited(&self) -> bool {
        self.awaited.load(SeqCst) != 0
    }

    fn key(&self) -> WaitKey {
        WaitKey(ptr::from_ref(&self.awaited).addr())
    }
}

impl Measured {
    const INITIAL: Self = Self { store: Store::new(GUESS), seen: None, written: 0, busy_ns: 0 };

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

impl Initial for Measured {
    const INITIAL: Self = Self::INITIAL;
}

impl<K: Kernel<Sync: ConstSync>> Initial for Charged<K> {
    const INITIAL: Self =
        Self { pages: <Word64<K> as Initial>::INITIAL, awaited: <Word64<K> as Initial>::INITIAL };
}

impl<K: Kernel<Sync: ConstSync>> Initial for StoreDirty<K> {
    const INITIAL: Self = Self {
        charged: Charged::INITIAL,
        dirtied: <Word64<K> as Initial>::INITIAL,
        written: <Word64<K> as Initial>::INITIAL,
        under_writeback: <Word64<K> as Initial>::INITIAL,
        bandwidth: <Word64<K> as Initial>::INITIAL,
        measured:
            <<K::Sync as ConstSync>::Free<Measured> as Initial<SpinLock<K, Measured>>>::INITIAL,
    };
}

impl<K: Kernel, const STORES: usize> fmt::Debug for DirtyLimit<K, STORES> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DirtyLimit")
            .field("limits", &self.limits)
            .field("charged", &self.charged())
            .finish_non_exhaustive()
    }
}
