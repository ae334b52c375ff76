//! The kernel as Faultless and the calls of `faultless-posix` see it.

use core::ops::{Deref, Range};
use core::sync::atomic::AtomicU64;
use core::sync::atomic::Ordering::Relaxed;

use alloc::collections::BTreeMap;
use alloc::sync::{Arc, Weak};
use alloc::vec::Vec;

use faultless::filemap::{DirtyLimit, DirtyThresholds, Files};
use faultless::page::{Count, LockContext, StoreId, Trace, TwoQueues};
use faultless::parts::Lock as Traced;
use faultless::prelude::{AddressSpaceOperations, Inode, Kernel, PageCache};
use faultless_posix::{AreasEvent, Description, Errno, ReverseMap, System};
use spin::Once;

use crate::arch::{percpu, shootdown};
use crate::listener;
use crate::memory::frames::{Pool, frames};
use crate::memory::table::PageTables;
use crate::sync::{Lock, Short};
use crate::waits::{Waits, waits};

/// This kernel.
#[derive(Debug)]
pub(crate) struct Machine;

static CACHE: Once<PageCache<Machine>> = Once::new();

/// The cache.
///
/// # Panics
/// Memory was not handed out yet.
pub(crate) fn cache() -> &'static PageCache<Machine> {
    CACHE.get().unwrap_or_else(|| panic!("the cache is used before there is memory"))
}

pub(super) fn init() {
    CACHE.call_once(|| PageCache::new(Pool, waits()));
}

/// The number of the disk, by which its dirty pages are counted. Files in memory, which no
/// writeback cleans, have another one.
pub(crate) const DISK: StoreId = StoreId(1);

/// The thresholds of dirty pages, as parts of all frames.
const BACKGROUND: u32 = 16;
const HARD: u32 = 6;

static LIMIT: Once<DirtyLimit<Machine>> = Once::new();

/// The limit of dirty pages of the disk.
pub(crate) fn dirty_limit() -> &'static DirtyLimit<Machine> {
    LIMIT.call_once(|| {
        let total = frames().total();
        DirtyLimit::new(DirtyThresholds::new((total / BACKGROUND).into(), (total / HARD).into()))
    })
}

/// Gives pages up, about so many; how many. Called as [`Kernel::reclaim`] is.
pub(crate) type Reclaims = fn(LockContext<'_>, u32) -> u32;

static RECLAIMS: Once<Reclaims> = Once::new();

/// Says what gives pages up when memory is short.
pub(crate) fn reclaim_by(reclaims: Reclaims) {
    RECLAIMS.call_once(|| reclaims);
}

static KILLED: Once<fn() -> bool> = Once::new();

/// Says how the current thread finds out whether it is to die.
pub(crate) fn killed_by(is_killed: fn() -> bool) {
    KILLED.call_once(|| is_killed);
}

impl Kernel for Machine {
    type Sync = Short;
    type Frames = Pool;
    type Wait = &'static Waits;
    type Cache = &'static PageCache<Self>;
    type Store = Arc<dyn AddressSpaceOperations>;
    type UserMappings = ReverseMap<Space, Short>;
    type Replacement = TwoQueues;

    #[inline(always)]
    fn trace(event: Trace) {
        listener::trace(event);
    }

    fn cpu() -> usize {
        percpu::number()
    }

    fn reclaim(_cache: &PageCache<Self>, locks: LockContext<'_>, wanted: u32) -> u32 {
        RECLAIMS.get().map_or(0, |reclaims| reclaims(locks, wanted))
    }

    fn count(store: StoreId, what: Count, pages: u32) {
        if store == DISK {
            dirty_limit().count(store, what, pages, &waits());
        }
    }
}

// SAFETY: handles are counted; a flush returns when every CPU that uses the table has forgotten its
// old entries.
unsafe impl System for Machine {
    type Kernel = Self;
    type Sync = Short;
    type File = FileHandle;
    type Space = Space;
    type PageTable = PageTables;

    const LOCKS_AREAS: bool = true;

    fn unique() -> u64 {
        static LAST: AtomicU64 = AtomicU64::new(0);
        LAST.fetch_add(1, Relaxed) + 1
    }

    fn is_killed() -> bool {
        KILLED.get().is_some_and(|is_killed| is_killed())
    }

    fn trace_areas(lock: Traced, event: AreasEvent) {
        listener::trace_areas(lock, event);
    }

    fn flush(root: usize, pages: Range<usize>) {
        shootdown::flush(root, &pages);
    }

    fn is_zeros(file: &FileHandle) -> bool {
        file.0.is_zeros
    }
}

/// Address spaces.
pub(crate) type AddressSpace = faultless_posix::AddressSpace<Machine>;

/// A counted handle of an address space.
pub(crate) type Space = Arc<AddressSpace>;

/// An open regular file.
pub(crate) type Open = Arc<Description<Machine>>;

/// An address space without mappings.
///
/// # Errors
/// `ENOMEM`.
pub(crate) fn new_space() -> Result<Space, Errno> {
    Ok(Arc::new(AddressSpace::new(cache(), PageTables::new()?)))
}

/// What becomes of a file when its last handle goes. A file without it is in memory alone: its
/// pages go.
pub(crate) trait Ends: Send + Sync {
    /// Closes or discards the file. May sleep: no lock is held.
    fn end(&self, inode: Inode<Machine>);
}

/// A file.
pub(crate) struct File {
    /// There until the file is dropped.
    inode: Option<Inode<Machine>>,
    ends: Option<Arc<dyn Ends>>,
    /// Private mappings of it are memory without a file.
    is_zeros: bool,
}

/// The files with pages that can be had again, by the numbers of their mappings.
static RECLAIMABLE: Lock<BTreeMap<u64, Weak<File>>> = Lock::new(BTreeMap::new());

/// Files whose last handle reclaim has had: an allocation must not wait for their end.
static ENDED: Lock<Vec<File>> = Lock::new(Vec::new());

/// A counted handle of a file. Dropping the last one may sleep.
#[derive(Clone)]
pub(crate) struct FileHandle(Arc<File>);

/// A handle that does not keep the file.
#[derive(Clone)]
pub(crate) struct WeakFile(Weak<File>);

impl FileHandle {
    /// A file of `size` bytes on `store`.
    pub(crate) fn new(
        store: Arc<dyn AddressSpaceOperations>,
        size: u64,
        ends: Option<Arc<dyn Ends>>,
    ) -> Self {
        Self::of(store, size, |inode| File { inode: Some(inode), ends, is_zeros: false })
    }

    /// The file of `size` bytes on `store` that private memory is mapped from.
    pub(super) fn zeros(store: Arc<dyn AddressSpaceOperations>, size: u64) -> Self {
        Self::of(store, size, |inode| File { inode: Some(inode), ends: None, is_zeros: true })
    }

    fn of(
        store: Arc<dyn AddressSpaceOperations>,
        size: u64,
        file: impl FnOnce(Inode<Machine>) -> File,
    ) -> Self {
        let is_reclaimable = store.is_persistent() || store.is_empty();
        let inode = Inode::<Machine>::new(cache(), store, ReverseMap::new(), size);
        let id = inode.mapping().id();
        let file = Arc::new(file(inode));
        if is_reclaimable {
            RECLAIMABLE.lock().insert(id, Arc::downgrade(&file));
        }
        Self(file)
    }

    pub(crate) fn downgrade(&self) -> WeakFile {
        WeakFile(Arc::downgrade(&self.0))
    }
}

impl WeakFile {
    /// A handle, unless the last one has gone.
    pub(crate) fn upgrade(&self) -> Option<FileHandle> {
        self.0.upgrade().map(FileHandle)
    }

    /// Whether there is a handle.
    pub(crate) fn has_handles(&self) -> bool {
        self.0.strong_count() > 0
    }
}

impl Deref for File {
    type Target = Inode<Machine>;
    fn deref(&self) -> &Inode<Machine> {
        self.inode.as_ref().unwrap_or_else(|| unreachable!("a file is used while it is dropped"))
    }
}

impl Deref for FileHandle {
    type Target = Inode<Machine>;
    fn deref(&self) -> &Inode<Machine> {
        &self.0
    }
}

impl core::fmt::Debug for FileHandle {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_tuple("FileHandle").field(&**self).finish()
    }
}

impl Drop for File {
    fn drop(&mut self) {
        let Some(inode) = self.inode.take() else { return };
        let id = inode.mapping().id();
        match &self.ends {
            Some(ends) => ends.end(inode),
            None => inode.discard(),
        }
        let removed = RECLAIMABLE.lock().remove(&id);
        drop(removed);
    }
}

/// The table, as reclaim has it.
pub(crate) struct Reclaimable;

/// A handle that reclaim has. If it is the last one, a thread of the kernel ends the file.
pub(crate) struct Found(Option<Arc<File>>);

impl Files<Machine> for Reclaimable {
    type Handle = Found;

    fn find(&self, mapping: u64) -> Option<Found> {
        let file = RECLAIMABLE.lock().get(&mapping)?.upgrade()?;
        Some(Found(Some(file)))
    }
}

impl Deref for Found {
    type Target = Inode<Machine>;
    fn deref(&self) -> &Inode<Machine> {
        self.0.as_ref().unwrap_or_else(|| unreachable!("there until the drop"))
    }
}

impl Drop for Found {
    fn drop(&mut self) {
        if let Some(last) = self.0.take().and_then(Arc::into_inner) {
            ENDED.lock().push(last);
        }
    }
}

/// Ends the files whose last handles reclaim has had. For a thread that holds nothing.
pub(crate) fn end_files() {
    let ended = core::mem::take(&mut *ENDED.lock());
    drop(ended);
}
