//! Locked pages: the one way to change what is cached.
//!
//! Key type: [`LockedRun`]. Its access to bytes is in `locked_bytes`. It does not own the rules of
//! what a mark means; filemap does.
#![forbid(unsafe_code)]

use core::marker::PhantomData;
use core::mem::{self, ManuallyDrop};
use core::sync::atomic::Ordering::{self, Acquire, Relaxed, Release, SeqCst};

use faultless_policy::replacement::Origin;

use crate::debug::kernel_debug;
use crate::leaf::Leaf;
use crate::replacement::Ops;
use crate::slots::SlotWord;
use crate::{
    Count, Errno, FrameBatch, FrameNumber, Kernel, LockContext, Mapping, OwnedFrame, PageIndex,
    PageRun, Patience, SharedFrame, SlotMask, Trace,
};

/// A run of pages of one mapping, locked. Dropping it unlocks.
///
/// While it lives the pages do not leave or enter the mapping, and their marks change by this value
/// only (but for the end of a writeback). The [`LockContext`] stays borrowed: nothing that may
/// fault can be called. Slots in arguments that lie outside the run are ignored, and marks are only
/// ever set on present pages.
///
/// [`mem::forget`] of a run leaves its pages locked until the mapping is dropped, although the
/// context comes back: lockers of them wait without end, and the memory of their leaf is leaked.
///
/// # Locking
/// One compare-and-swap of the leaf's lock word takes all slots of the run; one `fetch_and` gives
/// them back, and is followed by a look at the word of waiters. A request that finds a slot locked
/// or waited for stands in a queue of the leaf, and is granted its slots in order of arrival, all
/// at once, by the thread that frees the last of them. Once it has announced itself in the word of
/// waiters, each other thread gets one of its slots before it at most once (L1). The leaf is
/// checked after the lock: it must belong to the mapping at that index. It can't stop to, because
/// that takes the lock of all its slots. A waiter that finds the leaf to be another's stops waiting
/// (L5).
#[must_use]
pub struct LockedRun<'t, K: Kernel> {
    pub(crate) mapping: &'t Mapping<K>,
    pub(crate) leaf: &'t Leaf<K::Sync, K::Replacement>,
    pub(crate) first: PageIndex,
    /// Not empty, and without a gap.
    pub(crate) mask: SlotMask,
    /// Unlocked by the thread that locked, as traces say.
    context: PhantomData<(LockContext<'t>, *mut ())>,
}

impl<'t, K: Kernel> LockedRun<'t, K> {
    #[inline]
    pub(crate) fn new(
        mapping: &'t Mapping<K>,
        leaf: &'t Leaf<K::Sync, K::Replacement>,
        run: PageRun,
        _context: LockContext<'t>,
    ) -> Self {
        Self { mapping, leaf, first: run.first(), mask: run.mask(), context: PhantomData }
    }

    /// Two guards: of the pages before `at`, which lies inside the run, and of the others.
    pub(crate) fn split_at(self, at: PageIndex) -> (Self, Self) {
        let (mapping, leaf, run) = (self.mapping, self.leaf, self.run());
        debug_assert!(run.first() < at && at < run.end(), "both parts hold a page");
        K::trace(Trace::Released(mapping.lock_id(run)));
        // The locks go on as those of the two parts.
        mem::forget(self);
        let part = |first: PageIndex, end: PageIndex| {
            let run = PageRun::new(first, end.get() - first.get());
            K::trace(Trace::Acquired(mapping.lock_id(run)));
            Self { mapping, leaf, first: run.first(), mask: run.mask(), context: PhantomData }
        };
        (part(run.first(), at), part(at, run.end()))
    }

    /// Unlocks, as dropping it does, on a path where each instruction counts: the guard then stays
    /// in registers.
    #[inline(always)]
    pub fn unlock(self) {
        let Self { mapping, leaf, first, mask, .. } = *ManuallyDrop::new(self);
        release(mapping, leaf, first, mask);
    }

    /// The same guard in memory of its own, to be handed to a function that is not inlined: that
    /// takes its address, and would keep the original from registers, too.
    #[inline(always)]
    pub fn moved(self) -> Self {
        let Self { mapping, leaf, first, mask, .. } = *ManuallyDrop::new(self);
        Self { mapping, leaf, first, mask, context: PhantomData }
    }

    /// The pages.
    #[inline]
    #[must_use]
    pub fn run(&self) -> PageRun {
        PageRun::of(self.first, self.mask)
    }

    /// Their slots.
    #[inline]
    #[must_use]
    pub fn mask(&self) -> SlotMask {
        self.mask
    }

    /// The mapping.
    #[inline]
    #[must_use]
    pub fn mapping(&self) -> &'t Mapping<K> {
        self.mapping
    }

    /// Whether no page is in the leaf of the run any more: [`Mapping::prune_leaves`] frees it.
    #[must_use]
    pub fn is_last(&self) -> bool {
        self.leaf.present().is_empty()
    }

    /// Slots of the run with a page.
    #[inline]
    #[must_use]
    pub fn present(&self) -> SlotMask {
        self.leaf.present() & self.mask()
    }

    /// Slots whose page is valid: every byte is defined and as new as the store (P1).
    #[inline]
    #[must_use]
    pub fn uptodate(&self) -> SlotMask {
        self.leaf.uptodate.load(Acquire) & self.mask()
    }

    /// Slots whose page is newer than the store. Bits can come meanwhile: those of a writeback that
    /// fails. Whether a page is clean is what [`clean`](Self::clean) tells.
    #[inline]
    #[must_use]
    pub fn dirty(&self) -> SlotMask {
        self.leaf.dirty.load(Relaxed) & self.mask()
    }

    /// Slots whose page is on its way to the store. Bits can go meanwhile.
    #[inline]
    #[must_use]
    pub fn writeback(&self) -> SlotMask {
        self.leaf.writeback.load(Acquire) & self.mask()
    }

    /// Slots whose page is clean: present, not dirty and not under writeback. Such a page stays
    /// clean while it is locked, and can be dropped without loss once it is unmapped (F5).
    ///
    /// Dirty and writeback are one state in two words. A writeback that fails sets dirty (release)
    /// *before* it clears writeback (release); it holds no page lock. So this reads writeback first
    /// (acquire), then dirty: if the first load no longer sees the mark of the writeback, the
    /// second one sees what became of its page. In the other order a page could fail between the
    /// two loads and be taken for clean. The two methods [`dirty`](Self::dirty) and
    /// [`writeback`](Self::writeback), combined by the caller, promise nothing of the kind.
    #[inline]
    #[must_use]
    pub fn clean(&self) -> SlotMask {
        self.leaf.clean(self.mask())
    }

    /// Slots whose page has room on the store.
    #[inline]
    #[must_use]
    pub fn reserved(&self) -> SlotMask {
        self.leaf.reserved.load(Relaxed) & self.mask()
    }

    /// Slots whose page may hold bytes that a user mapping wrote past the end of the file (P2).
    #[inline]
    #[must_use]
    pub fn wrote_past_eof(&self) -> SlotMask {
        self.leaf.wrote_past_eof.load(Relaxed) & self.mask()
    }

    /// The frame of a page of the run.
    #[inline]
    #[must_use]
    pub fn frame(&self, index: PageIndex) -> Option<FrameNumber> {
        if self.run().contains(index) { self.leaf.frame(index.slot()) } else { None }
    }

    /// How many pages of the run from `index` on lie in consecutive frames, at most `limit`: 0 if
    /// the page is absent or outside the run. Valid or not.
    #[must_use]
    pub fn contiguous(&self, index: PageIndex, limit: u32) -> u32 {
        let Some(frame) = self.frame(index) else { return 0 };
        let rest = (self.run().end().get() - index.get()) as u32;
        self.leaf.locked_stretch(index.slot(), frame, limit.clamp(1, rest))
    }

    /// The frame of a page of the run, with a count of its own: for a user mapping.
    #[doc(alias = "get_page")]
    pub fn share_frame(&self, index: PageIndex) -> Option<SharedFrame<'t, K>> {
        // The page, which is locked, holds a count meanwhile.
        Some(SharedFrame::retain(self.mapping.cache(), self.frame(index)?))
    }

    /// As [`share_frame`](Self::share_frame), for as long as `mapping`, which is the run's, is
    /// borrowed: the page is unlocked meanwhile, and stays in the cache unless it is cut off.
    pub fn pin<'m>(&self, mapping: &'m Mapping<K>, index: PageIndex) -> Option<SharedFrame<'m, K>> {
        let is_its = core::ptr::eq(mapping, self.mapping);
        let frame = self.frame(index).filter(|_| is_its)?;
        // The page, which is locked, holds a count meanwhile.
        Some(SharedFrame::retain(mapping.cache(), frame))
    }

    /// Puts a page at `index`, without any mark, for a use that follows.
    ///
    /// # Errors
    /// The frame, if `index` lies outside the run or has a page, or the frame is another cache's.
    pub fn insert<'f>(
        &mut self,
        index: PageIndex,
        frame: OwnedFrame<'f, K>,
    ) -> Result<(), OwnedFrame<'f, K>> {
        let bit = index.bit();
        if !self.run().contains(index)
            || self.present().contains(bit)
            || !frame.is_of(self.mapping.cache())
        {
            return Err(frame);
        }
        self.leaf.put(index.slot(), frame.into_number());
        self.put_in(bit, Origin::Demand);
        Ok(())
    }

    /// Puts pages into the absent ones of `slots`, lowest first, as far as `frames` lasts, for a
    /// use that follows. Returns the slots that were filled.
    pub fn insert_batch(&mut self, slots: SlotMask, frames: &mut FrameBatch<'_, K>) -> SlotMask {
        self.insert_from(slots, frames, Origin::Demand)
    }

    /// As [`insert_batch`](Self::insert_batch), for a use that may never come.
    pub fn insert_ahead(&mut self, slots: SlotMask, frames: &mut FrameBatch<'_, K>) -> SlotMask {
        self.insert_from(slots, frames, Origin::Readahead)
    }

    fn insert_from(
        &mut self,
        slots: SlotMask,
        frames: &mut FrameBatch<'_, K>,
        origin: Origin,
    ) -> SlotMask {
        if !frames.is_of(self.mapping.cache()) {
            return SlotMask::EMPTY;
        }
        let mut done = SlotMask::EMPTY;
        for slot in (slots & self.mask() & !self.present()).iter() {
            let Some(frame) = frames.take_first() else { break };
            self.leaf.put(slot, frame.into_number());
            done |= SlotMask::single(slot);
        }
        self.put_in(done, origin);
        done
    }

    /// Frames were put into `slots`.
    fn put_in(&mut self, slots: SlotMask, origin: Origin) {
        self.leaf.set_present(slots);
        self.mapping.count_slots(Count::Cached, slots);
        if self.mapping.is_evictable() {
            self.enter_books(slots, origin);
        }
    }

    fn enter_books(&self, slots: SlotMask, origin: Origin) {
        let (cache, base) = (self.mapping.cache(), self.first.leaf_base());
        cache.note_inserted(self.mapping, self.leaf, slots, base, origin);
    }

    /// Tells [`Kernel::Replacement`] that pages are used, which were in the cache before. Costs a
    /// look at two words of the leaf if it knows that, and nothing if it is `()`.
    ///
    /// A write does this for pages that it makes dirty: dirty ones do not leave.
    #[doc(alias = "mark_page_accessed")]
    #[doc(alias = "folio_mark_accessed")]
    #[inline]
    pub fn mark_used(&mut self, slots: SlotMask) {
        K::Replacement::used(&self.leaf.words, slots & self.mask());
    }

    /// Which of `slots` [`take_out`](Self::take_out) may empty.
    pub(crate) fn removable(&self, slots: SlotMask) -> SlotMask {
        slots & self.present() & !self.writeback()
    }

    /// Empties `slots`, which are [`removable`](Self::removable), and gives the counts of their
    /// frames to `each`.
    pub(crate) fn take_out(&mut self, slots: SlotMask, each: impl FnMut(FrameNumber)) {
        let booked = self.leaf.on_books() & slots;
        self.take_out_victims(slots, each);
        self.mapping.cache().note_removed(self.leaf, booked);
    }

    /// The same, but [`Kernel::Replacement`] is told otherwise.
    pub(crate) fn take_out_victims(&mut self, slots: SlotMask, each: impl FnMut(FrameNumber)) {
        debug_assert!(self.mask().contains(slots), "locked");
        if !slots.is_empty() {
            let dirty = self.leaf.take(slots, each);
            self.mapping.count_slots(Count::Removed, slots);
            self.mapping.count_dirty(Count::Cleaned, dirty);
        }
    }

    /// Marks pages valid, after their data is (release).
    ///
    /// The caller vouches for every byte (P1). A frame holds what its last user left, so a page
    /// that is marked before it was filled shows that to its readers (W5). [`fill`](Self::fill) and
    /// [`zero`](Self::zero) define bytes; a copy that came short does not define the rest. The mark
    /// is taken back only by removal, and for a moment by [`replace`](Self::replace).
    #[inline]
    pub fn set_uptodate(&mut self, slots: SlotMask) {
        self.set(&self.leaf.uptodate, slots);
    }

    /// Marks pages as reserved: they have room on the store. Leaves [transient](Self::transient)
    /// pages out.
    #[inline]
    pub fn set_reserved(&mut self, slots: SlotMask) {
        self.set(&self.leaf.reserved, slots - self.transient());
    }

    /// Takes the mark back.
    pub fn clear_reserved(&mut self, slots: SlotMask) {
        self.clear(&self.leaf.reserved, slots);
    }

    /// Marks pages as newer than the store; those that were not. Costs a locked instruction only if
    /// there is one. It is sequentially consistent: a later load that is, too, comes after it.
    #[inline]
    pub fn set_dirty(&mut self, slots: SlotMask) -> SlotMask {
        let dirtied = self.set_with(&self.leaf.dirty, slots, SeqCst);
        self.mapping.count_dirty(Count::Dirtied, dirtied);
        dirtied
    }

    /// Takes the mark back: the pages were thrown away, or never changed. What was stored in them
    /// is lost if neither is so.
    pub fn clear_dirty(&mut self, slots: SlotMask) {
        let cleaned = self.clear(&self.leaf.dirty, slots);
        self.mapping.count_dirty(Count::Cleaned, cleaned);
    }

    /// Marks pages whose first use asks for more to be read ahead: [`ReadSection::take_marker`].
    ///
    /// [`ReadSection::take_marker`]: crate::ReadSection::take_marker
    #[doc(alias = "PG_readahead")]
    pub fn set_marker(&mut self, slots: SlotMask) {
        self.set(&self.leaf.marker, slots);
    }

    /// Slots with that mark, which are not [transient](Self::transient).
    #[must_use]
    pub fn marker(&self) -> SlotMask {
        self.leaf.asks_for_more(self.mask())
    }

    /// Marks pages that were just put in, and that the operation does not want to keep: they are
    /// dropped behind it, unless [`keep`](Self::keep) or [`ReadSection::keep`] takes the mark back
    /// before. Pages that are reserved are left out: they were in use before.
    ///
    /// In a mapping whose [holes are zeros](Mapping::holes_are_zeros) they are pages of zeros, and
    /// may leave because memory is short. There only a write takes the mark back.
    ///
    /// [`ReadSection::keep`]: crate::ReadSection::keep
    #[doc(alias = "PG_dropbehind")]
    pub fn set_transient(&mut self, slots: SlotMask) {
        let slots = slots - self.reserved();
        // In this order: a marker of a page that is not transient asks for more.
        let fresh = self.set(&self.leaf.transient, slots);
        self.set(&self.leaf.marker, slots);
        if self.mapping.holes_are_zeros() {
            self.enter_books(fresh, Origin::Demand);
        }
    }

    /// Slots with that mark. Bits can go meanwhile.
    #[inline]
    #[must_use]
    pub fn transient(&self) -> SlotMask {
        self.leaf.transient.load(Relaxed) & self.mask()
    }

    /// Takes the mark back: the pages are used by an operation that keeps them. Costs a look at one
    /// word if none has it.
    #[inline]
    pub fn keep(&mut self, slots: SlotMask) {
        let kept = self.leaf.keep(slots & self.mask());
        if !kept.is_empty() && self.mapping.holes_are_zeros() {
            self.mapping.cache().note_removed(self.leaf, kept);
        }
    }

    /// As [`keep`](Self::keep), by a use that writes nothing: pages of zeros that can be had again
    /// [at any time](Mapping::holes_are_zeros) stay as they are.
    pub fn keep_read(&mut self, slots: SlotMask) {
        if !self.mapping.holes_are_zeros() {
            self.keep(slots);
        }
    }

    /// Marks pages that a user mapping may have written past the end of the file.
    pub fn set_wrote_past_eof(&mut self, slots: SlotMask) {
        self.set(&self.leaf.wrote_past_eof, slots);
    }

    /// Takes the mark back: what lies past the end is zero again.
    pub fn clear_wrote_past_eof(&mut self, slots: SlotMask) {
        self.clear(&self.leaf.wrote_past_eof, slots);
    }

    /// Sleeps until none of `slots` is under writeback, or `killed` says yes; see
    /// [`Mapping::lock_killable`]. No writeback begins while the pages are locked, and the end of
    /// one takes no page lock: the wait is for one writeback of each page.
    ///
    /// # Errors
    /// [`Errno::Interrupted`] if `killed` said yes before the last writeback had ended (L3). The
    /// pages stay locked.
    pub fn wait_writeback(&self, slots: SlotMask, killed: &impl Patience) -> Result<(), Errno> {
        // The leaf cannot change hands while a slot is locked.
        self.mapping.wait_writeback_in(
            self.leaf,
            self.run(),
            slots & self.mask(),
            &|| false,
            killed,
        )
    }

    /// Raises the file's size to `new` if it is smaller (P7): this run holds the page that makes it
    /// grow. The caller holds the inode lock (I), as for [`Mapping::truncate_size`].
    pub fn grow_size(&mut self, new: u64) {
        self.mapping.raise_size(new);
    }

    /// Sets a mark; the pages that did not have it.
    #[inline]
    fn set(&self, word: &SlotWord<K::Sync>, slots: SlotMask) -> SlotMask {
        self.set_with(word, slots, Release)
    }

    #[inline]
    fn set_with(&self, word: &SlotWord<K::Sync>, slots: SlotMask, order: Ordering) -> SlotMask {
        let slots = slots & self.mask();
        if word.load(Relaxed).contains(slots) {
            return SlotMask::EMPTY;
        }
        let slots = slots & self.leaf.present();
        slots - word.fetch_or(slots, order)
    }

    /// Clears a mark; the pages that had it.
    fn clear(&self, word: &SlotWord<K::Sync>, slots: SlotMask) -> SlotMask {
        let slots = slots & self.mask();
        if !word.load(Relaxed).intersects(slots) {
            return SlotMask::EMPTY;
        }
        slots & word.fetch_and(!slots, Release)
    }
}

#[cfg(test)]
impl<K: Kernel> LockedRun<'_, K> {
    pub(crate) fn leaf_identity(&self) -> (u64, u64) {
        let (owner, base) = self.leaf.identity();
        (owner, base.get())
    }
}

impl<K: Kernel> Drop for LockedRun<'_, K> {
    #[inline(always)]
    fn drop(&mut self) {
        release(self.mapping, self.leaf, self.first, self.mask);
    }
}

#[inline(always)]
fn release<K: Kernel>(
    mapping: &Mapping<K>,
    leaf: &Leaf<K::Sync, K::Replacement>,
    first: PageIndex,
    mask: SlotMask,
) {
    // Traced before another thread can have it, so that a checker sees the events in order.
    K::trace(Trace::Released(mapping.lock_id(PageRun::of(first, mask))));
    leaf.unlock(mask, mapping.cache().wait());
}

kernel_debug!(LockedRun<'_, K>, |this| { mapping: this.mapping.id(), run: this.run() });
