//! [`QueueWait`]: wait queues for a kernel that can park and unpark threads.
//!
//! The queues are [`RequestList`]s of the page crate: sleepers link entries in their own stack
//! frames, so there is no table to be full. The kernel supplies [`Threads`] and nothing else.
//!
//! # Why no wake is lost
//! A sleeper links its entry, and only then looks at its condition. A waker makes the condition
//! true, and only then looks for entries. Entries are linked and looked for under one lock. If the
//! waker finds the entry, it unparks the thread, which remembers that ([`Threads::park`]): the
//! thread looks again, whatever it was doing meanwhile. If the waker does not find the entry, it
//! had the lock first, and the look at the condition sees what was done before.
#![forbid(unsafe_code)]

use core::fmt;
use core::pin::pin;
use core::sync::atomic::Ordering::Relaxed;

use faultless_page::{CoreSync, Request, RequestList, SyncFamily, Wait, WaitKey, Word};
use heapless::Vec;

/// Queues: keys are spread over them.
const QUEUES: usize = 16;

/// Threads that are unparked for one hold of a queue's lock.
const BATCH: usize = 8;

/// The kernel's threads, as far as they can sleep: three calls.
///
/// A thread has one *permit*, which is there or not. [`unpark`](Self::unpark) makes it there,
/// [`park`](Self::park) waits until it is there and takes it. (`std::thread::park` is the model. A
/// kernel that has only "block this thread" and "make that thread runnable" keeps the permit as a
/// flag in the thread, and tests and sets it under the lock of its run queue.)
///
/// The trait is safe: a broken one hangs threads and corrupts nothing.
///
/// - No permit is lost. An `unpark` that comes before the `park`, also from another CPU, or from an
///   interrupt handler between a thread's decision to park and its leaving the CPU, makes that
///   `park` return.
/// - `park` may return at any time without a reason. The thread then looks again.
/// - A fatal signal for a thread unparks it: the kernel's signal code calls `unpark`, or what it
///   comes to. The conditions of killable waits ask whether the thread was killed, and are
///   evaluated after each `park` (L3).
/// - What a thread does before `unpark` happens before what the unparked one does after `park`:
///   `unpark` releases and `park` acquires.
/// - `unpark` never sleeps, and calls nothing of the page cache. It may be called for a thread that
///   runs, that sleeps elsewhere, or that has ended meanwhile; a thread that gets a permit for
///   nothing has one spurious return from its next `park`.
pub trait Threads: Send + Sync {
    /// What names a thread: an identifier or a `'static` reference. One that is no longer alive may
    /// be unparked once more.
    type Thread: Copy + Send + 'static;

    /// The calling thread.
    fn current(&self) -> Self::Thread;

    /// Sleeps until the calling thread has a permit, and takes it.
    fn park(&self);

    /// Gives a thread its permit, and lets it run if it sleeps in [`park`](Self::park).
    fn unpark(&self, thread: Self::Thread);
}

/// A [`Wait`] over a kernel's [`Threads`]. No wake is lost.
///
/// Needs no allocator: a queue is a few words, and entries stand in the sleepers' stack frames. A
/// wake looks at the sleepers of one of 16 queues and unparks those with its key. `S` is the family
/// of the queues' short locks; see the [crate's documentation](crate#which-locks-which-wait).
/// [`wake`](Wait::wake) never sleeps.
///
/// ```
/// use faultless_page::{Wait, WaitKey};
/// use faultless_parts::{QueueWait, Threads};
/// use std::thread::{self, Thread};
///
/// struct MyThreads;
///
/// # // A thread of std is not `Copy`: its name here is a leaked handle.
/// # std::thread_local!(static ME: &'static Thread = Box::leak(Box::new(thread::current())));
/// impl Threads for MyThreads {
///     type Thread = &'static Thread;
///     fn current(&self) -> &'static Thread {
///         ME.with(|me| *me)
///     }
///     fn park(&self) {
///         thread::park();
///     }
///     fn unpark(&self, thread: &'static Thread) {
///         thread.unpark();
///     }
/// }
///
/// # use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
/// let wait: QueueWait<MyThreads> = QueueWait::new(MyThreads);
/// let ready = AtomicBool::new(false);
/// thread::scope(|scope| {
///     scope.spawn(|| wait.wait_until(WaitKey(1), &mut || ready.load(SeqCst)));
///     ready.store(true, SeqCst);
///     wait.wake(WaitKey(1));
/// });
/// ```
pub struct QueueWait<T: Threads, S: SyncFamily = CoreSync> {
    threads: T,
    queues: [Queue<T, S>; QUEUES],
}

struct Queue<T: Threads, S: SyncFamily> {
    sleepers: RequestList<S, Sleeper<T::Thread>>,
    /// How many wakes have begun here.
    wakes: S::Word64,
}

/// A thread that waits.
struct Sleeper<T> {
    key: WaitKey,
    thread: T,
    /// The last wake that has dealt with this entry, or that had begun before it was linked.
    dealt_with: u64,
}

impl<T: Copy> Clone for Sleeper<T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T: Copy> Copy for Sleeper<T> {}

impl<T: Threads> QueueWait<T> {
    /// Wait queues for these threads, with the locks of [`CoreSync`].
    #[must_use]
    pub fn new(threads: T) -> Self {
        Self::with_locks(threads)
    }
}

impl<T: Threads, S: SyncFamily> QueueWait<T, S> {
    /// Wait queues for these threads, with the locks of `S`.
    #[must_use]
    pub fn with_locks(threads: T) -> Self {
        let queue = |_| Queue { sleepers: RequestList::new(), wakes: Word::new(0) };
        Self { threads, queues: core::array::from_fn(queue) }
    }

    /// The kernel's threads.
    #[must_use]
    pub fn threads(&self) -> &T {
        &self.threads
    }

    fn queue(&self, key: WaitKey) -> &Queue<T, S> {
        // Keys are addresses: the low bits are the same for most.
        let hash = (key.0 as u64).wrapping_mul(0x9E37_79B9_7F4A_7C15);
        &self.queues[(hash >> 60) as usize % QUEUES]
    }
}

impl<T: Threads, S: SyncFamily> Queue<T, S> {
    /// The next threads that wait under `key` and that wake number `wake` has not dealt with.
    fn next_batch(&self, key: WaitKey, wake: u64) -> Vec<T::Thread, BATCH> {
        let mut batch = Vec::new();
        let sleepers = self.sleepers.lock();
        for entry in sleepers.iter() {
            let sleeper = entry.value();
            if sleeper.key == key && sleeper.dealt_with < wake {
                if batch.push(sleeper.thread).is_err() {
                    break;
                }
                entry.set(Sleeper { dealt_with: wake, ..sleeper });
            }
        }
        batch
    }
}

impl<T: Threads, S: SyncFamily> Wait for QueueWait<T, S> {
    fn wait_until(&self, key: WaitKey, condition: &mut dyn FnMut() -> bool) {
        let queue = self.queue(key);
        let request = pin!(Request::new(&queue.sleepers));
        let request = request.into_ref();
        let thread = self.threads.current();
        {
            let mut linked = request.lock();
            // Under the lock: a wake that has begun and not yet looked deals with an entry that it
            // need not, and one that begins later deals with this entry.
            let dealt_with = queue.wakes.load(Relaxed);
            linked.link(Sleeper { key, thread, dealt_with });
        }
        while !condition() {
            self.threads.park();
        }
        // The request is unlinked by its drop, also if the condition unwinds.
    }

    fn wake(&self, key: WaitKey) {
        let queue = self.queue(key);
        let wake = {
            let _order = queue.sleepers.lock();
            queue.wakes.fetch_add(1, Relaxed) + 1
        };
        // Ends: each entry is dealt with once, and those that are linked from now on are not.
        loop {
            let batch = queue.next_batch(key, wake);
            let is_last = !batch.is_full();
            batch.into_iter().for_each(|thread| self.threads.unpark(thread));
            if is_last {
                return;
            }
        }
    }
}

impl<T: Threads, S: SyncFamily> fmt::Debug for QueueWait<T, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sleepers: usize = self.queues.iter().map(|q| q.sleepers.lock().iter().count()).sum();
        f.debug_struct("QueueWait").field("sleepers", &sleepers).finish_non_exhaustive()
    }
}
