//! The smallest real kernel: memory from one mapping, no tracing, no lock checker, no fault
//! handler.
//!
//! What is measured is what ships: the types are those that an embedder would use, [`CurrentUser`]
//! with this CPU's own instructions included. User memory is resident, so nothing faults.

use std::cell::Cell;
use std::collections::VecDeque;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use faultless_filemap::{
    Access, DirtyLimit, DirtyThresholds, DirtyVictims, DirtyWriter, Files, InFault, Inode, NoTask,
    Reclaimed, Reclaimer, Task, WriteOptions,
};
use faultless_host::stores::MemoryStore;
use faultless_page::{
    AddressSpaceOperations, CoreSync, Count, Errno, FrameNumber, Frames, Kernel, NoUserMappings,
    PAGE_SIZE, PageCache, PageIndex, SpinWait, StoreId, SyncKind, TwoQueues,
};
use faultless_usercopy::arch::NoWindow;
use faultless_usercopy::{CurrentUser, IovIter, MayFault, UserAddr, UserMemory, UserSlice};

use super::memory::Arena;
use super::stats::Dice;

/// How frames lie that are allocated one after the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Layout {
    /// Side by side.
    Contiguous,
    /// Anywhere.
    Scattered,
}

/// Frames from an arena, first in, first out, so that a frame is cold when it is used again.
#[derive(Debug)]
pub(super) struct ArenaFrames {
    arena: Arena,
    /// Reference counts. Frame 1 is the first: zero is never a frame.
    counts: Vec<AtomicU32>,
    free: Mutex<VecDeque<u32>>,
    /// Frames ever handed out.
    allocated: AtomicU64,
}

impl ArenaFrames {
    fn new(arena: Arena, layout: Layout) -> Self {
        let pages = (arena.bytes() / PAGE_SIZE) as u32;
        let mut free: Vec<u32> = (1..=pages).collect();
        if layout == Layout::Scattered {
            Dice::new(0x5ca7).shuffle(&mut free);
        }
        Self {
            arena,
            counts: (0..=pages).map(|_| AtomicU32::new(0)).collect(),
            free: Mutex::new(free.into()),
            allocated: AtomicU64::new(0),
        }
    }

    fn free(&self) -> MutexGuard<'_, VecDeque<u32>> {
        self.free.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn count(&self, frame: u32) -> &AtomicU32 {
        &self.counts[frame as usize]
    }
}

// SAFETY: a number is on the free list or has a count, never both, and comes back only at zero.
// Numbers are offsets into one mapping, whose every page is writable, initialised and lives as long
// as `self`.
unsafe impl Frames for ArenaFrames {
    fn allocate(&self, pages: u32) -> Result<(FrameNumber, u32), Errno> {
        let mut free = self.free();
        let first = free.pop_front().ok_or(Errno::NoMemory)?;
        let mut len = 1;
        while len < pages && free.front() == Some(&(first + len)) {
            free.pop_front();
            len += 1;
        }
        drop(free);
        for frame in first..first + len {
            self.count(frame).store(1, Ordering::Relaxed);
        }
        self.allocated.fetch_add(u64::from(len), Ordering::Relaxed);
        Ok((FrameNumber::new(first).ok_or(Errno::NoMemory)?, len))
    }

    fn retain(&self, frame: FrameNumber) {
        self.count(frame.get()).fetch_add(1, Ordering::Relaxed);
    }

    fn references(&self, frame: FrameNumber) -> u32 {
        self.count(frame.get()).load(Ordering::Acquire)
    }

    unsafe fn release(&self, frame: FrameNumber) {
        if self.count(frame.get()).fetch_sub(1, Ordering::AcqRel) == 1 {
            self.free().push_back(frame.get());
        }
    }

    #[inline]
    fn address(&self, frame: FrameNumber) -> NonNull<u8> {
        let offset = (frame.get() as usize - 1) * PAGE_SIZE;
        // SAFETY: a frame that was handed out lies in the arena.
        unsafe { self.arena.start().add(offset) }
    }
}

/// A kernel, and a task of it.
pub(super) trait Measured:
    Kernel<
        Sync = CoreSync,
        Frames = ArenaFrames,
        Wait = SpinWait,
        Cache = Arc<PageCache<Self>>,
        Store = Arc<dyn AddressSpaceOperations>,
        UserMappings = NoUserMappings,
    >
{
    /// What a call is told of its task.
    fn task() -> impl Task;
}

/// The smallest kernel.
#[derive(Debug)]
pub(super) enum Bare {}
impl Kernel for Bare {
    type Sync = CoreSync;
    type Frames = ArenaFrames;
    type Wait = SpinWait;
    type Cache = Arc<PageCache<Self>>;
    type Store = Arc<dyn AddressSpaceOperations>;
    type UserMappings = NoUserMappings;
    type Replacement = ();
}

impl Measured for Bare {
    #[inline]
    fn task() -> impl Task {
        NoTask
    }
}

/// A kernel with all that one may have: replacement, counters, a limit of dirty pages.
#[derive(Debug)]
pub(super) enum Whole {}
impl Kernel for Whole {
    type Sync = CoreSync;
    type Frames = ArenaFrames;
    type Wait = SpinWait;
    type Cache = Arc<PageCache<Self>>;
    type Store = Arc<dyn AddressSpaceOperations>;
    type UserMappings = NoUserMappings;
    type Replacement = TwoQueues;

    #[inline]
    fn count(store: StoreId, what: Count, pages: u32) {
        COUNTERS.with(|counters| {
            if let Some(counter) = counters.get(what as usize) {
                counter.set(counter.get() + u64::from(pages));
            }
        });
        LIMIT.count(store, what, pages, &SpinWait);
    }
}

impl Measured for Whole {
    #[inline]
    fn task() -> impl Task {
        Limited(DirtyWriter::new(&LIMIT, &SpinWait))
    }
}

thread_local! {
    /// Counters of a CPU.
    static COUNTERS: [Cell<u64>; 16] = const { [const { Cell::new(0) }; 16] };
}
/// What no file of a row comes near.
static LIMIT: DirtyLimit<Whole> = DirtyLimit::new(DirtyThresholds::new(1 << 31, 1 << 32));

/// A task that asks before it dirties pages.
struct Limited(DirtyWriter<'static, Whole>);

impl Task for Limited {
    const LIMITS_DIRTY_PAGES: bool = true;

    #[inline]
    fn admit_dirty(&self, store: StoreId, wanted: u32) -> u32 {
        self.0.admit(store, wanted, &|| false)
    }

    #[inline]
    fn settle_dirty(&self, dirtied: u32) {
        self.0.settle(dirtied);
    }
}

/// The one file of a kernel.
struct Only<'f, K: Kernel>(&'f Inode<K>);

impl<'f, K: Kernel> Files<K> for Only<'f, K> {
    type Handle = &'f Inode<K>;

    fn find(&self, mapping: u64) -> Option<&'f Inode<K>> {
        (self.0.mapping().id() == mapping).then_some(self.0)
    }
}

/// One file, and a user with some memory.
pub(super) struct Rig<K: Measured = Bare> {
    inode: Inode<K>,
    user: CurrentUser<NoWindow>,
    base: usize,
    /// The user's memory.
    memory: Arc<Arena>,
}

impl Rig {
    /// An empty file without a store over `frames`, and a user who owns `memory`.
    pub(super) fn new(frames: Arena, layout: Layout, memory: Arc<Arena>) -> Self {
        Self::over(MemoryStore::volatile(), frames, layout, memory)
    }
}

impl<K: Measured> Rig<K> {
    /// An empty file of `store` over `frames`, and a user who owns `memory`.
    pub(super) fn over(
        store: Arc<dyn AddressSpaceOperations>,
        frames: Arena,
        layout: Layout,
        memory: Arc<Arena>,
    ) -> Self {
        let cache = Arc::new(PageCache::new(ArenaFrames::new(frames, layout), SpinWait));
        let base = memory.start().as_ptr().expose_provenance();
        // SAFETY: the arena is reached by raw copies only, and `self` keeps it; all of it is
        // mapped, so no trap handler is needed; a process needs no window to its own memory.
        let user = unsafe { CurrentUser::new(base..base + memory.bytes()) };
        Self { inode: Inode::new(cache, store, NoUserMappings, 0), user, base, memory }
    }

    /// The same user with another view of its memory.
    pub(super) fn user(&self) -> &CurrentUser<NoWindow> {
        &self.user
    }

    /// The user's memory.
    pub(super) fn memory(&self) -> &Arc<Arena> {
        &self.memory
    }

    /// A system call: write the first `len` bytes of the user's memory.
    #[inline]
    pub(super) fn write(&self, options: &WriteOptions, len: usize) {
        self.write_as(&self.user, options, len);
    }

    /// The same for a user that looks on.
    #[inline]
    pub(super) fn write_as<U: UserMemory<Token = MayFault>>(
        &self,
        user: &U,
        options: &WriteOptions,
        len: usize,
    ) {
        let slice = self.slice(user, len);
        let mut from = IovIter::from_slice(user, &slice);
        let written = self.inode.write(&mut entry(), &mut from, options, &K::task());
        assert!(matches!(written, Ok(w) if w.bytes == len), "{written:?}");
    }

    /// A system call: read `len` bytes to the beginning of the user's memory.
    #[inline]
    pub(super) fn read(&self, pos: u64, len: usize) {
        let slice = self.slice(&self.user, len);
        let mut to = IovIter::from_slice(&self.user, &slice);
        let read = self.inode.read(&mut entry(), &mut to, pos, &K::task());
        assert!(matches!(read, Ok(n) if n == len), "{read:?}");
    }

    /// Truncates or extends.
    pub(super) fn set_size(&self, size: u64) {
        let done = self.inode.set_size(&mut entry(), size, &K::task());
        assert!(done.is_ok(), "{done:?}");
    }

    /// Sends everything and syncs.
    pub(super) fn fsync(&self) {
        let done = self.inode.fsync(&mut entry(), SyncKind::All, &K::task());
        assert!(done.is_ok(), "{done:?}");
    }

    /// Drops what is clean.
    pub(super) fn evict(&self) {
        let _evicted = self.inode.evict(&mut entry(), 0..u64::MAX);
    }

    /// Says how many pages there is room for.
    pub(super) fn set_capacity(&self, pages: u64) {
        let told = self.inode.mapping().cache().set_capacity(pages);
        assert_eq!(told, Ok(()), "memory for the shadows");
    }

    /// Pages that may be given up.
    pub(super) fn reclaimable(&self) -> u64 {
        self.inode.mapping().cache().reclaimable_pages()
    }

    /// A step of reclaim that wants so many pages and leaves dirty ones.
    pub(super) fn reclaim(&self, wanted: u32) -> Reclaimed {
        let reclaimer = Reclaimer::new(DirtyVictims::Leave);
        let cache = self.inode.mapping().cache();
        reclaimer.step(cache, &Only(&self.inode), &mut entry(), wanted, &NoTask)
    }

    /// Resolves a fault; no entry is set.
    pub(super) fn fault(&self, page: u64, access: Access) {
        // SAFETY: nothing is locked, and there is no other handler on this thread.
        let mut in_fault = unsafe { InFault::enter() };
        let resolved =
            self.inode.fault(&mut in_fault, PageIndex::new(page), access, &K::task(), |_| ());
        assert!(resolved.is_ok(), "{resolved:?}");
    }

    /// Frames handed out so far.
    pub(super) fn allocated(&self) -> u64 {
        self.inode.mapping().cache().frames().allocated.load(Ordering::Relaxed)
    }

    /// Bytes of index for each cached page.
    pub(super) fn metadata_per_page(&self) -> f64 {
        let mapping = self.inode.mapping();
        mapping.cache().metadata_bytes() as f64 / mapping.cached_pages().max(1) as f64
    }

    #[inline]
    fn slice<U: UserMemory<Token = MayFault>>(&self, user: &U, len: usize) -> UserSlice {
        match UserSlice::new(user, UserAddr::new(self.base), len) {
            Ok(slice) => slice,
            Err(error) => panic!("the user's memory is too small: {error:?}"),
        }
    }
}

impl<K: Measured> Drop for Rig<K> {
    fn drop(&mut self) {
        // Into memory, which has room.
        let closed = self.inode.close(&mut entry(), &NoTask);
        assert!(closed.is_ok(), "{closed:?}");
    }
}

/// The beginning of a system call.
#[inline]
fn entry() -> MayFault {
    // SAFETY: called by system calls at their entry, where nothing is locked; there is no fault
    // handler.
    unsafe { MayFault::assert() }
}
