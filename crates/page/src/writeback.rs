//! Pages on their way to the store: the token of a writeback, and what the store is shown.
//!
//! Neighbours: [`LockedRun::begin_writeback`](crate::LockedRun::begin_writeback) makes a token,
//! [`Mapping::wait_writeback`](crate::Mapping::wait_writeback) waits for its end. The order in
//! which dirty and writeback change, and in which they are read, is described at
//! [`LockedRun::clean`](crate::LockedRun::clean). What a failure means for a sync is filemap's.

use core::ptr::NonNull;
use core::sync::atomic::Ordering::{AcqRel, Acquire, Relaxed, Release};

use crate::debug::kernel_debug;
use crate::kernel::count;
use crate::leaf::Leaf;
use crate::writeback_run::HeldPages;
use crate::{
    Count, FrameNumber, Frames, Kernel, LockedRun, Mapping, PAGE_SIZE, PageIndex, PageRun,
    SlotMask, Trace, WritebackRun,
};

/// How a writeback ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum WritebackOutcome {
    /// The store has the bytes.
    Clean,
    /// The store does not have them: the pages are dirty again.
    Redirty,
}

/// A writeback that has begun: its pages are marked as under writeback, and stay so until the token
/// ends. Made by [`LockedRun::begin_writeback`](crate::LockedRun::begin_writeback) under the page
/// lock; used and ended without it, by any thread.
///
/// [`end`](Self::end) says how it went. Dropping the token instead is
/// [`WritebackOutcome::Redirty`]: a store that panics leaves its pages dirty, and no waiter behind.
/// A writeback ends once and for its own pages only, because the token is consumed and nothing else
/// clears the mark.
///
/// ```compile_fail,E0382
/// # use faultless_page::{Kernel, Writeback, WritebackOutcome};
/// fn end_twice<K: Kernel>(writeback: Writeback<'_, K>) {
///     writeback.end(WritebackOutcome::Clean);
///     writeback.end(WritebackOutcome::Redirty);
/// }
/// ```
///
/// [`mem::forget`](core::mem::forget) of a token leaves its pages under writeback until the mapping
/// is dropped: waits for them do not return, they are not removed, and their frames are leaked.
///
/// # Invariants
/// The slots of `run` in `leaf`, which belongs to `mapping`, are marked as under writeback, and
/// only this token clears the marks. So the pages are present, the leaf keeps its owner and each
/// slot its frame. One count of each of these frames is owned.
#[must_use = "dropping it makes the pages dirty again"]
pub struct Writeback<'t, K: Kernel> {
    mapping: &'t Mapping<K>,
    leaf: &'t Leaf<K::Sync>,
    run: PageRun,
    size: u64,
    outcome: WritebackOutcome,
}

impl<'t, K: Kernel> LockedRun<'t, K> {
    /// Turns the dirty pages of `run` into pages under writeback, which the store will see with
    /// zeros past `size` (P2). All of them, or none: each has to lie in the locked run, and be
    /// uptodate, dirty and not under writeback. Otherwise `None`, and nothing has changed. Holds
    /// one count of each frame. Does not sleep.
    ///
    /// Writeback is set before dirty is cleared, so that a look from outside
    /// ([`Mark::Unclean`](crate::Mark::Unclean)) finds one of the two. Pages that are dirty but not
    /// uptodate, which takes a caller's mistake, are refused because their bytes may be undefined
    /// (P1).
    pub fn begin_writeback(&mut self, run: PageRun, size: u64) -> Option<Writeback<'t, K>> {
        let inside = self.run().contains(run.first()) && run.end() <= self.run().end();
        let slots = run.mask();
        // Writeback first: see `clean`.
        let busy = self.writeback();
        if !inside || !(self.uptodate() & self.dirty() & !busy).contains(slots) {
            return None;
        }
        // Present, because marks are only set on present pages.
        let allocator = self.mapping.cache().frames();
        frames_of(self.leaf, run).for_each(|frame| allocator.retain(frame));
        self.leaf.begin_writeback(slots);
        count::<K>(Count::WritebackBegun, slots);
        count::<K>(Count::Cleaned, slots);
        K::trace(Trace::Acquired(self.mapping.writeback_id(run, slots)));
        // INVARIANT: the slots were not under writeback, are now, and the counts were just added.
        // Only the holder of the page lock sets the mark, so no other token has these slots.
        Some(Writeback {
            mapping: self.mapping,
            leaf: self.leaf,
            run,
            size,
            outcome: WritebackOutcome::Redirty,
        })
    }
}

impl<K: Kernel> Writeback<'_, K> {
    /// The pages.
    #[must_use]
    pub fn run(&self) -> PageRun {
        self.run
    }

    /// What the store is shown.
    #[must_use]
    pub fn view(&self) -> WritebackRun<'_> {
        let pos = self.run.start();
        let room = self.run.pages() as usize * PAGE_SIZE;
        let len = self.size.saturating_sub(pos).min(room as u64) as usize;
        WritebackRun::new(self, self.run, len)
    }

    /// What dropping the token ends the writeback with, instead of [`WritebackOutcome::Redirty`].
    pub fn set_outcome(&mut self, outcome: WritebackOutcome) {
        self.outcome = outcome;
    }

    /// Ends the writeback: with [`WritebackOutcome::Redirty`] the pages are dirty again first, then
    /// they are no longer under writeback, and waiters are woken. A caller that records a failure
    /// does so before (F2). Takes no page lock and never sleeps.
    pub fn end(mut self, outcome: WritebackOutcome) {
        self.set_outcome(outcome);
    }
}

// SAFETY: the token holds a count of each frame, by its invariant.
unsafe impl<K: Kernel> HeldPages for Writeback<'_, K> {
    fn page(&self, index: PageIndex) -> Option<NonNull<u8>> {
        let frame = if self.run.contains(index) { self.leaf.frame(index.slot()) } else { None };
        frame.map(|frame| self.mapping.cache().frames().address(frame))
    }
}

/// The frames of a run of present pages, none of which leaves the leaf meanwhile.
fn frames_of<S: crate::SyncFamily>(
    leaf: &Leaf<S>,
    run: PageRun,
) -> impl Iterator<Item = FrameNumber> {
    let first = run.first().slot();
    (first..first + run.pages()).filter_map(|slot| leaf.frame(slot))
}

impl<K: Kernel> Drop for Writeback<'_, K> {
    fn drop(&mut self) {
        let cache = self.mapping.cache();
        // Before the marks go: eviction, which looks for pages that are clean and held once, never
        // sees the counts of a writeback that is over.
        for frame in frames_of(self.leaf, self.run) {
            // SAFETY: by the invariant the count is ours; views have ended. (The page still has its
            // own.)
            unsafe { cache.frames().release(frame) };
        }
        let slots = self.run.mask();
        // Traced before another one can begin, so that a checker sees the events in order.
        K::trace(Trace::Released(self.mapping.writeback_id(self.run, slots)));
        count::<K>(Count::WritebackEnded, slots);
        let dirtied = self.leaf.end_writeback(slots, self.outcome, cache.wait());
        count::<K>(Count::Dirtied, dirtied);
    }
}

/// The marks.
impl<S: crate::SyncFamily> Leaf<S> {
    /// Marks `slots`, locked, dirty and not under writeback, as under writeback and no longer
    /// dirty, in this order.
    fn begin_writeback(&self, slots: SlotMask) {
        // Release: `unclean` reads dirty first; if it reads it cleared, it reads writeback set.
        self.writeback.fetch_or(slots, AcqRel);
        self.dirty.fetch_and(!slots, AcqRel);
    }

    /// Clears writeback, after dirty is set if the pages are to be sent again; the pages that were
    /// not dirty again by then. Without the page lock.
    fn end_writeback(
        &self,
        slots: SlotMask,
        outcome: WritebackOutcome,
        wait: &impl crate::Wait,
    ) -> SlotMask {
        let mut dirtied = SlotMask::EMPTY;
        if outcome == WritebackOutcome::Redirty {
            // Under writeback, so present. Before writeback is cleared: pairs with `clean`.
            dirtied = slots - self.dirty.fetch_or(slots, Release);
        }
        self.clear_writeback(slots, wait);
        dirtied
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

kernel_debug!(Writeback<'_, K>, |this| { run: this.run, size: this.size });
