//! The file as the page cache knows it: a mapping, the inode lock, held ranges, times, and the last error.
//!
//! The inode owns no data and no policy of the embedder: names, permissions and the like stay outside.
#![forbid(unsafe_code)]

use core::fmt;
use core::sync::atomic::Ordering;

use faultless_page::{
    AddressSpaceOperations, Errno, Kernel, LockId, Mapping, SleepMutex, Strategy, SyncFamily, Word,
    Word64,
};

use crate::ranges::RangeLock;
use crate::task::Task;

/// A file in the page cache.
///
/// Operations on it are in this crate's modules: [`write`](Self::write), [`read`](Self::read),
/// [`fault`](Self::fault), [`set_size`](Self::set_size), [`writeback`](Self::writeback),
/// [`fsync`](Self::fsync), [`msync`](Self::msync), [`evict`](Self::evict).
pub struct Inode<K: Kernel> {
    mapping: Mapping<K>,
    /// I: held by whoever changes the size. Overwrites inside the size do not take it.
    pub(crate) lock: SleepMutex<K>,
    pub(crate) ranges: RangeLock<K>,
    /// Time of the last change of contents, and of anything; nanoseconds of the embedder's clock.
    mtime: Word64<K>,
    ctime: Word64<K>,
    /// Non-zero while the file is set-user-id or set-group-id: a write clears it (W12).
    set_id: Word64<K>,
    /// The first error of a writeback since the last `fsync`, as an errno code; 0 for none (W4).
    writeback_error: Word64<K>,
    /// How often the file became shorter. Readers look at it before the size and after their copy.
    shrinks: Word64<K>,
    /// Non-zero once a page was mapped writable: bytes past the end may then be anything (P2).
    mapped_writable: Word64<K>,
    /// Whether a fault has asked for room past the end, because the size was about to change. Set with the page locked.
    pub(crate) spare_room: Word64<K>,
    /// What the store said when the file was opened; it does not change.
    strategy: Strategy,
    max_size: u64,
}

impl<K: Kernel> Inode<K> {
    /// A file of `size` bytes whose pages are cached in `cache` and kept in `store`, which holds nothing but zeros past them.
    /// Allocates nothing.
    #[must_use]
    pub fn new(
        cache: K::Cache,
        store: K::Store,
        user_mappings: K::UserMappings,
        size: u64,
    ) -> Self {
        let mapping = Mapping::<K>::new(cache, store, user_mappings, size);
        let id = mapping.id();
        let strategy = mapping.store().strategy();
        let max_size = mapping.store().max_size();
        Self {
            lock: SleepMutex::new(LockId::Inode(id)),
            ranges: RangeLock::new(id),
            mapping,
            mtime: Word::new(0),
            ctime: Word::new(0),
            set_id: Word::new(0),
            writeback_error: Word::new(0),
            shrinks: Word::new(0),
            mapped_writable: Word::new(0),
            spare_room: Word::new(0),
            strategy,
            max_size,
        }
    }

    /// The pages and their index.
    #[must_use]
    #[inline(always)]
    pub const fn mapping(&self) -> &Mapping<K> {
        &self.mapping
    }

    /// The size in bytes, read without a lock and without tearing (P7).
    #[must_use]
    #[doc(alias = "i_size_read")]
    pub fn size(&self) -> u64 {
        self.mapping.size()
    }

    /// `(mtime, ctime)`: when the contents, and when anything, last changed.
    #[must_use]
    pub fn times(&self) -> (u64, u64) {
        (self.mtime.load(Ordering::Relaxed), self.ctime.load(Ordering::Relaxed))
    }

    /// Whether a set-id attribute is present; see [`mark_set_id`](Self::mark_set_id).
    #[must_use]
    pub fn is_set_id(&self) -> bool {
        self.set_id.load(Ordering::Relaxed) != 0
    }

    /// The file is now set-user-id or set-group-id: the next write of at least one byte clears it (W12).
    pub fn mark_set_id(&self) {
        self.set_id.store(1, Ordering::Relaxed);
    }

    /// The algorithm that the store is written for.
    #[inline(always)]
    pub(crate) const fn strategy(&self) -> Strategy {
        self.strategy
    }

    /// Largest size of the file, in bytes.
    #[inline(always)]
    pub(crate) const fn max_size(&self) -> u64 {
        self.max_size
    }

    /// Sets a smaller size and counts that. I is held. Zeroes that are stored from here on are seen together
    /// with the count: see [`shrunk_since`](Self::shrunk_since). Who puts a page in that is not found from here on sees the
    /// new size: see [`size_after_insertion`](Self::size_after_insertion).
    pub(crate) fn shrink_size(&self, size: u64) {
        self.mapping.truncate_size(size);
        // After the size: whoever reads the new count reads the new size, or a later one.
        self.shrinks.fetch_add(1, Ordering::AcqRel);
        <K::Sync as SyncFamily>::fence(Ordering::SeqCst);
    }

    /// The size, for someone who has just put pages in, and holds their locks. Truncation sets the size and then looks for
    /// pages; we put a page in and then look at the size. With a fence in each, one of the two sees the other.
    pub(crate) fn size_after_insertion(&self) -> u64 {
        <K::Sync as SyncFamily>::fence(Ordering::SeqCst);
        self.size()
    }

    /// How often the file became shorter so far. Read before the size.
    pub(crate) fn shrinks(&self) -> u64 {
        self.shrinks.load(Ordering::Acquire)
    }

    /// Whether bytes copied since [`shrinks`](Self::shrinks) said `before` may be those that a truncation put past the end. To
    /// look at the size again would not do: a write may have moved it up meanwhile (W5).
    pub(crate) fn shrunk_since(&self, before: u64) -> bool {
        // After the copy: whoever has seen a zero sees the count.
        <K::Sync as SyncFamily>::fence(Ordering::Acquire);
        self.shrinks.load(Ordering::Relaxed) != before
    }

    /// A page is about to be mapped writable.
    pub(crate) fn note_writable_mapping(&self) {
        if !self.was_mapped_writable() {
            self.mapped_writable.store(1, Ordering::Release);
        }
    }

    /// Whether a page was ever mapped writable.
    pub(crate) fn was_mapped_writable(&self) -> bool {
        self.mapped_writable.load(Ordering::Acquire) != 0
    }

    /// Stamps the times and drops set-id attributes, before the first byte is copied (W12). A store that
    /// changes nothing is not made: two writers on one file do not fight for the cache line.
    #[doc(alias = "file_update_time")]
    #[doc(alias = "file_remove_privs")]
    #[inline(always)]
    pub(crate) fn touch<T: Task>(&self, task: &T) {
        let now = task.now();
        for time in [&self.mtime, &self.ctime] {
            if time.load(Ordering::Relaxed) != now {
                time.store(now, Ordering::Relaxed);
            }
        }
        if self.set_id.load(Ordering::Relaxed) != 0 {
            self.set_id.store(0, Ordering::Relaxed);
        }
    }

    /// Remembers a failed writeback for the next [`fsync`](Self::fsync). The first error wins.
    pub(crate) fn record_error(&self, error: Errno) {
        let code = u64::from(error.code().unsigned_abs());
        let _ =
            self.writeback_error.compare_exchange(0, code, Ordering::Relaxed, Ordering::Relaxed);
    }

    /// The remembered error, once.
    pub(crate) fn take_error(&self) -> Result<(), Errno> {
        match self.writeback_error.swap(0, Ordering::Relaxed) {
            0 => Ok(()),
            code if code == u64::from(Errno::NoSpace.code().unsigned_abs()) => Err(Errno::NoSpace),
            _ => Err(Errno::Io),
        }
    }
}

impl<K: Kernel> fmt::Debug for Inode<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Inode")
            .field("id", &self.mapping.id())
            .field("size", &self.size())
            .field("ranges", &self.ranges)
            .finish_non_exhaustive()
    }
}
