//! A kernel for the system calls, in one process: page tables that are maps, a TLB that is a list
//! of what was not flushed yet, and user memory that walks the table.
//!
//! Checked all the time: a flush, a wait, a call of a store and the drop of a file come with no
//! short lock held; locks are taken in their order, and none is held at an access that may fault; a
//! frame is free only when no CPU can have it cached; at the end of a test all frames are back.
//! Freed frames are poisoned.
#![allow(dead_code, missing_docs, unreachable_pub, unused_imports)] // every test program uses a part of it

mod calls;
mod files;
mod frames;
mod interrupts;
mod memory;
mod process;
mod rng;
mod table;

use std::cell::Cell;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use faultless::page::{LockContext, Trace};
use faultless::parts::{InterruptsOff, LockOrder, YieldWait};
use faultless::prelude::*;
use faultless_posix::{AddressSpace, Description, ReverseMap, System};

pub use calls::*;
pub use files::*;
pub use interrupts::*;
pub use memory::{Memory, PLAIN, PLAIN_LEN};
pub use process::{Process, at};
pub use rng::{Rng, seed};
pub use table::{at_flush, stale_entries};

use frames::{CheckedFrames, Physical};

pub type Space = AddressSpace<Machine>;
pub type Open = Arc<Description<Machine>>;

/// How long a test may wait for another thread.
const LIMIT: Duration = Duration::from_secs(60);

thread_local! {
    static LOCKS: LockOrder<1> = const { LockOrder::new() };
    static AT_RECLAIM: Cell<Option<Box<dyn FnOnce() -> u32>>> = const { Cell::new(None) };
    static WAITING_SINCE: Cell<Option<Instant>> = const { Cell::new(None) };
}

/// Has the next allocation of this thread that finds no frame give pages up: how many it has.
pub fn at_reclaim(give_up: impl FnOnce() -> u32 + 'static) {
    AT_RECLAIM.set(Some(Box::new(give_up)));
}

/// Lets other threads run; the watchdog of all waits.
fn yield_now() {
    nothing_held("a wait");
    let since = WAITING_SINCE.get().unwrap_or_else(Instant::now);
    WAITING_SINCE.set(Some(since));
    assert!(since.elapsed() < LIMIT, "deadlock");
    thread::yield_now();
}

#[derive(Debug)]
pub struct TestKernel;

impl Kernel for TestKernel {
    type Sync = InterruptsOff<Interrupts>;
    type Frames = CheckedFrames;
    type Wait = YieldWait;
    type Cache = &'static PageCache<Self>;
    type Store = Arc<dyn AddressSpaceOperations>;
    type UserMappings = ReverseMap<Arc<Space>, InterruptsOff<Interrupts>>;
    type Replacement = ();

    fn trace(event: Trace) {
        // Each thread has a checker: the order is total.
        let checked = LOCKS.with(|locks| locks.trace(0, event));
        if !thread::panicking() {
            checked.expect("the order of locks");
        }
    }

    fn reclaim(_cache: &PageCache<Self>, _locks: LockContext<'_>, _wanted: u32) -> u32 {
        AT_RECLAIM.take().map_or(0, |give_up| give_up())
    }

    fn dirty_pages_dropped(_mapping: u64, _pages: u64) {
        // F6 is not the subject here: tests drop files as they are.
    }
}

#[derive(Debug)]
pub struct Machine;

// SAFETY: handles are counted; a flush forgets all that the TLB had of these pages.
unsafe impl System for Machine {
    type Kernel = TestKernel;
    type Sync = InterruptsOff<Interrupts>;
    type File = File;
    type Space = Arc<Space>;
    type PageTable = table::Table;

    fn unique() -> u64 {
        static LAST: AtomicU64 = AtomicU64::new(0);
        LAST.fetch_add(1, Ordering::Relaxed) + 1
    }

    fn flush(root: usize, pages: std::ops::Range<usize>) {
        nothing_held("a flush");
        table::flush(root, &pages);
    }
}

/// A machine of its own for a test. Declared first, so that it is dropped last, when nothing may
/// have a frame any more.
pub struct Rig {
    physical: &'static Physical,
    pub cache: &'static PageCache<TestKernel>,
}

impl Rig {
    /// With this many frames, but for those of the pool's own.
    pub fn with_frames(frames: usize) -> Self {
        let physical: &'static Physical = Box::leak(Box::new(Physical::new(frames)));
        let wait: YieldWait = YieldWait::new(yield_now);
        let cache = PageCache::new(CheckedFrames(physical), wait);
        WAITING_SINCE.set(None);
        Self { physical, cache: Box::leak(Box::new(cache)) }
    }

    pub fn new() -> Self {
        Self::with_frames(1024)
    }

    /// A process without mappings, and with plain memory.
    pub fn process(&self) -> Process {
        Process::new(self.space(), self.cache)
    }

    pub fn space(&self) -> Arc<Space> {
        Arc::new(AddressSpace::new(self.cache, table::Table::new(self.physical)))
    }

    /// Frames in use, but for those of the index.
    pub fn frames_in_use(&self) -> usize {
        self.physical.in_use() - self.cache.metadata_bytes() / PAGE_SIZE
    }

    /// Has another thread run in the next allocation of frames.
    pub fn at_allocation(&self, other_thread: impl FnOnce() + Send + 'static) {
        self.physical.at_allocation(other_thread);
    }

    /// Frames that can be had.
    pub fn free_frames(&self) -> usize {
        self.physical.free()
    }
}

impl Drop for Rig {
    fn drop(&mut self) {
        if !thread::panicking() {
            assert_eq!(self.frames_in_use(), 0, "frames that were not given back");
        }
    }
}

impl fmt::Debug for Rig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Rig").finish_non_exhaustive()
    }
}

/// Runs `work` on a thread of its own, which has to end.
pub fn watched(work: impl FnOnce() + Send + 'static) {
    let (done, ended) = mpsc::channel();
    let thread = thread::spawn(move || {
        work();
        // The receiver waits for it, unless the time is over.
        let _late = done.send(());
    });
    match ended.recv_timeout(2 * LIMIT) {
        Err(mpsc::RecvTimeoutError::Timeout) => panic!("the test does not end"),
        _ => thread.join().expect("no panic"),
    }
}

/// Enters the kernel, once at a time.
pub fn syscall<R>(work: impl FnOnce(&mut MayFault) -> R) -> R {
    nothing_held("a system call");
    WAITING_SINCE.set(None);
    // SAFETY: the thread is in no other system call, and has no lock.
    let mut token = unsafe { MayFault::assert() };
    work(&mut token)
}

/// A task with a limit of file sizes (W8), or that is to die (W10).
#[derive(Debug, Default)]
pub struct TestTask {
    pub limit: Option<u64>,
    pub killed: Cell<bool>,
    pub signals: Cell<u32>,
}

impl Task for TestTask {
    fn fatal_signal_pending(&self) -> bool {
        self.killed.get()
    }

    fn file_size_limit(&self) -> u64 {
        self.limit.unwrap_or(u64::MAX)
    }

    fn file_size_exceeded(&self) {
        self.signals.set(self.signals.get() + 1);
    }
}
