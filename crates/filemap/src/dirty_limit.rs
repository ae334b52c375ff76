//! The limit of dirty pages, and the share that each store has of it.
//!
//! [`faultless_policy::throttle`] decides. Here are the counters that it asks for, and the waits
//! for room. [`DirtyLimit`] belongs to a kernel, and has a [`StoreDirty`] for each store;
//! [`DirtyWriter`](crate::DirtyWriter) asks on behalf of a task.
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
use core::sync::atomic::Ordering::{AcqRel, Relaxed};

use faultless_page::{ConstSync, Count, Initial, Kernel, StoreId, WaitKey, Word, Word64};
use faultless_policy::throttle::{LONGEST_PAUSE_NS, Limits, Rate, Store};

use crate::dirty_store::{Charged, StoreDirty};

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
    // Where `what` is told it is known: a use of a page, which most calls are, costs nothing.
    #[inline(always)]
    pub fn count(&self, store: StoreId, what: Count, pages: u32, wait: &K::Wait) {
        let pages = u64::from(pages);
        match what {
            Count::Dirtied => self.dirtied(self.store(store), pages),
            Count::WritebackBegun => self.writeback_begun(self.store(store), pages),
            Count::WritebackEnded => self.writeback_ended(self.store(store), pages, wait),
            Count::Cleaned => self.take_off(self.store(store), pages, wait),
            _ => {}
        }
    }

    fn dirtied(&self, store: &StoreDirty<K>, pages: u64) {
        self.add(store, pages);
        store.dirtied.fetch_add(pages, Relaxed);
    }

    fn writeback_begun(&self, store: &StoreDirty<K>, pages: u64) {
        self.add(store, pages);
        store.under_writeback.fetch_add(pages, Relaxed);
    }

    fn writeback_ended(&self, store: &StoreDirty<K>, pages: u64, wait: &K::Wait) {
        store.under_writeback.fetch_sub(pages, Relaxed);
        store.written.fetch_add(pages, Relaxed);
        self.take_off(store, pages, wait);
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
        self.store(store).forget();
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

    /// As [`promise_waiting`](Self::promise_waiting), but does not sleep: if there is no page,
    /// `would_wait` is told what wakes the caller, before the look that counts. Zero then.
    pub(crate) fn promise_or_watch(
        &self,
        store: &StoreDirty<K>,
        wanted: u32,
        wait: &K::Wait,
        would_wait: &dyn Fn(WaitKey),
    ) -> u32 {
        let full = match self.promise(store, wanted, wait) {
            Ok(pages) => return pages,
            Err(full) => full,
        };
        match full {
            Full::Share => store.charged.watch(would_wait),
            Full::Limit => self.all.watch(would_wait),
        }
        match self.promise(store, wanted, wait) {
            Ok(pages) => pages,
            Err(again) => {
                // The other one is full now: the caller comes back at once, and is told its key.
                if again != full {
                    store.charged.wake(wait);
                    self.all.wake(wait);
                }
                0
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

impl<K: Kernel, const STORES: usize> fmt::Debug for DirtyLimit<K, STORES> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DirtyLimit")
            .field("limits", &self.limits)
            .field("charged", &self.charged())
            .finish_non_exhaustive()
    }
}
