//! Pages on their way to the store: the token of a writeback, and what the store is shown.
//!
//! Neighbours: [`LockedRun::begin_writeback`](crate::LockedRun::begin_writeback) makes a token,
//! [`Mapping::wait_writeback`](crate::Mapping::wait_writeback) waits for its end. The order in
//! which dirty and writeback change, and in which they are read, is described at
//! [`LockedRun::clean`](crate::LockedRun::clean). What a failure means for a sync is filemap's.

use core::ptr::NonNull;
use core::sync::atomic::Ordering::{AcqRel, Acquire, Relaxed, Release};

use heapless::Vec;

use crate::debug::kernel_debug;
use crate::leaf::Leaf;
use crate::{
    FrameNumber, Frames, Kernel, LockedRun, Mapping, PAGE_SIZE, PAGES_PER_LEAF, PageRun, SlotMask,
    Trace, Word, WritebackRun,
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
/// only this token clears the marks. So the pages are present, and the leaf keeps its owner. One
/// count of each frame of `frames` is owned; `addresses` are theirs.
#[must_use = "dropping it makes the pages dirty again"]
pub struct Writeback<'t, K: Kernel> {
    mapping: &'t Mapping<K>,
    leaf: &'t Leaf<K::Sync>,
    run: PageRun,
    size: u64,
    outcome: WritebackOutcome,
    frames: Vec<FrameNumber, PAGES_PER_LEAF>,
    addresses: Vec<NonNull<u8>, PAGES_PER_LEAF>,
}

// SAFETY: mappings and leaves are `Sync`, and frames are `Send + Sync`, so counts and memory can be
// given up by any thread; the addresses are only read through, as by `WritebackRun`, which is
// `Send`.
unsafe impl<K: Kernel> Send for Writeback<'_, K> {}
// SAFETY: through `&self` there is only the view, which is `Sync`.
unsafe impl<K: Kernel> Sync for Writeback<'_, K> {}

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
        if !inside || slots & (self.uptodate() & self.dirty() & !busy) != slots {
            return None;
        }
        let mut frames = Vec::new();
        let mut addresses = Vec::new();
        let allocator = self.mapping.cache().frames();
        for page in 0..u64::from(run.pages()) {
            // Present, because marks are only set on present pages.
            let frame = self.frame(run.first().plus(page))?;
            // A run has at most as many pages as there is room for.
            let _fits = frames.push(frame);
            let _fits = addresses.push(allocator.address(frame));
        }
        frames.iter().for_each(|&frame| allocator.retain(frame));
        self.leaf.begin_writeback(slots);
        K::trace(Trace::Acquired(self.mapping.writeback_id(run, slots)));
        // INVARIANT: the slots were not under writeback, are now, and the counts were just added.
        // Only the holder of the page lock sets the mark, so no other token has these slots.
        Some(Writeback {
            mapping: self.mapping,
            leaf: self.leaf,
            run,
            size,
            outcome: WritebackOutcome::Redirty,
            frames,
            addresses,
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
        let room = self.addresses.len() * PAGE_SIZE;
        let len = self.size.saturating_sub(pos).min(room as u64) as usize;
        // SAFETY: the addresses are those of frames that this token holds counts of.
        unsafe { WritebackRun::new(self.run.first(), &self.addresses, len) }
    }

    /// Ends the writeback: with [`WritebackOutcome::Redirty`] the pages are dirty again first, then
    /// they are no longer under writeback, and waiters are woken. A caller that records a failure
    /// does so before (F2). Takes no page lock and never sleeps.
    pub fn end(mut self, outcome: WritebackOutcome) {
        self.outcome = outcome;
    }
}

impl<K: Kernel> Drop for Writeback<'_, K> {
    fn drop(&mut self) {
        let cache = self.mapping.cache();
        // Before the marks go: eviction, which looks for pages that are clean and held once, never
        // sees the counts of a writeback that is over.
        for &frame in &self.frames {
            // SAFETY: by the invariant the count is ours; views have ended. (The page still has its
            // own.)
            unsafe { cache.frames().release(frame) };
        }
        let slots = self.run.mask();
        // Traced before another one can begin, so that a checker sees the events in order.
        K::trace(Trace::Released(self.mapping.writeback_id(self.run, slots)));
        self.leaf.end_writeback(slots, self.outcome, cache.wait());
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

    /// Clears writeback, after dirty is set if the pages are to be sent again. Without the page
    /// lock.
    fn end_writeback(&self, slots: SlotMask, outcome: WritebackOutcome, wait: &impl crate::Wait) {
        if outcome == WritebackOutcome::Redirty {
            // Under writeback, so present. Before writeback is cleared: pairs with `clean`.
            self.dirty.fetch_or(slots, Release);
        }
        self.clear_writeback(slots, wait);
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
