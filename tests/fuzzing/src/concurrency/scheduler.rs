//! A deterministic scheduler: threads are coroutines of one real thread, and the input decides
//! where they are interrupted.
//!
//! Every access to a word, every event of the core, every piece of a copy is a [`point`]. Bytes of
//! the input say after how many points the running thread has to hand over, and to which thread;
//! without any, a thread runs until it waits. A thread that waits is woken by a wake and by nothing
//! else: a lost one, or a cycle, leaves no thread to run, and that is a deadlock, told in words.
//!
//! Two more kinds of order need no bytes. [`Wakes::Eager`]: a thread that is woken runs at the next
//! point, so that it sees what the waker has not done yet. [`idle`]: a thread stays where it is
//! until it is handed over to, or no other can run.

use std::cell::{Cell, RefCell};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;

use corosensei::stack::DefaultStack;
use corosensei::{Coroutine, CoroutineResult, Yielder};

use super::watchdog::{self, Watched};

/// Bytes of a thread's stack.
const STACK: usize = 256 * 1024;
/// Hand-overs after which a run is taken for endless (W6).
const PATIENCE: u32 = 200_000;
/// Points after which one is: a loop in which a thread waits for nothing passes points, and no
/// other thread ever runs.
const POINTS: u64 = 20_000_000;

/// Why a thread stops running.
enum Pause {
    /// It was interrupted: this one is next, if it can run.
    Preempted(Whom),
    /// It stays here until no other thread can run, or it is handed over to.
    Idle,
    /// It goes round in a loop until another thread has done something.
    Relaxing,
    /// It waits.
    Blocked,
}

/// Which thread comes next.
#[derive(Clone, Copy)]
enum Whom {
    /// So many threads after the one that was interrupted.
    After(u8),
    /// This thread.
    Thread(usize),
}

/// What a thread does.
pub(super) type Work = Box<dyn FnOnce()>;

/// When a thread runs that was woken.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Wakes {
    /// When it is its turn.
    #[default]
    Lazy,
    /// At the waker's next point.
    Eager,
}

/// In which order threads run.
#[derive(Clone, Copy, Debug)]
pub(super) struct Order<'d> {
    /// Points for which the first thread runs, from the start or from where it [arms](arm) them.
    pub(super) first: u32,
    /// The decisions after that.
    pub(super) decisions: &'d [u8],
    /// When woken threads run.
    pub(super) wakes: Wakes,
    /// In place of the above: threads take turns.
    pub(super) favour: Option<Favour>,
}

/// Threads take turns, in which all but one get far.
#[derive(Clone, Copy, Debug)]
pub(super) struct Favour {
    /// The thread that is not favoured.
    pub(super) victim: usize,
    /// Points of its turn.
    pub(super) own: u32,
    /// Points of each other thread's.
    pub(super) others: u32,
}

/// A thread that is blocked: on what, and what for.
struct Blocked {
    key: usize,
    what: &'static str,
}

/// The state of a run.
#[derive(Default)]
struct Run {
    decisions: Vec<u8>,
    next: usize,
    /// Points that the running thread may still pass.
    left: u32,
    current: usize,
    blocked: Vec<Option<Blocked>>,
    /// Wakes so far, by key, so that a wake during a look is not lost.
    wakes: Vec<(usize, u64)>,
    /// Fatal signals so far.
    signals: u64,
    /// Which threads are idle.
    idle: Vec<bool>,
    when_woken: Wakes,
    /// A thread that runs at the next point.
    urgent: Option<usize>,
    /// Threads in a row that went round in a loop.
    relaxed: u32,
    favour: Option<Favour>,
    /// Points that each thread has passed, if they take turns.
    passed: Vec<u64>,
}

/// Turns in loops in a row after which an idle thread goes on: one of the loops may wait for it.
const FUTILE: u32 = 20;

thread_local! {
    static RUN: RefCell<Run> = RefCell::default();
    /// The running thread's way back to the scheduler; null outside of all threads.
    static WAY: Cell<*const Yielder<(), Pause>> = const { Cell::new(std::ptr::null()) };
    static STACKS: RefCell<Vec<DefaultStack>> = const { RefCell::new(Vec::new()) };
    static OBSERVER: RefCell<Option<Observer>> = const { RefCell::new(None) };
}

/// Is called at each point, before any other thread runs.
pub(super) type Observer = Rc<dyn Fn()>;

/// Hands over to the scheduler; returns when this thread runs again. Outside of threads it does
/// nothing.
fn pause(why: Pause) {
    let way = WAY.get();
    if way.is_null() || std::thread::panicking() {
        return;
    }
    // SAFETY: the scheduler sets the way just before it resumes the coroutine whose yielder this
    // is, and clears it when that one stops: the yielder lives on the stack of the coroutine that
    // runs now.
    let way = unsafe { &*way };
    way.suspend(why);
}

/// A place at which another thread may come in between.
pub(super) fn point() {
    if !running() {
        return;
    }
    assert!(watchdog::beat() <= POINTS, "W6: no end in sight: {}", story());
    OBSERVER.with_borrow(|observer| {
        if let Some(observer) = observer {
            quietly(|| observer());
        }
    });
    let preempted = RUN.with_borrow_mut(|run| {
        if let Some(urgent) = run.urgent.take()
            && urgent != run.current
        {
            return Some(Whom::Thread(urgent));
        }
        if let Some(passed) = run.passed.get_mut(run.current) {
            *passed += 1;
        }
        if run.left > 0 {
            run.left -= 1;
            return None;
        }
        if run.favour.is_some() {
            return Some(Whom::After(0));
        }
        let decision = run.decisions.get(run.next).copied();
        run.next += 1;
        run.left = decision.map_or(u32::MAX, points);
        decision.map(|decision| Whom::After(decision >> 6))
    });
    if let Some(whom) = preempted {
        pause(Pause::Preempted(whom));
    }
}

/// Whether one of the threads runs, and not the code that started them or looks at them.
pub(super) fn running() -> bool {
    !WAY.get().is_null() && !std::thread::panicking()
}

/// Looks at what the threads share while none of them goes on. Nothing in it may wait.
pub(super) fn quietly<R>(look: impl FnOnce() -> R) -> R {
    let way = WAY.replace(std::ptr::null());
    let result = look();
    WAY.set(way);
    result
}

/// From here on the points of [`Order::first`] count, and not from the start.
pub(super) fn arm(first: u32) {
    RUN.with_borrow_mut(|run| run.left = first);
}

/// The thread takes as long as it can: until it is handed over to, or no other thread can run.
pub(super) fn idle() {
    if running() {
        pause(Pause::Idle);
    }
}

/// For how many points a decision lets a thread run.
pub(super) fn points(decision: u8) -> u32 {
    u32::from(decision & 0x3f)
}

/// The thread cannot go on before another does something; it will look again.
pub(super) fn relax() {
    assert!(!WAY.get().is_null(), "somebody who is not there is waited for");
    RUN.with_borrow_mut(|run| run.relaxed += 1);
    pause(Pause::Relaxing);
}

/// Wakes under `key` so far.
pub(super) fn wakes(key: usize) -> u64 {
    RUN.with_borrow(|run| run.wakes.iter().find(|(k, _)| *k == key).map_or(0, |(_, n)| *n))
}

/// The number of the thread that runs.
pub(super) fn current() -> usize {
    RUN.with_borrow(|run| run.current)
}

/// The threads that wait, as a mask of their numbers.
pub(super) fn waiting() -> u64 {
    RUN.with_borrow(|run| {
        let threads = run.blocked.iter().enumerate();
        threads.fold(0, |mask, (nth, blocked)| mask | u64::from(blocked.is_some()) << nth)
    })
}

/// Sleeps until `key` is woken.
pub(super) fn block(key: usize, what: &'static str) {
    assert!(!WAY.get().is_null(), "deadlock: {what} is waited for, and nobody else is there");
    RUN.with_borrow_mut(|run| {
        let current = run.current;
        run.blocked[current] = Some(Blocked { key, what });
    });
    pause(Pause::Blocked);
}

/// Wakes all threads that sleep under `key`.
pub(super) fn wake(key: usize) {
    RUN.with_borrow_mut(|run| {
        match run.wakes.iter_mut().find(|(k, _)| *k == key) {
            Some((_, number)) => *number += 1,
            None => run.wakes.push((key, 1)),
        }
        for thread in 0..run.blocked.len() {
            let woken = run.blocked[thread].take_if(|blocked| blocked.key == key).is_some();
            if woken && run.when_woken == Wakes::Eager {
                run.urgent = Some(thread);
            }
        }
    });
}

/// A fatal signal for a thread: if it sleeps, it looks again at the next point.
pub(super) fn signal(thread: usize) {
    RUN.with_borrow_mut(|run| {
        run.signals += 1;
        if run.blocked[thread].take().is_some() {
            run.urgent = Some(thread);
        }
    });
}

/// Fatal signals so far.
pub(super) fn signals() -> u64 {
    RUN.with_borrow(|run| run.signals)
}

/// Runs `threads` to their ends in an order, with an observer; how many of its decisions were used.
///
/// # Panics
/// With what a thread panicked with; for a deadlock, with what each thread waits for; if it does
/// not end.
pub(super) fn run(threads: Vec<Work>, order: Order<'_>, observer: Option<Observer>) -> usize {
    OBSERVER.set(observer);
    let blocked = threads.iter().map(|_| None).collect();
    RUN.set(Run {
        decisions: order.decisions.to_vec(),
        left: order.first,
        blocked,
        idle: vec![false; threads.len()],
        when_woken: order.wakes,
        favour: order.favour,
        passed: vec![0; if order.favour.is_some() { threads.len() } else { 0 }],
        ..Run::default()
    });
    let _watched = Watched::begin(story);
    let mut threads: Vec<Option<Thread>> =
        threads.into_iter().map(Thread::start).map(Some).collect();
    if let Err(panic) = catch_unwind(AssertUnwindSafe(|| to_the_end(&mut threads))) {
        WAY.set(std::ptr::null());
        OBSERVER.set(None);
        // What is on the stacks of the others is in an unknown state: it is forgotten.
        threads.into_iter().for_each(std::mem::forget);
        std::panic::resume_unwind(panic);
    }
    OBSERVER.set(None);
    RUN.with_borrow(|run| run.next.min(run.decisions.len()))
}

fn to_the_end(threads: &mut [Option<Thread>]) {
    let mut next = Next { from: 0, exactly: None };
    for _ in 0..PATIENCE {
        if threads.iter().all(Option::is_none) {
            return;
        }
        let Some(current) = runnable(threads, next) else {
            panic!("deadlock: {}", story());
        };
        let Some(thread) = &mut threads[current] else { continue };
        next = Next { from: current + 1, exactly: None };
        take_turn(current);
        let paused = thread.resume(current);
        if !matches!(paused, Some(Pause::Relaxing)) {
            RUN.with_borrow_mut(|run| run.relaxed = 0);
        }
        match paused {
            None => {
                let stack = threads[current].take().map(Thread::into_stack);
                STACKS.with_borrow_mut(|stacks| stacks.extend(stack));
            }
            Some(Pause::Preempted(whom)) => {
                let whom = match whom {
                    Whom::After(after) => current + 1 + usize::from(after) % threads.len(),
                    Whom::Thread(thread) => thread,
                };
                next = Next { from: whom, exactly: Some(whom % threads.len()) };
            }
            Some(Pause::Idle) => RUN.with_borrow_mut(|run| run.idle[current] = true),
            Some(Pause::Relaxing | Pause::Blocked) => {}
        }
    }
    panic!("W6: no end in sight: {}", story());
}

/// If threads take turns, this one's begins.
fn take_turn(current: usize) {
    RUN.with_borrow_mut(|run| {
        if let Some(Favour { victim, own, others }) = run.favour {
            run.left = if current == victim { own } else { others };
        }
    });
}

/// Points from the change of an entry, in the fault handler, to the access that goes again: no more
/// than these.
const TO_THE_ACCESS: u32 = 20;

/// An entry changes. If threads take turns and the one that is not favoured has installed it, its
/// turn lasts until the access goes again, which nothing but that protects from eviction: otherwise
/// the length of its loop, divided by that of its turn, would decide whether it ever ends.
pub(super) fn access_goes_again() {
    RUN.with_borrow_mut(|run| {
        if run.favour.is_some_and(|favour| favour.victim == run.current) {
            run.left = run.left.max(TO_THE_ACCESS);
        }
    });
}

/// Points that a thread has passed, if threads take turns.
pub(super) fn passed(thread: usize) -> u64 {
    RUN.with_borrow(|run| run.passed.get(thread).copied().unwrap_or(0))
}

/// Which thread runs next.
#[derive(Clone, Copy)]
struct Next {
    /// The first from here on, going round, that can.
    from: usize,
    /// Or this one even if it is idle.
    exactly: Option<usize>,
}

/// The thread that runs next, if one can.
fn runnable(threads: &[Option<Thread>], next: Next) -> Option<usize> {
    let order = (0..threads.len()).map(|nth| (next.from + nth) % threads.len());
    RUN.with_borrow_mut(|run| {
        let ready = |nth: &usize| threads[*nth].is_some() && run.blocked[*nth].is_none();
        let exactly = next.exactly.filter(ready);
        let busy = |nth: &usize| ready(nth) && !run.idle[*nth];
        let futile = run.relaxed > FUTILE;
        let idle = |nth: &usize| ready(nth) && run.idle[*nth];
        let first = exactly
            .or_else(|| order.clone().find(idle).filter(|_| futile))
            .or_else(|| order.clone().find(busy))
            .or_else(|| order.clone().find(idle));
        if let Some(first) = first {
            run.relaxed *= u32::from(!run.idle[first]);
            run.idle[first] = false;
        }
        first
    })
}

/// Which thread runs, if one does, and what each of those waits for that wait.
pub(super) fn story() -> String {
    let told = RUN.with(|run| {
        let run = run.try_borrow().ok()?;
        let runs = running().then(|| format!("thread {} runs", run.current));
        let waits = run.blocked.iter().enumerate().filter_map(|(nth, blocked)| {
            blocked.as_ref().map(|blocked| format!("thread {nth} waits for {}", blocked.what))
        });
        Some(runs.into_iter().chain(waits).collect::<Vec<_>>().join(", "))
    });
    told.unwrap_or_else(|| "the scheduler itself runs".into())
}

/// A coroutine that plays a thread.
struct Thread {
    coroutine: Coroutine<(), Pause, (), DefaultStack>,
    way: Rc<Cell<*const Yielder<(), Pause>>>,
}

impl Thread {
    fn start(work: Work) -> Self {
        let stack = STACKS.with_borrow_mut(Vec::pop);
        let stack = stack.unwrap_or_else(|| DefaultStack::new(STACK).expect("a stack"));
        let way = Rc::new(Cell::new(std::ptr::null()));
        let own = Rc::clone(&way);
        let coroutine = Coroutine::with_stack(stack, move |yielder: &Yielder<(), Pause>, ()| {
            own.set(std::ptr::from_ref(yielder));
            WAY.set(std::ptr::from_ref(yielder));
            work();
        });
        Self { coroutine, way }
    }

    /// Runs the thread until it stops; `None` at its end.
    fn resume(&mut self, number: usize) -> Option<Pause> {
        RUN.with_borrow_mut(|run| run.current = number);
        WAY.set(self.way.get());
        let result = self.coroutine.resume(());
        WAY.set(std::ptr::null());
        match result {
            CoroutineResult::Yield(why) => Some(why),
            CoroutineResult::Return(()) => None,
        }
    }

    fn into_stack(self) -> DefaultStack {
        self.coroutine.into_stack()
    }
}
