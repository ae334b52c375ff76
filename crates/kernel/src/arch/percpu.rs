//! What a CPU knows without asking: its number, the stack for the next entry, and its thread.
//!
//! In kernel mode GS leads to the CPU's [`PerCpu`]; the entry code uses its first words by their
//! offsets.

use core::arch::asm;
use core::mem::offset_of;
use core::ptr;
use core::sync::atomic::Ordering::Relaxed;
use core::sync::atomic::{AtomicBool, AtomicPtr, AtomicU64, AtomicUsize};

use x86_64::VirtAddr;
use x86_64::registers::model_specific::GsBase;

/// CPUs that the kernel runs on at most.
pub(crate) const MAX_CPUS: usize = 8;

/// A CPU's own data. Other CPUs look at the atomic words only.
#[derive(Debug)]
#[repr(C, align(64))]
pub(crate) struct PerCpu {
    /// The top of the current thread's kernel stack: where an entry from user mode begins.
    pub(crate) kernel_stack: AtomicUsize,
    /// The user's stack pointer, during a few instructions of a system call's entry.
    scratch: AtomicUsize,
    number: AtomicUsize,
    /// The current thread, which the scheduler keeps alive: it knows the type.
    pub(crate) thread: AtomicPtr<()>,
    /// The physical address of the page table that the CPU uses.
    pub(crate) root: AtomicUsize,
    /// How often its TLB was to be flushed, and up to where that is done.
    pub(crate) flushes_wanted: AtomicU64,
    pub(crate) flushes_done: AtomicU64,
    /// The restartable sequence of the current thread is to begin anew.
    pub(crate) restarts: AtomicBool,
    /// The current thread has had its turn.
    pub(crate) preempt: AtomicBool,
    /// When the current thread came to it, in nanoseconds of the monotonic clock.
    pub(crate) since: AtomicU64,
    /// It runs its idle thread.
    pub(crate) idle: AtomicBool,
    /// The number of its local APIC.
    pub(crate) apic: AtomicUsize,
    /// It has come up.
    pub(crate) online: AtomicBool,
}

pub(super) const KERNEL_STACK: usize = offset_of!(PerCpu, kernel_stack);
pub(super) const SCRATCH: usize = offset_of!(PerCpu, scratch);
const NUMBER: usize = offset_of!(PerCpu, number);
const THREAD: usize = offset_of!(PerCpu, thread);

static CPUS: [PerCpu; MAX_CPUS] = [const { PerCpu::new() }; MAX_CPUS];

impl PerCpu {
    const fn new() -> Self {
        Self {
            kernel_stack: AtomicUsize::new(0),
            scratch: AtomicUsize::new(0),
            number: AtomicUsize::new(0),
            thread: AtomicPtr::new(ptr::null_mut()),
            root: AtomicUsize::new(0),
            flushes_wanted: AtomicU64::new(0),
            flushes_done: AtomicU64::new(0),
            restarts: AtomicBool::new(false),
            preempt: AtomicBool::new(false),
            since: AtomicU64::new(0),
            idle: AtomicBool::new(false),
            apic: AtomicUsize::new(0),
            online: AtomicBool::new(false),
        }
    }
}

impl PerCpu {
    /// The number of the CPU.
    pub(crate) fn number(&self) -> usize {
        self.number.load(Relaxed)
    }
}

/// Lets GS lead to the data of CPU `cpu`, which this is.
pub(super) fn init(cpu: usize) {
    let own = &CPUS[cpu];
    own.number.store(cpu, Relaxed);
    GsBase::write(VirtAddr::from_ptr(own));
}

/// All CPUs that can be.
pub(crate) fn cpus() -> &'static [PerCpu; MAX_CPUS] {
    &CPUS
}

/// How many CPUs run.
pub(crate) fn online() -> usize {
    CPUS.iter().filter(|cpu| cpu.online.load(Relaxed)).count()
}

/// The number of the CPU. With interrupts on, the thread may be on another one already.
pub(crate) fn number() -> usize {
    let number;
    // SAFETY: in kernel mode GS leads to a `PerCpu`.
    unsafe {
        asm!("mov {}, gs:[{}]", out(reg) number, const NUMBER,
            options(nostack, preserves_flags, readonly));
    }
    number
}

/// The CPU's data. With interrupts on, the thread may be on another one already.
pub(crate) fn this() -> &'static PerCpu {
    &CPUS[number()]
}

/// The current thread; null before the scheduler has begun.
pub(crate) fn thread() -> *mut () {
    let thread;
    // SAFETY: as above. One load, so that it is the thread's own whatever the CPU.
    unsafe {
        asm!("mov {}, gs:[{}]", out(reg) thread, const THREAD,
            options(nostack, preserves_flags, readonly));
    }
    thread
}
