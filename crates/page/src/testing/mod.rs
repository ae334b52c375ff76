//! A small kernel for this crate's tests: counted and poisoned frames, waiting with a watchdog,
//! seeds, traces.

use core::marker::PhantomData;
use core::ptr::NonNull;
use core::sync::atomic::{AtomicBool, AtomicI32, AtomicU32, AtomicUsize, Ordering};
use std::alloc::{Layout, alloc, dealloc};
use std::boxed::Box;
use std::cell::RefCell;
use std::collections::BTreeSet;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use std::vec::Vec;

use crate::{
    AddressSpaceOperations, Begun, CoreSync, Errno, FileEnd, FillBuf, FrameNumber, Frames, Kernel,
    LockContext, LockedRun, Mapping, NoUserMappings, PAGE_SIZE, PageCache, PageIndex, PageRun,
    ReadRequest, SlotMask, SyncFamily, SyncKind, Trace, Wait, WaitKey, WritebackRun,
};

mod hooks;
pub(crate) use hooks::{
    Counting, Interrupted, Yielding, interrupt, take_accesses, take_locked_instructions,
};

/// What freed frames are filled with.
pub(crate) const POISON: u8 = 0xa5;

/// Frames from one block, with counts, that checks each promise of the caller.
pub(crate) struct TestFrames {
    memory: NonNull<u8>,
    counts: Vec<AtomicU32>,
    free: Mutex<BTreeSet<u32>>,
    /// Allocations left before every further one fails.
    pub(crate) budget: AtomicUsize,
    pub(crate) scattered: AtomicBool,
    /// Added to what `allocate` says it has allocated: breaks its promise.
    pub(crate) boast: AtomicI32,
}

// SAFETY: the block is memory like any other.
unsafe impl Send for TestFrames {}
// SAFETY: as above; the rest is `Sync`.
unsafe impl Sync for TestFrames {}

fn unpoisoned<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl TestFrames {
    pub(crate) fn new(frames: u32) -> Self {
        // SAFETY: the size is not zero.
        let memory = NonNull::new(unsafe { alloc(Self::layout(frames as usize)) }).unwrap();
        // SAFETY: the block is that large.
        unsafe { memory.as_ptr().write_bytes(POISON, frames as usize * PAGE_SIZE) };
        Self {
            memory,
            counts: (0..frames).map(|_| AtomicU32::new(0)).collect(),
            free: Mutex::new((0..frames).collect()),
            budget: AtomicUsize::new(usize::MAX),
            scattered: AtomicBool::new(false),
            boast: AtomicI32::new(0),
        }
    }

    fn layout(frames: usize) -> Layout {
        Layout::from_size_align(frames * PAGE_SIZE, PAGE_SIZE).unwrap()
    }

    pub(crate) fn in_use(&self) -> usize {
        self.counts.len() - unpoisoned(&self.free).len()
    }
}

impl Drop for TestFrames {
    fn drop(&mut self) {
        // SAFETY: allocated with this layout, and not used any more.
        unsafe { dealloc(self.memory.as_ptr(), Self::layout(self.counts.len())) };
    }
}

// SAFETY: the counts and the free set keep the promises, and assert them.
unsafe impl Frames for TestFrames {
    fn allocate(&self, pages: u32) -> Result<(FrameNumber, u32), Errno> {
        let spend = |budget: usize| budget.checked_sub(1);
        self.budget
            .fetch_update(Ordering::SeqCst, Ordering::SeqCst, spend)
            .map_err(|_| Errno::NoMemory)?;
        let mut free = unpoisoned(&self.free);
        let first = if self.scattered.load(Ordering::Relaxed) {
            // Every other one, so that two allocations are never adjacent.
            free.iter().copied().find(|n| n % 2 == 0)
        } else {
            free.first().copied()
        };
        let first = first.ok_or(Errno::NoMemory)?;
        let wanted = if self.scattered.load(Ordering::Relaxed) { 1 } else { pages };
        let mut got = 0;
        while got < wanted && free.remove(&(first + got)) {
            let before = self.counts[(first + got) as usize].swap(1, Ordering::SeqCst);
            assert_eq!(before, 0, "a free frame has a count");
            got += 1;
        }
        let claimed = got.saturating_add_signed(self.boast.load(Ordering::Relaxed));
        Ok((FrameNumber::new(first + 1).unwrap(), claimed))
    }

    fn retain(&self, frame: FrameNumber) {
        let before = self.counts[frame.get() as usize - 1].fetch_add(1, Ordering::SeqCst);
        assert_ne!(before, 0, "retained a free frame");
    }

    fn references(&self, frame: FrameNumber) -> u32 {
        self.counts[frame.get() as usize - 1].load(Ordering::SeqCst)
    }

    unsafe fn release(&self, frame: FrameNumber) {
        let n = frame.get() - 1;
        let before = self.counts[n as usize].fetch_sub(1, Ordering::SeqCst);
        assert_ne!(before, 0, "released a free frame");
        if before == 1 {
            let memory = self.address(frame);
            // SAFETY: the last owner has just let go of this page.
            unsafe { memory.as_ptr().write_bytes(POISON, PAGE_SIZE) };
            unpoisoned(&self.free).insert(n);
        }
    }

    fn address(&self, frame: FrameNumber) -> NonNull<u8> {
        // SAFETY: frames are numbered from 1 and lie in the block.
        unsafe { self.memory.byte_add((frame.get() as usize - 1) * PAGE_SIZE) }
    }
}

/// Waiting by one condition variable for all keys. A sleeper that is not woken for long is a lost
/// wake-up.
#[derive(Default)]
pub(crate) struct TestWait {
    lock: Mutex<()>,
    changed: Condvar,
    /// Come back at once, whatever the condition says.
    pub(crate) lies: AtomicBool,
    /// The next wait, or the next wake once it has woken, unwinds.
    pub(crate) unwinds: AtomicBool,
    pub(crate) sleeping: AtomicUsize,
    /// Keys that were waited on, and keys that were woken.
    keys: [Mutex<Vec<WaitKey>>; 2],
}

impl TestWait {
    /// The keys that were waited on since the last call.
    pub(crate) fn take_keys(&self) -> Vec<WaitKey> {
        core::mem::take(&mut *unpoisoned(&self.keys[0]))
    }

    /// The keys that were woken since the last call.
    pub(crate) fn take_woken(&self) -> Vec<WaitKey> {
        core::mem::take(&mut *unpoisoned(&self.keys[1]))
    }

    fn unwind_if_planned(&self) {
        assert!(!self.unwinds.swap(false, Ordering::SeqCst), "planted: waiting unwinds");
    }

    fn note(list: &Mutex<Vec<WaitKey>>, key: WaitKey) {
        let mut list = unpoisoned(list);
        // Stress tests look at none.
        if list.len() < 1_000 {
            list.push(key);
        }
    }
}

/// Longer than anything here takes.
pub(crate) const WATCHDOG: Duration = Duration::from_secs(60);

impl Wait for TestWait {
    fn wait_until(&self, key: WaitKey, condition: &mut dyn FnMut() -> bool) {
        Self::note(&self.keys[0], key);
        if self.lies.load(Ordering::Relaxed) {
            std::thread::yield_now();
            let _ignored = condition();
            return;
        }
        self.unwind_if_planned();
        let mut held = unpoisoned(&self.lock);
        while !condition() {
            self.sleeping.fetch_add(1, Ordering::SeqCst);
            let waited = self.changed.wait_timeout(held, WATCHDOG);
            let (next, timeout) = waited.unwrap_or_else(PoisonError::into_inner);
            self.sleeping.fetch_sub(1, Ordering::SeqCst);
            assert!(!timeout.timed_out(), "watchdog: a wake-up was lost");
            held = next;
        }
    }

    fn wake(&self, key: WaitKey) {
        Self::note(&self.keys[1], key);
        let held = unpoisoned(&self.lock);
        self.changed.notify_all();
        drop(held);
        self.unwind_if_planned();
    }
}

/// A store that knows nothing, unless it was told by [`submit_with`].
pub(crate) struct NullStore;

/// What a store answers for a request.
type Answer = Box<dyn FnMut(ReadRequest)>;

std::thread_local! {
    static ANSWER: RefCell<Option<Answer>> = const { RefCell::new(None) };
}

/// Submits pages of a run, and lets `answer` be the store.
pub(crate) fn submit_with<K: Kernel>(
    locked: LockedRun<'_, K>,
    slots: SlotMask,
    end: FileEnd,
    answer: impl FnMut(ReadRequest) + 'static,
) {
    ANSWER.with(|own| *own.borrow_mut() = Some(Box::new(answer)));
    locked.submit_read(slots, end);
    ANSWER.with(|own| *own.borrow_mut() = None);
}

impl AddressSpaceOperations for NullStore {
    fn read(&self, _index: PageIndex, _buf: &mut FillBuf<'_>) -> Result<(), Errno> {
        Ok(())
    }
    fn write_begin(&self, _pos: u64, len: usize) -> Result<Begun, Errno> {
        Ok(Begun { len, contents: crate::Contents::Hole, reserved: crate::Reserved::Fully })
    }
    fn write_end(&self, _pos: u64, _len: usize, _copied: usize) {}
    fn writeback(&self, _run: &WritebackRun<'_>) -> Result<(), Errno> {
        Ok(())
    }
    fn submit_read(&self, request: ReadRequest) {
        let answer = ANSWER.with(|own| own.borrow_mut().take());
        match answer {
            None => request.fill(|index, buf| self.read(index, buf)),
            Some(mut answer) => {
                answer(request);
                ANSWER.with(|own| *own.borrow_mut() = Some(answer));
            }
        }
    }
    fn truncate_blocks(&self, _size: u64) {}
    fn set_size(&self, _size: u64) {}
    fn sync(&self, _kind: SyncKind) -> Result<(), Errno> {
        Ok(())
    }
}

std::thread_local! {
    static TRACES: RefCell<Vec<Trace>> = const { RefCell::new(Vec::new()) };
}

/// This thread's traces since the last call.
pub(crate) fn take_traces() -> Vec<Trace> {
    TRACES.with(|traces| traces.take())
}

/// The test kernel, with words of a family.
pub(crate) struct Test<S = CoreSync>(PhantomData<S>);
impl<S: SyncFamily + Send + Sync> Kernel for Test<S> {
    type Sync = S;
    type Frames = Arc<TestFrames>;
    type Wait = Arc<TestWait>;
    type Cache = Arc<PageCache<Self>>;
    type Store = &'static NullStore;
    type UserMappings = NoUserMappings;
    type Replacement = ();

    fn cpu() -> usize {
        std::thread_local!(static CPU: usize = {
            static NEXT: AtomicUsize = AtomicUsize::new(0);
            NEXT.fetch_add(1, Ordering::Relaxed) % 16
        });
        CPU.with(|cpu| *cpu)
    }

    fn trace(event: Trace) {
        TRACES.with(|traces| {
            let mut traces = traces.borrow_mut();
            // Stress tests look at none.
            if traces.len() < 1_000 {
                traces.push(event);
            }
        });
    }
}

// SAFETY: the inner one keeps the promises.
unsafe impl Frames for Arc<TestFrames> {
    crate::forward_to_frames!(self => **self; allocate, retain, references, release, address);
}

impl Wait for Arc<TestWait> {
    fn wait_until(&self, key: WaitKey, condition: &mut dyn FnMut() -> bool) {
        (**self).wait_until(key, condition);
    }
    fn wake(&self, key: WaitKey) {
        (**self).wake(key);
    }
}

/// A machine: frames, waiting, and a cache.
pub(crate) struct Machine<S: SyncFamily + Send + Sync = CoreSync> {
    pub(crate) frames: Arc<TestFrames>,
    pub(crate) wait: Arc<TestWait>,
    pub(crate) cache: Arc<PageCache<Test<S>>>,
}

impl<S: SyncFamily + Send + Sync> Machine<S> {
    pub(crate) fn new(frames: u32) -> Self {
        let frames = Arc::new(TestFrames::new(frames));
        let wait = Arc::new(TestWait::default());
        let cache = Arc::new(PageCache::at_run_time(frames.clone(), wait.clone()));
        Self { frames, wait, cache }
    }

    pub(crate) fn mapping(&self) -> Mapping<Test<S>> {
        Mapping::new(self.cache.clone(), &NullStore, NoUserMappings, 0)
    }

    /// Drops the cache, and asserts that every frame came back.
    #[track_caller]
    pub(crate) fn assert_balanced(self) {
        let Self { frames, cache, .. } = self;
        let cache = Arc::into_inner(cache).expect("a mapping still holds the cache");
        assert_eq!(frames.in_use() * PAGE_SIZE, cache.metadata_bytes(), "pages leaked");
        drop(cache);
        assert_eq!(frames.in_use(), 0, "nodes leaked");
    }
}

/// Permission to lock, for threads of tests, which never fault.
pub(crate) fn cx<'t>() -> LockContext<'t> {
    // SAFETY: nothing here faults, and tests hold several locks only in ascending order.
    unsafe { LockContext::new() }
}

pub(crate) fn run(first: u64, pages: u64) -> PageRun {
    PageRun::new(PageIndex::new(first), pages)
}

/// The slots that are set bits of `bits`.
pub(crate) const fn slots(bits: u64) -> SlotMask {
    SlotMask::from_bits(bits)
}

/// Inserts fresh pages for a whole run, each byte of page `i` being `stamp(i)`, and marks them
/// uptodate.
#[track_caller]
pub(crate) fn populate<S: SyncFamily + Send + Sync>(
    mapping: &Mapping<Test<S>>,
    run: PageRun,
    stamp: impl Fn(u64) -> u8,
) {
    let mut index = run.first();
    while index < run.end() {
        let mut batch = mapping.cache().allocate((run.end().get() - index.get()) as u32).unwrap();
        let mut locked = mapping.lock_or_create(cx(), run).unwrap();
        while let Some(mut frame) = batch.take_first() {
            frame.bytes_mut().fill(stamp(index.get()));
            locked.insert(index, frame).expect("already present");
            locked.set_uptodate(index.bit());
            index = index.plus(1);
        }
    }
}

/// A deterministic generator. The seed is `FAULTLESS_SEED`, or always the same one; it is printed.
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(test: &str) -> Self {
        let seed = match std::env::var("FAULTLESS_SEED") {
            Ok(seed) => seed.parse().expect("FAULTLESS_SEED is a number"),
            Err(_) => 1,
        };
        std::println!("{test}: FAULTLESS_SEED={seed}");
        Self(seed)
    }

    pub(crate) fn next(&mut self) -> u64 {
        // SplitMix64.
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub(crate) fn below(&mut self, n: u64) -> u64 {
        self.next() % n
    }

    /// A generator for another thread.
    pub(crate) fn fork(&mut self) -> Self {
        Self(self.next())
    }
}

/// Fails the test if `body` takes for ever. Threads of `body` are scoped in it.
#[track_caller]
pub(crate) fn with_watchdog(body: impl FnOnce()) {
    let (done, finished) = std::sync::mpsc::channel::<()>();
    let dog = std::thread::spawn(move || {
        if finished.recv_timeout(2 * WATCHDOG) == Err(std::sync::mpsc::RecvTimeoutError::Timeout) {
            std::eprintln!("watchdog: the test hangs");
            std::process::abort();
        }
    });
    body();
    drop(done);
    dog.join().unwrap();
}
