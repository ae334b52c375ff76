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
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use faultless::page::{LockContext, Trace};
use faultless::parts::{InterruptsOff, Lock, LockOrder, YieldWait};
use faultless::prelude::*;
use faultless_posix::{AddressSpace, AreasEvent, Description, ReverseMap, ShowsFile, System};

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
    /// M, if it is about to be waited for.
    static WANTED: Cell<Option<Lock>> = const { Cell::new(None) };
    /// Looks for a signal before there is one.
    static LOOKS: Cell<u64> = const { Cell::new(u64::MAX) };
    static AT_RECLAIM: Cell<Option<Box<dyn FnOnce() -> u32>>> = const { Cell::new(None) };
    static WAITING_SINCE: Cell<Option<Instant>> = const { Cell::new(None) };
}

/// Threads that sleep until they get M, in its queue.
static SLEEPERS: Mutex<Vec<(thread::ThreadId, Lock)>> = Mutex::new(Vec::new());

fn sleepers() -> MutexGuard<'static, Vec<(thread::ThreadId, Lock)>> {
    SLEEPERS.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Threads that wait for M of the space for reading.
pub fn readers(space: &Arc<Space>) -> usize {
    let lock = Lock::SpaceRead(ShowsFile::age(&**space));
    sleepers().iter().filter(|(_, wanted)| *wanted == lock).count()
}

/// Threads that wait for M of the space for writing.
pub fn writers(space: &Arc<Space>) -> usize {
    let lock = Lock::SpaceWrite(ShowsFile::age(&**space));
    sleepers().iter().filter(|(_, wanted)| *wanted == lock).count()
}

/// The last handle of a file goes: neither M nor a lock of the cache is held.
fn no_lock_of_the_cache_held() {
    LOCKS.with(|locks| locks.nothing_held(0)).expect("the drop of a file");
}

/// This thread is killed once it has looked for a signal so often.
pub fn die_after(looks: u64) {
    LOOKS.set(looks);
}

/// Waits for other threads.
pub fn until(is_so: impl Fn() -> bool) {
    let since = Instant::now();
    while !is_so() {
        assert!(since.elapsed() < LIMIT, "it never comes to that");
        thread::yield_now();
    }
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

    const LOCKS_AREAS: bool = crate::LOCKS_AREAS;

    fn unique() -> u64 {
        static LAST: AtomicU64 = AtomicU64::new(0);
        LAST.fetch_add(1, Ordering::Relaxed) + 1
    }

    fn is_zeros(file: &File) -> bool {
        file.store().is_zeros()
    }

    fn is_killed() -> bool {
        // A waiter looks when it is in the queue.
        if let Some(lock) = WANTED.take() {
            sleepers().push((thread::current().id(), lock));
        }
        let left = LOOKS.get();
        LOOKS.set(left.saturating_sub(1));
        left == 0
    }

    fn trace_areas(lock: Lock, event: AreasEvent) {
        WANTED.set((event == AreasEvent::Acquiring).then_some(lock));
        if event != AreasEvent::Released {
            let own = thread::current().id();
            sleepers().retain(|(thread, _)| *thread != own);
        }
        let checked = LOCKS.with(|locks| match event {
            AreasEvent::Acquiring => locks.acquiring(0, lock),
            AreasEvent::Acquired => locks.acquired(0, lock),
            AreasEvent::GaveUp => {
                locks.gave_up(0);
                Ok(())
            }
            AreasEvent::Released => {
                locks.released(0, lock);
                Ok(())
            }
        });
        // The control takes M twice.
        let is_control = LOOKS.get() != u64::MAX;
        if !thread::panicking() && !is_control {
            checked.expect("the order of locks");
        }
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
