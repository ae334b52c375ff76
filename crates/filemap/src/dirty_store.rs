//! What one store has of the limit of dirty pages: counters, waiters, and its bandwidth.
//!
//! Key types: [`Charged`], a counter and the tasks that wait until it falls, of a store or of all;
//! [`StoreDirty`], a store. [`DirtyLimit`](crate::DirtyLimit) has the table of them.
#![forbid(unsafe_code)]

use core::ptr;
use core::sync::atomic::Ordering::{Relaxed, SeqCst};

use faultless_page::{ConstSync, Initial, Kernel, Spin, SpinLock, Wait, WaitKey, Word, Word64};
use faultless_policy::throttle::{Counters, LONGEST_PAUSE_NS, Limits, Rate, Store};

/// Pages per second that a store writes until it is known better: 100 MiB.
const GUESS: Rate = Rate::per_second(25_600);

/// What a store has of the limit.
pub(crate) struct StoreDirty<K: Kernel> {
    pub(crate) charged: Charged<K>,
    pub(crate) dirtied: Word64<K>,
    pub(crate) written: Word64<K>,
    pub(crate) under_writeback: Word64<K>,
    /// Pages per second; 0 until it was measured.
    bandwidth: Word64<K>,
    measured: SpinLock<K, Measured>,
}

/// Charged pages, and whether a task may be waiting until there are fewer.
pub(crate) struct Charged<K: Kernel> {
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

impl<K: Kernel> StoreDirty<K> {
    /// Forgets what is known of the bandwidth.
    pub(crate) fn forget(&self) {
        *self.measured.lock() = Measured::INITIAL;
        self.bandwidth.store(0, Relaxed);
    }

    pub(crate) fn bandwidth(&self) -> Rate {
        match self.bandwidth.load(Relaxed) {
            0 => GUESS,
            pages => Rate::per_second(pages),
        }
    }

    /// What is known at time `now`.
    pub(crate) fn look(&self, share: &Limits, now: u64) -> Store {
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
    pub(crate) fn pages(&self) -> u64 {
        self.pages.load(SeqCst)
    }

    pub(crate) fn add(&self, pages: u64) {
        self.pages.fetch_add(pages, SeqCst);
    }

    pub(crate) fn has_room(&self, limits: &Limits) -> bool {
        limits.admit(self.pages(), 1) > 0
    }

    /// Adds as many of `wanted` pages as `limits` admit; how many.
    pub(crate) fn charge(&self, limits: &Limits, wanted: u32) -> u32 {
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

    pub(crate) fn take_off(&self, pages: u64, wait: &K::Wait) {
        if pages == 0 {
            return;
        }
        self.pages.fetch_sub(pages, SeqCst);
        self.wake(wait);
    }

    /// Wakes the tasks that wait, if there are any.
    pub(crate) fn wake(&self, wait: &K::Wait) {
        if self.is_awaited() {
            self.awaited.store(0, SeqCst);
            wait.wake(self.key());
        }
    }

    /// For a task that does not sleep: `would_wait` is told what is woken when there are fewer
    /// pages than at the caller's next look, which pairs with this as that of a waiter does.
    #[cold]
    pub(crate) fn watch(&self, would_wait: &dyn Fn(WaitKey)) {
        would_wait(self.key());
        self.awaited.store(1, SeqCst);
    }

    /// Sleeps until `is_over` says yes.
    ///
    /// A waiter announces itself and then looks at the pages; a page is taken off, and then the
    /// waiters are looked at. All four accesses are sequentially consistent, so one of the two
    /// sees the other.
    #[cold]
    pub(crate) fn wait_for(&self, wait: &K::Wait, is_over: &dyn Fn() -> bool) {
        wait.wait_until(self.key(), &mut || {
            self.awaited.store(1, SeqCst);
            is_over()
        });
    }

    pub(crate) fn is_awaited(&self) -> bool {
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
