//! Which thread runs: one queue for all CPUs, in order of arrival.

use core::mem;
use core::sync::atomic::Ordering::{Relaxed, SeqCst};

use alloc::boxed::Box;
use alloc::collections::{BTreeMap, VecDeque};
use alloc::format;
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;

use faultless::parts::InterruptControl;
use faultless_posix::Errno;
use spin::{Mutex, MutexGuard};
use x86_64::VirtAddr;
use x86_64::instructions::interrupts;
use x86_64::registers::model_specific::{FsBase, KernelGsBase};

use crate::arch::percpu::{self, MAX_CPUS};
use crate::arch::switch::switch_stacks;
use crate::arch::trap::TrapFrame;
use crate::arch::vectors::RESCHEDULE;
use crate::arch::{apic, clock, shootdown};
use crate::memory;
use crate::sched::thread::{
    Main, State, Thread, current, look_at, next_number, register, unregister, with_current,
};
use crate::sync::Interrupts;

/// Taken with interrupts off.
static QUEUE: Mutex<Queue> = Mutex::new(Queue::new());

struct Queue {
    ready: VecDeque<Arc<Thread>>,
    /// Threads that are unparked at a time, in nanoseconds of the monotonic clock.
    timers: BTreeMap<(u64, u32), Arc<Thread>>,
    /// What each CPU runs, and what it runs when there is nothing else.
    running: [Option<Arc<Thread>>; MAX_CPUS],
    idle: [Option<Arc<Thread>>; MAX_CPUS],
    /// Threads that have ended.
    ended: Vec<Arc<Thread>>,
    reaper: Option<Arc<Thread>>,
}

impl Queue {
    const fn new() -> Self {
        Self {
            ready: VecDeque::new(),
            timers: BTreeMap::new(),
            running: [const { None }; MAX_CPUS],
            idle: [const { None }; MAX_CPUS],
            ended: Vec::new(),
            reaper: None,
        }
    }

    /// The state of a thread.
    fn state<'q>(&'q mut self, thread: &'q Thread) -> &'q mut State {
        // SAFETY: the states are guarded by the lock of the queue, which is borrowed.
        unsafe { &mut *thread.state.get() }
    }

    /// Puts a thread that can run into the queue, and has an idle CPU look.
    fn push(&mut self, thread: Arc<Thread>) {
        self.ready.push_back(thread);
        let own = percpu::number();
        for (number, cpu) in percpu::cpus().iter().enumerate() {
            if number != own && cpu.idle.swap(false, SeqCst) {
                apic::interrupt(number, RESCHEDULE);
                return;
            }
        }
        if percpu::this().idle.load(Relaxed) {
            percpu::this().preempt.store(true, Relaxed);
        }
    }

    fn unpark(&mut self, thread: &Arc<Thread>) {
        let state = self.state(thread);
        match *state {
            State::Parked => {
                *state = State::Ready;
                self.push(Arc::clone(thread));
            }
            State::Ready => *state = State::Permitted,
            State::Permitted | State::Ended => {}
        }
    }
}

/// Makes the code that runs on this CPU a thread: the idle thread.
pub(crate) fn idle(stack_start: *mut u8) {
    let thread = Thread::of_cpu(next_number(), stack_start);
    register(&thread);
    let cpu = percpu::this();
    cpu.thread.store(Arc::as_ptr(&thread).cast_mut().cast(), Relaxed);
    cpu.kernel_stack.store(thread.stack_top(), Relaxed);
    let number = percpu::number();
    let flags = Interrupts::save_and_disable();
    {
        let mut queue = QUEUE.lock();
        queue.idle[number] = Some(Arc::clone(&thread));
        queue.running[number] = Some(thread);
    }
    Interrupts::restore(flags);
}

/// What a CPU does when no thread can run: the rest of its idle thread.
pub(crate) fn wait_for_threads() -> ! {
    loop {
        interrupts::disable();
        percpu::this().idle.store(true, SeqCst);
        // A thread that is made ready from here on comes with an interrupt.
        let none = QUEUE.lock().ready.is_empty();
        if none {
            interrupts::enable_and_hlt();
        } else {
            yield_now();
            interrupts::enable();
        }
    }
}

/// Starts a thread.
pub(crate) fn start(thread: Arc<Thread>) {
    let flags = Interrupts::save_and_disable();
    QUEUE.lock().push(thread);
    Interrupts::restore(flags);
}

/// Starts a thread of the kernel.
///
/// # Errors
/// `ENOMEM`.
pub(crate) fn spawn(main: impl FnOnce() + Send + 'static) -> Result<(), Errno> {
    let main: Main = Box::new(main);
    let thread = Thread::new(next_number(), 0, None, TrapFrame::user(0, 0), Some(main))?;
    register(&thread);
    start(thread);
    Ok(())
}

/// Gives a thread its permit.
pub(crate) fn unpark(thread: &Arc<Thread>) {
    let flags = Interrupts::save_and_disable();
    QUEUE.lock().unpark(thread);
    Interrupts::restore(flags);
}

/// There is something to do for a thread on its way to user mode: has it look, also if it sleeps.
pub(crate) fn alert(thread: &Arc<Thread>) {
    thread.signals.note_work();
    unpark(thread);
}

/// Another thread is to have its turn on this CPU. Interrupts are off.
pub(crate) fn preempt() {
    percpu::this().preempt.store(true, Relaxed);
    with_current(|thread| thread.signals.note_work());
}

/// Sleeps until the current thread has a permit, and takes it. No short lock is held.
pub(crate) fn park() {
    debug_assert!(interrupts::are_enabled(), "a wait with a short lock");
    let flags = Interrupts::save_and_disable();
    let mut queue = QUEUE.lock();
    let parks = with_current(|thread| {
        let state = queue.state(thread);
        let parks = *state != State::Permitted;
        *state = if parks { State::Parked } else { State::Ready };
        parks
    });
    if parks {
        leave(queue);
    } else {
        drop(queue);
    }
    Interrupts::restore(flags);
}

/// As [`park`], and at the latest until a time of the monotonic clock.
pub(crate) fn park_until(time: u64) {
    with_timer(time, park);
}

/// Calls `body`; at a time of the monotonic clock the current thread gets a permit.
pub(crate) fn with_timer<R>(time: u64, body: impl FnOnce() -> R) -> R {
    let thread = current();
    let key = (time, thread.number());
    let flags = Interrupts::save_and_disable();
    QUEUE.lock().timers.insert(key, thread);
    Interrupts::restore(flags);
    let result = body();
    let flags = Interrupts::save_and_disable();
    let timer = QUEUE.lock().timers.remove(&key);
    Interrupts::restore(flags);
    drop(timer);
    result
}

/// Lets other threads run first.
pub(crate) fn yield_now() {
    let flags = Interrupts::save_and_disable();
    let queue = QUEUE.lock();
    leave(queue);
    Interrupts::restore(flags);
}

/// A turn of the timer has passed on this CPU. Interrupts are off.
pub(crate) fn tick() {
    preempt();
    let now = clock::monotonic();
    // Others see how long a thread has run that nothing else takes turns with.
    with_current(|thread| charge(thread, now));
    let mut queue = QUEUE.lock();
    while let Some(first) = queue.timers.first_entry()
        && first.key().0 <= now
    {
        let thread = first.remove();
        queue.unpark(&thread);
        // Not the last handle: a thread with a timer has not ended.
        drop(thread);
    }
}

/// Counts the time that the thread of this CPU ran since it was last counted. Interrupts are off.
fn charge(thread: &Thread, now: u64) {
    let ran = now.saturating_sub(percpu::this().since.swap(now, Relaxed));
    thread.ran.fetch_add(ran, Relaxed);
}

/// How long a thread ran, in nanoseconds; if it is another one, until its last turn of the timer.
pub(crate) fn run_time(thread: &Thread) -> u64 {
    if with_current(Thread::number) == thread.number() {
        return own_run_time();
    }
    thread.ran.load(Relaxed)
}

/// As [`run_time`], of the thread of a number, unless it has ended.
pub(crate) fn run_time_of(number: u32) -> Option<u64> {
    look_at(number, run_time)
}

/// How long the current thread ran, in nanoseconds.
pub(crate) fn own_run_time() -> u64 {
    let flags = Interrupts::save_and_disable();
    let turn = clock::monotonic().saturating_sub(percpu::this().since.load(Relaxed));
    let time = with_current(|thread| thread.ran.load(Relaxed)) + turn;
    Interrupts::restore(flags);
    time
}

/// Ends the current thread.
pub(crate) fn end_thread() -> ! {
    let flags = Interrupts::save_and_disable();
    unregister(&current());
    let mut queue = QUEUE.lock();
    with_current(|thread| *queue.state(thread) = State::Ended);
    leave(queue);
    Interrupts::restore(flags);
    unreachable!("a thread that has ended runs")
}

/// Drops threads that have ended, for ever: a thread of the kernel.
pub(crate) fn reap() {
    let flags = Interrupts::save_and_disable();
    QUEUE.lock().reaper = Some(current());
    Interrupts::restore(flags);
    loop {
        park();
        let flags = Interrupts::save_and_disable();
        let ended = mem::take(&mut QUEUE.lock().ended);
        Interrupts::restore(flags);
        drop(ended);
        memory::stacks::trim();
    }
}

/// Whether a thread sleeps.
pub(crate) fn is_asleep(thread: &Arc<Thread>) -> bool {
    let flags = Interrupts::save_and_disable();
    let asleep = *QUEUE.lock().state(thread) == State::Parked;
    Interrupts::restore(flags);
    asleep
}

/// Where a thread stands, in words, and the calls on its stack if no CPU runs it.
pub(super) fn standing(thread: &Arc<Thread>) -> (String, Vec<usize>) {
    let flags = Interrupts::save_and_disable();
    let mut queue = QUEUE.lock();
    let is_it =
        |other: &Option<Arc<Thread>>| other.as_ref().is_some_and(|it| Arc::ptr_eq(it, thread));
    let found = match queue.running.iter().position(is_it) {
        Some(cpu) => (format!("runs on CPU {cpu}"), Vec::new()),
        None => {
            let state = *queue.state(thread);
            // SAFETY: guarded by the lock of the queue, which is held.
            let saved = unsafe { *thread.saved.get() };
            (format!("{state:?}").to_lowercase(), thread.calls(saved))
        }
    };
    drop(queue);
    Interrupts::restore(flags);
    found
}

/// Leaves the CPU to the next thread, which frees the lock. Returns when the thread runs again,
/// with the lock free. Interrupts are off.
fn leave(mut queue: MutexGuard<'_, Queue>) {
    let number = percpu::number();
    let cpu = percpu::this();
    cpu.preempt.store(false, Relaxed);
    let Some(current) = queue.running[number].take() else { return };
    let is_idle = queue.idle[number].as_ref().is_some_and(|idle| Arc::ptr_eq(idle, &current));
    let runs_on = matches!(*queue.state(&current), State::Ready | State::Permitted);
    if runs_on && !is_idle {
        queue.ready.push_back(Arc::clone(&current));
    }
    let next = queue.ready.pop_front().or_else(|| queue.idle[number].clone());
    let Some(next) = next else { return };
    let next_is_idle = queue.idle[number].as_ref().is_some_and(|idle| Arc::ptr_eq(idle, &next));
    cpu.idle.store(next_is_idle, SeqCst);
    if Arc::ptr_eq(&next, &current) {
        queue.running[number] = Some(next);
        return;
    }
    charge(&current, clock::monotonic());
    current.interrupt_sequence();
    current.fs_base.store(FsBase::read().as_u64(), Relaxed);
    current.gs_base.store(KernelGsBase::read().as_u64(), Relaxed);
    let from = current.saved.get();
    if *queue.state(&current) == State::Ended {
        queue.ended.push(current);
        if let Some(reaper) = queue.reaper.clone() {
            queue.unpark(&reaper);
        }
    }
    // A thread that is parked is in the table of all threads.
    // SAFETY: guarded by the lock of the queue, which is held.
    let to = unsafe { *next.saved.get() };
    enter(&next);
    queue.running[number] = Some(next);
    mem::forget(queue);
    // SAFETY: `to` was saved when the thread left a CPU, or was prepared; the lock says that it
    // runs nowhere else. Its root was activated.
    unsafe { switch_stacks(from, to) };
    arrived();
}

/// Makes the CPU that of a thread.
fn enter(thread: &Arc<Thread>) {
    let cpu = percpu::this();
    cpu.thread.store(Arc::as_ptr(thread).cast_mut().cast(), Relaxed);
    cpu.kernel_stack.store(thread.stack_top(), Relaxed);
    FsBase::write(VirtAddr::new_truncate(thread.fs_base.load(Relaxed)));
    KernelGsBase::write(VirtAddr::new_truncate(thread.gs_base.load(Relaxed)));
    let root = match thread.root.load(Relaxed) {
        0 => memory::kernel_root(),
        root => root,
    };
    // SAFETY: a thread's table stays for as long as the thread has it.
    unsafe { shootdown::activate(root) };
}

/// The first thing that a thread does after a switch: the lock is that of the thread before.
pub(crate) fn arrived() {
    // SAFETY: locked by the thread that was left on this CPU, which forgot its guard.
    unsafe { QUEUE.force_unlock() };
}
