//! The kernel as Faultless and the calls of `faultless-posix` see it.

use core::ops::Range;
use core::sync::atomic::AtomicU64;
use core::sync::atomic::Ordering::Relaxed;

use alloc::sync::Arc;

use faultless::page::{Count, LockContext, StoreId, TwoQueues};
use faultless::prelude::{AddressSpaceOperations, Kernel, PageCache};
use faultless_posix::{Description, Errno, ReverseMap, System};
use spin::Once;

use crate::arch::{percpu, shootdown};
use crate::memory::file::FileHandle;
use crate::memory::frames::Pool;
use crate::memory::pressure;
use crate::memory::table::PageTables;
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

impl Kernel for Machine {
    type Sync = Short;
    type Frames = Pool;
    type Wait = &'static Waits;
    type Cache = &'static PageCache<Self>;
    type Store = Arc<dyn AddressSpaceOperations>;
    type UserMappings = ReverseMap<Space, Short>;
    type Replacement = TwoQueues;

    fn cpu() -> usize {
        percpu::number()
    }

    fn reclaim(cache: &PageCache<Self>, locks: LockContext<'_>, wanted: u32) -> u32 {
        pressure::reclaim(cache, locks, wanted)
    }

    fn count(store: StoreId, what: Count, pages: u32) {
        pressure::count(store, what, pages);
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
