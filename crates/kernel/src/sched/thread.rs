//! A thread: its kernel stack, the registers of its program that the kernel leaves alone, and its
//! process.

use core::any::Any;
use core::cell::UnsafeCell;
use core::fmt;
use core::sync::atomic::Ordering::Relaxed;
use core::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, AtomicUsize};

use alloc::boxed::Box;
use alloc::collections::BTreeMap;
use alloc::sync::Arc;
use alloc::vec::Vec;

use faultless::filemap::DirtyWriter;
use faultless_posix::Errno;

use crate::arch::percpu;
use crate::arch::switch::{SAVED_FRAME_POINTER, SAVED_RETURN, first_stack_pointer};
use crate::arch::trap::TrapFrame;
use crate::credentials::Credentials;
use crate::memory::stacks::{KernelStack, STACK};
use crate::memory::{Machine, cache, dirty_limit};
use crate::sched::schedule::Schedule;
use crate::sequences::{Area, Sequences};
use crate::signals::{Life, ThreadSignals};
use crate::sync::Lock;

/// Calls of a stack that a report shows.
const CALLS: usize = 24;

/// All threads that have not ended, by number.
static THREADS: Lock<BTreeMap<u32, Arc<Thread>>> = Lock::new(BTreeMap::new());

/// Where a thread stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum State {
    /// It runs, or is in the queue, and has no permit.
    #[default]
    Ready,
    /// As above, and its next `park` returns at once.
    Permitted,
    /// It waits to be unparked.
    Parked,
    /// It never runs again.
    Ended,
}

/// What a thread of the kernel does.
pub(crate) type Main = Box<dyn FnOnce() + Send>;

/// The process of a thread.
pub(crate) struct Owner {
    pub(crate) process: Arc<dyn Any + Send + Sync>,
    pub(crate) life: Arc<Life>,
}

/// A thread of the kernel, or of a program.
pub(crate) struct Thread {
    /// Changes if a thread that is not the first one calls `execve`.
    number: AtomicU32,
    stack: Stack,
    /// The stack pointer while it does not run. Guarded by the lock of the queue.
    pub(super) saved: UnsafeCell<usize>,
    /// Guarded by the lock of the queue.
    pub(super) state: UnsafeCell<State>,
    /// What a thread of the kernel does, until it begins.
    main: Lock<Option<Main>>,
    owner: Option<Owner>,
    /// The page table of its program; 0 for the kernel's.
    pub(crate) root: AtomicUsize,
    /// The program's FS and GS bases, while the thread does not run.
    pub(crate) fs_base: AtomicU64,
    pub(crate) gs_base: AtomicU64,
    /// Where the program wants a 0 when the thread ends (`set_tid_address`); 0 for nowhere.
    pub(crate) clear_at_exit: AtomicUsize,
    /// Where the program wants its number when it begins (`CLONE_CHILD_SETTID`); 0 for nowhere.
    pub(crate) set_at_begin: AtomicUsize,
    /// Its robust futexes (`set_robust_list`).
    pub(crate) robust_list: AtomicUsize,
    /// How long it ran on CPUs that it has left, in nanoseconds.
    pub(super) ran: AtomicU64,
    /// Its restartable sequences.
    pub(crate) sequences: Sequences,
    /// Signals of the thread's own.
    pub(crate) signals: ThreadSignals,
    /// Who it is.
    pub(crate) credentials: Lock<Credentials>,
    /// How its program wants it to be scheduled.
    pub(crate) schedule: Lock<Schedule>,
    /// The pages that it makes dirty. Used by the thread itself alone.
    writes: DirtyWriter<'static, Machine>,
    /// Since when it sleeps in a wait that signals do not end, in nanoseconds of the monotonic
    /// clock; 0 if it does not.
    pub(super) waits_since: AtomicU64,
    /// Signals end its wait.
    pub(super) is_interruptible: AtomicBool,
}

// SAFETY: the two cells are guarded by the lock of the queue, and `writes` is used by the thread
// itself alone; the rest is shared as it is.
unsafe impl Sync for Thread {}

impl Thread {
    /// A thread that begins with `frame`, or in the kernel with `main`. It runs once it is
    /// started.
    ///
    /// # Errors
    /// `ENOMEM`: there is no memory for its stack.
    pub(crate) fn new(
        number: u32,
        root: usize,
        owner: Option<Owner>,
        frame: TrapFrame,
        main: Option<Main>,
    ) -> Result<Arc<Self>, Errno> {
        let stack = Stack::Own(KernelStack::new().ok_or(Errno::NOMEM)?);
        // SAFETY: the stack is new.
        let saved = unsafe { first_stack_pointer(stack.top(), frame) };
        Ok(Arc::new(Self::with(number, stack, saved, owner, root, main)))
    }

    /// The thread that runs on the boot stack of a CPU, and becomes its idle thread.
    pub(super) fn of_cpu(number: u32, stack_start: *mut u8) -> Arc<Self> {
        Arc::new(Self::with(number, Stack::Borrowed(stack_start.addr()), 0, None, 0, None))
    }

    fn with(
        number: u32,
        stack: Stack,
        saved: usize,
        owner: Option<Owner>,
        root: usize,
        main: Option<Main>,
    ) -> Self {
        Self {
            number: AtomicU32::new(number),
            stack,
            saved: UnsafeCell::new(saved),
            state: UnsafeCell::new(State::default()),
            main: Lock::new(main),
            owner,
            root: AtomicUsize::new(root),
            fs_base: AtomicU64::new(0),
            gs_base: AtomicU64::new(0),
            clear_at_exit: AtomicUsize::new(0),
            set_at_begin: AtomicUsize::new(0),
            robust_list: AtomicUsize::new(0),
            ran: AtomicU64::new(0),
            sequences: Sequences::default(),
            signals: ThreadSignals::default(),
            credentials: Lock::new(Credentials::default()),
            schedule: Lock::new(Schedule::default()),
            writes: DirtyWriter::new(dirty_limit(), cache().wait()),
            waits_since: AtomicU64::new(0),
            is_interruptible: AtomicBool::new(false),
        }
    }

    /// Its number (`gettid`).
    pub(crate) fn number(&self) -> u32 {
        self.number.load(Relaxed)
    }

    /// Its process, whose type the scheduler does not know; none for a thread of the kernel.
    pub(crate) fn owner(&self) -> Option<&Arc<dyn Any + Send + Sync>> {
        self.owner.as_ref().map(|owner| &owner.process)
    }

    /// What it has to know of its process.
    pub(crate) fn life(&self) -> Option<&Life> {
        self.owner.as_ref().map(|owner| &*owner.life)
    }

    /// Registers an area for restartable sequences, or none.
    pub(crate) fn set_sequences(&self, area: Option<Area>) {
        self.sequences.set(area);
        self.interrupt_sequence();
    }

    /// Has a restartable sequence in which it is begin anew: it may go on with another CPU, or
    /// another number in its memory.
    pub(crate) fn interrupt_sequence(&self) {
        if self.sequences.interrupt() {
            self.signals.note_work();
        }
    }

    /// Where its kernel stack ends.
    pub(crate) fn stack_top(&self) -> usize {
        self.stack.top().addr()
    }

    /// Since when it sleeps in a wait that signals do not end, in nanoseconds of the monotonic
    /// clock.
    pub(super) fn waits_since(&self) -> Option<u64> {
        Some(self.waits_since.load(Relaxed)).filter(|since| *since > 0)
    }

    /// The return addresses on its kernel stack, innermost first, [`CALLS`] at most. The thread was
    /// left with the stack pointer `saved`, and does not run meanwhile.
    pub(super) fn calls(&self, saved: usize) -> Vec<usize> {
        let stack = self.stack.start().addr()..self.stack_top();
        let word = |at: usize| {
            let is_inside = stack.contains(&at) && at.is_multiple_of(size_of::<usize>());
            let at = core::ptr::with_exposed_provenance::<usize>(at);
            // SAFETY: a word of the stack, which stays while there is a handle of the thread.
            is_inside.then(|| unsafe { at.read_volatile() })
        };
        let mut frame = word(saved + SAVED_FRAME_POINTER).unwrap_or(0);
        let mut calls: Vec<usize> = word(saved + SAVED_RETURN).into_iter().collect();
        // A frame begins with a pointer to the caller's, which lies higher; then the address.
        while let Some(next) = word(frame).filter(|_| calls.len() < CALLS)
            && let Some(address) = word(frame + size_of::<usize>())
        {
            calls.push(address);
            if next <= frame {
                break;
            }
            frame = next;
        }
        calls
    }
}

impl fmt::Debug for Thread {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Thread").field("number", &self.number()).finish_non_exhaustive()
    }
}

/// A kernel stack.
enum Stack {
    Own(KernelStack),
    /// That of a CPU, which begins here.
    Borrowed(usize),
}

impl Stack {
    const fn start(&self) -> *mut u8 {
        match self {
            Self::Own(stack) => stack.start(),
            Self::Borrowed(start) => core::ptr::with_exposed_provenance_mut(*start),
        }
    }

    const fn top(&self) -> *mut u8 {
        self.start().wrapping_add(STACK)
    }
}

/// A number for a thread or process. They are not used again.
pub(crate) fn next_number() -> u32 {
    static LAST: AtomicU32 = AtomicU32::new(0);
    LAST.fetch_add(1, Relaxed) + 1
}

/// Calls `look` with the current thread.
pub(crate) fn with_current<R>(look: impl FnOnce(&Thread) -> R) -> R {
    // SAFETY: the scheduler keeps the current thread, and the pointer is set before there is any
    // code that asks.
    look(unsafe { &*percpu::thread().cast::<Thread>() })
}

/// Calls `use_it` with what the current thread is promised of dirty pages. May sleep.
pub(crate) fn with_own_writes<R>(use_it: impl FnOnce(&DirtyWriter<'static, Machine>) -> R) -> R {
    with_current(|thread| use_it(&thread.writes))
}

/// A handle of the current thread.
pub(crate) fn current() -> Arc<Thread> {
    let thread = percpu::thread().cast_const().cast::<Thread>();
    // SAFETY: the pointer is an `Arc`'s, and the scheduler has a handle.
    unsafe { Arc::increment_strong_count(thread) };
    // SAFETY: the count was just taken.
    unsafe { Arc::from_raw(thread) }
}

/// What the current thread does, if it is one of the kernel that begins.
pub(crate) fn take_main() -> Option<Main> {
    with_current(|thread| thread.main.lock().take())
}

/// The thread with a number, unless it has ended.
pub(crate) fn find(number: u32) -> Option<Arc<Thread>> {
    THREADS.lock().get(&number).cloned()
}

/// What `look` finds of the thread of a number, unless it has ended; under the lock of the table.
pub(super) fn look_at<R>(number: u32, look: impl FnOnce(&Thread) -> R) -> Option<R> {
    THREADS.lock().get(&number).map(|thread| look(thread))
}

/// Calls `act` with each thread that has not ended, under the lock of the table.
pub(super) fn for_each(act: impl FnMut(&Arc<Thread>)) {
    THREADS.lock().values().for_each(act);
}

/// The number of a thread that `is_meant`.
pub(super) fn find_by(is_meant: impl Fn(&Thread) -> bool) -> Option<u32> {
    let threads = THREADS.lock();
    threads.values().find(|thread| is_meant(thread)).map(|thread| thread.number())
}

/// All threads that have not ended.
pub(crate) fn all() -> Vec<Arc<Thread>> {
    THREADS.lock().values().cloned().collect()
}

/// Lets a thread be found.
pub(crate) fn register(thread: &Arc<Thread>) {
    THREADS.lock().insert(thread.number(), Arc::clone(thread));
}

/// The thread is about to end.
pub(crate) fn unregister(thread: &Arc<Thread>) {
    let removed = {
        let mut threads = THREADS.lock();
        let number = thread.number();
        // Another one may have its number already.
        let is_it = threads.get(&number).is_some_and(|other| Arc::ptr_eq(other, thread));
        if is_it { threads.remove(&number) } else { None }
    };
    drop(removed);
}

/// Gives the current thread another number: that of its process, whose other threads are over.
pub(crate) fn renumber(number: u32) {
    let own = current();
    if own.number() == number {
        return;
    }
    let removed = {
        let mut threads = THREADS.lock();
        threads.remove(&own.number());
        own.number.store(number, Relaxed);
        threads.insert(number, own)
    };
    drop(removed);
}
