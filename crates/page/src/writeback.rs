//! The marks of pages on their way to the store: how a writeback begins and ends.
//!
//! Neighbours: [`LockedRun::begin_writeback`](crate::LockedRun::begin_writeback) makes a token,
//! [`Mapping::wait_writeback`](crate::Mapping::wait_writeback) waits for its end. The order in
//! which dirty and writeback change, and in which they are read, is described at
//! [`LockedRun::clean`](crate::LockedRun::clean). What a failure means for a sync is filemap's.

use core::sync::atomic::Ordering::{AcqRel, Acquire, Relaxed, Release};

use crate::leaf::Leaf;
use crate::request::Raw;
use crate::{Count, Kernel, LockedRun, PageRun, SlotMask, WritebackRequest};

impl<K: Kernel> LockedRun<'_, K> {
    /// Turns the dirty pages of `run` into pages under writeback, which the store will see with
    /// zeros past `size` (P2). All of them, or none: each has to lie in the locked run, and be
    /// uptodate, dirty and not under writeback. Otherwise `None`, and nothing has changed. Does not
    /// sleep.
    ///
    /// Writeback is set before dirty is cleared, so that a look from outside
    /// ([`Mark::Unclean`](crate::Mark::Unclean)) finds one of the two. Pages that are dirty but not
    /// uptodate, which takes a caller's mistake, are refused because their bytes may be undefined
    /// (P1).
    pub fn begin_writeback(&mut self, run: PageRun, size: u64) -> Option<WritebackRequest> {
        let inside = self.run().contains(run.first()) && run.end() <= self.run().end();
        let slots = run.mask();
        // Writeback first: see `clean`.
        let busy = self.writeback();
        if !inside || !(self.uptodate() & self.dirty() & !busy).contains(slots) {
            return None;
        }
        self.leaf.begin_writeback(slots);
        self.mapping.count_slots(Count::WritebackBegun, slots);
        self.mapping.count_dirty(Count::Cleaned, slots);
        // SAFETY: the pages are present, because marks are only set on present pages; they were not
        // under writeback, and are now. Only the holder of the page lock sets the mark, so no other
        // request has these slots.
        let raw = unsafe { Raw::new(self.mapping, self.leaf, run) }?;
        // SAFETY: as above.
        Some(unsafe { WritebackRequest::new(raw, size) })
    }
}

/// The marks.
impl<S: crate::SyncFamily, R: crate::Replacement> Leaf<S, R> {
    /// Marks `slots`, locked, dirty and not under writeback, as under writeback and no longer
    /// dirty, in this order.
    fn begin_writeback(&self, slots: SlotMask) {
        // Release: `unclean` reads dirty first; if it reads it cleared, it reads writeback set.
        self.writeback.fetch_or(slots, AcqRel);
        self.dirty.fetch_and(!slots, AcqRel);
    }

    /// Pages under writeback are to be sent again; those that were not dirty. Before
    /// [`clear_writeback`](Self::clear_writeback): pairs with `clean`.
    pub(crate) fn set_dirty_again(&self, slots: SlotMask) -> SlotMask {
        // Under writeback, so present.
        slots - self.dirty.fetch_or(slots, Release)
    }

    /// Present slots that are neither dirty nor under writeback. The caller has `slots` locked.
    pub(crate) fn clean(&self, slots: SlotMask) -> SlotMask {
        // Acquire: if it reads a mark cleared by `end_writeback`, the load of dirty reads what was
        // set before.
        let writeback = self.writeback.load(Acquire);
        let dirty = self.dirty.load(Relaxed);
        slots & self.present() & !(writeback | dirty)
    }

    /// Slots that are dirty or under writeback, for a look without locks. See
    /// [`Mark::Unclean`](crate::Mark::Unclean).
    pub(crate) fn unclean(&self) -> SlotMask {
        // Acquire: if it reads a mark cleared by `begin_writeback`, the load of writeback reads
        // what was set before.
        let dirty = self.dirty.load(Acquire);
        dirty | self.writeback.load(Acquire)
    }
}
