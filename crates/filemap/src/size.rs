//! The size of a file has three faces: visible, told to the store, durable. This module moves the first two.
//!
//! *Visible* is [`Inode::size`]. A write that grows the file moves it with the page locked that grows (P7),
//! truncation before it looks for pages. *Told* is the argument of the last
//! [`set_size`](AddressSpaceOperations::set_size): every truncation ends with it, and every writeback and sync begins
//! with it, so that what was visible when a sync began becomes durable by it (F3). A write does not tell: what
//! it has grown the file by is dirty, so a writeback follows. *Durable* is the store's.
//!
//! Neighbours: [`truncate`](crate::truncate) changes the size, `write` grows it, `read` asks what was cut off.
#![forbid(unsafe_code)]

use core::array;
use core::sync::atomic::Ordering::{self, AcqRel, Acquire, Relaxed, Release};

use faultless_page::{
    AddressSpaceOperations, Kernel, LockId, LockedRun, PAGE_SIZE, PageIndex, SleepMutex,
    SyncFamily, Unmap, UserMappings, Word, Word64,
};

use crate::inode::Inode;

/// Sizes of the last cuts that are remembered. A reader or writer that is overtaken by as many takes all
/// of its bytes for cut off.
const REMEMBERED: u64 = 4;

/// Nothing is left to do for an earlier truncation.
const COMPLETE: u64 = u64::MAX;

/// The store is being told of a size, or has been told of none.
const UNKNOWN: u64 = u64::MAX;

/// What readers, syncs and later changes of the size have to know of earlier ones.
pub(crate) struct SizeChanges<K: Kernel> {
    /// How often the file became shorter.
    cuts: Word64<K>,
    /// To what size: that of cut `n` is at `n % REMEMBERED`. Written with I held.
    cut_to: [Word64<K>; REMEMBERED as usize],
    /// The smallest size whose truncation is not complete; read and written with I held.
    incomplete: Word64<K>,
    /// The size that the store was told of last.
    told: Word64<K>,
    /// The size that the store knows at least, also while it is being told another one.
    known: Word64<K>,
    /// Held while the store is told.
    telling: SleepMutex<K>,
}

/// A moment in an inode's history, to be asked later what was cut off since.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Moment(u64);

impl<K: Kernel> SizeChanges<K> {
    /// For the inode `id`, whose store knows that it has `size` bytes.
    pub(crate) fn new(id: u64, size: u64) -> Self {
        Self {
            cuts: Word::new(0),
            cut_to: array::from_fn(|_| Word::new(0)),
            incomplete: Word::new(COMPLETE),
            told: Word::new(size),
            known: Word::new(size),
            telling: SleepMutex::new(LockId::Size(id)),
        }
    }

    /// Now. Take it before the size is looked at.
    #[inline(always)]
    pub(crate) fn now(&self) -> Moment {
        Moment(self.cuts.load(Acquire))
    }

    /// The smallest size that the file was cut to since `then`; `u64::MAX` if it was not. Bytes below it that
    /// were copied in the meantime are bytes of the file. The size itself would not tell: a write may have
    /// moved it up again (W5).
    ///
    /// A copy that saw a zero of a truncation sees its count: the zero was stored after it.
    pub(crate) fn lowest_cut_since(&self, then: Moment) -> u64 {
        <K::Sync as SyncFamily>::fence(Ordering::Acquire);
        let now = self.cuts.load(Relaxed);
        if now == then.0 {
            return u64::MAX;
        }
        let cuts = then.0..now.min(then.0 + REMEMBERED);
        let lowest = cuts.fold(u64::MAX, |lowest, cut| {
            lowest.min(self.cut_to[(cut % REMEMBERED) as usize].load(Acquire))
        });
        // A later cut that reuses an entry begins once the count has come this far.
        if self.cuts.load(Acquire) - then.0 >= REMEMBERED { 0 } else { lowest }
    }
}

impl<K: Kernel> Inode<K> {
    /// Sets a smaller size and counts that. I is held. Zeros that are stored from here on are seen together with
    /// the count; see [`SizeChanges::lowest_cut_since`]. A page that is inserted and not found from here on is
    /// inserted by a caller that sees the new size; see [`size_after_insertion`](Self::size_after_insertion).
    pub(crate) fn shrink_size(&self, size: u64) {
        let changes = &self.size_changes;
        let cut = changes.cuts.load(Relaxed);
        changes.cut_to[(cut % REMEMBERED) as usize].store(size, Release);
        self.mapping().truncate_size(size);
        // After the size: a reader that sees the new count sees the new size, or a later one.
        changes.cuts.fetch_add(1, AcqRel);
        <K::Sync as SyncFamily>::fence(Ordering::SeqCst);
    }

    /// The size, for a caller that has inserted pages and holds their locks. Truncation sets the size and then
    /// looks for pages; the caller inserts a page and then looks at the size. With a fence in each, at least
    /// one of them sees the other.
    pub(crate) fn size_after_insertion(&self) -> u64 {
        <K::Sync as SyncFamily>::fence(Ordering::SeqCst);
        self.size()
    }

    /// The size whose truncation an earlier call left incomplete, if any. I is held.
    pub(crate) fn incomplete_cut(&self) -> Option<u64> {
        let size = self.size_changes.incomplete.load(Relaxed);
        (size != COMPLETE).then_some(size)
    }

    /// From here on until [`cut_completed`](Self::cut_completed), what lies past `size` may still be in the cache and
    /// on the store: the file must not grow. Survives a call that ends early, by a signal or an unwinding
    /// callback. I is held.
    pub(crate) fn cut_begins(&self, size: u64) {
        let incomplete = self.size_changes.incomplete.load(Relaxed);
        self.size_changes.incomplete.store(incomplete.min(size), Relaxed);
    }

    /// Nothing is left past the end. I is held.
    pub(crate) fn cut_completed(&self) {
        self.size_changes.incomplete.store(COMPLETE, Relaxed);
    }

    /// Tells the store the visible size. No page lock is held. The visible size is read inside the lock, so that of two
    /// callers the later one tells the later size.
    pub(crate) fn tell_size(&self) {
        let changes = &self.size_changes;
        let telling = changes.telling.lock(self.mapping().cache().wait());
        let size = self.size();
        // From here on the store may know the old size or the new one.
        changes.told.store(UNKNOWN, Release);
        changes.known.store(changes.known.load(Relaxed).min(size), Release);
        self.mapping().store().set_size(size);
        changes.known.store(size, Release);
        changes.told.store(size, Release);
        drop(telling);
    }

    /// Makes sure that the store has been told a size that was visible during this call (F3). No page lock is held.
    ///
    /// The size is read first: if the store was told that one last, it knew it at a later moment. In the other order a
    /// truncation and a growth in between could make an old answer look right.
    pub(crate) fn tell_size_if_new(&self) {
        let size = self.size();
        if self.size_changes.told.load(Acquire) != size {
            self.tell_size();
        }
    }

    /// How many bytes of page `index`, which is locked, the store has to have: those of the file that it was
    /// told of (F8). What the file has grown by since is in the cache, or a hole.
    pub(crate) fn bytes_on_store(&self, index: PageIndex) -> usize {
        let known = self.size().min(self.size_changes.known.load(Acquire));
        known.saturating_sub(index.start()).min(PAGE_SIZE as u64) as usize
    }

    /// Before the end moves up from `size`, in the lock hold that moves it: bytes that a mapping wrote past the end
    /// become zeros (P2), and the page is write-protected, so that the next CPU store through a mapping faults
    /// and asks the store for room again; it may have some up to the old end only. I is held. Does nothing
    /// unless the page of the end is in `locked` and was mapped writable.
    #[doc(alias = "pagecache_isize_extended")]
    pub(crate) fn seal_end(&self, locked: &mut LockedRun<'_, K>, size: u64) {
        let end_page = PageIndex::containing(size);
        let offset = (size - end_page.start()) as usize;
        if offset == 0 || !locked.run().contains(end_page) {
            return;
        }
        let slot = 1 << end_page.slot();
        if locked.scribbled() & slot == 0 {
            return;
        }
        let mapping = self.mapping();
        let next = end_page.plus(1);
        mapping.user_mappings().unmap(mapping.id(), end_page, next, Unmap::WriteProtect);
        locked.zero(size, PAGE_SIZE - offset);
        locked.clear_scribbled(slot);
    }
}
