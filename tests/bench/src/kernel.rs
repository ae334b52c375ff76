//! The smallest real kernel: memory from one mapping, no tracing, no lock checker, no fault
//! handler.
//!
//! What is measured is what ships: the types are those that an embedder would use, [`CurrentUser`]
//! with this CPU's own instructions included. User memory is resident, so nothing faults.

use std::cell::Cell;
use std::marker::PhantomData;
use std::mem::ManuallyDrop;
use std::ops::Range;
use std::sync::Arc;

use faultless_filemap::{
    Access, DirtyLimit, DirtyThresholds, DirtyVictims, DirtyWriter, Files, InFault, Inode, NoTask,
    Reclaimed, Reclaimer, Task, WriteOptions,
};
use faultless_host::stores::MemoryStore;
use faultless_page::{
    AddressSpaceOperations, ConstSync, CoreSync, Count, Errno, Kernel, NoUserMappings, PageCache,
    PageIndex, Replacement, StoreId, SyncKind, TwoQueues, Wait, WaitKey,
};
use faultless_usercopy::arch::NoWindow;
use faultless_usercopy::{CurrentUser, IovIter, MayFault, UserAddr, UserMemory, UserSlice};

use super::frames::{Layout, RigFrames};
use super::memory::{self, Arena, Part};
use super::preemption::PreemptionOff;
use super::recorder::Recorded;

/// Waits that spin, and after a while let another thread have the CPU: the one that is waited for
/// may have none.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Yielding;

impl Wait for Yielding {
    fn wait_until(&self, _key: WaitKey, condition: &mut dyn FnMut() -> bool) {
        /// A few microseconds.
        const ROUNDS: u32 = 200;
        let mut rounds = 0;
        while !condition() {
            if rounds < ROUNDS {
                std::hint::spin_loop();
            } else {
                std::thread::yield_now();
            }
            rounds += 1;
        }
    }

    fn wake(&self, _key: WaitKey) {}
}

/// A kernel, and a task of it.
pub(super) trait Measured:
    Kernel<
        Sync: ConstSync,
        Frames = RigFrames,
        Wait = Yielding,
        Cache = Arc<PageCache<Self>>,
        Store = Arc<dyn AddressSpaceOperations>,
        UserMappings = NoUserMappings,
    >
{
    /// What a call is told of its task.
    fn task() -> impl Task;
}

/// The smallest kernel, with these words and read sections, and this policy of what to keep.
#[derive(Debug)]
pub(super) struct Smallest<S, R = ()>(PhantomData<(S, R)>);
impl<S: ConstSync + Send + Sync, R: Replacement> Kernel for Smallest<S, R> {
    type Sync = S;
    type Frames = RigFrames;
    type Wait = Yielding;
    type Cache = Arc<PageCache<Self>>;
    type Store = Arc<dyn AddressSpaceOperations>;
    type UserMappings = NoUserMappings;
    type Replacement = R;

    #[inline]
    fn cpu() -> usize {
        memory::cpu()
    }
}

impl<S: ConstSync + Send + Sync, R: Replacement> Measured for Smallest<S, R> {
    #[inline]
    fn task() -> impl Task {
        NoTask
    }
}

/// As it ships.
pub(super) type Bare = Smallest<CoreSync>;
/// With read sections of its own.
pub(super) type Preemptible = Smallest<PreemptionOff>;
/// With words that are noted.
pub(super) type Noted<R> = Smallest<Recorded, R>;

/// A kernel with all that one may have: replacement, counters, a limit of dirty pages.
#[derive(Debug)]
pub(super) enum Whole {}
impl Kernel for Whole {
    type Sync = CoreSync;
    type Frames = RigFrames;
    type Wait = Yielding;
    type Cache = Arc<PageCache<Self>>;
    type Store = Arc<dyn AddressSpaceOperations>;
    type UserMappings = NoUserMappings;
    type Replacement = TwoQueues;

    #[inline]
    fn cpu() -> usize {
        memory::cpu()
    }

    #[inline]
    fn count(store: StoreId, what: Count, pages: u32) {
        COUNTERS.with(|counters| {
            if let Some(counter) = counters.get(what as usize) {
                counter.set(counter.get() + u64::from(pages));
            }
        });
        LIMIT.count(store, what, pages, &Yielding);
    }
}

impl Measured for Whole {
    #[inline]
    fn task() -> impl Task {
        Limited
    }
}

thread_local! {
    /// Counters of a CPU.
    static COUNTERS: [Cell<u64>; 16] = const { [const { Cell::new(0) }; 16] };
    /// What a task keeps between its calls.
    static WRITER: ManuallyDrop<DirtyWriter<'static, Whole>> =
        const { ManuallyDrop::new(DirtyWriter::new(&LIMIT, &Yielding)) };
}
/// What no file of a row comes near.
static LIMIT: DirtyLimit<Whole> = DirtyLimit::new(DirtyThresholds::new(1 << 31, 1 << 32));

/// A task that asks before it dirties pages.
struct Limited;

impl Task for Limited {
    const LIMITS_DIRTY_PAGES: bool = true;

    #[inline]
    fn admit_dirty(&self, store: StoreId, wanted: u32) -> u32 {
        WRITER.with(|writer| writer.admit(store, wanted, &|| false))
    }

    #[inline]
    fn settle_dirty(&self, dirtied: u32) {
        WRITER.with(|writer| writer.settle(dirtied));
    }

    #[inline(always)]
    fn throttle(&self) {
        // Far from the limit, there is no pause to make.
        let pause = WRITER.with(|writer| writer.pause_ns(0));
        debug_assert_eq!(pause, 0, "far from the limit");
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
    cache: Arc<PageCache<K>>,
    user: CurrentUser<NoWindow>,
    base: usize,
    /// The user's memory.
    memory: Arc<Arena>,
}

impl Rig {
    /// An empty file without a store over `frames`, and a user who owns `memory`.
    pub(super) fn new(frames: impl Into<Part>, layout: Layout, memory: Arc<Arena>) -> Self {
        Self::over(MemoryStore::volatile(), frames, layout, memory)
    }
}

impl<K: Measured> Rig<K> {
    /// An empty file of `store` over `frames`, and a user who owns `memory`.
    pub(super) fn over(
        store: Arc<dyn AddressSpaceOperations>,
        frames: impl Into<Part>,
        layout: Layout,
        memory: Arc<Arena>,
    ) -> Self {
        let cache = PageCache::new(RigFrames::new(frames.into(), layout), Yielding);
        Self::in_cache(Arc::new(cache), store, memory)
    }

    /// Another empty file of `store` in the same cache, for the same user.
    pub(super) fn beside(&self, store: Arc<dyn AddressSpaceOperations>) -> Self {
        Self::in_cache(self.cache.clone(), store, self.memory.clone())
    }

    fn in_cache(
        cache: Arc<PageCache<K>>,
        store: Arc<dyn AddressSpaceOperations>,
        memory: Arc<Arena>,
    ) -> Self {
        let base = memory.start().as_ptr().expose_provenance();
        // SAFETY: the arena is reached by raw copies only, and `self` keeps it; all of it is
        // mapped, so no trap handler is needed; a process needs no window to its own memory.
        let user = unsafe { CurrentUser::new(base..base + memory.bytes()) };
        let inode = Inode::new(cache.clone(), store, NoUserMappings, 0);
        Self { inode, cache, user, base, memory }
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
        self.write_slice(user, 0, options, len);
    }

    /// A system call: write `len` bytes of the user's memory from `offset` on.
    #[inline]
    pub(super) fn write_from(&self, offset: usize, options: &WriteOptions, len: usize) {
        self.write_slice(&self.user, offset, options, len);
    }

    #[inline]
    fn write_slice<U: UserMemory<Token = MayFault>>(
        &self,
        user: &U,
        offset: usize,
        options: &WriteOptions,
        len: usize,
    ) {
        let slice = self.slice(user, offset, len);
        let written = self.inode.write_slice(&mut entry(), user, &slice, options, &K::task());
        assert!(returned(written.map(|written| written.bytes)) == len as isize, "a short write");
    }

    /// A system call: write these segments, `len` bytes in all.
    #[inline]
    pub(super) fn writev(&self, segments: &[UserSlice], options: &WriteOptions, len: usize) {
        let mut from = match IovIter::new(&self.user, segments) {
            Ok(from) => from,
            Err(error) => panic!("too many segments: {error:?}"),
        };
        let written = self.inode.write(&mut entry(), &mut from, options, &K::task());
        assert!(matches!(written, Ok(w) if w.bytes == len), "{written:?}");
    }

    /// A system call: read `len` bytes to the beginning of the user's memory.
    #[inline]
    pub(super) fn read(&self, pos: u64, len: usize) {
        self.read_to(0, pos, len);
    }

    /// A system call: read `len` bytes to the user's memory from `offset` on.
    #[inline]
    pub(super) fn read_to(&self, offset: usize, pos: u64, len: usize) {
        let slice = self.slice(&self.user, offset, len);
        let read = self.inode.read_slice(&mut entry(), &self.user, &slice, pos, &K::task());
        assert!(returned(read) == len as isize, "a short read");
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

    /// Sends up to this many dirty pages to the store.
    pub(super) fn flush(&self, pages: u32) {
        let _flushed = self.inode.flush(&mut entry(), pages, &NoTask);
    }

    /// Drops what is clean.
    pub(super) fn evict(&self) {
        let _evicted = self.evict_range(0..u64::MAX);
    }

    /// Drops the clean pages with bytes of this range; how many.
    pub(super) fn evict_range(&self, bytes: Range<u64>) -> u64 {
        self.inode.evict(&mut entry(), bytes)
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

    /// Bytes of index for each cached page.
    pub(super) fn metadata_per_page(&self) -> f64 {
        let mapping = self.inode.mapping();
        mapping.cache().metadata_bytes() as f64 / mapping.cached_pages().max(1) as f64
    }

    /// Pieces of the user's memory that do not touch, each `len` bytes long.
    pub(super) fn segments(&self, count: usize, len: usize) -> Vec<UserSlice> {
        (0..count).map(|number| self.slice(&self.user, number * 2 * len, len)).collect()
    }

    #[inline]
    fn slice<U: UserMemory<Token = MayFault>>(
        &self,
        user: &U,
        offset: usize,
        len: usize,
    ) -> UserSlice {
        match UserSlice::new(user, UserAddr::new(self.base + offset), len) {
            Ok(slice) => slice,
            Err(error) => panic!("the user's memory is too small: {error:?}"),
        }
    }
}

/// What a system call returns: bytes, or minus an error.
#[inline]
fn returned(result: Result<usize, Errno>) -> isize {
    result.map_or_else(|errno| -(errno as isize), |bytes| bytes as isize)
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
