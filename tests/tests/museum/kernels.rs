//! A kernel that keeps books about inodes that are dropped dirty, and whose memory is scarce: its
//! allocator reclaims.

use std::cell::Cell;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use faultless::filemap::{InFault, Inode};
use faultless::page::{
    AddressSpaceOperations, CoreSync, Errno, FrameNumber, Frames, Kernel, NoUserMappings,
    PageCache, TwoQueues, forward_to_frames,
};
use faultless_host::{HostFrames, HostWait, Machine, Mmu};

/// The kernel.
#[derive(Debug)]
pub(crate) enum Bookkeeper {}
impl Kernel for Bookkeeper {
    type Sync = CoreSync;
    type Frames = Scarce;
    type Wait = HostWait;
    type Cache = Arc<PageCache<Self>>;
    type Store = Arc<dyn AddressSpaceOperations>;
    type UserMappings = NoUserMappings;
    type Replacement = TwoQueues;

    fn dirty_pages_dropped(_mapping: u64, pages: u64) {
        LOST.set(LOST.get() + pages);
    }
}

/// A kernel that leaves the default: to lose pages is a panic.
#[derive(Debug)]
pub(crate) enum Strict {}
impl Kernel for Strict {
    type Sync = CoreSync;
    type Frames = HostFrames;
    type Wait = HostWait;
    type Cache = Arc<PageCache<Self>>;
    type Store = Arc<dyn AddressSpaceOperations>;
    type UserMappings = NoUserMappings;
    type Replacement = ();
}

thread_local! {
    /// Dirty pages that were dropped with their inodes, on this thread.
    static LOST: Cell<u64> = const { Cell::new(0) };
}

/// Pages lost on this thread since the last call.
pub(crate) fn lost() -> u64 {
    LOST.replace(0)
}

/// Memory of which the pages of one file get `limit` frames: to make room for more, all its clean
/// pages are dropped.
pub(crate) struct Scarce {
    inner: HostFrames,
    limit: u64,
    file: Mutex<Weak<Inode<Bookkeeper>>>,
    at_look: Mutex<Option<Box<dyn FnOnce() + Send>>>,
}

impl fmt::Debug for Scarce {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Scarce").field("limit", &self.limit).finish_non_exhaustive()
    }
}

impl Scarce {
    /// The file whose pages count.
    pub(crate) fn squeeze(&self, file: &Arc<Inode<Bookkeeper>>) {
        *self.file.lock().unwrap_or_else(PoisonError::into_inner) = Arc::downgrade(file);
    }

    /// `other` happens once somebody has looked at the counts of a frame.
    pub(crate) fn at_next_look(&self, other: impl FnOnce() + Send + 'static) {
        *self.at_look.lock().unwrap_or_else(PoisonError::into_inner) = Some(Box::new(other));
    }
}

// SAFETY: all is passed on to frames of which the same is promised, but for the number of frames
// asked for.
unsafe impl Frames for Scarce {
    fn allocate(&self, pages: u32) -> Result<(FrameNumber, u32), Errno> {
        let file = self.file.lock().unwrap_or_else(PoisonError::into_inner).upgrade();
        let Some(file) = file else { return self.inner.allocate(pages) };
        if file.mapping().cached_pages() + u64::from(pages) > self.limit {
            // SAFETY: memory is allocated with no page locked (P3), and reclaim touches no user
            // memory.
            let mut reclaim = unsafe { InFault::enter() };
            file.evict(&mut reclaim, 0..u64::MAX);
        }
        let left = self.limit.saturating_sub(file.mapping().cached_pages()).max(1);
        self.inner.allocate(pages.min(u32::try_from(left).unwrap_or(u32::MAX)))
    }

    fn references(&self, frame: FrameNumber) -> u32 {
        let references = self.inner.references(frame);
        let other = self.at_look.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(other) = other {
            other();
        }
        references
    }

    forward_to_frames!(self => self.inner; retain, release, address);
}

/// A file of `size` bytes over `store` in a kernel that keeps books, with `limit` frames for its
/// pages once they are [squeezed](Scarce::squeeze).
pub(crate) fn booked<M: Mmu>(
    machine: &Machine<M>,
    store: &Arc<impl AddressSpaceOperations + 'static>,
    size: u64,
    limit: u64,
) -> Inode<Bookkeeper> {
    booked_in(&books(machine, limit), store, size)
}

/// A cache of that kernel.
pub(crate) fn books<M: Mmu>(machine: &Machine<M>, limit: u64) -> Arc<PageCache<Bookkeeper>> {
    let inner = HostFrames::new(Arc::clone(machine.memory()));
    let frames = Scarce { inner, limit, file: Mutex::default(), at_look: Mutex::default() };
    Arc::new(PageCache::new(frames, HostWait::new(machine.watchdog().clone())))
}

/// A file of `size` bytes over `store` in it.
pub(crate) fn booked_in(
    cache: &Arc<PageCache<Bookkeeper>>,
    store: &Arc<impl AddressSpaceOperations + 'static>,
    size: u64,
) -> Inode<Bookkeeper> {
    let store: Arc<dyn AddressSpaceOperations> = Arc::clone(store) as _;
    Inode::new(Arc::clone(cache), store, NoUserMappings, size)
}

/// An empty file over `store` in a strict kernel.
pub(crate) fn strict<M: Mmu>(
    machine: &Machine<M>,
    store: &Arc<impl AddressSpaceOperations + 'static>,
) -> Inode<Strict> {
    let frames = HostFrames::new(Arc::clone(machine.memory()));
    let cache = Arc::new(PageCache::new(frames, HostWait::new(machine.watchdog().clone())));
    let store: Arc<dyn AddressSpaceOperations> = Arc::clone(store) as _;
    Inode::new(cache, store, NoUserMappings, 0)
}
