//! The file as the page cache knows it: a mapping, the inode lock, held ranges, times, and the last
//! error.
//!
//! The inode owns no data and no policy of the embedder: names, permissions and the like stay
//! outside.
#![forbid(unsafe_code)]

use core::fmt;
use core::sync::atomic::Ordering;

use faultless_page::{
    AddressSpaceOperations, Errno, Kernel, LockId, LockedRun, MAX_FILE_SIZE, Mapping, PageIndex,
    SleepMutex, SlotMask, Strategy, Unmap, UserMappings, Word, Word64,
};

use crate::dirty_age::DirtyAge;
use crate::errors::{LostSync, UnnamedCursor};
use crate::moving::MovingPages;
use crate::pos::FilePos;
use crate::ranges::RangeLock;
use crate::size_changes::SizeChanges;
use crate::task::{Caller, Task};

/// A file in the page cache.
///
/// Operations on it are in this crate's modules: [`write`](Self::write), [`read`](Self::read),
/// [`fault`](Self::fault), [`set_size`](Self::set_size), [`writeback`](Self::writeback),
/// [`fsync`](Self::fsync), [`msync`](Self::msync), [`flush`](Self::flush), [`evict`](Self::evict),
/// [`allocate`](Self::allocate), [`punch_hole`](Self::punch_hole),
/// [`collapse_range`](Self::collapse_range), [`seek_data`](Self::seek_data),
/// [`invalidate`](Self::invalidate), [`size_changed_remotely`](Self::size_changed_remotely),
/// [`direct_write`](Self::direct_write), [`migrate`](Self::migrate),
/// [`residency`](Self::residency), [`close`](Self::close), [`discard`](Self::discard).
pub struct Inode<K: Kernel> {
    mapping: Mapping<K>,
    /// I: held while the size changes. Overwrites inside the size do not take it.
    pub(crate) lock: SleepMutex<K>,
    pub(crate) ranges: RangeLock<K>,
    /// What does not come into the cache, because the store moves it.
    pub(crate) moving: MovingPages<K>,
    /// Time of the last change of contents, and of anything; nanoseconds of the embedder's clock.
    mtime: Word64<K>,
    ctime: Word64<K>,
    /// Non-zero while the file is set-user-id or set-group-id: a write clears it (W12).
    set_id: Word64<K>,
    /// Which failed writebacks the callers without an open file were told of (F2).
    pub(crate) told: UnnamedCursor<K>,
    /// How many failures are in the sequence of the store.
    pub(crate) added: Word64<K>,
    /// A sync of the store has failed and lost pages.
    pub(crate) lost_sync: LostSync<K>,
    /// What readers, syncs and later changes of the size have to know of earlier ones.
    pub(crate) size_changes: SizeChanges<K>,
    /// Pages that were read ahead and evicted before their first use, as far as that is known.
    pub(crate) dropped_unused: Word64<K>,
    /// Non-zero once a page of the file was mapped by a user. Set with the page locked.
    mapped: Word64<K>,
    /// Since when pages are dirty, and how far they were flushed.
    pub(crate) dirty_age: DirtyAge<K>,
    /// What the store said when the file was opened; it does not change.
    strategy: Strategy,
    max_size: FilePos,
    wants_stable_pages: bool,
    is_plain: bool,
    /// Dirty pages are given up on purpose; see `last_handle`.
    pub(crate) discarded: bool,
}

/// When a file changed, in nanoseconds of the embedder's clock.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Times {
    /// The last change of the contents.
    #[doc(alias = "mtime")]
    pub modified: u64,
    /// The last change of the contents or of an attribute.
    #[doc(alias = "ctime")]
    pub changed: u64,
}

impl<K: Kernel> Inode<K> {
    /// A file of `size` bytes whose pages are cached in `cache` and kept in `store`, which holds
    /// nothing but zeros past them. Sizes above [`MAX_FILE_SIZE`] are taken for that. Allocates
    /// nothing. The times are 0: see [`set_times`](Self::set_times).
    #[must_use]
    pub fn new(
        cache: K::Cache,
        store: K::Store,
        user_mappings: K::UserMappings,
        size: u64,
    ) -> Self {
        let size = size.min(MAX_FILE_SIZE);
        let mapping = Mapping::<K>::new(cache, store, user_mappings, size);
        let id = mapping.id();
        let strategy = mapping.store().strategy();
        let max_size = FilePos::clipped(mapping.store().max_size());
        let wants_stable_pages = mapping.store().wants_stable_pages();
        Self {
            lock: SleepMutex::new(LockId::Inode(id)),
            ranges: RangeLock::new(id),
            moving: MovingPages::none(id),
            mapping,
            mtime: Word::new(0),
            ctime: Word::new(0),
            set_id: Word::new(0),
            told: UnnamedCursor::new(),
            added: Word::new(0),
            lost_sync: LostSync::new(),
            size_changes: SizeChanges::new(id, size),
            dropped_unused: Word::new(0),
            mapped: Word::new(0),
            dirty_age: DirtyAge::new(),
            strategy,
            max_size,
            wants_stable_pages,
            is_plain: strategy == Strategy::BeginEnd
                && !wants_stable_pages
                && size <= max_size.get(),
            discarded: false,
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

    /// The end of the file: its [`size`](Self::size), as a position.
    #[inline(always)]
    pub(crate) fn eof(&self) -> FilePos {
        FilePos::end_of(&self.mapping)
    }

    /// When the file changed last.
    #[must_use]
    pub fn times(&self) -> Times {
        let [modified, changed] =
            [&self.mtime, &self.ctime].map(|time| time.load(Ordering::Relaxed));
        Times { modified, changed }
    }

    /// Sets the times: those that the disk says when the file is opened, or those of
    /// `utimensat(2)`. Does not sleep. A write or sync that runs beside it may stamp its own time
    /// afterwards.
    #[doc(alias = "utimensat")]
    pub fn set_times(&self, times: Times) {
        self.mtime.store(times.modified, Ordering::Relaxed);
        self.ctime.store(times.changed, Ordering::Relaxed);
    }

    /// Whether a set-id attribute is present; see [`mark_set_id`](Self::mark_set_id).
    #[must_use]
    pub fn is_set_id(&self) -> bool {
        self.set_id.load(Ordering::Relaxed) != 0
    }

    /// The file is now set-user-id or set-group-id: the next write of at least one byte clears it
    /// (W12).
    pub fn mark_set_id(&self) {
        self.set_id.store(1, Ordering::Relaxed);
    }

    /// The algorithm that the store is written for.
    #[inline(always)]
    pub(crate) const fn strategy(&self) -> Strategy {
        self.strategy
    }

    /// Whether bytes inside the size can be written to pages as they are, if these are all there
    /// and dirty: the store is written for strategy B, does not want stable pages, and had no file
    /// that is larger than it says is possible.
    #[inline(always)]
    pub(crate) const fn is_plain(&self) -> bool {
        self.is_plain
    }

    /// Largest size of the file.
    #[inline(always)]
    pub(crate) const fn max_size(&self) -> FilePos {
        self.max_size
    }

    /// Whether the store is a [swap area](AddressSpaceOperations::is_swap).
    #[inline(always)]
    pub(crate) fn is_swapped(&self) -> bool {
        !self.mapping.accounts_dirty()
    }

    /// Whether `T` asks before it dirties pages of the file.
    #[inline(always)]
    pub(crate) fn limits_dirty<T: Task>(&self) -> bool {
        T::LIMITS_DIRTY_PAGES && self.mapping.accounts_dirty()
    }

    /// Whether the pages must not change now: one is under writeback, and the store wants pages
    /// that stay as they are meanwhile.
    #[inline(always)]
    pub(crate) fn are_unstable(&self, locked: &LockedRun<'_, K>) -> bool {
        self.wants_stable_pages && !locked.writeback().is_empty()
    }

    /// Waits until the locked pages may change.
    ///
    /// # Errors
    /// [`Errno::Interrupted`]: `task` is to die (L3).
    #[inline]
    pub(crate) fn wait_stable<T: Task>(
        &self,
        locked: &LockedRun<'_, K>,
        task: &T,
    ) -> Result<(), Errno> {
        if !self.are_unstable(locked) {
            return Ok(());
        }
        locked.wait_writeback(locked.mask(), &Caller(task))
    }

    /// A page is about to be mapped by a user. The page is locked.
    pub(crate) fn note_user_mapping(&self) {
        if !self.was_mapped() {
            self.mapped.store(1, Ordering::Release);
        }
    }

    /// Whether a page of the file was ever mapped by a user. Exact for a page that is locked.
    pub(crate) fn was_mapped(&self) -> bool {
        self.mapped.load(Ordering::Acquire) != 0
    }

    /// Marks locked pages as newer than the store, and notes when the file became dirty; the pages
    /// that were not dirty. Costs what [`LockedRun::set_dirty`] does if there are none.
    #[inline(always)]
    pub(crate) fn set_dirty<T: Task>(
        &self,
        locked: &mut LockedRun<'_, K>,
        slots: SlotMask,
        task: &T,
    ) -> SlotMask {
        let dirtied = locked.set_dirty(slots);
        if !dirtied.is_empty() && !self.is_swapped() {
            self.dirty_age.became_dirty(task.now());
        }
        dirtied
    }

    /// Removes user mappings of pages `first..end` of this file; see [`UserMappings::unmap`].
    pub(crate) fn unmap(&self, first: PageIndex, end: PageIndex, why: Unmap) {
        self.mapping.user_mappings().unmap(self.mapping.id(), first, end, why);
    }

    /// Makes user mappings of pages `first..end` of this file read-only; see
    /// [`UserMappings::write_protect`].
    pub(crate) fn write_protect(&self, first: PageIndex, end: PageIndex) {
        self.mapping.user_mappings().write_protect(self.mapping.id(), first, end);
    }

    /// Stamps the times and drops set-id attributes, before the first byte is copied (W12).
    #[doc(alias = "file_remove_privs")]
    #[inline(always)]
    pub(crate) fn file_modified<T: Task>(&self, task: &T) {
        let now = task.now();
        let times = [&self.mtime, &self.ctime].map(|time| time.load(Ordering::Relaxed) ^ now);
        // One test for what seldom changes between two writes.
        if times[0] | times[1] | self.set_id.load(Ordering::Relaxed) != 0 {
            self.modify(now, task);
        }
    }

    #[cold]
    #[inline(never)]
    fn modify<T: Task>(&self, now: u64, task: &T) {
        self.stamp(now);
        if self.set_id.load(Ordering::Relaxed) != 0 && !task.keeps_set_id() {
            self.set_id.store(0, Ordering::Relaxed);
        }
    }

    /// Tells the store when the file changed.
    pub(crate) fn tell_times(&self) {
        let Times { modified, changed } = self.times();
        self.mapping.store().set_times(modified, changed);
    }

    /// Stamps the times with `now`. Times that stay as they are are not stored: two writers of one
    /// file do not contend for the cache line.
    #[doc(alias = "file_update_time")]
    pub(crate) fn stamp(&self, now: u64) {
        for time in [&self.mtime, &self.ctime] {
            if time.load(Ordering::Relaxed) != now {
                time.store(now, Ordering::Relaxed);
            }
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
