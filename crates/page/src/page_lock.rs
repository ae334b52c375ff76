//! Page locks: bits in a leaf's `locked` word, and the queue of requests that wait for them.
//!
//! Neighbours: [`leaf`](crate::leaf) has the words, [`Mapping`](crate::Mapping) finds the leaf and
//! checks that it is the right one, [`queue`](crate::queue) keeps the order of arrival. This module
//! does not know which pages are present.
//!
//! # Lock and unlock
//! A lock looks at `waiters` and, if none of its slots is waited for, sets its bits by one
//! compare-and-swap that takes the leaf for free: a load of `locked` would wait for the unlock that
//! the same CPU has just made. If pages are locked, the lock has learned which, and tries again if
//! they are others; after a few times it queues, as if a slot were locked. An unlock clears its
//! bits by one `fetch_and` and looks at `waiters`. A request that finds a bit set links itself
//! in the leaf's queue, sets its bits in `waiters` and sleeps until it is *granted*: the thread
//! that grants sets the bits of `locked` in its place.
//!
//! Grants are made under the queue's lock, in order of arrival. A request is granted once all its
//! slots are free and no earlier request waits for any of them. It takes all of them at once and
//! holds none before. So a request waits only for holders of its slots, and for earlier requests
//! that want one of its slots; the oldest request of a leaf waits for holders only. No cycle is
//! possible, provided that a thread which waits for pages of a leaf has none of the same leaf
//! locked: an earlier request for both would stand between the two.
//!
//! # No wake-up is lost
//! A request sets its bits in `waiters` and then looks at `locked`; an unlock changes `locked` and
//! then looks at `waiters`. All four are sequentially consistent, so at least one of the two sees
//! the other.
//!
//! # How often a waiter is overtaken (L1)
//! By each other thread at most once. Once the bits are set in `waiters`, only a lock whose look at
//! `waiters` came before can still take one of the slots. Its thread looks at `waiters` again when
//! it unlocks, after the announcement, and sees the bits; from then on each of its requests for one
//! of the slots stands behind. Requests for other slots are not held up (L4).
//!
//! # A leaf that changes hands (L5)
//! Retiring a leaf takes all its locks, and its unlock signals every request in the queue, granted
//! or not, and wakes it. A request that finds the leaf to be another's gives up at once; so it
//! sleeps for no other file. By the time that it sees this, the leaf is linked in the tree no more,
//! so that the next lookup does not find it again.
//!
//! # Callers that do not sleep
//! A caller that finds a slot busy and does not sleep has no request in the queue, so nothing is
//! granted to it while it does something else. It *watches* one of the slots: it sets the bit in
//! `watched` and in `waiters`, both under the queue's lock, and then looks. Every grant, also the
//! one that follows an unlock, keeps the bit in `waiters` for as long as the slot is locked or
//! waited for; then it clears the bit in `watched` and wakes the slot's key. A watched slot that is
//! free is locked by the caller that comes first.
#![forbid(unsafe_code)]

use core::mem;
use core::pin::{Pin, pin};
use core::sync::atomic::Ordering::{Acquire, Relaxed, SeqCst};

use crate::leaf::{Leaf, Wanted};
use crate::{Patience, Replacement, Request, Requests, SlotMask, SyncFamily, Wait};

/// How a wait for page locks ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub(crate) enum Waited {
    /// The slots are locked.
    Locked,
    /// The leaf is another's. Nothing is locked.
    Stale,
    /// The waiter was killed. Nothing is locked.
    Killed,
    /// The caller does not sleep, and watches one of the slots. Nothing is locked.
    Refused,
}

/// What a pass through the queue has changed, to be told once the queue's lock is free.
#[derive(Clone, Copy)]
#[must_use]
struct Granted {
    /// Requests that got their slots.
    requests: u32,
    /// Slots that are watched, and neither locked nor waited for any more.
    freed: SlotMask,
}

/// Rounds of a spinning locker before its first look, and most of them between two looks. A look
/// takes the leaf's cache line from the holder, and a lock the lines of the page with it, which
/// costs more than a small write does when they stay: so the holder gets a few dozen turns first.
const FIRST_BETWEEN: u32 = 128;
const MOST_BETWEEN: u32 = 256;

/// Rounds in all, in units of [`SyncFamily::SPIN_ROUNDS`]: those are rare looks.
const SPINS: u32 = 6;

/// Compare-and-swaps after which a lock of free slots queues instead: each may fail because another
/// thread has locked or unlocked another page of the leaf.
const TRIES: u32 = 8;

impl<S: SyncFamily, R: Replacement> Leaf<S, R> {
    /// Locks `slots` if none of them is locked or waited for: one locked instruction if no slot of
    /// the leaf is locked, and up to [`TRIES`] otherwise. Never sleeps.
    #[inline(always)]
    #[must_use]
    pub(crate) fn try_lock(&self, slots: SlotMask) -> bool {
        match self.try_lock_seen(SlotMask::EMPTY, slots) {
            Ok(is_locked) => is_locked,
            Err(now) => self.try_lock_again(now, slots),
        }
    }

    /// The same after a look, which leaves the leaf's cache line where it is if a slot is locked.
    #[inline]
    #[must_use]
    pub(crate) fn look_and_lock(&self, slots: SlotMask) -> bool {
        let seen = self.locked.load(Relaxed);
        self.try_lock_seen(seen, slots).unwrap_or_else(|now| self.try_lock_again(now, slots))
    }

    /// The same once, if the lock bits are those that were `seen`; those that are there otherwise.
    #[inline(always)]
    fn try_lock_seen(&self, seen: SlotMask, slots: SlotMask) -> Result<bool, SlotMask> {
        if (seen | self.waiters.load(Relaxed)).intersects(slots) {
            return Ok(false);
        }
        let locked = self.locked.compare_exchange(seen, seen | slots, Acquire, Relaxed);
        locked.map(|_| true)
    }

    /// [`try_lock`](Self::try_lock), once the lock bits have become those that were `seen`.
    #[cold]
    #[inline(never)]
    fn try_lock_again(&self, mut seen: SlotMask, slots: SlotMask) -> bool {
        for _ in 1..TRIES {
            match self.try_lock_seen(seen, slots) {
                Ok(is_locked) => return is_locked,
                Err(now) => seen = now,
            }
        }
        false
    }

    /// The slots that are neither locked nor waited for, at this moment.
    pub(crate) fn unlocked(&self) -> SlotMask {
        !(self.locked.load(Relaxed) | self.waiters.load(Relaxed))
    }

    /// Locks `slots`, some of which were busy a moment ago. Sleeps, until they are granted, or
    /// `stale` or `killed` says yes. Slots that are free are locked whatever `killed` says.
    #[cold]
    #[inline(never)]
    pub(crate) fn lock_contended<P: Patience>(
        &self,
        slots: SlotMask,
        wait: &impl Wait,
        stale: &impl Fn() -> bool,
        killed: &P,
    ) -> Waited {
        let mut rounds = SPINS * S::SPIN_ROUNDS;
        let mut between = FIRST_BETWEEN.min(rounds);
        // Behind a waiter there is nothing to spin for.
        while rounds > 0 && !self.waiters.load(Relaxed).intersects(slots) {
            for _ in 0..between {
                S::relax();
            }
            if self.look_and_lock(slots) {
                return Waited::Locked;
            }
            rounds = rounds.saturating_sub(between);
            between = MOST_BETWEEN.min(2 * between);
        }
        if !P::SLEEPS {
            return self.lock_or_watch(slots, wait, stale, killed);
        }
        let request = pin!(Request::new(&self.queue));
        let waiter = Waiter { leaf: self, wait, request: request.into_ref() };
        waiter.join(slots);
        waiter.sleep(stale, killed)
    }

    /// Locks `slots`, or watches one that is busy. Never sleeps.
    ///
    /// The caller registers for the key of a slot that looks busy before the look that counts. If
    /// that one is free by then and another is not, the pass through the queue wakes the key at
    /// once, so that the caller comes back.
    fn lock_or_watch(
        &self,
        slots: SlotMask,
        wait: &impl Wait,
        stale: &impl Fn() -> bool,
        caller: &impl Patience,
    ) -> Waited {
        let busy = slots - self.unlocked();
        let Some(slot) = busy.first().or(slots.first()) else { return Waited::Stale };
        caller.would_wait(self.slot_key(slot));
        if stale() {
            return Waited::Stale;
        }
        let (is_locked, granted) = {
            let queue = self.queue.lock();
            self.waiters.fetch_or(slots, SeqCst);
            let is_first =
                |wanted| matches!(wanted, Wanted::Waiting(other) if other.intersects(slots));
            let is_locked = !queue.any(is_first) && self.try_lock_announced(slots);
            if !is_locked {
                self.watched.fetch_or(SlotMask::single(slot), SeqCst);
            }
            (is_locked, self.grant(&queue))
        };
        self.tell(granted, wait);
        if is_locked { Waited::Locked } else { Waited::Refused }
    }

    /// Unlocks `slots`: one locked instruction, and a look for waiters.
    #[inline(always)]
    pub(crate) fn unlock(&self, slots: SlotMask, wait: &impl Wait) {
        self.locked.fetch_and(!slots, SeqCst);
        if self.waiters.load(SeqCst).intersects(slots) {
            self.unlock_slowly(wait);
        }
    }

    /// Whether any slot is locked.
    pub(crate) fn is_locked(&self) -> bool {
        !self.locked.load(Acquire).is_empty()
    }

    /// Grants what can be granted, and wakes the requests that got something. If the leaf has no
    /// owner, it was just retired: all are woken.
    #[cold]
    #[inline(never)]
    pub(crate) fn unlock_slowly(&self, wait: &impl Wait) {
        let retired = !self.has_owner();
        let granted = {
            let queue = self.queue.lock();
            let granted = self.grant(&queue);
            if retired {
                queue.iter().for_each(|request| request.signal());
            }
            granted
        };
        if retired {
            self.queue.wake(wait, |_| true);
        }
        self.tell(
            Granted { requests: if retired { 0 } else { granted.requests }, ..granted },
            wait,
        );
    }

    /// Wakes the requests that were granted, and those that watch slots which are free.
    fn tell(&self, granted: Granted, wait: &impl Wait) {
        if granted.requests > 0 {
            self.queue.wake(wait, |wanted| matches!(wanted, Wanted::Granted(_)));
        }
        if !granted.freed.is_empty() {
            self.wake_slowly(granted.freed, wait);
        }
    }

    /// Grants requests in order of arrival, and says in `waiters` what is still waited for.
    fn grant(&self, queue: &Requests<'_, S, Wanted>) -> Granted {
        let mut waited_for = SlotMask::EMPTY;
        let mut requests = 0;
        for request in queue.iter() {
            let Wanted::Waiting(slots) = request.value() else { continue };
            if !slots.intersects(waited_for) && self.try_lock_announced(slots) {
                request.set(Wanted::Granted(slots));
                request.signal();
                requests += 1;
            } else {
                waited_for |= slots;
            }
        }
        let watched = self.watched.load(SeqCst);
        let mut freed = SlotMask::EMPTY;
        if !watched.is_empty() {
            // A slot that is locked after this look, by a lock that looked at `waiters` before, is
            // watched no more: its key is woken.
            freed = watched - (self.locked.load(SeqCst) | waited_for);
            waited_for |= watched - freed;
        }
        // Changed under the queue's lock only.
        if self.waiters.load(Relaxed) != waited_for {
            self.waiters.store(waited_for, Relaxed);
        }
        Granted { requests, freed }
    }

    /// Locks slots that `waiters` announces, if all of them are free. The queue is locked.
    /// Sequentially consistent, after the announcement.
    ///
    /// A compare-and-swap could fail for as long as other slots are locked and unlocked (L1), so
    /// the bits are set unconditionally. A slot can be taken between the load and that only by a
    /// lock whose look at `waiters` came before the announcement. Then the free ones are given
    /// back. Their bits show in between; a lock that finds one is busy anyway, because the slot is
    /// announced, and looks again under the queue's lock.
    fn try_lock_announced(&self, slots: SlotMask) -> bool {
        if self.locked.load(SeqCst).intersects(slots) {
            return false;
        }
        let busy = self.locked.fetch_or(slots, SeqCst) & slots;
        if busy.is_empty() {
            return true;
        }
        self.locked.fetch_and(!(slots - busy), SeqCst);
        false
    }
}

/// A request in the queue. Dropping it leaves the queue, also by unwinding: what was granted is
/// unlocked.
struct Waiter<'r, S: SyncFamily, R: Replacement, W: Wait> {
    leaf: &'r Leaf<S, R>,
    wait: &'r W,
    request: Pin<&'r Request<'r, S, Wanted>>,
}

impl<S: SyncFamily, R: Replacement, W: Wait> Waiter<'_, S, R, W> {
    /// Links the request and announces it. It may be granted by this.
    fn join(&self, slots: SlotMask) {
        let mut granted = {
            let mut queue = self.request.lock();
            queue.link(Wanted::Waiting(slots));
            self.leaf.waiters.fetch_or(slots, SeqCst);
            self.leaf.grant(&queue)
        };
        // Its own grant needs no wake.
        granted.requests -= u32::from(self.request.is_signalled()).min(granted.requests);
        self.leaf.tell(granted, self.wait);
    }

    fn sleep(self, stale: &impl Fn() -> bool, killed: &impl Patience) -> Waited {
        let mut rounds = S::SPIN_ROUNDS;
        while rounds > 0 && !self.request.is_signalled() {
            S::relax();
            rounds -= 1;
        }
        let mut end = None;
        if !self.request.is_signalled() {
            // `Wait` is a safe trait: it may return too early, or ask again after a yes.
            let mut over = false;
            while !over {
                self.wait.wait_until(self.request.key(), &mut || {
                    over = over || self.is_over(&mut end, stale, killed);
                    over
                });
            }
        }
        let waited = match self.leave() {
            // It may have come after the last look.
            Some(Wanted::Granted(_)) => Waited::Locked,
            // If neither answer ended the wait, then a signal without a grant: the leaf was
            // retired.
            _ => end.unwrap_or(Waited::Stale),
        };
        // It has left the queue, which is all that its drop is for.
        mem::forget(self);
        waited
    }

    /// Whether there is nothing more to wait for; why, if it is not a signal.
    fn is_over(
        &self,
        end: &mut Option<Waited>,
        stale: &impl Fn() -> bool,
        killed: &impl Patience,
    ) -> bool {
        if self.request.is_signalled() {
            return true;
        }
        if stale() {
            *end = Some(Waited::Stale);
        } else if killed.is_killed() {
            *end = Some(Waited::Killed);
        }
        end.is_some()
    }

    /// Leaves the queue; what the request had come to. If it was still waiting, others may be
    /// granted by this.
    fn leave(&self) -> Option<Wanted> {
        let mut granted = Granted { requests: 0, freed: SlotMask::EMPTY };
        let wanted = {
            let mut queue = self.request.lock();
            let wanted = queue.unlink();
            if matches!(wanted, Some(Wanted::Waiting(_))) {
                granted = self.leaf.grant(&queue);
            }
            wanted
        };
        self.leaf.tell(granted, self.wait);
        wanted
    }
}

impl<S: SyncFamily, R: Replacement, W: Wait> Drop for Waiter<'_, S, R, W> {
    fn drop(&mut self) {
        if let Some(Wanted::Granted(slots)) = self.leave() {
            self.leaf.unlock(slots, self.wait);
        }
    }
}
