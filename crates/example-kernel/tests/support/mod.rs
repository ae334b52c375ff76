//! A machine for the example kernel, on the host shim: a CPU for each thread, with a TLB.
//!
//! Physical memory, the MMU, page faults that are real, and the disk are those of
//! `faultless-host`. This module adds what the example kernel drives itself: a page table, which is
//! an array; a TLB, which is what [`RealMmu`] shows, so that an entry that was removed or weakened
//! works until the flush, as on a real CPU; interrupts, and preemption where they are turned on
//! again; the window to user memory.
#![allow(dead_code, missing_docs)] // every test binary uses a part of it

mod files;
mod traps;

use std::cell::{Cell, RefCell};
use std::ops::Range;
use std::sync::Arc;
use std::time::Instant;

use faultless::parts::{FramePool, InterruptControl, YieldWait};
use faultless::prelude::*;
use faultless::usercopy::arch::AccessWindow;
use faultless::usercopy::extable::Table;
use faultless_example_kernel::{AddressSpace, Entry, Example, Machine, PageTable, Signal};
use faultless_host::memory::{FrameOrder, HostFrames, PhysicalMemory, Poisoning};
use faultless_host::mmu::{self, Mmu};
use faultless_host::{RealMmu, Watchdog};

#[allow(unused_imports, reason = "as above")]
pub(crate) use files::{File, disk_bytes, new_file};
#[allow(unused_imports, reason = "as above")]
pub(crate) use traps::{faults, load, registered, store, trap};

pub(crate) type Space = AddressSpace<Host>;

/// User pages of the machine.
pub(crate) const PAGES: usize = 64;

/// Frames of its memory, those that the pool keeps for itself included.
const FRAMES: usize = 256;

/// After how many releases of short locks which other thread runs.
type Preemption = (usize, Box<dyn FnOnce()>);

/// The CPU of a thread, and all that hangs on it.
struct Cpu {
    mmu: RealMmu,
    memory: Arc<PhysicalMemory>,
    /// The first frame of the region that the pool has.
    region: FrameNumber,
    cache: &'static PageCache<Example<Host>>,
    tables: RefCell<Vec<[Option<Entry>; PAGES]>>,
    /// What the MMU shows, old entries included.
    tlb: RefCell<[Option<(FrameNumber, Protection)>; PAGES]>,
    running: RefCell<Option<Arc<Space>>>,
    extable: Table<'static>,
    interrupts_off: Cell<u32>,
    window_open: Cell<bool>,
    user_mode: Cell<bool>,
    signal: Cell<Option<Signal>>,
    faults: Cell<usize>,
    waiting_since: Cell<Option<Instant>>,
    unlocks: Cell<usize>,
    at_unlock: RefCell<Option<Preemption>>,
}

thread_local! {
    static CPU: &'static Cpu = Box::leak(Box::new(Cpu::new()));
}

fn cpu() -> &'static Cpu {
    CPU.with(|cpu| *cpu)
}

impl Cpu {
    fn new() -> Self {
        traps::install();
        let memory = PhysicalMemory::new(FRAMES, FrameOrder::Contiguous, Poisoning::Checked);
        let frames = HostFrames::new(Arc::clone(&memory));
        let (region, len) = frames.allocate(FRAMES as u32).expect("the whole memory");
        assert_eq!(len as usize, FRAMES);
        // SAFETY: the frames lie side by side; their counts are kept, and the memory stays.
        let pool = unsafe { FramePool::from_raw(memory.address(region), FRAMES * PAGE_SIZE) };
        let wait: YieldWait = YieldWait::new(yield_now);
        Self {
            mmu: RealMmu::reserve(PAGES),
            memory,
            region,
            cache: Box::leak(Box::new(PageCache::new(pool, wait))),
            tables: RefCell::default(),
            tlb: RefCell::new([None; PAGES]),
            running: RefCell::default(),
            extable: Table::of_image(),
            interrupts_off: Cell::new(0),
            window_open: Cell::new(false),
            user_mode: Cell::new(false),
            signal: Cell::new(None),
            faults: Cell::new(0),
            waiting_since: Cell::new(None),
            unlocks: Cell::new(0),
            at_unlock: RefCell::new(None),
        }
    }

    fn first_page(&self) -> usize {
        self.mmu.base() / PAGE_SIZE
    }

    /// The machine's number of a frame of the pool.
    fn physical(&self, frame: FrameNumber) -> FrameNumber {
        let region = self.memory.address(self.region).addr().get();
        let offset = self.cache.frames().address(frame).addr().get() - region;
        self.region.checked_add((offset / PAGE_SIZE) as u32).expect("a frame of the region")
    }

    fn is_running(&self, root: usize) -> bool {
        self.running.borrow().as_ref().is_some_and(|space| space.root() == root)
    }

    /// Drops what the TLB has of a user page, and walks the table of the running space.
    fn reload(&self, page: usize) {
        if page >= PAGES {
            return;
        }
        let running = self.running.borrow();
        let entry = running.as_ref().and_then(|space| self.tables.borrow()[space.root()][page]);
        let new = entry.map(|entry| (entry.frame, entry.protection));
        if std::mem::replace(&mut self.tlb.borrow_mut()[page], new) == new {
            return;
        }
        let Some((frame, protection)) = new else { return self.mmu.unmap(page) };
        let protection = match protection {
            Protection::ReadOnly => mmu::Protection::Read,
            Protection::Writable => mmu::Protection::ReadWrite,
        };
        self.mmu.map(page, &self.memory, self.physical(frame), protection);
    }
}

/// Lets other threads run. There are none: a thread that waits for long waits for itself.
fn yield_now() {
    nothing_held("a wait");
    let since = cpu().waiting_since.get().unwrap_or_else(Instant::now);
    cpu().waiting_since.set(Some(since));
    assert!(since.elapsed() < Watchdog::default_limit(), "deadlock");
    std::thread::yield_now();
}

/// What must not be with a short lock or with user memory open.
pub(crate) fn nothing_held(what: &str) {
    assert_eq!(cpu().interrupts_off.get(), 0, "{what} with a short lock");
    assert!(!cpu().window_open.get(), "{what} with user memory open");
}

#[derive(Debug)]
pub(crate) struct Host;

// SAFETY: the user range is the MMU's; `traps` passes faults on; a flush reloads every page.
unsafe impl Machine for Host {
    type Interrupts = Interrupts;
    type PageTable = HostTable;
    type Window = Window;
    const HAS_WINDOW: bool = true;
    type File = File;
    type Space = Arc<Space>;

    fn user_range() -> Range<usize> {
        let base = cpu().mmu.base();
        base..base + PAGES * PAGE_SIZE
    }

    fn flush(root: usize) {
        nothing_held("a flush");
        if cpu().is_running(root) {
            (0..PAGES).for_each(|page| cpu().reload(page));
        }
    }
}

#[derive(Debug)]
pub(crate) struct HostTable(usize);

// SAFETY: an array.
unsafe impl PageTable for HostTable {
    fn root(&self) -> usize {
        self.0
    }

    fn get(&self, page: usize) -> Option<Entry> {
        cpu().tables.borrow()[self.0][page - cpu().first_page()]
    }

    fn set(&mut self, page: usize, entry: Option<Entry>) {
        assert_ne!(cpu().interrupts_off.get(), 0, "an entry is set without the lock");
        let page = page - cpu().first_page();
        cpu().tables.borrow_mut()[self.0][page] = entry;
    }
}

/// The interrupts of the thread's CPU; and, as an interrupt would, preemption where they are turned
/// on again.
#[derive(Debug)]
pub(crate) struct Interrupts;

impl InterruptControl for Interrupts {
    type State = u32;

    fn save_and_disable() -> u32 {
        cpu().interrupts_off.replace(cpu().interrupts_off.get() + 1)
    }

    fn restore(before: u32) {
        let cpu = cpu();
        cpu.interrupts_off.set(before);
        if before > 0 {
            return;
        }
        cpu.unlocks.set(cpu.unlocks.get() + 1);
        let due = cpu.at_unlock.borrow_mut().take_if(|(at, _)| cpu.unlocks.get() > *at);
        if let Some((_, other_thread)) = due {
            other_thread();
        }
    }
}

/// SMAP: a flag of the CPU.
#[derive(Debug)]
pub(crate) struct Window;

// SAFETY: user memory is always accessible.
unsafe impl AccessWindow for Window {
    unsafe fn open() {
        cpu().window_open.set(true);
    }

    unsafe fn close() {
        cpu().window_open.set(false);
    }
}

/// Has another thread run, at the `n`-th release of a short lock from now (from 0). It may take
/// no page lock that the interrupted one may hold.
pub(crate) fn preempt_at(n: usize, other_thread: impl FnOnce() + 'static) {
    let at = cpu().unlocks.get() + n;
    *cpu().at_unlock.borrow_mut() = Some((at, Box::new(other_thread)));
}

/// Whether the other thread has run; it will not, if not.
pub(crate) fn was_preempted() -> bool {
    cpu().at_unlock.borrow_mut().take().is_none()
}

/// A new address space.
pub(crate) fn new_space() -> Arc<Space> {
    let mut tables = cpu().tables.borrow_mut();
    tables.push([None; PAGES]);
    Arc::new(AddressSpace::new(cpu().cache, HostTable(tables.len() - 1)))
}

/// The CPU goes on in another address space.
pub(crate) fn switch_to(space: &Arc<Space>) {
    *cpu().running.borrow_mut() = Some(Arc::clone(space));
    (0..PAGES).for_each(|page| cpu().reload(page));
}

/// The number of the `n`-th user page, and its address.
pub(crate) fn page(n: usize) -> usize {
    cpu().first_page() + n
}

pub(crate) fn at(n: usize) -> usize {
    page(n) * PAGE_SIZE
}

/// The entry of the `n`-th page of a space.
pub(crate) fn entry(space: &Space, n: usize) -> Option<Entry> {
    cpu().tables.borrow()[space.root()][n]
}

/// How many counts the frame has.
pub(crate) fn counts(frame: FrameNumber) -> u32 {
    cpu().cache.frames().references(frame)
}

/// Frames in use, but for those of the index.
pub(crate) fn frames_in_use() -> usize {
    let pool = cpu().cache.frames();
    (pool.total() - pool.free()) as usize - cpu().cache.metadata_bytes() / PAGE_SIZE
}

/// Enters the kernel, once at a time.
pub(crate) fn syscall<R>(work: impl FnOnce(&mut MayFault) -> R) -> R {
    nothing_held("a system call");
    cpu().waiting_since.set(None);
    faultless_host::syscall(work)
}
