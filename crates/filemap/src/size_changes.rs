//! Sizes that a file had: what readers, writers and syncs ask of earlier changes.
//!
//! Neighbours: [`eof`](crate::eof) records the changes.
#![forbid(unsafe_code)]

use core::array;
use core::sync::atomic::Ordering::{self, AcqRel, Acquire, Relaxed, Release};

use faultless_page::{Kernel, LockId, MAX_FILE_SIZE, SleepMutex, SyncFamily, Word, Word64};

use crate::pos::FilePos;

/// Sizes of the last cuts that are remembered. A reader or writer that is overtaken by as many
/// takes all of its bytes for cut off.
const REMEMBERED: u64 = 4;

/// Nothing is left to do for an earlier truncation.
const COMPLETE: u64 = u64::MAX;

/// The store is being told of a size, or has been told of none.
const UNKNOWN: u64 = u64::MAX;

/// The store has a size that is about to become visible: it is told none.
const LEARNING: u64 = u64::MAX - 1;

/// Of an incomplete truncation that is the store's own. No size has this bit.
const BY_STORE: u64 = 1 << 63;
const _: () = assert!(MAX_FILE_SIZE < BY_STORE, "the bit is free");

/// Which side has changed the size.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Origin {
    /// A caller of this library. The store has to be told.
    Here,
    /// The store, or another client of it. It is told nothing.
    Store,
}

/// What readers, syncs and later changes of the size have to know of earlier ones.
pub(crate) struct SizeChanges<K: Kernel> {
    /// How often the file became shorter.
    cuts: Word64<K>,
    /// To what size: that of cut `n` is at `n % REMEMBERED`. Written with I held.
    cut_to: [Word64<K>; REMEMBERED as usize],
    /// The smallest size whose truncation is not complete. Written with I held, before the size.
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

    /// The smallest size that the file was cut to since `then`; the largest if it was not. Bytes
    /// below it that were copied in the meantime are bytes of the file. The size itself would not
    /// tell: a write may have moved it up again (W5).
    ///
    /// A copy that saw a zero of a truncation sees its count: the zero was stored after it.
    pub(crate) fn lowest_cut_since(&self, then: Moment) -> FilePos {
        <K::Sync as SyncFamily>::fence(Ordering::Acquire);
        let now = self.cuts.load(Relaxed);
        if now == then.0 {
            return FilePos::MAX;
        }
        let cuts = then.0..now.min(then.0 + REMEMBERED);
        let lowest = cuts.fold(FilePos::MAX, |lowest, cut| {
            let size = self.cut_to[(cut % REMEMBERED) as usize].load(Acquire);
            lowest.min(FilePos::clipped(size))
        });
        // A later cut that reuses an entry begins once the count has come this far.
        if self.cuts.load(Acquire) - then.0 >= REMEMBERED { FilePos::ZERO } else { lowest }
    }

    /// Records a cut to `size`, which `shrink` makes visible. Written with I held.
    pub(crate) fn record_cut(&self, size: FilePos, shrink: impl FnOnce()) {
        let cut = self.cuts.load(Relaxed);
        self.cut_to[(cut % REMEMBERED) as usize].store(size.get(), Release);
        shrink();
        // After the size: a reader that sees the new count sees the new size, or a later one.
        self.cuts.fetch_add(1, AcqRel);
        <K::Sync as SyncFamily>::fence(Ordering::SeqCst);
    }

    /// Whether a truncation is not complete. Ask after the size: a caller that sees the size of a
    /// truncation sees that it is not complete.
    pub(crate) fn is_cut_incomplete(&self) -> bool {
        self.incomplete.load(Relaxed) != COMPLETE
    }

    /// The size whose truncation an earlier call left incomplete, if any. I is held.
    pub(crate) fn incomplete_cut(&self) -> Option<(FilePos, Origin)> {
        match self.incomplete.load(Relaxed) {
            COMPLETE => None,
            size if size & BY_STORE != 0 => {
                Some((FilePos::clipped(size - BY_STORE), Origin::Store))
            }
            size => Some((FilePos::clipped(size), Origin::Here)),
        }
    }

    /// From here on until [`cut_completed`](Self::cut_completed), what lies past `size` may still
    /// be in the cache and on the store: the file must not grow. Survives a call that ends early,
    /// by a signal or an unwinding callback. I is held.
    pub(crate) fn cut_begins(&self, size: FilePos) {
        self.incomplete.store(self.incomplete.load(Relaxed).min(size.get()), Relaxed);
    }

    /// As [`cut_begins`](Self::cut_begins), for a cut that the store has made, of a file without an
    /// incomplete one. Should a caller of this library cut the file further before this cut is
    /// complete, that one replaces it, because its size is the smaller number.
    pub(crate) fn store_cut_begins(&self, size: FilePos) {
        self.incomplete.store(size.get() | BY_STORE, Relaxed);
    }

    /// Nothing is left past the end. I is held.
    pub(crate) fn cut_completed(&self) {
        self.incomplete.store(COMPLETE, Relaxed);
    }

    /// Tells the store, by `tell`, the size that `size` returns inside the lock.
    pub(crate) fn tell(&self, wait: &K::Wait, size: impl FnOnce() -> u64, tell: impl FnOnce(u64)) {
        let _telling = self.telling.lock(wait);
        self.tell_locked(size(), tell);
    }

    /// As [`tell`](Self::tell), unless the store knows that size, or has one of its own that is
    /// about to become visible.
    pub(crate) fn tell_if_new(
        &self,
        wait: &K::Wait,
        size: impl FnOnce() -> u64,
        tell: impl FnOnce(u64),
    ) {
        let _telling = self.telling.lock(wait);
        let size = size();
        if !self.was_told(size) && !self.was_told(LEARNING) {
            self.tell_locked(size, tell);
        }
    }

    fn tell_locked(&self, size: u64, tell: impl FnOnce(u64)) {
        // From here on the store may know the old size or the new one.
        self.told.store(UNKNOWN, Release);
        self.known.store(self.known.load(Relaxed).min(size), Release);
        tell(size);
        self.known.store(size, Release);
        self.told.store(size, Release);
    }

    /// The store has changed the size by itself: no size that was visible before is told to it from
    /// here on. I is held, so that no other change begins; no page lock.
    pub(crate) fn learn(&self, wait: &K::Wait) -> Learning<'_, K> {
        let _telling = self.telling.lock(wait);
        let told = self.told.load(Relaxed);
        self.told.store(LEARNING, Release);
        Learning { changes: self, told }
    }

    /// Whether `size` is what the store was told last.
    pub(crate) fn was_told(&self, size: u64) -> bool {
        self.told.load(Acquire) == size
    }

    /// The size that the store knows at least, also while it is being told another one.
    pub(crate) fn known(&self) -> u64 {
        self.known.load(Acquire)
    }
}

/// The store has a size that is not visible yet. Dropping the value without
/// [`show`](Self::show) leaves things as they were.
pub(crate) struct Learning<'s, K: Kernel> {
    changes: &'s SizeChanges<K>,
    /// What the store counts as told of in the end.
    told: u64,
}

impl<K: Kernel> Learning<'_, K> {
    /// Makes the size of the store visible, by `show`.
    pub(crate) fn show(mut self, size: FilePos, show: impl FnOnce()) {
        let known = &self.changes.known;
        known.store(known.load(Relaxed).min(size.get()), Release);
        show();
        known.store(size.get(), Release);
        self.told = size.get();
    }
}

impl<K: Kernel> Drop for Learning<'_, K> {
    fn drop(&mut self) {
        // No other thread stores meanwhile: each that has the lock finds `LEARNING`.
        self.changes.told.store(self.told, Release);
    }
}
