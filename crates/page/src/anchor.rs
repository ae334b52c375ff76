//! What of a mapping outlives a move of it: the failures of its writebacks, and the number of its
//! requests that are under way.
//!
//! A [`Mapping`](crate::Mapping) is a value that its owner may move. A request that a device
//! completes later needs an address that stays: the anchor, a node of a type-stable pool. A mapping
//! gets its anchor with its first leaf, and gives it back when it is dropped, after its last
//! request.
#![forbid(unsafe_code)]

use core::ptr;
use core::sync::atomic::Ordering::{AcqRel, Acquire, Relaxed, SeqCst};

use crate::pool::Node;
use crate::{Errno, Failures, StoreId, SyncFamily, Wait, WaitKey, Word};

/// One request that is under way, in the low part of [`Anchor::requests`].
const ACTIVE: u64 = 1;
/// One request whose completion has done all but count itself out.
const LEAVING: u64 = 1 << 24;
/// A drop waits for the requests.
const AWAITED: u64 = 1 << 63;

/// The dirty pages of the mapping count. In [`Anchor::store`], above the number.
const ACCOUNTS_DIRTY: u64 = 1 << 32;

/// See the module.
#[repr(C, align(64))]
pub(crate) struct Anchor<S: SyncFamily> {
    failures: S::Word64,
    requests: S::Word64,
    /// The number of the mapping's store, and [`ACCOUNTS_DIRTY`].
    store: S::Word64,
    next: S::Word64,
}

impl<S: SyncFamily> Node for Anchor<S> {
    type Word = S::Word64;

    fn fresh() -> Self {
        let [failures, requests, store, next] = [(); 4].map(|()| Word::new(0));
        Self { failures, requests, store, next }
    }

    fn next(&self) -> &S::Word64 {
        &self.next
    }
}

impl<S: SyncFamily> Anchor<S> {
    /// Counts a request in. Its pages are locked by the caller, or already the request's.
    pub(crate) fn begin(&self) {
        self.requests.fetch_add(ACTIVE, Relaxed);
    }

    /// A request is no longer under way: what it did with its pages comes before.
    /// [`count_out`](Self::count_out) follows.
    pub(crate) fn leave(&self, wait: &impl Wait) {
        let before = self.requests.fetch_add(LEAVING - ACTIVE, SeqCst);
        if before & AWAITED != 0 && before % LEAVING == ACTIVE {
            wait.wake(self.key());
        }
    }

    /// Counts a request out that has left: its last access to anything of the cache.
    ///
    /// The cache may be gone when this returns. So it is a call of its own, which has no reference
    /// to the cache among its arguments.
    pub(crate) fn count_out(&self) {
        self.requests.fetch_sub(LEAVING, AcqRel);
    }

    /// Sleeps until no request is under way. No request begins any more. If the wait unwinds, it
    /// spins for what is left: the requests point to what the caller is about to drop.
    pub(crate) fn wait_for_requests(&self, wait: &impl Wait) {
        if self.requests.load(Acquire) == 0 {
            return;
        }
        let _rest = Rest(self);
        self.requests.fetch_or(AWAITED, SeqCst);
        let mut done = false;
        while !done {
            wait.wait_until(self.key(), &mut || {
                done = done || self.requests.load(SeqCst) % LEAVING == 0;
                done
            });
        }
    }

    fn key(&self) -> WaitKey {
        WaitKey(ptr::from_ref(&self.requests).addr())
    }

    /// Forgets what an earlier mapping left. Before the anchor is linked.
    pub(crate) fn reset(&self, store: StoreId) {
        self.store.store(u64::from(store.0), Relaxed);
        self.failures.store(0, Relaxed);
        self.requests.store(0, Relaxed);
    }

    /// The dirty pages of the mapping count. Before the anchor is linked.
    pub(crate) fn account_dirty(&self) {
        self.store.fetch_or(ACCOUNTS_DIRTY, Relaxed);
    }

    /// See [`Mapping::accounts_dirty`](crate::Mapping::accounts_dirty).
    pub(crate) fn accounts_dirty(&self) -> bool {
        self.store.load(Relaxed) & ACCOUNTS_DIRTY != 0
    }

    /// See [`Mapping::store_id`](crate::Mapping::store_id).
    pub(crate) fn store_id(&self) -> StoreId {
        StoreId(self.store.load(Relaxed) as u32)
    }

    pub(crate) fn failures(&self) -> Failures {
        Failures::from_raw(self.failures.load(Acquire))
    }

    /// Notes that a caller was told of `failures`, unless there is another one by now.
    pub(crate) fn note_seen(&self, failures: Failures) {
        let (old, new) = (failures.raw(), failures.seen().raw());
        let _newer = self.failures.compare_exchange(old, new, AcqRel, Acquire);
    }

    /// Adds a failed writeback. Before its pages stop being under writeback (F2).
    pub(crate) fn record(&self, errno: Errno) {
        let mut seen = self.failures.load(Acquire);
        loop {
            let next = Failures::from_raw(seen).and(errno).raw();
            match self.failures.compare_exchange(seen, next, AcqRel, Acquire) {
                Ok(_) => return,
                Err(now) => seen = now,
            }
        }
    }
}

/// The end of a wait for requests. After one that did not unwind, a completion is at most about to
/// count itself out: a few instructions.
struct Rest<'a, S: SyncFamily>(&'a Anchor<S>);

impl<S: SyncFamily> Drop for Rest<'_, S> {
    fn drop(&mut self) {
        while self.0.requests.load(Acquire) & !AWAITED != 0 {
            S::relax();
        }
    }
}
