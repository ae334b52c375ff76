//! The machine as Faultless and the system calls see it, and its files.

use core::ops::{Deref, Range};
use core::sync::atomic::Ordering::Acquire;
use core::sync::atomic::{AtomicBool, AtomicU64};

use alloc::boxed::Box;
use alloc::sync::Arc;

use faultless::filemap::ReadAheadLimits;
use faultless::page::{Count, StoreId, Trace};
use faultless::parts::{FaultyStore, QueueWait};
use faultless::prelude::{Inode, Kernel, PageCache, PageIndex, Unmap, UserMappings};
use faultless_posix::{AddressSpace, Description, ReverseMap, System};
use stable_deref_trait::{CloneStableDeref, StableDeref};

use crate::arena::{Part, unique};
use crate::counters::{add, counters};
use crate::frames::Memory;
use crate::hooks::hooks;
use crate::locks;
use crate::options::{Plant, options};
use crate::raw;
use crate::stores::Backed;
use crate::sync::Words;
use crate::table::Table;
use crate::thread::{Sleepers, Thread};

/// The kernel.
pub(crate) struct Program;

/// The cache.
pub(crate) static CACHE: Part<PageCache<Program>> = Part::new(5);

/// How files reach the cache: there is one, at the same address in every process.
#[derive(Clone, Copy)]
pub(crate) struct TheCache;

impl Deref for TheCache {
    type Target = PageCache<Program>;
    fn deref(&self) -> &PageCache<Program> {
        CACHE.get()
    }
}

// SAFETY: the cache never moves.
unsafe impl StableDeref for TheCache {}
// SAFETY: as above.
unsafe impl CloneStableDeref for TheCache {}

impl Kernel for Program {
    type Sync = Words;
    type Frames = Memory;
    type Wait = QueueWait<Sleepers, Words>;
    type Cache = TheCache;
    type Store = Box<FaultyStore<Backed, Words>>;
    type UserMappings = Mappings;
    type Replacement = ();

    fn cpu() -> usize {
        Thread::current().number()
    }

    fn dirty_pages_dropped(_mapping: u64, pages: u64) {
        add(&counters().lost, pages);
    }

    fn trace(event: Trace) {
        locks::check(event);
    }

    fn count(_store: StoreId, what: Count, pages: u32) {
        counters().cache.count(what, pages);
    }
}

// SAFETY: handles are counted; a flush of another process's pages returns when that process has
// made them what its table says, or can no longer run.
unsafe impl System for Program {
    type Kernel = Self;
    type Sync = Words;
    type File = FileHandle;
    type Space = Arc<AddressSpace<Self>>;
    type PageTable = Table;

    fn unique() -> u64 {
        unique()
    }

    fn read_ahead_limits() -> ReadAheadLimits {
        // A small part of the memory that the run was given.
        let most = (options().frames / 32).clamp(1, 128) as u32;
        ReadAheadLimits { most, start: most.min(4), around: most.min(16) }
    }

    fn flush(root: usize, _pages: Range<usize>) {
        let process = root as u64;
        if Thread::current().process_number() != process
            && let Some(hooks) = hooks()
        {
            (hooks.shoot_down)(process);
        }
    }
}

/// The reverse map, unless a bug is planted in it.
pub(crate) struct Mappings(ReverseMap<Space, Words>);

impl Mappings {
    pub(crate) fn new() -> Self {
        Self(ReverseMap::new())
    }
}

impl AsRef<ReverseMap<Space, Words>> for Mappings {
    fn as_ref(&self) -> &ReverseMap<Space, Words> {
        &self.0
    }
}

impl UserMappings for Mappings {
    fn unmap(&self, id: u64, first: PageIndex, end: PageIndex, why: Unmap) {
        let is_left_out = why == Unmap::Truncate && options().plant == Some(Plant::NoUnmap);
        if !is_left_out {
            self.0.unmap(id, first, end, why);
        }
    }

    fn write_protect(&self, id: u64, first: PageIndex, end: PageIndex) {
        if options().plant != Some(Plant::NoWriteProtect) {
            self.0.write_protect(id, first, end);
        }
    }
}

/// An open file.
pub(crate) type OpenFile = Arc<Description<Program>>;

/// An address space.
pub(crate) type Space = Arc<AddressSpace<Program>>;

/// What Linux knows a file by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Key {
    pub(crate) device: u64,
    pub(crate) number: u64,
}

impl Key {
    pub(crate) const fn of(stat: &libc::stat) -> Self {
        Self { device: stat.st_dev, number: stat.st_ino }
    }
}

/// A file.
pub(crate) struct File {
    /// Larger than those of all files before.
    pub(crate) id: u64,
    pub(crate) key: Key,
    /// There until the file is dropped.
    inode: Option<Inode<Program>>,
    /// It has no name left.
    pub(crate) unlinked: AtomicBool,
    /// When it was changed last before Linux's own file was made to hold the same.
    pub(crate) written_out: AtomicU64,
}

impl File {
    pub(crate) fn new(key: Key, inode: Inode<Program>) -> Self {
        Self {
            id: unique(),
            key,
            inode: Some(inode),
            unlinked: AtomicBool::new(false),
            written_out: AtomicU64::new(0),
        }
    }

    pub(crate) fn inode(&self) -> &Inode<Program> {
        self.inode.as_ref().unwrap_or_else(|| raw::die("faultless: a file without an inode"))
    }
}

impl Drop for File {
    fn drop(&mut self) {
        // Without a name: what it holds is not needed.
        if let Some(inode) = self.inode.take() {
            inode.discard();
        }
    }
}

/// A handle of a file. The table of files has one more.
#[derive(Clone)]
pub(crate) struct FileHandle(pub(crate) Arc<File>);

impl Deref for FileHandle {
    type Target = Inode<Program>;
    fn deref(&self) -> &Inode<Program> {
        self.0.inode()
    }
}

impl Drop for FileHandle {
    fn drop(&mut self) {
        // This handle and the table's.
        if Arc::strong_count(&self.0) == 2
            && self.0.unlinked.load(Acquire)
            && let Some(hooks) = hooks()
        {
            (hooks.last_handle)(self.0.key.device, self.0.key.number);
        }
    }
}
