//! Futexes: threads that wait for a word of user memory to change.
#![forbid(unsafe_code)]

use core::sync::atomic::AtomicBool;
use core::sync::atomic::Ordering::{Acquire, Release};

use alloc::collections::{BTreeMap, VecDeque};
use alloc::sync::Arc;

use faultless::prelude::{MayFault, PAGE_SIZE};
use faultless_posix::{Errno, Sharing};

use crate::memory::get;
use crate::process::state::memory;
use crate::sched::{self, Thread};
use crate::sync::Lock;
use crate::task::interrupted;

/// What names a word: the address in an address space, or the place in a file that is shared.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum FutexKey {
    Private { root: usize, address: usize },
    Shared { mapping: u64, position: u64 },
}

impl FutexKey {
    /// The word at an address of the current process.
    ///
    /// # Errors
    /// `EINVAL` for an address that is not a multiple of 4; `EFAULT` if nothing is mapped there.
    pub(crate) fn of(address: usize) -> Result<Self, Errno> {
        if !address.is_multiple_of(4) {
            return Err(Errno::INVAL);
        }
        let memory = memory()?;
        let area = memory.space().area_at(address).ok_or(Errno::FAULT)?;
        Ok(match area.sharing {
            Sharing::Private => Self::Private { root: memory.space().root(), address },
            Sharing::Shared => Self::Shared {
                mapping: area.inode().mapping().id(),
                position: area.index(address / PAGE_SIZE).start() + (address % PAGE_SIZE) as u64,
            },
        })
    }
}

impl FutexKey {
    /// As [`of`](Self::of), where nothing is mapped: no thread waits there.
    ///
    /// # Errors
    /// `ESRCH` for a thread of the kernel.
    pub(crate) fn unmapped(address: usize) -> Result<Self, Errno> {
        Ok(Self::Private { root: memory()?.space().root(), address })
    }
}

/// A thread that waits.
struct Waiter {
    thread: Arc<Thread>,
    /// Which wakes it takes (`FUTEX_WAIT_BITSET`).
    bits: u32,
    woken: AtomicBool,
}

static WAITERS: Lock<BTreeMap<FutexKey, VecDeque<Arc<Waiter>>>> = Lock::new(BTreeMap::new());

/// Waits until the word is woken, if it is `expected`; at the latest until `until` on the monotonic
/// clock.
///
/// # Errors
/// `EAGAIN`: it is something else; `ETIMEDOUT`, `EINTR`, `EFAULT`.
pub(crate) fn futex_wait(
    token: &mut MayFault,
    address: usize,
    expected: u32,
    bits: u32,
    until: Option<u64>,
) -> Result<(), Errno> {
    if bits == 0 {
        return Err(Errno::INVAL);
    }
    let key = FutexKey::of(address)?;
    let waiter = Arc::new(Waiter { thread: sched::current(), bits, woken: AtomicBool::new(false) });
    // First in the queue, then the look at the word: a waker changes it first.
    WAITERS.lock().entry(key).or_default().push_back(Arc::clone(&waiter));
    let result = wait(token, address, expected, until, &waiter);
    if result.is_err() && forget(&waiter) == Found::No {
        // Woken meanwhile.
        return Ok(());
    }
    result
}

fn wait(
    token: &mut MayFault,
    address: usize,
    expected: u32,
    until: Option<u64>,
    waiter: &Waiter,
) -> Result<(), Errno> {
    let mut word = [0; 4];
    get(token, address, &mut word)?;
    if u32::from_ne_bytes(word) != expected {
        return Err(Errno::AGAIN);
    }
    while !waiter.woken.load(Acquire) {
        if interrupted() {
            return Err(Errno::INTR);
        }
        match until {
            None => sched::park(),
            Some(until) if crate::arch::clock::monotonic() < until => sched::park_until(until),
            Some(_) => return Err(Errno::TIMEDOUT),
        }
    }
    Ok(())
}

/// Whether a waiter was still there.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Found {
    Yes,
    No,
}

/// Takes a waiter out of its queue, which may be another one than that it came to.
fn forget(waiter: &Arc<Waiter>) -> Found {
    let mut waiters = WAITERS.lock();
    let mut found = Found::No;
    waiters.retain(|_, queue| {
        let before = queue.len();
        queue.retain(|other| !Arc::ptr_eq(other, waiter));
        if queue.len() < before {
            found = Found::Yes;
        }
        !queue.is_empty()
    });
    found
}

/// Wakes up to `most` threads that wait for one of these bits; how many.
pub(crate) fn futex_wake(key: FutexKey, most: usize, bits: u32) -> usize {
    let mut woken = 0;
    while woken < most {
        let waiter = {
            let mut waiters = WAITERS.lock();
            let Some(queue) = waiters.get_mut(&key) else { break };
            let at = queue.iter().position(|waiter| waiter.bits & bits != 0);
            let waiter = at.and_then(|at| queue.remove(at));
            if queue.is_empty() {
                waiters.remove(&key);
            }
            waiter
        };
        let Some(waiter) = waiter else { break };
        waiter.woken.store(true, Release);
        sched::unpark(&waiter.thread);
        woken += 1;
    }
    woken
}

/// Wakes up to `wakes` threads, and lets up to `moves` others wait for another word; how many of
/// both.
pub(crate) fn futex_requeue(from: FutexKey, wakes: usize, to: FutexKey, moves: usize) -> usize {
    let woken = futex_wake(from, wakes, u32::MAX);
    let mut waiters = WAITERS.lock();
    let Some(mut queue) = waiters.remove(&from) else { return woken };
    let moved = queue.len().min(moves);
    let rest = queue.split_off(moved);
    waiters.entry(to).or_default().extend(queue);
    if !rest.is_empty() {
        waiters.entry(from).or_default().extend(rest);
    }
    woken + moved
}
