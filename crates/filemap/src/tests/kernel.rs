//! The kernel of the tests: a pool of frames that can be told to refuse, a wait that ends, and a
//! watch over the locks that the thread holds.

use core::cell::{Cell, RefCell};
use core::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::boxed::Box;
use std::rc::Rc;
use std::sync::{Arc, Mutex};
use std::thread::panicking;
use std::vec::Vec;

use faultless_page::{
    AddressSpaceOperations, CoreSync, Count, Errno, FrameNumber, Frames, Kernel, LockContext,
    LockId, PAGE_SIZE, PageCache, PageIndex, PageRun, SlotMask, StoreId, Trace, TwoQueues, Unmap,
    UserMappings, Wait, WaitKey, forward_to_frames,
};
use faultless_parts::{FramePool, Page};

use crate::{DirtyLimit, Task};

/// What fresh frames hold: never a byte of a test's data, nor zero.
pub(super) const POISON: u8 = 0xa5;

/// Looks of a waiter at its condition after which it waits for something that never comes.
const PATIENCE: u32 = 200_000;

std::thread_local! {
    /// Locks that this thread holds.
    static HELD: RefCell<Vec<LockId>> = const { RefCell::new(Vec::new()) };
    /// Other events, in order.
    static SEEN: RefCell<Vec<Trace>> = const { RefCell::new(Vec::new()) };
    /// What another task does inside the next allocation.
    static ALLOCATING: RefCell<Option<Box<dyn FnOnce()>>> = const { RefCell::new(None) };
    /// Dirty pages of inodes that were just dropped.
    static DROPPED: Cell<u64> = const { Cell::new(0) };
    /// What an allocation that finds nothing does.
    static RECLAIM: RefCell<Option<Rc<DirectReclaim>>> = const { RefCell::new(None) };
    /// Keys that were woken.
    static WOKEN: RefCell<Vec<WaitKey>> = const { RefCell::new(Vec::new()) };
    /// What is told of counts.
    static COUNTING: Cell<Option<&'static Counting>> = const { Cell::new(None) };
}

/// See [`Kernel::count`].
type Counting = dyn Fn(StoreId, Count, u32);

/// From now on `limit` is told of this thread's counts.
pub(super) fn count_for<const STORES: usize>(limit: &'static DirtyLimit<TestKernel, STORES>) {
    let count = move |store, what, pages| limit.count(store, what, pages, &Patient);
    COUNTING.set(Some(Box::leak(Box::new(count))));
}

/// See [`Kernel::reclaim`].
type DirectReclaim = dyn Fn(&PageCache<TestKernel>, LockContext<'_>, u32) -> u32;

/// From now on an allocation that finds nothing calls `reclaim`.
pub(super) fn reclaim_by(
    reclaim: impl Fn(&PageCache<TestKernel>, LockContext<'_>, u32) -> u32 + 'static,
) {
    RECLAIM.set(Some(Rc::new(reclaim)));
}

/// Keys that were woken since the last call.
pub(super) fn take_woken() -> Vec<WaitKey> {
    WOKEN.take()
}

/// Nothing is held and nothing was seen.
pub(super) fn forget() {
    HELD.take();
    SEEN.take();
    DROPPED.take();
    RECLAIM.take();
    WOKEN.take();
    COUNTING.take();
}

/// Locks that this thread holds.
pub(super) fn held() -> Vec<LockId> {
    HELD.with_borrow(Clone::clone)
}

/// Events since the last call that `wanted` wants, in order.
pub(super) fn take_seen(wanted: impl Fn(&Trace) -> bool) -> Vec<Trace> {
    let mut seen = SEEN.take();
    seen.retain(wanted);
    seen
}

/// Another task does `other` inside the next allocation.
pub(super) fn at_next_allocation(other: impl FnOnce() + 'static) {
    ALLOCATING.set(Some(Box::new(other)));
}

/// Dirty pages that were dropped since the last call.
pub(super) fn take_dropped() -> u64 {
    DROPPED.take()
}

/// Fails the test if a page is locked (P3).
#[track_caller]
pub(super) fn no_page_is_locked(at: &str) {
    let pages = held().into_iter().find(|lock| matches!(lock, LockId::Pages { .. }));
    assert_eq!(pages, None, "P3: {at} with a page lock");
}

fn observe(event: Trace) {
    match event {
        Trace::Acquired(id) => {
            HELD.with_borrow_mut(|held| held.push(id));
            SEEN.with_borrow_mut(|seen| seen.push(event));
        }
        Trace::Released(id) => HELD.with_borrow_mut(|held| {
            let at = held.iter().position(|lock| *lock == id);
            assert!(at.is_some() || panicking(), "P5: {id} is released and not held");
            at.map(|at| held.remove(at));
        }),
        Trace::MayFault if !panicking() => no_page_is_locked("an access that may fault"),
        other => SEEN.with_borrow_mut(|seen| seen.push(other)),
    }
}

/// The kernel.
pub(super) struct TestKernel;

impl Kernel for TestKernel {
    type Sync = CoreSync;
    type Frames = Memory;
    type Wait = Patient;
    type Cache = Arc<PageCache<Self>>;
    type Store = Arc<dyn AddressSpaceOperations>;
    type UserMappings = Mappings;
    type Replacement = TwoQueues;

    fn reclaim(cache: &PageCache<Self>, locks: LockContext<'_>, wanted: u32) -> u32 {
        no_page_is_locked("direct reclaim");
        let reclaim = RECLAIM.with_borrow(Clone::clone);
        reclaim.map_or(0, |reclaim| reclaim(cache, locks, wanted))
    }

    fn dirty_pages_dropped(_mapping: u64, pages: u64) {
        DROPPED.set(DROPPED.get() + pages);
    }

    fn trace(event: Trace) {
        observe(event);
    }

    fn count(store: StoreId, what: Count, pages: u32) {
        if let Some(count) = COUNTING.get() {
            count(store, what, pages);
        }
    }
}

/// A pool that refuses once it has granted so many requests. Fresh frames are poisoned.
pub(super) struct Memory {
    pub(super) pool: FramePool,
    pub(super) grants: AtomicU64,
    /// With so many frames left, none is spare.
    pub(super) low: AtomicU64,
    /// Requests for frames that the CPU fills.
    pub(super) hot: AtomicU64,
}

impl Memory {
    /// A pool of so many frames, or a few more.
    pub(super) fn new(frames: usize) -> Self {
        let region = std::vec![Page::ZERO; frames + 1].leak();
        let (grants, low) = (AtomicU64::new(u64::MAX), AtomicU64::new(0));
        Self { pool: FramePool::new(region), grants, low, hot: AtomicU64::new(0) }
    }
}

// SAFETY: the pool's promises; it is told of every count.
unsafe impl Frames for Memory {
    fn allocate(&self, pages: u32) -> Result<(FrameNumber, u32), Errno> {
        no_page_is_locked("an allocation");
        if let Some(other) = ALLOCATING.take() {
            other();
        }
        let left = self.grants.load(Relaxed).checked_sub(1).ok_or(Errno::NoMemory)?;
        self.grants.store(left, Relaxed);
        let (first, count) = self.pool.allocate(pages)?;
        for frame in (0..count).filter_map(|n| first.checked_add(n)) {
            let page = self.pool.address(frame).as_ptr();
            // SAFETY: a page that was just handed out to this thread.
            unsafe { page.write_bytes(POISON, PAGE_SIZE) };
        }
        Ok((first, count))
    }

    fn allocate_hot(&self, pages: u32) -> Result<(FrameNumber, u32), Errno> {
        self.hot.fetch_add(1, Relaxed);
        self.allocate(pages)
    }

    fn allocate_spare(&self, pages: u32) -> Result<(FrameNumber, u32), Errno> {
        if u64::from(self.pool.free()) <= self.low.load(Relaxed) {
            return Err(Errno::NoMemory);
        }
        self.allocate(pages)
    }

    forward_to_frames!(self => self.pool; all_but_allocate);
}

/// Spins, and fails the test when that does not help.
pub(super) struct Patient;

impl Wait for Patient {
    fn wait_until(&self, key: WaitKey, condition: &mut dyn FnMut() -> bool) {
        let over = (0..PATIENCE).any(|_| condition() || (Idle::run() && condition()));
        assert!(over, "L1: a wait without end, for {key:?}");
    }

    fn wake(&self, key: WaitKey) {
        WOKEN.with_borrow_mut(|woken| woken.push(key));
    }
}

/// What other threads do while this one waits. It ends with the value.
pub(super) struct Idle(());

/// A step of another thread; whether there was one to do.
type Step = Arc<dyn Fn() -> bool>;

std::thread_local! {
    static STEP: RefCell<Option<Step>> = const { RefCell::new(None) };
    /// Steps that were done.
    static ROUNDS: Cell<u32> = const { Cell::new(0) };
}

impl Idle {
    pub(super) fn with(step: impl Fn() -> bool + 'static) -> Self {
        STEP.set(Some(Arc::new(step)));
        ROUNDS.set(0);
        Self(())
    }

    /// How many steps were done in waits.
    pub(super) fn rounds(&self) -> u32 {
        ROUNDS.get()
    }

    fn run() -> bool {
        let step = STEP.with_borrow(Clone::clone);
        let did = step.is_some_and(|step| step());
        ROUNDS.set(ROUNDS.get() + u32::from(did));
        did
    }
}

impl Drop for Idle {
    fn drop(&mut self) {
        STEP.set(None);
    }
}

/// What was asked of the reverse map: the pages, and how.
pub(super) type Unmapped = (u64, u64, RmapCall);

/// A call of the reverse map.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum RmapCall {
    Unmap(Unmap),
    WriteProtect,
}

/// A reverse map that keeps a record. The tests are the address space.
#[derive(Clone, Default)]
pub(super) struct Mappings {
    asked: Arc<Mutex<Vec<Unmapped>>>,
    /// Slots that were accessed.
    pub(super) accessed: Arc<AtomicU64>,
}

impl Mappings {
    /// What was asked since the last call.
    pub(super) fn take(&self) -> Vec<Unmapped> {
        core::mem::take(&mut self.asked.lock().expect("no test panics with it"))
    }

    fn note(&self, first: PageIndex, end: PageIndex, asked: RmapCall) {
        let mut all = self.asked.lock().expect("no test panics with it");
        all.push((first.get(), end.get(), asked));
    }
}

impl UserMappings for Mappings {
    fn unmap(&self, _id: u64, first: PageIndex, end: PageIndex, why: Unmap) {
        self.note(first, end, RmapCall::Unmap(why));
    }

    fn write_protect(&self, _id: u64, first: PageIndex, end: PageIndex) {
        self.note(first, end, RmapCall::WriteProtect);
    }

    fn take_accessed(&self, _id: u64, run: PageRun) -> SlotMask {
        let mask = run.mask();
        SlotMask::from_bits(self.accessed.fetch_and((!mask).bits(), Relaxed)) & mask
    }
}

/// The calling task.
pub(super) struct Tester {
    pub(super) now: Cell<u64>,
    pub(super) limit: Cell<u64>,
    /// Looks for a signal before there is one.
    pub(super) looks: Cell<u64>,
    pub(super) signals: Cell<u32>,
    pub(super) throttled: Cell<u32>,
    pub(super) keeps_set_id: Cell<bool>,
}

impl Tester {
    pub(super) const fn new() -> Self {
        Self {
            now: Cell::new(1),
            limit: Cell::new(u64::MAX),
            looks: Cell::new(u64::MAX),
            signals: Cell::new(0),
            throttled: Cell::new(0),
            keeps_set_id: Cell::new(false),
        }
    }
}

impl Task for Tester {
    fn now(&self) -> u64 {
        self.now.get()
    }

    fn fatal_signal_pending(&self) -> bool {
        let left = self.looks.get();
        self.looks.set(left.saturating_sub(1));
        left == 0
    }

    fn file_size_limit(&self) -> u64 {
        self.limit.get()
    }

    fn file_size_exceeded(&self) {
        self.signals.set(self.signals.get() + 1);
    }

    fn keeps_set_id(&self) -> bool {
        self.keeps_set_id.get()
    }

    fn throttle(&self) {
        no_page_is_locked("a throttle");
        self.throttled.set(self.throttled.get() + 1);
    }
}
