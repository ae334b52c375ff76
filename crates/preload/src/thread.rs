//! A thread as the machine sees it: a kernel stack, with a record at its lowest address, which is
//! found by the stack pointer.

use core::cell::{Cell, UnsafeCell};
use core::sync::atomic::Ordering::{AcqRel, Acquire, Relaxed, Release};
use core::sync::atomic::{AtomicBool, AtomicU32, AtomicU64};

use alloc::boxed::Box;
use alloc::vec::Vec;

use faultless::parts::Threads;
use syscalls::Sysno;

use crate::arena::{self, STACK_BYTES, STACKS, STACKS_END, THREADS};
use crate::hooks::hooks;
use crate::raw;

/// What Linux looks at when the program makes a system call: whether it traps.
pub(crate) const PASSES: u8 = 0;
pub(crate) const TRAPS: u8 = 1;

const FREE: u32 = 0;
const USED: u32 = 1;
/// The thread has called `exit`, and leaves the stack when it no longer exists.
const EXITING: u32 = 2;

/// Sleeps for good: the process ends meanwhile.
pub(crate) fn sleep_for_good() -> ! {
    loop {
        raw::harmless(Sysno::pause, [0; 6]);
    }
}

/// What the threads of a process have in common, as far as this module's users need it. It is the
/// first field of the process.
pub(crate) struct InCommon {
    /// The number of the process: that of its page table.
    pub(crate) number: u64,
    /// The process ends: locks that are waited for are given up, and no thread enters the kernel.
    pub(crate) exiting: AtomicBool,
    /// It is being replaced by another program, by the thread with the record before this number; 0
    /// if it is not.
    pub(crate) execs: AtomicU32,
    /// It is to end by `SIGKILL`.
    pub(crate) killed: AtomicBool,
    /// Threads in the kernel.
    pub(crate) inside: AtomicU32,
    /// How often other processes have asked it to look at its page table, and how many of these
    /// times it has.
    pub(crate) asked: AtomicU64,
    pub(crate) served: AtomicU64,
}

impl InCommon {
    pub(crate) const fn new(number: u64) -> Self {
        Self {
            number,
            exiting: AtomicBool::new(false),
            execs: AtomicU32::new(0),
            killed: AtomicBool::new(false),
            inside: AtomicU32::new(0),
            asked: AtomicU64::new(0),
            served: AtomicU64::new(0),
        }
    }
}

/// A path, arguments and environment for `exec`, in memory that Linux can read at any time.
pub(crate) struct LentProgram {
    pub(crate) path: Vec<u8>,
    pub(crate) strings: Vec<Vec<u8>>,
    pub(crate) arguments: Vec<usize>,
    pub(crate) environment: Vec<usize>,
}

/// A call of Linux's that a thread has at the gate.
#[derive(Clone, Copy, Default)]
pub(crate) struct AtGate {
    pub(crate) number: usize,
    /// The stack pointer there.
    pub(crate) slot: usize,
    pub(crate) begun: u64,
    /// It has been interrupted, and not by a signal of the program's.
    pub(crate) again: u64,
}

/// The registers of a program at a trap.
pub(crate) type Registers = [i64; 23];

/// The record at the lowest address of a kernel stack.
#[repr(C)]
pub(crate) struct Thread {
    /// One of [`PASSES`] and [`TRAPS`]. Linux reads it.
    pub(crate) selector: Cell<u8>,
    state: AtomicU32,
    /// The process, once it runs in one.
    pub(crate) process: Cell<Option<&'static InCommon>>,
    pub(crate) pid: Cell<i32>,
    pub(crate) tid: Cell<i32>,
    /// The permit of [`Threads`]: 0 or 1.
    permit: AtomicU32,
    /// The signal stack that the program believes to have.
    pub(crate) program_stack: UnsafeCell<libc::stack_t>,
    /// Registers and signal mask to go on with, of a program that makes another thread or process.
    pub(crate) registers: UnsafeCell<Registers>,
    pub(crate) mask: Cell<u64>,
    /// The process that a new thread is the first one of, until it has begun.
    pub(crate) birth: Cell<Option<*mut InCommon>>,
    /// Whether a process is being made.
    pub(crate) forks: Cell<bool>,
    /// The record of the thread that is being made.
    pub(crate) child: Cell<Option<&'static Thread>>,
    /// A signal mask that a call is given in place of the program's.
    pub(crate) lent_mask: UnsafeCell<[u64; 2]>,
    /// What `exec` is given in place of the program's strings and lists.
    pub(crate) lent_program: Cell<Option<Box<LentProgram>>>,
    /// Arguments of `clone3` in place of the program's.
    pub(crate) clone_args: UnsafeCell<[u64; 11]>,
    /// Those of `TAKEN` that the program holds off.
    pub(crate) held: Cell<u64>,
    /// A signal that came for the program while the thread was in the kernel, or held it off.
    pub(crate) late: Cell<Option<libc::siginfo_t>>,
    /// The call of Linux's that the thread makes.
    pub(crate) at_gate: Cell<AtGate>,
    /// A time in place of the program's.
    pub(crate) lent_time: UnsafeCell<[u64; 2]>,
    /// Where the thread's own stack is described for Linux.
    pub(crate) stack: UnsafeCell<libc::stack_t>,
}

/// Bytes that the record may take of the stack.
const RECORD_BYTES: usize = 4096;

const _: () = assert!(size_of::<Thread>() <= RECORD_BYTES);

impl Thread {
    /// The thread that runs, in a handler.
    pub(crate) fn current() -> &'static Self {
        let marker = 0_u8;
        let address = (&raw const marker).addr();
        debug_assert!((STACKS..STACKS_END).contains(&address), "a kernel stack");
        // SAFETY: kernel stacks are aligned to their size, and begin with a record.
        unsafe { &*arena::pointer(address & !(STACK_BYTES - 1)) }
    }

    /// A record that is not used, for a thread that is to begin.
    pub(crate) fn new() -> Option<&'static Self> {
        let thread = (0..THREADS).map(Self::at).find(|thread| thread.claim())?;
        arena::uses_thread(thread.number());
        Some(thread)
    }

    fn at(number: usize) -> &'static Self {
        // SAFETY: the records lie in the arena, which began as zeros: a free one.
        unsafe { &*arena::pointer(STACKS + number * STACK_BYTES) }
    }

    fn claim(&self) -> bool {
        if self.state.load(Acquire) == EXITING && !raw::is_alive(self.pid.get(), self.tid.get()) {
            // One of those that see it so frees it.
            let _freed = self.state.compare_exchange(EXITING, FREE, AcqRel, Relaxed);
        }
        if self.state.compare_exchange(FREE, USED, AcqRel, Relaxed).is_err() {
            return false;
        }
        self.selector.set(PASSES);
        self.process.set(None);
        self.pid.set(0);
        self.birth.set(None);
        self.child.set(None);
        self.lent_program.set(None);
        self.held.set(0);
        self.late.set(None);
        self.at_gate.set(AtGate::default());
        self.permit.store(0, Relaxed);
        let stack = libc::stack_t {
            ss_sp: self.lowest().cast(),
            ss_flags: 0,
            ss_size: STACK_BYTES - RECORD_BYTES,
        };
        // SAFETY: the record is this caller's alone.
        unsafe { *self.stack.get() = stack };
        let none =
            libc::stack_t { ss_sp: core::ptr::null_mut(), ss_flags: libc::SS_DISABLE, ss_size: 0 };
        // SAFETY: as above.
        unsafe { *self.program_stack.get() = none };
        true
    }

    /// Gives the record up when the thread no longer exists.
    pub(crate) fn exit(&self) {
        self.state.store(EXITING, Release);
    }

    /// Gives the record up: the thread was never made.
    pub(crate) fn give_up(&self) {
        self.state.store(FREE, Release);
    }

    /// The number of the process, or 0 without one.
    pub(crate) fn process_number(&self) -> u64 {
        self.process.get().map_or(0, |process| process.number)
    }

    fn lowest(&self) -> *mut u8 {
        arena::pointer(core::ptr::from_ref(self).addr() + RECORD_BYTES)
    }

    /// The part of the stack that a thread of the machine's own runs on.
    pub(crate) fn own_stack(&self) -> (*mut u8, usize) {
        (self.lowest(), STACK_BYTES - RECORD_BYTES)
    }

    /// The number of the record.
    pub(crate) fn number(&self) -> usize {
        (core::ptr::from_ref(self).addr() - STACKS) / STACK_BYTES
    }

    /// Takes signals on this stack from now on.
    pub(crate) fn use_stack(&self) {
        let args = [self.stack.get().addr(), 0, 0, 0, 0, 0];
        raw::harmless(Sysno::sigaltstack, args);
    }

    /// Gives up the records of threads that the process had before it was replaced by `exec`.
    pub(crate) fn forget_others(running: &Self) {
        let pid = raw::pid();
        for thread in (0..arena::threads()).map(Self::at) {
            let is_used = thread.state.load(Acquire) != FREE;
            if is_used && thread.pid.get() == pid && !core::ptr::eq(thread, running) {
                thread.lent_program.set(None);
                thread.state.store(FREE, Release);
            }
        }
    }
}

/// The threads of the machine, as far as they can sleep.
pub(crate) struct Sleepers;

/// How long a thread sleeps at most before it looks what other processes want of its own, in
/// nanoseconds.
const NAP: i64 = 2_000_000;

/// Naps after which it looks whether what it waits for can come.
const PATIENCE: u32 = 500;

impl Threads for Sleepers {
    type Thread = usize;

    fn current(&self) -> usize {
        Thread::current().number()
    }

    fn park(&self) {
        let permit = &Thread::current().permit;
        let mut naps = 0_u32;
        while permit.swap(0, Acquire) == 0 {
            naps += 1;
            if let Some(hooks) = hooks() {
                (hooks.serve)();
                if naps.is_multiple_of(PATIENCE) {
                    (hooks.look_for_dead)();
                }
            }
            let nap = libc::timespec { tv_sec: 0, tv_nsec: NAP };
            let args = [
                permit.as_ptr().addr(),
                libc::FUTEX_WAIT as usize,
                0,
                (&raw const nap).addr(),
                0,
                0,
            ];
            raw::harmless(Sysno::futex, args);
        }
    }

    fn unpark(&self, thread: usize) {
        let permit = &Thread::at(thread).permit;
        permit.store(1, Release);
        let args = [permit.as_ptr().addr(), libc::FUTEX_WAKE as usize, 1, 0, 0, 0];
        raw::harmless(Sysno::futex, args);
    }
}
