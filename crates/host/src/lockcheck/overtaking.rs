//! L1: how often a thread that waits for a lock of the core is overtaken, by which other thread.
//!
//! A thread counts as waiting from the moment at which it goes to sleep: by then its request stands
//! in the lock's queue. A thread that comes later, by that measure, and has the lock first,
//! overtakes it. The contract allows each other thread to do so once, for a look at the waiters
//! that came before the request. The events of threads come late, too: a waiter whose lock is
//! another's by now still counts until it has noticed. So the checker allows [`LATE`] more. A lock
//! that is not fair goes above that soon.

#![forbid(unsafe_code)]

use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::instance::{Instance, Node};
use super::record::lock;

/// How often each other thread may go first by the contract.
const BOUND: u32 = 1;

/// How many more acquisitions may be seen before a waiter has told that its wait is over.
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
    /// Which thread went first, and how often.
    overtaken: Vec<(ThreadId, u32)>,
}

/// A waiter that was overtaken too often.
#[derive(Debug)]
pub(super) struct Starved {
    pub(super) wanted: Instance,
    pub(super) times: u32,
}

impl Waiters {
    /// The thread sleeps until it has the lock.
    pub(super) fn queued(&self, thread: ThreadId, wanted: Instance) {
        if !matches!(wanted.node, Node::Inode(_) | Node::Ranges(_) | Node::Leaf(..)) {
            return;
        }
        let mut waiters = lock(&self.waiters);
        if waiters.iter().all(|waiter| waiter.thread != thread) {
            waiters.push(Waiter { thread, wanted, overtaken: Vec::new() });
            self.number.store(waiters.len(), Ordering::Relaxed);
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
            let times = match waiter.overtaken.iter_mut().find(|(by, _)| *by == thread) {
                Some((_, times)) => {
                    *times += 1;
                    *times
                }
                None => {
                    waiter.overtaken.push((thread, 1));
                    1
                }
            };
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
        waiters.queued(1, pages(0b111));
        let found = (0..=BOUND + LATE).find_map(|_| waiters.acquired(2, &pages(0b10)));
        assert_eq!(found.map(|starved| starved.times), Some(BOUND + LATE + 1));
    }

    #[test]
    fn other_pages_earlier_requests_and_waits_that_are_over_do_not_count() {
        let waiters = Waiters::default();
        waiters.queued(1, pages(0b111));
        for _ in 0..1000 {
            assert!(waiters.acquired(2, &pages(0b1000)).is_none(), "another page");
        }
        // Thread 3 stands before thread 4 each time.
        for _ in 0..1000 {
            waiters.queued(3, pages(0b10000));
            waiters.queued(4, pages(0b10000));
            assert!(waiters.acquired(3, &pages(0b10000)).is_none());
            waiters.left(4);
        }
        assert!(waiters.acquired(1, &pages(0b111)).is_none());
        for _ in 0..1000 {
            assert!(waiters.acquired(2, &pages(0b10)).is_none(), "nobody waits");
        }
    }
}
