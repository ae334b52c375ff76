//! A deterministic scheduler: threads are coroutines of one real thread, and the input decides where they are interrupted.
//!
//! Every access to a word, every event of the core, every piece of a copy is a [`point`]. Bytes of the input say after how many
//! points the running thread has to hand over, and to whom; without any, a thread runs until it waits. Whoever waits is woken by a
//! wake and by nothing else: a lost one, or a cycle, leaves nobody to run, and that is a deadlock, told in words.

use std::cell::{Cell, RefCell};
use std::panic::{AssertUnwindSafe, catch_unwind};

use corosensei::stack::DefaultStack;
use corosensei::{Coroutine, CoroutineResult, Yielder};

/// Bytes of a thread's stack.
const STACK: usize = 256 * 1024;
/// Hand-overs after which a run is taken for endless (W6).
const PATIENCE: u32 = 200_000;

/// Why a thread stops running.
enum Pause {
    /// It was interrupted: this one is next, if it can run.
    Preempted(u8),
    /// It goes round in a loop until somebody else has done something.
    Relaxing,
    /// It waits.
    Blocked,
}

/// What a thread does.
pub(super) type Work = Box<dyn FnOnce()>;

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
}

thread_local! {
    static RUN: RefCell<Run> = RefCell::default();
    /// The running thread's way back to the scheduler; null outside of all threads.
    static WAY: Cell<*const Yielder<(), Pause>> = const { Cell::new(std::ptr::null()) };
    static STACKS: RefCell<Vec<DefaultStack>> = const { RefCell::new(Vec::new()) };
}

/// Hands over to the scheduler; returns when this thread runs again. Outside of threads it does nothing.
fn pause(why: Pause) {
    let way = WAY.get();
    if way.is_null() || std::thread::panicking() {
        return;
    }
    // SAFETY: the scheduler sets the way just before it resumes the coroutine whose yielder this is, and clears it when
    // that one stops: the yielder lives on the stack of the coroutine that runs now.
    let way = unsafe { &*way };
    way.suspend(why);
}

/// A place at which another thread may come in between.
pub(super) fn point() {
    if WAY.get().is_null() {
        return;
    }
    let preempted = RUN.with_borrow_mut(|run| {
        if run.left > 0 {
            run.left -= 1;
            return None;
        }
        let decision = run.decisions.get(run.next).copied();
        run.next += 1;
        run.left = decision.map_or(u32::MAX, points);
        decision.map(|decision| decision >> 6)
    });
    if let Some(whom) = preempted {
        pause(Pause::Preempted(whom));
    }
}

/// For how many points a decision lets a thread run.
pub(super) fn points(decision: u8) -> u32 {
    u32::from(decision & 0x3f)
}

/// The thread cannot go on before somebody else does something; it will look again.
pub(super) fn relax() {
    assert!(!WAY.get().is_null(), "somebody who is not there is waited for");
    pause(Pause::Relaxing);
}

/// Wakes under `key` so far.
pub(super) fn wakes(key: usize) -> u64 {
    RUN.with_borrow(|run| run.wakes.iter().find(|(k, _)| *k == key).map_or(0, |(_, n)| *n))
}

/// Sleeps until somebody wakes `key`.
pub(super) fn block(key: usize, what: &'static str) {
    assert!(!WAY.get().is_null(), "deadlock: {what} is waited for, and nobody else is there");
    RUN.with_borrow_mut(|run| {
        let current = run.current;
        run.blocked[current] = Some(Blocked { key, what });
    });
    pause(Pause::Blocked);
}

/// Wakes all who sleep under `key`.
pub(super) fn wake(key: usize) {
    RUN.with_borrow_mut(|run| {
        match run.wakes.iter_mut().find(|(k, _)| *k == key) {
            Some((_, number)) => *number += 1,
            None => run.wakes.push((key, 1)),
        }
        for blocked in &mut run.blocked {
            blocked.take_if(|blocked| blocked.key == key);
        }
    });
}

/// Runs `threads` to their ends: the first for `first` points, then as `decisions` say. How many of those were used.
///
/// # Panics
/// With what a thread panicked with; for a deadlock, with who waits for what; if it does not end.
pub(super) fn run(threads: Vec<Work>, first: u32, decisions: &[u8]) -> usize {
    let blocked = threads.iter().map(|_| None).collect();
    RUN.set(Run { decisions: decisions.to_vec(), left: first, blocked, ..Run::default() });
    let mut threads: Vec<Option<Thread>> =
        threads.into_iter().map(Thread::start).map(Some).collect();
    if let Err(panic) = catch_unwind(AssertUnwindSafe(|| to_the_end(&mut threads))) {
        WAY.set(std::ptr::null());
        // What is on the stacks of the others is in an unknown state: it is forgotten.
        threads.into_iter().for_each(std::mem::forget);
        std::panic::resume_unwind(panic);
    }
    RUN.with_borrow(|run| run.next.min(run.decisions.len()))
}

fn to_the_end(threads: &mut [Option<Thread>]) {
    let mut next = 0;
    for _ in 0..PATIENCE {
        if threads.iter().all(Option::is_none) {
            return;
        }
        let Some(current) = runnable(threads, next) else {
            panic!("deadlock: {}", story());
        };
        let Some(thread) = &mut threads[current] else { continue };
        match thread.resume(current) {
            None => {
                let stack = threads[current].take().map(Thread::into_stack);
                STACKS.with_borrow_mut(|stacks| stacks.extend(stack));
                next = current + 1;
            }
            Some(Pause::Preempted(whom)) => next = current + 1 + usize::from(whom) % threads.len(),
            Some(Pause::Relaxing | Pause::Blocked) => next = current + 1,
        }
    }
    panic!("W6: no end in sight: {}", story());
}

/// The first thread from `from` on, going round, that can run.
fn runnable(threads: &[Option<Thread>], from: usize) -> Option<usize> {
    let order = (0..threads.len()).map(|nth| (from + nth) % threads.len());
    RUN.with_borrow(|run| {
        order.into_iter().find(|&nth| threads[nth].is_some() && run.blocked[nth].is_none())
    })
}

fn story() -> String {
    RUN.with_borrow(|run| {
        let waits = run.blocked.iter().enumerate().filter_map(|(nth, blocked)| {
            blocked.as_ref().map(|blocked| format!("thread {nth} waits for {}", blocked.what))
        });
        waits.collect::<Vec<_>>().join(", ")
    })
}

/// A coroutine that plays a thread.
struct Thread {
    coroutine: Coroutine<(), Pause, (), DefaultStack>,
    way: std::rc::Rc<Cell<*const Yielder<(), Pause>>>,
}

impl Thread {
    fn start(work: Work) -> Self {
        let stack = STACKS.with_borrow_mut(Vec::pop);
        let stack = stack.unwrap_or_else(|| DefaultStack::new(STACK).expect("a stack"));
        let way = std::rc::Rc::new(Cell::new(std::ptr::null()));
        let own = std::rc::Rc::clone(&way);
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
