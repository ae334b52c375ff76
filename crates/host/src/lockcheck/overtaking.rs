//! L1: how often a thread that waits for a lock of the core is overtaken, by which other thread.
//!
//! A thread counts as waiting from the moment at which it goes to sleep: by then its request stands
//! in the lock's queue. A thread that comes later, by that measure, and has the lock first,
//! overtakes it. The contract allows each other thread to do so once, for a look at the waiters
//! that came before the request.
//!
//! A waiter that was woken may have its lock, or may have lost what it waited for (a leaf that was
//! retired), and tells so only when it runs, which on a busy machine can be much later. So another
//! thread counts once, however often it goes first, until the waiter has gone to sleep again. And
//! as the events of threads come late, the checker allows [`LATE`] more than the contract. A lock
//! that is not fair goes above that soon: its waiters are woken in vain.

#![forbid(unsafe_code)]

use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::instance::{Instance, Node};
use super::record::lock;

/// How often each other thread may go first by the contract.
const BOUND: u32 = 1;

/// How many more acquisitions may be seen before the wake of a waiter.
const LATE: u32 = 64;

/// The threads that wait, in order of arrival.
#[derive(Debug, Default)]
pub(super) struct Waiters {
    waiters: Mutex<Vec<Waiter>>,
    number: AtomicUsize,
}

/// A thread, by the address of its record.
pub(super) type ThreadId = usize;

#[derive(Debug)]
struct Waiter {
    thread: ThreadId,
    wanted: Instance,
    /// What it sleeps on.
    key: usize,
    /// Whether it was woken, and has not gone to sleep again.
    woken: bool,
    /// How often it has gone to sleep.
    sleeps: u32,
    overtaken: Vec<Overtaking>,
}

/// A thread that went before a waiter.
#[derive(Debug)]
struct Overtaking {
    by: ThreadId,
    times: u32,
    /// How often the waiter had gone to sleep at the last time.
    sleeps: u32,
}

impl Waiter {
    /// Another thread has gone first; how often it has by now.
    fn overtaken_by(&mut self, thread: ThreadId) -> u32 {
        let found = self.overtaken.iter().position(|entry| entry.by == thread);
        let at = found.unwrap_or_else(|| {
            self.overtaken.push(Overtaking { by: thread, times: 0, sleeps: 0 });
            self.overtaken.len() - 1
        });
        let entry = &mut self.overtaken[at];
        if !self.woken || entry.sleeps != self.sleeps {
            entry.times += 1;
            entry.sleeps = self.sleeps;
        }
        entry.times
    }
}

/// A waiter that was overtaken too often.
#[derive(Debug)]
pub(super) struct Starved {
    pub(super) wanted: Instance,
    pub(super) times: u32,
}

impl Waiters {
    /// The thread goes to sleep on `key`, for the first time or again, until it has the lock.
    pub(super) fn queued(&self, thread: ThreadId, wanted: Instance, key: usize) {
        if !matches!(wanted.node, Node::Inode(_) | Node::Ranges(_) | Node::Leaf(..)) {
            return;
        }
        let mut waiters = lock(&self.waiters);
        if let Some(waiter) = waiters.iter_mut().find(|waiter| waiter.thread == thread) {
            waiter.sleeps += u32::from(waiter.woken);
            waiter.woken = false;
            waiter.key = key;
            return;
        }
        let overtaken = Vec::new();
        waiters.push(Waiter { thread, wanted, key, woken: false, sleeps: 1, overtaken });
        self.number.store(waiters.len(), Ordering::Relaxed);
    }

    /// All that sleep on `key` are woken.
    pub(super) fn woken(&self, key: usize) {
        if self.number.load(Ordering::Relaxed) > 0 {
            let mut waiters = lock(&self.waiters);
            waiters.iter_mut().filter(|waiter| waiter.key == key).for_each(|w| w.woken = true);
        }
    }

    /// The thread no longer waits.
    pub(super) fn left(&self, thread: ThreadId) {
        if self.number.load(Ordering::Relaxed) > 0 {
            self.remove(&mut lock(&self.waiters), thread);
        }
    }

    /// The thread has the lock. The first waiter that it has overtaken too often.
    pub(super) fn acquired(&self, thread: ThreadId, got: &Instance) -> Option<Starved> {
        if self.number.load(Ordering::Relaxed) == 0 {
            return None;
        }
        let mut waiters = lock(&self.waiters);
        let place = waiters.iter().position(|waiter| waiter.thread == thread);
        let before = place.unwrap_or(waiters.len());
        let mut starved = None;
        for waiter in waiters[..before].iter_mut().filter(|waiter| waiter.wanted.conflicts(got)) {
            let times = waiter.overtaken_by(thread);
            if times > BOUND + LATE {
                starved = starved.or(Some(Starved { wanted: waiter.wanted, times }));
            }
        }
        self.remove(&mut waiters, thread);
        starved
    }

    fn remove(&self, waiters: &mut Vec<Waiter>, thread: ThreadId) {
        waiters.retain(|waiter| waiter.thread != thread);
        self.number.store(waiters.len(), Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use faultless_page::{LockId, SlotMask};

    use super::super::instance::Lock;
    use super::*;

    fn pages(bits: u64) -> Instance {
        let slots = SlotMask::from_bits(bits);
        Lock::Core(LockId::Pages { mapping: 1, base: 0, slots }).into()
    }

    #[test]
    fn a_thread_that_goes_first_again_and_again_is_found() {
        let waiters = Waiters::default();
        waiters.queued(1, pages(0b111), 0);
        let found = (0..=BOUND + LATE).find_map(|_| waiters.acquired(2, &pages(0b10)));
        assert_eq!(found.map(|starved| starved.times), Some(BOUND + LATE + 1));
    }

    #[test]
    fn a_waiter_that_was_woken_and_has_not_run_is_overtaken_once() {
        let waiters = Waiters::default();
        waiters.queued(1, pages(0b111), 7);
        waiters.woken(8);
        assert!(waiters.acquired(2, &pages(0b10)).is_none());
        waiters.woken(7);
        for _ in 0..1000 {
            assert!(waiters.acquired(2, &pages(0b10)).is_none(), "it may have what it wants");
        }
    }

    #[test]
    fn a_waiter_that_is_woken_in_vain_again_and_again_is_found() {
        let waiters = Waiters::default();
        waiters.queued(1, pages(0b111), 7);
        let in_vain = || {
            waiters.woken(7);
            let starved = waiters.acquired(2, &pages(0b10));
            waiters.queued(1, pages(0b111), 7);
            starved
        };
        let found = (0..=BOUND + LATE).find_map(|_| in_vain());
        assert_eq!(found.map(|starved| starved.times), Some(BOUND + LATE + 1));
    }

    #[test]
    fn other_pages_earlier_requests_and_waits_that_are_over_do_not_count() {
        let waiters = Waiters::default();
        waiters.queued(1, pages(0b111), 0);
        for _ in 0..1000 {
            assert!(waiters.acquired(2, &pages(0b1000)).is_none(), "another page");
        }
        // Thread 3 stands before thread 4 each time.
        for _ in 0..1000 {
            waiters.queued(3, pages(0b10000), 0);
            waiters.queued(4, pages(0b10000), 0);
            assert!(waiters.acquired(3, &pages(0b10000)).is_none());
            waiters.left(4);
        }
        assert!(waiters.acquired(1, &pages(0b111)).is_none());
        for _ in 0..1000 {
            assert!(waiters.acquired(2, &pages(0b10)).is_none(), "nobody waits");
        }
    }
}
