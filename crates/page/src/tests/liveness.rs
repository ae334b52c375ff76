//! L1: how often a waiter is overtaken, with a scheduler that favours every thread but the waiter.
//!
//! The victim sleeps on, woken or not, until every other thread sleeps too or together they have
//! locked [`FAVOUR`] times more; only then does it look again. Each other thread counts the times
//! that it got a lock for which it asked after the victim had announced itself, before the victim
//! got its own. The stated bound for page locks is one for each thread, and none for the sleeping
//! lock.

use core::sync::atomic::Ordering::{Relaxed, SeqCst};
use core::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, AtomicUsize, Ordering};
use std::boxed::Box;
use std::cell::Cell;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use crate::mutex::RawMutex;
use crate::testing::{NullStore, TestFrames, WATCHDOG, cx, run, with_watchdog};
use crate::{
    CoreSync, Kernel, Mapping, NoUserMappings, PageCache, PageRun, SyncFamily, Wait, WaitKey, Word,
};

/// Locks that the others have taken before the victim looks again.
const FAVOUR: u64 = 500;

/// Fresh starts of a lock that keeps the bound.
const STARTS: usize = 30;

/// Other threads.
const OTHERS: usize = 3;

std::thread_local! {
    static VICTIM: Cell<bool> = const { Cell::new(false) };
}

/// Wait queues that are unfair to one thread.
#[derive(Default)]
struct Unfair {
    lock: Mutex<()>,
    changed: Condvar,
    /// Other threads that sleep or have ended.
    out_of_the_way: AtomicUsize,
    /// Locks taken by the others.
    taken: AtomicU64,
    announced: AtomicBool,
    entered: AtomicBool,
}

impl Unfair {
    fn sleep(&self, condition: &mut dyn FnMut() -> bool) {
        let mut held = self.lock.lock().unwrap_or_else(PoisonError::into_inner);
        while !condition() {
            self.out_of_the_way.fetch_add(1, SeqCst);
            let (next, timeout) = self.changed.wait_timeout(held, WATCHDOG).unwrap();
            self.out_of_the_way.fetch_sub(1, SeqCst);
            assert!(!timeout.timed_out(), "watchdog: a wake-up was lost");
            held = next;
        }
    }

    fn sleep_as_victim(&self, condition: &mut dyn FnMut() -> bool) {
        // The condition is asked once the victim stands in the queue.
        while !condition() {
            self.announced.store(true, SeqCst);
            let before = self.taken.load(SeqCst);
            while self.out_of_the_way.load(SeqCst) < OTHERS
                && self.taken.load(SeqCst) < before + FAVOUR
            {
                thread::sleep(Duration::from_micros(50));
            }
        }
    }
}

impl Wait for Arc<Unfair> {
    fn wait_until(&self, _key: WaitKey, condition: &mut dyn FnMut() -> bool) {
        if VICTIM.get() { self.sleep_as_victim(condition) } else { self.sleep(condition) }
    }
    fn wake(&self, _key: WaitKey) {
        let _held = self.lock.lock().unwrap_or_else(PoisonError::into_inner);
        self.changed.notify_all();
    }
}

/// A kernel that waits like that.
struct K<S>(core::marker::PhantomData<S>);
impl<S: SyncFamily + Send + Sync> Kernel for K<S> {
    type Sync = S;
    type Frames = Arc<TestFrames>;
    type Wait = Arc<Unfair>;
    type Cache = Arc<PageCache<Self>>;
    type Store = &'static NullStore;
    type UserMappings = NoUserMappings;
    type Replacement = ();
}

/// `core::sync::atomic`, without a second look: a request for a lock does not see that it is waited
/// for.
struct Blind;

/// A word that says 0 to a relaxed load once it has announced something.
struct BlindWord(core::sync::atomic::AtomicU64, AtomicBool);

// SAFETY: the words pass on to `core`'s atomics; one says 0 to a relaxed load, which only a hint
// may ask.
unsafe impl SyncFamily for Blind {
    type Word64 = BlindWord;
    type Word32 = core::sync::atomic::AtomicU32;
    type Spin<T: Send> = <CoreSync as SyncFamily>::Spin<T>;
    const SPIN_ROUNDS: u32 = 0;
    fn fence(order: Ordering) {
        CoreSync::fence(order);
    }
}

impl Word<u64> for BlindWord {
    fn new(value: u64) -> Self {
        Self(Word::new(value), AtomicBool::new(false))
    }
    fn load(&self, order: Ordering) -> u64 {
        if order == Relaxed && self.1.load(Relaxed) { 0 } else { self.0.load(order) }
    }
    fn store(&self, value: u64, order: Ordering) {
        self.0.store(value, order);
    }
    fn swap(&self, value: u64, order: Ordering) -> u64 {
        self.0.swap(value, order)
    }
    fn fetch_add(&self, value: u64, order: Ordering) -> u64 {
        self.0.fetch_add(value, order)
    }
    fn fetch_sub(&self, value: u64, order: Ordering) -> u64 {
        self.0.fetch_sub(value, order)
    }
    fn fetch_and(&self, value: u64, order: Ordering) -> u64 {
        self.0.fetch_and(value, order)
    }
    fn fetch_or(&self, value: u64, order: Ordering) -> u64 {
        self.1.fetch_or(order == SeqCst, Relaxed);
        self.0.fetch_or(value, order)
    }
    fn compare_exchange(
        &self,
        current: u64,
        new: u64,
        success: Ordering,
        failure: Ordering,
    ) -> Result<u64, u64> {
        self.0.compare_exchange(current, new, success, failure)
    }
}

/// Most times that one of the others overtook the victim, in one of [`STARTS`] fresh starts.
/// `fresh` makes a lock that sleeps on the queues that it is given: a function that locks as thread
/// number `n` (the victim is number 0), calls its argument, and unlocks.
fn overtakings<L: Fn(usize, &dyn Fn()) + Sync>(fresh: impl Fn(Arc<Unfair>) -> L) -> u32 {
    (0..STARTS).map(|_| start(&fresh)).max().unwrap_or(0)
}

/// Whether one of the others overtakes the victim more than once in one of many fresh starts: for
/// locks that have no bound. Threads that start late may miss each other, so one start does not
/// tell.
fn breaks_the_bound<L: Fn(usize, &dyn Fn()) + Sync>(fresh: impl Fn(Arc<Unfair>) -> L) -> bool {
    (0..100 * STARTS).any(|_| start(&fresh) > 1)
}

fn start<L: Fn(usize, &dyn Fn()) + Sync>(fresh: &impl Fn(Arc<Unfair>) -> L) -> u32 {
    let wait = Arc::new(Unfair::default());
    overtakings_once(&wait, &fresh(wait.clone()))
}

fn overtakings_once(wait: &Unfair, lock: &(impl Fn(usize, &dyn Fn()) + Sync)) -> u32 {
    let most = AtomicU32::new(0);
    thread::scope(|scope| {
        for number in 1..=OTHERS {
            let most = &most;
            scope.spawn(move || {
                let overtaken = AtomicU32::new(0);
                while !wait.entered.load(SeqCst) && overtaken.load(Relaxed) < 100 {
                    let behind = wait.announced.load(SeqCst);
                    lock(number, &|| {
                        wait.taken.fetch_add(1, SeqCst);
                        let passed = behind && !wait.entered.load(SeqCst);
                        overtaken.fetch_add(u32::from(passed), Relaxed);
                    });
                }
                most.fetch_max(overtaken.into_inner(), Relaxed);
                wait.out_of_the_way.fetch_add(1, SeqCst);
            });
        }
        scope.spawn(|| {
            VICTIM.set(true);
            while wait.taken.load(SeqCst) < 20 {
                thread::yield_now();
            }
            lock(0, &|| wait.entered.store(true, SeqCst));
        });
    });
    most.into_inner()
}

/// Page locks: thread `n` locks `runs(n)`.
fn page_overtakings<S: SyncFamily + Send + Sync>(runs: fn(usize) -> PageRun) -> u32 {
    overtakings(pages::<S>(runs))
}

/// Locks as thread `n`, calls its argument, and unlocks.
type Lock = Box<dyn Fn(usize, &dyn Fn()) + Sync>;

/// What [`overtakings`] starts.
fn pages<S: SyncFamily + Send + Sync>(runs: fn(usize) -> PageRun) -> impl Fn(Arc<Unfair>) -> Lock {
    move |wait| {
        let cache = Arc::new(PageCache::<K<S>>::at_run_time(Arc::new(TestFrames::new(8)), wait));
        let mapping = Mapping::<K<S>>::new(cache, &NullStore, NoUserMappings, 0);
        drop(mapping.lock_or_create(cx(), run(0, 1)).unwrap());
        Box::new(move |number, inside: &dyn Fn()| {
            let locked = mapping.lock(cx(), runs(number)).unwrap();
            inside();
            // Held for a while, as across a store's read.
            (0..100).for_each(|_| core::hint::spin_loop());
            drop(locked);
        })
    }
}

fn wide_among_small(number: usize) -> PageRun {
    if number == 0 { run(0, 64) } else { run(20 * number as u64, 1) }
}

fn small_among_wide(number: usize) -> PageRun {
    if number == 0 { run(30, 1) } else { run(0, 64) }
}

#[test]
fn l1_a_lock_of_64_pages_is_overtaken_by_each_locker_of_one_at_most_once() {
    with_watchdog(|| assert!(page_overtakings::<CoreSync>(wide_among_small) <= 1));
}

#[test]
fn l1_a_lock_of_one_page_is_overtaken_by_each_locker_of_64_at_most_once() {
    with_watchdog(|| assert!(page_overtakings::<CoreSync>(small_among_wide) <= 1));
}

/// For one page among 64 it holds in practice: the page is granted by the unlock that frees it.
#[test]
fn the_bound_is_broken_by_lockers_that_do_not_see_who_waits() {
    with_watchdog(|| assert!(breaks_the_bound(pages::<Blind>(wide_among_small))));
}

#[test]
fn l1_a_waiter_for_the_sleeping_lock_is_never_overtaken() {
    with_watchdog(|| {
        let most = overtakings(|wait| {
            let lock = RawMutex::<K<CoreSync>>::new();
            move |_, inside: &dyn Fn()| {
                let held = lock.lock(&wait, &|| false);
                inside();
                drop(held);
            }
        });
        assert_eq!(most, 0);
    });
}

#[test]
fn a_lock_that_goes_to_the_thread_that_is_awake_starves_its_waiter() {
    with_watchdog(|| {
        let broken = breaks_the_bound(|wait| {
            let lock = AtomicBool::new(false);
            move |_, inside: &dyn Fn()| {
                let mut take = || !lock.swap(true, SeqCst);
                if !take() {
                    wait.wait_until(WaitKey(0), &mut take);
                }
                inside();
                lock.store(false, SeqCst);
                wait.wake(WaitKey(0));
            }
        });
        assert!(broken);
    });
}
