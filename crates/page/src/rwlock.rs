//! A sleeping reader–writer lock in one word: for M, the lock of the areas of an address space.
//!
//! Neighbours: the kernel's [`Wait`], and the [`queue`](crate::queue) of requests;
//! [`SleepMutex`](crate::SleepMutex) is the same for one holder. The lock does not know what it
//! guards.
//!
//! # Order of arrival (L1)
//! A taker that finds the lock held in a way that excludes it, or waited for, links itself in the
//! queue and sets [`AWAITED`]. From then on no taker overtakes it: the bit is in the word that each
//! of them changes. Requests are granted from the oldest on, up to the first that is excluded. So a
//! writer that waits blocks later readers, and readers do not starve it.
//!
//! # Not recursive
//! A thread that holds it for reading and takes it for reading again waits for ever if a writer has
//! come in between: it for the writer, which is before it in the queue, and the writer for it. So
//! the lock is never held at an access that may fault, because the fault handler takes it (DL3′).
#![forbid(unsafe_code)]

use core::mem;
use core::pin::{Pin, pin};
use core::sync::atomic::Ordering::{AcqRel, Acquire, Relaxed, Release};

use crate::debug::kernel_debug;
use crate::{Errno, Kernel, Request, RequestList, Requests, Wait, Word, Word32};

/// The unlock has to look at the queue. Changed under the queue's lock.
const AWAITED: u32 = 1;
/// Held by a writer.
const WRITER: u32 = 2;
/// Held by a reader; the count of readers, in these units.
const READER: u32 = 4;

/// A way to hold the lock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mode {
    Read,
    Write,
}

impl Mode {
    /// What it adds to the state.
    const fn held(self) -> u32 {
        match self {
            Self::Read => READER,
            Self::Write => WRITER,
        }
    }

    /// Whether it is excluded by the holders in `state`.
    const fn is_excluded(self, state: u32) -> bool {
        match self {
            Self::Read => state & WRITER != 0,
            Self::Write => state >= WRITER,
        }
    }
}

/// The state of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Turn {
    Waiting(Mode),
    /// It has the lock.
    Granted,
}

/// A sleeping lock that many readers or one writer hold, served in order of arrival. Not recursive,
/// for readers either. Takes no [`LockContext`](crate::LockContext): page locks are taken inside.
pub struct SleepRwLock<K: Kernel> {
    state: Word32<K>,
    queue: RequestList<K::Sync, Turn>,
}

/// A [`SleepRwLock`] that is held, for reading or for writing. Dropping it unlocks.
#[must_use]
pub struct SleepRwGuard<'a, K: Kernel> {
    lock: &'a SleepRwLock<K>,
    wait: &'a K::Wait,
    mode: Mode,
}

impl<K: Kernel> SleepRwLock<K> {
    /// A free lock.
    #[must_use]
    pub fn new() -> Self {
        Self { state: Word::new(0), queue: RequestList::new() }
    }

    /// Takes the lock for reading: sleeps while a writer has it or waits for it, or until `killed`
    /// says yes, which is asked as for [`SleepMutex`](crate::SleepMutex). No page lock is held, and
    /// not this lock. `wait` is the cache's.
    ///
    /// # Errors
    /// [`Errno::Interrupted`]: `killed` said yes before the lock was had (L3).
    #[inline]
    pub fn read<'a>(
        &'a self,
        wait: &'a K::Wait,
        killed: &impl Fn() -> bool,
    ) -> Result<SleepRwGuard<'a, K>, Errno> {
        self.lock(wait, Mode::Read, killed)
    }

    /// Takes the lock for writing: sleeps until no other thread has it that came before. Otherwise
    /// as [`read`](Self::read).
    ///
    /// # Errors
    /// As `read`.
    #[inline]
    pub fn write<'a>(
        &'a self,
        wait: &'a K::Wait,
        killed: &impl Fn() -> bool,
    ) -> Result<SleepRwGuard<'a, K>, Errno> {
        self.lock(wait, Mode::Write, killed)
    }

    #[inline]
    fn lock<'a>(
        &'a self,
        wait: &'a K::Wait,
        mode: Mode,
        killed: &impl Fn() -> bool,
    ) -> Result<SleepRwGuard<'a, K>, Errno> {
        if self.try_lock(mode) {
            Ok(SleepRwGuard { lock: self, wait, mode })
        } else {
            self.lock_contended(wait, mode, killed)
        }
    }

    /// Takes the lock if no other thread excludes it or waits.
    #[inline]
    fn try_lock(&self, mode: Mode) -> bool {
        let mut state = self.state.load(Relaxed);
        while state & AWAITED == 0 && !mode.is_excluded(state) {
            match self.state.compare_exchange(state, state + mode.held(), Acquire, Relaxed) {
                Ok(_) => return true,
                // Another thread has taken it or let it go.
                Err(now) => state = now,
            }
        }
        false
    }

    #[cold]
    #[inline(never)]
    fn lock_contended<'a>(
        &'a self,
        wait: &'a K::Wait,
        mode: Mode,
        killed: &impl Fn() -> bool,
    ) -> Result<SleepRwGuard<'a, K>, Errno> {
        let request = pin!(Request::new(&self.queue));
        let waiter = Waiter { lock: self, wait, mode, request: request.into_ref() };
        waiter.join();
        waiter.sleep(killed)
    }

    /// Grants requests in order of arrival, up to the first that is excluded. Whether there were
    /// any.
    fn grant(&self, queue: &Requests<'_, K::Sync, Turn>) -> bool {
        let mut granted = false;
        for request in queue.iter() {
            let Turn::Waiting(mode) = request.value() else { continue };
            // `AWAITED` is set, so that only holders change the state, which let go: what is not
            // excluded now is not excluded later.
            if mode.is_excluded(self.state.load(Acquire)) {
                return granted;
            }
            self.state.fetch_add(mode.held(), Acquire);
            request.set(Turn::Granted);
            request.signal();
            granted = true;
        }
        self.state.fetch_and(!AWAITED, Relaxed);
        granted
    }

    fn wake_granted(&self, wait: &K::Wait) {
        self.queue.wake(wait, |turn| turn == Turn::Granted);
    }

    /// After an unlock that found the lock awaited, or a request that gave up.
    #[cold]
    #[inline(never)]
    fn hand_over(&self, wait: &K::Wait) {
        let granted = self.grant(&self.queue.lock());
        if granted {
            self.wake_granted(wait);
        }
    }
}

impl<K: Kernel> Default for SleepRwLock<K> {
    fn default() -> Self {
        Self::new()
    }
}

/// A request in the queue. Dropping it leaves the queue, also by unwinding: a lock that was granted
/// is let go.
struct Waiter<'a, 'r, K: Kernel> {
    lock: &'a SleepRwLock<K>,
    wait: &'a K::Wait,
    mode: Mode,
    request: Pin<&'r Request<'a, K::Sync, Turn>>,
}

impl<'a, K: Kernel> Waiter<'a, '_, K> {
    /// Links the request. It may be granted by this, and with it those before it.
    fn join(&self) {
        let granted = {
            let mut queue = self.request.lock();
            queue.link(Turn::Waiting(self.mode));
            // Holders that let go from here on see the bit; those before are seen by the grant.
            self.lock.state.fetch_or(AWAITED, AcqRel);
            self.lock.grant(&queue)
        };
        if granted {
            self.lock.wake_granted(self.wait);
        }
    }

    fn sleep(self, killed: &impl Fn() -> bool) -> Result<SleepRwGuard<'a, K>, Errno> {
        let mut over = self.request.is_signalled();
        // `Wait` is a safe trait: it may return too early, or ask again after a yes.
        while !over {
            self.wait.wait_until(self.request.key(), &mut || {
                over = over || self.request.is_signalled() || killed();
                over
            });
        }
        let turn = self.leave();
        let (lock, wait, mode) = (self.lock, self.wait, self.mode);
        // It has left the queue, which is all that its drop is for.
        mem::forget(self);
        match turn {
            Some(Turn::Granted) => Ok(SleepRwGuard { lock, wait, mode }),
            _ => Err(Errno::Interrupted),
        }
    }

    /// Leaves the queue; what the request had come to. Those behind one that was still waiting may
    /// be granted by this.
    fn leave(&self) -> Option<Turn> {
        let turn = self.request.lock().unlink();
        if matches!(turn, Some(Turn::Waiting(_))) {
            self.lock.hand_over(self.wait);
        }
        turn
    }
}

impl<K: Kernel> Drop for Waiter<'_, '_, K> {
    fn drop(&mut self) {
        if self.leave() == Some(Turn::Granted) {
            drop(SleepRwGuard { lock: self.lock, wait: self.wait, mode: self.mode });
        }
    }
}

impl<K: Kernel> Drop for SleepRwGuard<'_, K> {
    #[inline]
    fn drop(&mut self) {
        let held = self.mode.held();
        if self.lock.state.fetch_sub(held, Release) - held == AWAITED {
            self.lock.hand_over(self.wait);
        }
    }
}

kernel_debug!(SleepRwLock<K>, |this| { state: this.state.load(Relaxed) });
kernel_debug!(SleepRwGuard<'_, K>, |this| { mode: this.mode });
