//! Ranges of a file claimed by writers: how overwrites exclude each other without an inode lock.
//!
//! A write that holds all its page locks at once needs no range: the page locks order it against
//! all others. A write that must let go of its page locks midway (several leaves, a temporary page)
//! claims its byte range first. A writer that finds a foreign claim on its bytes *after* locking
//! its pages lets go and queues for its own range.
//!
//! Why the check after the page lock is enough: let S hold a range and H be a one-step writer that
//! shares a page with it. Whichever locks that page first is seen by the other. If S locked it
//! first, its range was entered before, so H, which acquires the lock S released, reads it and
//! backs off. If H locked it first, H lands all of its bytes before S can touch the page, and
//! precedes S everywhere.
//!
//! # Order
//! Claims are linked in order of arrival, through their writers' own stack frames: there is no
//! table to be full (L4). A claim is *held* once no earlier one that overlaps it is linked, so a
//! waiter is overtaken by none (L1). One kind comes *ahead*: a one-step writer whose source came
//! short still has all its pages locked when it claims the rest. No holder of a range has touched
//! these pages since the writer looked, and none can before they are unlocked; so the writer
//! precedes all of them, waits for none, and each of them waits for it when it next has locked a
//! page. A claim ahead waits for page locks only, so that wait ends. With it, no write ever starts
//! again: what has landed is not written twice.
//!
//! Truncation holds the range from the new end on, and sets the size with the page of that end
//! locked while no claim ahead overlaps its range: a writer that has come short on both sides of it
//! has claimed the rest, or sees the new size when it locks that page. So no claim has bytes that
//! landed before the new end and others that are past it.
//!
//! Rank: after I, before M and P. A task claims at most one range and never waits for one under a
//! page lock. The fault handler never looks at ranges. Model-checked; see `ARCHITECTURE.md`.
#![forbid(unsafe_code)]

use core::fmt;
use core::pin::Pin;
use core::ptr;
use core::sync::atomic::Ordering;

use faultless_page::{
    Errno, Kernel, LockId, Request, RequestList, Trace, Wait, WaitKey, Word, Word32, Word64,
};

use crate::task::Task;

/// A non-empty range of bytes, `start..end`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ByteRange {
    pub(crate) start: u64,
    pub(crate) end: u64,
}

impl ByteRange {
    /// How many bytes that are.
    pub(crate) const fn len(self) -> usize {
        (self.end - self.start) as usize
    }

    fn overlaps(self, other: Self) -> bool {
        self.start < other.end && other.start < self.end
    }
}

/// What a claim entitles its writer to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Rank {
    /// To its turn.
    Waiting,
    /// To the range, apart from claims that came ahead.
    Held,
    /// To the range.
    Ahead,
}

/// A linked claim.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Claim {
    range: ByteRange,
    rank: Rank,
}

/// A writer's entry in the queue of claims, pinned in its frame.
pub(crate) type RangeRequest<'l, K> = Request<'l, <K as Kernel>::Sync, Claim>;

/// The ranges of one file.
pub(crate) struct RangeLock<K: Kernel> {
    /// How many claims are held or ahead. Read without the lock on every write.
    granted: Word64<K>,
    /// Not 0: a writer that does not sleep wants to be woken when a claim goes.
    watched: Word32<K>,
    claims: RequestList<K::Sync, Claim>,
    owner: u64,
}

impl<K: Kernel> RangeLock<K> {
    /// No ranges, for the mapping with this id.
    pub(crate) fn new(owner: u64) -> Self {
        Self { granted: Word::new(0), watched: Word::new(0), claims: RequestList::new(), owner }
    }

    /// An entry, linked by none of the calls yet.
    pub(crate) fn request(&self) -> RangeRequest<'_, K> {
        Request::new(&self.claims)
    }

    /// Whether no claim is held or ahead. A page of each byte in question is locked.
    #[inline(always)]
    pub(crate) fn are_free(&self) -> bool {
        // Acquire: as in `conflicts`.
        self.granted.load(Ordering::Acquire) == 0
    }

    /// Whether another writer's claim forbids to write `range`, to the holder of `own`. A page of
    /// each byte is locked. Never sleeps.
    #[inline(always)]
    pub(crate) fn conflicts(&self, range: ByteRange, own: Option<&RangeGuard<'_, K>>) -> bool {
        // Acquire: pairs with the insertion through the page lock that both writers take.
        self.granted.load(Ordering::Acquire) > u64::from(own.is_some())
            && self.conflicts_slow(range, own)
    }

    #[cold]
    #[inline(never)]
    fn conflicts_slow(&self, range: ByteRange, own: Option<&RangeGuard<'_, K>>) -> bool {
        let forbids = |claim: Claim| match own {
            None => claim.rank != Rank::Waiting,
            Some(own) => own.rank == Rank::Held && claim.rank == Rank::Ahead,
        };
        self.claims.lock().any(|claim| forbids(claim) && claim.range.overlaps(range))
    }

    /// Claims `range`, and waits until every overlapping claim that came before is gone. May sleep:
    /// no page lock is held, and no range. I may be.
    ///
    /// # Errors
    /// [`Errno::Interrupted`]: `task` is to die; [`Errno::WouldBlock`]: it does not sleep. Nothing
    /// is claimed.
    #[cold]
    #[inline(never)]
    pub(crate) fn acquire<'l, T: Task>(
        &'l self,
        request: Pin<&'l RangeRequest<'l, K>>,
        wait: &'l K::Wait,
        range: ByteRange,
        task: &T,
    ) -> Result<RangeGuard<'l, K>, Errno> {
        K::trace(Trace::Acquiring(self.lock_id(range)));
        if !T::SLEEPS {
            return self.hold_or_watch(request, wait, range, task);
        }
        request.lock().link(Claim { range, rank: Rank::Waiting });
        let mut held = false;
        let mut killed = false;
        // A `Wait` that returns too early is asked again.
        while !held && !killed {
            wait.wait_until(request.key(), &mut || {
                held = held || self.try_hold(request, range);
                killed = !held && task.fatal_signal_pending();
                held || killed
            });
        }
        let guard = RangeGuard { lock: self, wait, request, range, rank: Rank::Held };
        if killed {
            guard.give_up();
            return Err(Errno::Interrupted);
        }
        K::trace(Trace::Acquired(self.lock_id(range)));
        Ok(guard)
    }

    /// As [`acquire`](Self::acquire), for a task that does not sleep. A claim that is not granted
    /// is not linked: it holds up no other.
    fn hold_or_watch<'l, T: Task>(
        &'l self,
        request: Pin<&'l RangeRequest<'l, K>>,
        wait: &'l K::Wait,
        range: ByteRange,
        task: &T,
    ) -> Result<RangeGuard<'l, K>, Errno> {
        let hold_now = || {
            let mut queue = request.lock();
            let is_free = !queue.any(|claim| claim.range.overlaps(range));
            if is_free {
                queue.link(Claim { range, rank: Rank::Held });
                self.granted.fetch_add(1, Ordering::Release);
            }
            is_free
        };
        let is_held = hold_now() || {
            self.watch(task);
            hold_now()
        };
        if !is_held {
            K::trace(Trace::GaveUp(self.lock_id(range)));
            return Err(Errno::WouldBlock);
        }
        K::trace(Trace::Acquired(self.lock_id(range)));
        Ok(RangeGuard { lock: self, wait, request, range, rank: Rank::Held })
    }

    /// Has `task`, which does not sleep, woken when a claim goes after the next look. A claim is
    /// unlinked under the lock of the queue, and then `watched` is looked at; so is the queue after
    /// this.
    fn watch<T: Task>(&self, task: &T) {
        let key = self.key();
        task.would_wait(key);
        self.watched.store(1, Ordering::SeqCst);
    }

    /// What writers that do not sleep wait for.
    fn key(&self) -> WaitKey {
        WaitKey(ptr::from_ref(&self.watched).addr())
    }

    /// Turns a waiting claim into a held one if it is its turn.
    fn try_hold(&self, request: Pin<&RangeRequest<'_, K>>, range: ByteRange) -> bool {
        let mut queue = request.lock();
        if queue.any_before(|claim| claim.range.overlaps(range)) {
            return false;
        }
        queue.set(Claim { range, rank: Rank::Held });
        // Inside the lock, so that the count never falls below the number of such claims.
        self.granted.fetch_add(1, Ordering::Release);
        true
    }

    /// Claims `range` ahead of all others, for a writer that has every page of it locked, and found
    /// no conflict after it had. Never sleeps. To be called before a byte that has landed counts:
    /// once the file has grown by it, another writer may overwrite it.
    #[cold]
    #[inline(never)]
    pub(crate) fn get_ahead<'l>(
        &'l self,
        request: Pin<&'l RangeRequest<'l, K>>,
        wait: &'l K::Wait,
        range: ByteRange,
    ) -> RangeGuard<'l, K> {
        let mut queue = request.lock();
        queue.link(Claim { range, rank: Rank::Ahead });
        self.granted.fetch_add(1, Ordering::Release);
        drop(queue);
        K::trace(Trace::Acquired(self.lock_id(range)));
        RangeGuard { lock: self, wait, request, range, rank: Rank::Ahead }
    }

    /// Sleeps until no claim ahead overlaps `range`, a part of what `own` holds. No page lock is
    /// held.
    ///
    /// # Errors
    /// [`Errno::Interrupted`]: `task` is to die; [`Errno::WouldBlock`]: it does not sleep.
    #[cold]
    #[inline(never)]
    pub(crate) fn wait_for<T: Task>(
        &self,
        range: ByteRange,
        own: &RangeGuard<'_, K>,
        task: &T,
    ) -> Result<(), Errno> {
        // Not traced as a lock: a claim ahead waits for page locks only, so that no cycle can lead
        // over it.
        if !T::SLEEPS {
            self.watch(task);
            let is_free = !self.conflicts_slow(range, Some(own));
            return if is_free { Ok(()) } else { Err(Errno::WouldBlock) };
        }
        let mut killed = false;
        while !killed && self.conflicts_slow(range, Some(own)) {
            own.wait.wait_until(own.request.key(), &mut || {
                let free = !self.conflicts_slow(range, Some(own));
                killed = !free && task.fatal_signal_pending();
                free || killed
            });
        }
        if killed { Err(Errno::Interrupted) } else { Ok(()) }
    }

    fn lock_id(&self, range: ByteRange) -> LockId {
        LockId::Range(self.owner, range.start)
    }
}

impl<K: Kernel> fmt::Debug for RangeLock<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RangeLock").field("claims", &self.claims).finish()
    }
}

/// A range that this writer holds. Dropping it wakes the claims that wait for it; that never
/// sleeps.
pub(crate) struct RangeGuard<'l, K: Kernel> {
    lock: &'l RangeLock<K>,
    wait: &'l K::Wait,
    request: Pin<&'l RangeRequest<'l, K>>,
    range: ByteRange,
    /// [`Rank::Waiting`] only inside `give_up`.
    rank: Rank,
}

impl<K: Kernel> RangeGuard<'_, K> {
    /// Where the range ends.
    pub(crate) const fn end(&self) -> u64 {
        self.range.end
    }

    /// For a claim that was never granted.
    fn give_up(mut self) {
        self.rank = Rank::Waiting;
    }
}

impl<K: Kernel> Drop for RangeGuard<'_, K> {
    fn drop(&mut self) {
        let id = self.lock.lock_id(self.range);
        let mut queue = self.request.lock();
        let _claim = queue.unlink();
        if self.rank == Rank::Waiting {
            K::trace(Trace::GaveUp(id));
        } else {
            self.lock.granted.fetch_sub(1, Ordering::Release);
            K::trace(Trace::Released(id));
        }
        drop(queue);
        // Later claims that wait for their turn, and holders that wait for a claim ahead.
        self.lock.claims.wake(self.wait, |claim| claim.range.overlaps(self.range));
        if self.lock.watched.load(Ordering::SeqCst) != 0 {
            self.lock.watched.store(0, Ordering::SeqCst);
            self.wait.wake(self.lock.key());
        }
    }
}
