//! Waits: no wake is lost, also not one that comes between the look at the condition and the sleep.
//!
//! The threads of these tests know when a park can never end: everything that could unpark them
//! has already happened. So a lost wake is a finding, and not a test that hangs.

use std::boxed::Box;
use std::cell::Cell;
use std::format;
use std::string::String;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering::SeqCst};
use std::thread::{self, Thread};
use std::vec::Vec;

use faultless_page::{Wait, WaitKey};

use crate::sleeping::WaitMutex;
use crate::{QueueWait, Threads, YieldWait};

std::thread_local! {
    static ME: &'static Thread = Box::leak(Box::new(thread::current()));
}

/// The threads of std.
struct StdThreads;

impl Threads for StdThreads {
    type Thread = &'static Thread;
    fn current(&self) -> Self::Thread {
        ME.with(|me| *me)
    }
    fn park(&self) {
        thread::park();
    }
    fn unpark(&self, thread: Self::Thread) {
        thread.unpark();
    }
}

/// One thread with a permit. A park without one would never end: it is counted, and returns.
#[derive(Default)]
struct OneThread {
    permit: Cell<bool>,
    parks: Cell<u32>,
    lost: Cell<bool>,
    /// Permits are not kept.
    forgets: bool,
}

/// Shared by the "threads" of one real one.
struct Alone(OneThread);

// SAFETY: each is used by one thread only.
unsafe impl Send for Alone {}
// SAFETY: as above.
unsafe impl Sync for Alone {}

impl Threads for Alone {
    type Thread = u32;
    fn current(&self) -> u32 {
        7
    }
    fn park(&self) {
        self.0.parks.set(self.0.parks.get() + 1);
        if !self.0.permit.take() {
            self.0.lost.set(true);
        }
    }
    fn unpark(&self, thread: u32) {
        assert_eq!(thread, 7);
        self.0.permit.set(!self.0.forgets);
    }
}

/// What the checks below need of a wait over [`Alone`].
trait OverAlone: Wait {
    fn over(threads: Alone) -> Self;
    fn threads(&self) -> &OneThread;
}

impl OverAlone for QueueWait<Alone> {
    fn over(threads: Alone) -> Self {
        Self::new(threads)
    }
    fn threads(&self) -> &OneThread {
        &self.threads().0
    }
}

/// Between the look of a waiter and its sleep, the waker does all that it ever does.
fn wake_after_the_look<W: OverAlone>(threads: Alone) -> Result<(), String> {
    let wait = W::over(threads);
    let ready = Cell::new(false);
    let looks = Cell::new(0);
    wait.wait_until(WaitKey(64), &mut || {
        looks.set(looks.get() + 1);
        let seen = ready.replace(true);
        if !seen && looks.get() == 1 {
            wait.wake(WaitKey(64));
        }
        seen
    });
    match wait.threads() {
        OneThread { lost, .. } if lost.get() => Err("a wake was lost".into()),
        OneThread { parks, .. } if parks.get() > 1 => Err(format!("{} parks", parks.get())),
        _ => Ok(()),
    }
}

#[test]
fn a_wake_between_the_look_and_the_sleep_is_not_lost() {
    wake_after_the_look::<QueueWait<Alone>>(Alone(OneThread::default())).expect("not lost");
}

#[test]
fn threads_that_forget_permits_are_found() {
    let forgetful = Alone(OneThread { forgets: true, ..OneThread::default() });
    wake_after_the_look::<QueueWait<Alone>>(forgetful).expect_err("planted");
}

/// A wait that looks first and enters its queue afterwards.
struct LooksFirst {
    threads: Alone,
    queue: Mutex<Vec<(WaitKey, u32)>>,
}

impl Wait for LooksFirst {
    fn wait_until(&self, key: WaitKey, condition: &mut dyn FnMut() -> bool) {
        while !condition() {
            self.queue.lock().expect("no panic").push((key, self.threads.current()));
            self.threads.park();
        }
    }
    fn wake(&self, key: WaitKey) {
        let mut queue = self.queue.lock().expect("no panic");
        queue.iter().filter(|(at, _)| *at == key).for_each(|(_, one)| self.threads.unpark(*one));
        queue.retain(|(at, _)| *at != key);
    }
}

impl OverAlone for LooksFirst {
    fn over(threads: Alone) -> Self {
        Self { threads, queue: Mutex::default() }
    }
    fn threads(&self) -> &OneThread {
        &self.threads.0
    }
}

#[test]
fn a_wait_that_looks_before_it_queues_is_found() {
    wake_after_the_look::<LooksFirst>(Alone(OneThread::default())).expect_err("planted");
}

#[test]
fn a_condition_that_holds_needs_no_sleep() {
    let wait = QueueWait::over(Alone(OneThread::default()));
    wait.wait_until(WaitKey(1), &mut || true);
    assert_eq!(wait.threads().0.parks.get(), 0);
}

#[test]
fn a_killed_waiter_looks_again_without_a_wake() {
    let wait: QueueWait<Alone> = QueueWait::over(Alone(OneThread::default()));
    let killed = Cell::new(false);
    wait.wait_until(WaitKey(1), &mut || {
        // The signal code: it knows the thread, and no key.
        wait.threads().unpark(7);
        killed.replace(true)
    });
    assert!(!wait.threads().0.lost.get());
}

#[test]
fn a_waiter_that_unwinds_leaves_the_queue() {
    let wait: QueueWait<StdThreads> = QueueWait::new(StdThreads);
    thread::scope(|scope| {
        let waiter = scope.spawn(|| wait.wait_until(WaitKey(1), &mut || panic!("by the test")));
        assert!(waiter.join().is_err());
    });
    assert_eq!(format!("{wait:?}"), "QueueWait { sleepers: 0, .. }");
}

/// Two threads take turns, each waiting for the other's wake.
fn take_turns(wait: &(impl Wait + ?Sized)) {
    let turn = AtomicU32::new(0);
    thread::scope(|scope| {
        for me in 0..2 {
            let turn = &turn;
            scope.spawn(move || {
                for round in 0..2000 {
                    let mine = round * 2 + me;
                    wait.wait_until(WaitKey(8), &mut || turn.load(SeqCst) == mine);
                    turn.store(mine + 1, SeqCst);
                    wait.wake(WaitKey(8));
                }
            });
        }
    });
    assert_eq!(turn.into_inner(), 4000);
}

#[test]
fn threads_that_take_turns_all_come_to_their_end() {
    take_turns(&QueueWait::<StdThreads>::new(StdThreads));
    take_turns(&YieldWait::new(thread::yield_now));
}

#[test]
fn one_wake_reaches_all_waiters_of_its_key_and_no_others() {
    let wait: QueueWait<StdThreads> = QueueWait::new(StdThreads);
    let (open, woken, other) = (AtomicBool::new(false), AtomicU32::new(0), AtomicU64::new(0));
    // Keys of the same queue: their hashes begin alike.
    let (key, same_queue) = (WaitKey(0), WaitKey(1 << (usize::BITS - 1)));
    thread::scope(|scope| {
        for _ in 0..20 {
            scope.spawn(|| {
                wait.wait_until(key, &mut || open.load(SeqCst));
                woken.fetch_add(1, SeqCst);
            });
        }
        scope.spawn(|| {
            wait.wait_until(same_queue, &mut || {
                other.fetch_add(1, SeqCst);
                woken.load(SeqCst) == 20
            });
        });
        // All 21 are in their queue.
        while format!("{wait:?}") != "QueueWait { sleepers: 21, .. }" {
            thread::yield_now();
        }
        open.store(true, SeqCst);
        wait.wake(key);
        while woken.load(SeqCst) < 20 {
            thread::yield_now();
        }
        wait.wake(same_queue);
    });
}

#[test]
fn a_sleeping_lock_excludes_and_wakes_its_waiters() {
    let lock = WaitMutex::new(0_u32, QueueWait::<StdThreads>::new(StdThreads));
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for _ in 0..500 {
                    let mut value = lock.lock();
                    let old = *value;
                    thread::yield_now();
                    *value = old + 1;
                }
            });
        }
    });
    assert_eq!(*lock.lock(), 2000);
}

/// A wait that returns at once, which the trait does not forbid to a liar.
struct TooEarly;

impl Wait for TooEarly {
    fn wait_until(&self, _key: WaitKey, _condition: &mut dyn FnMut() -> bool) {
        thread::yield_now();
    }
    fn wake(&self, _key: WaitKey) {}
}

#[test]
fn a_sleeping_lock_excludes_under_a_wait_that_returns_too_early() {
    let lock = WaitMutex::new(0_u32, TooEarly);
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| (0..500).for_each(|_| *lock.lock() += 1));
        }
    });
    assert_eq!(*lock.lock(), 2000);
}
