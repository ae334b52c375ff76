//! A sleeping lock in one word, for inode locks and for grace periods.
//!
//! Neighbours: the kernel's [`Wait`]. It is not a page lock: it may be held while user memory is accessed (I → M → P).
#![forbid(unsafe_code)]

use core::sync::atomic::Ordering::{AcqRel, Acquire, Relaxed, Release};

use crate::debug::kernel_debug;
use crate::{Kernel, LockId, SyncFamily, Trace, Wait, WaitKey, Word, Word32};

const FREE: u32 = 0;
const HELD: u32 = 1;
/// Held, and whoever unlocks has to wake.
const CONTENDED: u32 = 2;

/// The lock without traces.
pub(crate) struct RawMutex<K: Kernel>(Word32<K>);

/// Unlocks on drop.
pub(crate) struct RawGuard<'a, K: Kernel> {
    mutex: &'a RawMutex<K>,
    wait: &'a K::Wait,
}

impl<K: Kernel> RawMutex<K> {
    pub(crate) fn new() -> Self {
        Self(Word::new(FREE))
    }

    #[inline]
    pub(crate) fn try_lock<'a>(&'a self, wait: &'a K::Wait) -> Option<RawGuard<'a, K>> {
        let free = self.0.compare_exchange(FREE, HELD, Acquire, Relaxed).is_ok();
        // Not `then_some`: a guard that is made must be meant.
        free.then(|| RawGuard { mutex: self, wait })
    }

    #[inline]
    pub(crate) fn lock<'a>(&'a self, wait: &'a K::Wait) -> RawGuard<'a, K> {
        self.try_lock(wait).unwrap_or_else(|| self.lock_contended(wait))
    }

    #[cold]
    fn lock_contended<'a>(&'a self, wait: &'a K::Wait) -> RawGuard<'a, K> {
        for _ in 0..K::Sync::SPIN_ROUNDS {
            K::Sync::relax();
            if self.0.load(Relaxed) == FREE
                && let Some(guard) = self.try_lock(wait)
            {
                return guard;
            }
        }
        let mut held = false;
        // `Wait` is a safe trait: it may return too early, or ask again after a yes.
        while !held {
            wait.wait_until(self.key(), &mut || {
                // One word holds lock and announcement, so its own order of changes is enough.
                held = held || self.0.swap(CONTENDED, Acquire) == FREE;
                held
            });
        }
        RawGuard { mutex: self, wait }
    }

    fn key(&self) -> WaitKey {
        WaitKey(core::ptr::from_ref(self).addr())
    }
}

impl<K: Kernel> Drop for RawGuard<'_, K> {
    #[inline]
    fn drop(&mut self) {
        if self.mutex.0.swap(FREE, Release) == CONTENDED {
            self.wait.wake(self.mutex.key());
        }
    }
}

/// A sleeping lock with an identity: the inode lock (I). Takes no [`LockContext`](crate::LockContext): a fault may be taken while it
/// is held. Not recursive; not fair.
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

    /// Takes the lock; may sleep. No page lock may be held (lock order). `wait` is the cache's.
    #[inline]
    pub fn lock<'a>(&'a self, wait: &'a K::Wait) -> SleepGuard<'a, K> {
        K::trace(Trace::Acquiring(self.id));
        let raw = Some(self.raw.lock(wait));
        K::trace(Trace::Acquired(self.id));
        SleepGuard { raw, id: self.id }
    }

    /// Takes the lock if it is free.
    #[inline]
    pub fn try_lock<'a>(&'a self, wait: &'a K::Wait) -> Option<SleepGuard<'a, K>> {
        let raw = Some(self.raw.try_lock(wait)?);
        K::trace(Trace::Acquired(self.id));
        Some(SleepGuard { raw, id: self.id })
    }

    /// Whether somebody holds the lock. Never sleeps. If not, whoever takes it from now on sees all that the caller has done
    /// before.
    #[must_use]
    pub fn is_locked(&self) -> bool {
        // A change to the same value: reads the latest one, and is what the next to lock acquires from.
        self.raw.0.fetch_or(FREE, AcqRel) != FREE
    }
}

impl<K: Kernel> Drop for SleepGuard<'_, K> {
    #[inline]
    fn drop(&mut self) {
        // Traced while nobody else can have it, so that a checker sees the events in order.
        K::trace(Trace::Released(self.id));
        self.raw = None;
    }
}

kernel_debug!(SleepMutex<K>, |this| { id: this.id, state: this.raw.0.load(Relaxed) });
kernel_debug!(SleepGuard<'_, K>, |this| { id: this.id });
