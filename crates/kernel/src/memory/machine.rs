//! The kernel as Faultless and the calls of `faultless-posix` see it.

use core::ops::{Deref, Range};
use core::sync::atomic::AtomicU64;
use core::sync::atomic::Ordering::Relaxed;

use alloc::boxed::Box;
use alloc::sync::Arc;

use faultless::page::{LockContext, Trace};
use faultless::prelude::{AddressSpaceOperations, Inode, Kernel, PageCache};
use faultless_posix::{Description, Errno, ReverseMap, System};
use spin::Once;

use crate::arch::{percpu, shootdown};
use crate::memory::frames::Pool;
use crate::memory::table::PageTables;
use crate::selftest::locks;
use crate::sync::Short;
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

/// Gives up pages that can be had again; how many. Called as [`Kernel::reclaim`] is.
pub(super) type Reclaims = fn(LockContext<'_>) -> u32;

static RECLAIMS: Once<Reclaims> = Once::new();

/// Says what gives up pages when memory is short.
pub(super) fn reclaim_by(reclaims: Reclaims) {
    RECLAIMS.call_once(|| reclaims);
}

impl Kernel for Machine {
    type Sync = Short;
    type Frames = Pool;
    type Wait = &'static Waits;
    type Cache = &'static PageCache<Self>;
    type Store = Box<dyn AddressSpaceOperations>;
    type UserMappings = ReverseMap<Space, Short>;
    type Replacement = ();

    #[inline(always)]
    fn trace(event: Trace) {
        locks::trace(event);
    }

    fn cpu() -> usize {
        percpu::number()
    }

    fn reclaim(_cache: &PageCache<Self>, locks: LockContext<'_>, _wanted: u32) -> u32 {
        RECLAIMS.get().map_or(0, |reclaims| reclaims(locks))
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

    fn unique() -> u64 {
        static LAST: AtomicU64 = AtomicU64::new(0);
        LAST.fetch_add(1, Relaxed) + 1
    }

    fn flush(root: usize, pages: Range<usize>) {
        shootdown::flush(root, &pages);
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

/// A file.
#[derive(Debug)]
pub(crate) struct File {
    /// There until the file is dropped.
    inode: Option<Inode<Machine>>,
}

/// A counted handle of a file.
#[derive(Clone, Debug)]
pub(crate) struct FileHandle(Arc<File>);

impl FileHandle {
    /// A file of `size` bytes on `store`.
    pub(crate) fn new(store: Box<dyn AddressSpaceOperations>, size: u64) -> Self {
        let inode = Inode::new(cache(), store, ReverseMap::new(), size);
        Self(Arc::new(File { inode: Some(inode) }))
    }
}

impl Deref for FileHandle {
    type Target = Inode<Machine>;
    fn deref(&self) -> &Inode<Machine> {
        self.0.inode.as_ref().unwrap_or_else(|| unreachable!("a file is used while it is dropped"))
    }
}

impl Drop for File {
    /// The last handle of a file in memory: its pages have no other place.
    fn drop(&mut self) {
        if let Some(inode) = self.inode.take() {
            inode.discard();
        }
    }
}
