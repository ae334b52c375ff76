//! A sleeping lock in one word, for inode locks.
//!
//! Neighbours: the kernel's [`Wait`], and the [`queue`](crate::queue) of requests. It is not a page
//! lock: it may be held while user memory is accessed (I → M → P).
//!
//! # Order of arrival (L1)
//! A taker that finds the lock held links itself in the queue and sets [`AWAITED`]. An unlock that
//! finds the bit does not free the lock: it hands it to the oldest request. The bit is in the same
//! word as the lock, so once it is set no later request overtakes: requests are served exactly in
//! order of arrival.
//!
//! A caller that does not sleep has no request in the queue, and is not handed the lock: it sets
//! [`WATCHED`], and the unlock that frees the lock wakes it. See [`Patience`].
#![forbid(unsafe_code)]

use core::mem;
use core::pin::{Pin, pin};
use core::ptr;
use core::sync::atomic::Ordering::{AcqRel, Acquire, Relaxed, Release};

use crate::debug::kernel_debug;
use crate::{
    Errno, Kernel, LockId, Patience, Request, RequestList, SyncFamily, Trace, Wait, WaitKey, Word,
    Word32,
};

const FREE: u32 = 0;
const HELD: u32 = 1;
/// The unlock has to look at the queue. Changed under the queue's lock, and only together with
/// [`HELD`].
const AWAITED: u32 = 2;
/// A caller that does not sleep wants to be woken when the lock comes free. Changed as
/// [`AWAITED`] is.
const WATCHED: u32 = 4;

/// The state of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Turn {
    Waiting,
    /// It has the lock.
    Granted,
}

/// The lock without traces.
pub(crate) struct RawMutex<K: Kernel> {
    state: Word32<K>,
    queue: RequestList<K::Sync, Turn>,
}

/// Unlocks on drop.
pub(crate) struct RawGuard<'a, K: Kernel> {
    mutex: &'a RawMutex<K>,
    wait: &'a K::Wait,
}

impl<K: Kernel> RawMutex<K> {
    pub(crate) fn new() -> Self {
        Self { state: Word::new(FREE), queue: RequestList::new() }
    }

    #[inline]
    pub(crate) fn try_lock<'a>(&'a self, wait: &'a K::Wait) -> Option<RawGuard<'a, K>> {
        let free = self.state.compare_exchange(FREE, HELD, Acquire, Relaxed).is_ok();
        // Not `then_some`: a guard that is made must be meant.
        free.then(|| RawGuard { mutex: self, wait })
    }

    #[inline]
    pub(crate) fn lock<'a>(
        &'a self,
        wait: &'a K::Wait,
        killed: &impl Patience,
    ) -> Result<RawGuard<'a, K>, Errno> {
        match self.try_lock(wait) {
            Some(guard) => Ok(guard),
            None => self.lock_contended(wait, killed),
        }
    }

    #[cold]
    #[inline(never)]
    fn lock_contended<'a, P: Patience>(
        &'a self,
        wait: &'a K::Wait,
        killed: &P,
    ) -> Result<RawGuard<'a, K>, Errno> {
        for _ in 0..K::Sync::SPIN_ROUNDS {
            K::Sync::relax();
            match self.state.load(Relaxed) {
                FREE => {
                    if let Some(guard) = self.try_lock(wait) {
                        return Ok(guard);
                    }
                }
                HELD => {}
                // Behind a waiter there is nothing to spin for.
                _ => break,
            }
        }
        if !P::SLEEPS {
            killed.would_wait(self.key());
            // After the caller was told: see `Patience`.
            return self.try_lock_or_watch(wait).ok_or(Errno::WouldBlock);
        }
        let request = pin!(Request::new(&self.queue));
        let waiter = Waiter { mutex: self, wait, request: request.into_ref() };
        waiter.join();
        waiter.sleep(killed)
    }

    /// Takes the lock if it is free; otherwise has [`key`](Self::key) woken when it is.
    fn try_lock_or_watch<'a>(&'a self, wait: &'a K::Wait) -> Option<RawGuard<'a, K>> {
        let _queue = self.queue.lock();
        loop {
            let state = self.state.load(Relaxed);
            if state == FREE {
                if let Some(guard) = self.try_lock(wait) {
                    return Some(guard);
                }
            } else if self.state.compare_exchange(state, state | WATCHED, Relaxed, Relaxed).is_ok()
            {
                return None;
            }
        }
    }

    /// Hands the held lock to the oldest request that waits, or frees it.
    #[cold]
    #[inline(never)]
    fn hand_over(&self, wait: &K::Wait) {
        let key = {
            let queue = self.queue.lock();
            let watched = self.state.load(Relaxed) & WATCHED;
            let mut waiting = queue.iter().filter(|request| request.value() == Turn::Waiting);
            if let Some(next) = waiting.next() {
                if waiting.next().is_none() {
                    self.state.store(HELD | watched, Release);
                }
                next.set(Turn::Granted);
                next.signal();
                Some(next.key())
            } else {
                self.state.store(FREE, Release);
                (watched != 0).then(|| self.key())
            }
        };
        if let Some(key) = key {
            wait.wake(key);
        }
    }

    /// What callers that do not sleep wait for.
    fn key(&self) -> WaitKey {
        WaitKey(ptr::from_ref(&self.state).addr())
    }
}

/// A request in the queue. Dropping it leaves the queue, also by unwinding: a lock that was granted
/// is handed on.
struct Waiter<'a, 'r, K: Kernel> {
    mutex: &'a RawMutex<K>,
    wait: &'a K::Wait,
    request: Pin<&'r Request<'a, K::Sync, Turn>>,
}

impl<'a, K: Kernel> Waiter<'a, '_, K> {
    /// Links the request. If the lock came free meanwhile, it is taken.
    fn join(&self) {
        let mut queue = self.request.lock();
        queue.link(Turn::Waiting);
        // Free: then there is no other request, because an unlock frees the lock only if none is
        // left.
        if self.mutex.state.fetch_or(HELD | AWAITED, Acquire) == FREE {
            self.mutex.state.store(HELD, Relaxed);
            queue.set(Turn::Granted);
            queue.signal();
        }
    }

    fn sleep(self, killed: &impl Patience) -> Result<RawGuard<'a, K>, Errno> {
        let mut rounds = K::Sync::SPIN_ROUNDS;
        while rounds > 0 && !self.request.is_signalled() {
            K::Sync::relax();
            rounds -= 1;
        }
        let mut over = self.request.is_signalled();
        // `Wait` is a safe trait: it may return too early, or ask again after a yes.
        while !over {
            self.wait.wait_until(self.request.key(), &mut || {
                over = over || self.request.is_signalled() || killed.is_killed();
                over
            });
        }
        let turn = self.leave();
        let (mutex, wait) = (self.mutex, self.wait);
        // It has left the queue, which is all that its drop is for.
        mem::forget(self);
        match turn {
            Some(Turn::Granted) => Ok(RawGuard { mutex, wait }),
            _ => Err(Errno::Interrupted),
        }
    }

    /// Leaves the queue; what the request had come to.
    fn leave(&self) -> Option<Turn> {
        let mut queue = self.request.lock();
        let turn = queue.unlink();
        // Other waiting requests keep the bit, and the lock is held as long as there is one.
        if turn == Some(Turn::Waiting) && !queue.any(|turn| turn == Turn::Waiting) {
            self.mutex.state.fetch_and(!AWAITED, Relaxed);
        }
        turn
    }
}

impl<K: Kernel> Drop for Waiter<'_, '_, K> {
    fn drop(&mut self) {
        if self.leave() == Some(Turn::Granted) {
            drop(RawGuard { mutex: self.mutex, wait: self.wait });
        }
    }
}

impl<K: Kernel> Drop for RawGuard<'_, K> {
    #[inline]
    fn drop(&mut self) {
        let freed = self.mutex.state.compare_exchange(HELD, FREE, Release, Relaxed);
        if freed.is_err() {
            self.mutex.hand_over(self.wait);
        }
    }
}

/// A sleeping lock with an identity: the inode lock (I). Takes no
/// [`LockContext`](crate::LockContext): a fault may be taken while it is held. Not recursive.
/// Served in order of arrival: a request that waits is overtaken by none (L1).
pub struct SleepMutex<K: Kernel> {
    raw: RawMutex<K>,
    id: LockId,
}

/// A held [`SleepMutex`]. Dropping it unlocks.
#[must_use]
pub struct SleepGuard<'a, K: Kernel> {
    /// `None` only inside `drop`.
    raw: Option<RawGuard<'a, K>>,
    id: LockId,
}

impl<K: Kernel> SleepMutex<K> {
    /// A free lock, known to traces as `id`.
    #[must_use]
    pub fn new(id: LockId) -> Self {
        Self { raw: RawMutex::new(), id }
    }

    /// Takes the lock; may sleep. No page lock may be held (lock order), unless the lock is a
    /// [store's](LockId::Store). `wait` is the cache's.
    ///
    /// # Panics
    /// Never: only an interruption ends the wait early, and this one is not interrupted.
    #[inline]
    pub fn lock<'a>(&'a self, wait: &'a K::Wait) -> SleepGuard<'a, K> {
        self.lock_killable(wait, &|| false).expect("not interrupted")
    }

    /// As [`lock`](Self::lock), but the wait ends when `killed` says yes. The waiting thread asks
    /// `killed` whenever it looks whether its wait is over, so the embedder's [`Wait`] must look
    /// again when a fatal signal arrives. A lock that is free is taken whatever `killed` says.
    ///
    /// # Errors
    /// [`Errno::Interrupted`] if `killed` said yes before the lock was had (L3);
    /// [`Errno::WouldBlock`] if it is not free and the caller [does not sleep](Patience).
    #[inline]
    pub fn lock_killable<'a>(
        &'a self,
        wait: &'a K::Wait,
        killed: &impl Patience,
    ) -> Result<SleepGuard<'a, K>, Errno> {
        K::trace(Trace::Acquiring(self.id));
        match self.raw.lock(wait, killed) {
            Ok(raw) => {
                K::trace(Trace::Acquired(self.id));
                Ok(SleepGuard { raw: Some(raw), id: self.id })
            }
            Err(error) => {
                K::trace(Trace::GaveUp(self.id));
                Err(error)
            }
        }
    }

    /// Takes the lock if it is free, which it is not while another thread waits for it.
    #[inline]
    pub fn try_lock<'a>(&'a self, wait: &'a K::Wait) -> Option<SleepGuard<'a, K>> {
        let raw = Some(self.raw.try_lock(wait)?);
        K::trace(Trace::Acquired(self.id));
        Some(SleepGuard { raw, id: self.id })
    }

    /// Whether the lock is held. Never sleeps. If not, a thread that takes it from now on sees all
    /// that the caller has done before.
    #[must_use]
    pub fn is_locked(&self) -> bool {
        // A change to the same value: reads the latest one, and is what the next to lock acquires
        // from.
        self.raw.state.fetch_or(FREE, AcqRel) != FREE
    }
}

impl<K: Kernel> Drop for SleepGuard<'_, K> {
    #[inline]
    fn drop(&mut self) {
        // Traced before another thread can have it, so that a checker sees the events in order.
        K::trace(Trace::Released(self.id));
        self.raw = None;
    }
}

kernel_debug!(SleepMutex<K>, |this| { id: this.id, state: this.raw.state.load(Relaxed) });
kernel_debug!(SleepGuard<'_, K>, |this| { id: this.id });
