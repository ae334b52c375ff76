//! Futexes that the kernel hands over (`FUTEX_LOCK_PI`): the word is the number of the thread that
//! owns it. Priorities are not inherited: the scheduler has none.
#![forbid(unsafe_code)]

use core::sync::atomic::AtomicBool;
use core::sync::atomic::Ordering::{Acquire, Release};

use alloc::collections::{BTreeMap, VecDeque};
use alloc::sync::Arc;

use faultless_posix::Errno;
use linux_raw_sys::general as linux;

use crate::arch::clock;
use crate::memory::change_word;
use crate::process::futex::FutexKey;
use crate::process::state::{Memory, memory};
use crate::sched::{self, Thread};
use crate::sync::Lock;
use crate::task::interrupted;
use crate::waits::SleepLock;

const OWNER: u32 = linux::FUTEX_TID_MASK;
const WAITERS: u32 = linux::FUTEX_WAITERS;
const DIED: u32 = linux::FUTEX_OWNER_DIED;

/// A thread that waits to own a word.
struct Waiter {
    thread: Arc<Thread>,
    /// Where the word is in its memory.
    memory: Arc<Memory>,
    address: usize,
    owns: AtomicBool,
}

/// Those that wait for a word, and the thread that owns it.
#[derive(Default)]
struct Queue {
    owner: u32,
    waiters: VecDeque<Arc<Waiter>>,
}

/// The words that threads wait for. Guarded by [`TURN`], too, while a word is changed.
static QUEUES: Lock<BTreeMap<FutexKey, Queue>> = Lock::new(BTreeMap::new());

/// Held while a word and its queue change together.
static TURN: SleepLock<()> = SleepLock::new(());

fn own_number() -> u32 {
    sched::with_current(Thread::number)
}

/// Takes a word that is free; the word before if it is not. Others may wait for it.
fn take(memory: &Memory, address: usize, waiters: u32) -> Result<Option<u32>, Errno> {
    let own = own_number();
    let before = change_word(memory.space(), address, |word| {
        (word & OWNER == 0).then_some(own | word & DIED | waiters)
    })?;
    Ok((before & OWNER != 0).then_some(before))
}

/// `FUTEX_TRYLOCK_PI`.
///
/// # Errors
/// `EAGAIN`: another thread owns it; `EDEADLK`: the caller does; `EFAULT`.
pub(crate) fn try_lock(address: usize) -> Result<(), Errno> {
    let (key, memory) = (FutexKey::of(address)?, memory()?);
    let _turn = TURN.lock();
    let waits = QUEUES.lock().contains_key(&key);
    match take(&memory, address, if waits { WAITERS } else { 0 })? {
        None => {
            own_queue(key);
            Ok(())
        }
        Some(word) if word & OWNER == own_number() => Err(Errno::DEADLK),
        Some(_) => Err(Errno::AGAIN),
    }
}

/// The caller has taken a word that others wait for.
fn own_queue(key: FutexKey) {
    if let Some(queue) = QUEUES.lock().get_mut(&key) {
        queue.owner = own_number();
    }
}

/// `FUTEX_LOCK_PI`: waits until the word is the caller's, at the latest until `until` on the
/// monotonic clock.
///
/// # Errors
/// `EDEADLK`: it is already; `ESRCH`: its owner is no thread; `ETIMEDOUT`, `EINTR`, `EFAULT`.
pub(crate) fn lock(address: usize, until: Option<u64>) -> Result<(), Errno> {
    let (key, memory) = (FutexKey::of(address)?, memory()?);
    let waiter = {
        let _turn = TURN.lock();
        let waits = QUEUES.lock().contains_key(&key);
        let Some(word) = take(&memory, address, if waits { WAITERS } else { 0 })? else {
            own_queue(key);
            return Ok(());
        };
        if word & OWNER == own_number() {
            return Err(Errno::DEADLK);
        }
        // From here on the owner asks the kernel to let it go; unless it did meanwhile.
        let word = change_word(memory.space(), address, |word| Some(word | WAITERS))?;
        if word & OWNER == 0 {
            take(&memory, address, if waits { WAITERS } else { 0 })?;
            own_queue(key);
            return Ok(());
        }
        let owner = word & OWNER;
        if sched::find(owner).is_none() {
            return Err(Errno::SRCH);
        }
        let (thread, owns) = (sched::current(), AtomicBool::new(false));
        let waiter = Arc::new(Waiter { thread, memory, address, owns });
        let mut queues = QUEUES.lock();
        let queue = queues.entry(key).or_default();
        queue.owner = owner;
        queue.waiters.push_back(Arc::clone(&waiter));
        waiter
    };
    let waited = wait(&waiter, until);
    if waited.is_ok() {
        return Ok(());
    }
    let _turn = TURN.lock();
    let removed = forget(key, &waiter);
    // It was handed over meanwhile.
    if removed.is_none() { Ok(()) } else { waited }
}

fn wait(waiter: &Waiter, until: Option<u64>) -> Result<(), Errno> {
    while !waiter.owns.load(Acquire) {
        if interrupted() {
            return Err(Errno::INTR);
        }
        match until {
            None => sched::park(),
            Some(until) if clock::monotonic() < until => sched::park_until(until),
            Some(_) => return Err(Errno::TIMEDOUT),
        }
    }
    Ok(())
}

/// Takes a waiter out of the queue of a word, if it is still there.
fn forget(key: FutexKey, waiter: &Arc<Waiter>) -> Option<Arc<Waiter>> {
    let mut queues = QUEUES.lock();
    let queue = queues.get_mut(&key)?;
    let at = queue.waiters.iter().position(|other| Arc::ptr_eq(other, waiter));
    let removed = at.and_then(|at| queue.waiters.remove(at));
    if queue.waiters.is_empty() {
        queues.remove(&key);
    }
    removed
}

/// Hands a word over to the first that waits for it, with these bits beside its number; whether one
/// does. With [`TURN`] held.
///
/// # Errors
/// `EFAULT`: the word cannot be changed.
fn hand_over(key: FutexKey, bits: u32) -> Result<bool, Errno> {
    let (next, more) = {
        let mut queues = QUEUES.lock();
        let Some(queue) = queues.get_mut(&key) else { return Ok(false) };
        let Some(next) = queue.waiters.pop_front() else { return Ok(false) };
        queue.owner = next.thread.number();
        let more = if queue.waiters.is_empty() { 0 } else { WAITERS };
        if more == 0 {
            queues.remove(&key);
        }
        (next, more)
    };
    let word = next.thread.number() | more | bits;
    let changed = change_word(next.memory.space(), next.address, |_| Some(word));
    next.owns.store(true, Release);
    sched::unpark(&next.thread);
    changed.map(|_| true)
}

/// `FUTEX_UNLOCK_PI`.
///
/// # Errors
/// `EPERM`: the caller does not own it; `EFAULT`.
pub(crate) fn unlock(address: usize) -> Result<(), Errno> {
    let (key, memory) = (FutexKey::of(address)?, memory()?);
    let _turn = TURN.lock();
    let own = own_number();
    let word = change_word(memory.space(), address, |_| None)?;
    if word & OWNER != own {
        return Err(Errno::PERM);
    }
    if !hand_over(key, 0)? {
        change_word(memory.space(), address, |_| Some(0))?;
    }
    Ok(())
}

/// A thread ends: what it owns and others wait for is handed over, and says that its owner died.
pub(super) fn owner_ends(number: u32) {
    let owned = |queues: &BTreeMap<FutexKey, Queue>| {
        queues.iter().find(|(_, queue)| queue.owner == number).map(|(key, _)| *key)
    };
    if owned(&QUEUES.lock()).is_none() {
        return;
    }
    let _turn = TURN.lock();
    loop {
        let Some(key) = owned(&QUEUES.lock()) else { break };
        // A word that cannot be changed is handed over all the same.
        let _not_reported = hand_over(key, DIED);
    }
}
