//! Pages taken out of their mapping, whose frames wait for the last reader.
//!
//! Neighbours: [`LockedRun::remove`](crate::LockedRun::remove) takes pages out, the
//! [epoch](crate::Epoch) tells when the last reader is gone.

use heapless::Vec;

use crate::debug::kernel_debug;
use crate::{FrameNumber, Frames, Kernel, LockedRun, Mapping, PAGES_PER_LEAF, PageCache, SlotMask};

/// Frames that share a grace period in [`Removals`]. More than a leaf has, three halves of one, and
/// less than 512 bytes on the stack.
const BATCH: usize = 96;
const _: () = assert!(BATCH >= PAGES_PER_LEAF, "what one leaf holds fits");

/// What [`LockedRun::remove`](crate::LockedRun::remove) took out. Dropping it waits for a grace
/// period, then releases the frames; it may be dropped with the pages still locked, because readers
/// wait for nothing. Dropped inside a read section, it would wait for that section, without end.
/// Many runs are cheaper with [`Removals`].
///
/// [`mem::forget`](core::mem::forget) leaks the frames, and does no other harm.
///
/// # Invariants
/// One count of each frame is owned. They were taken out of a leaf of the cache.
#[must_use = "dropping it waits for a grace period: unlock first where possible"]
pub struct Removed<'t, K: Kernel> {
    cache: &'t PageCache<K>,
    frames: Vec<FrameNumber, PAGES_PER_LEAF>,
    slots: SlotMask,
}

impl<K: Kernel> PageCache<K> {
    /// Collects pages that leave their mappings, in several runs, so that they share grace periods.
    pub fn removals(&self) -> Removals<'_, K> {
        Removals::new(self)
    }
}

impl<K: Kernel> Mapping<K> {
    /// Collects pages that leave this mapping, in several runs, so that they share grace periods.
    pub fn removals(&self) -> Removals<'_, K> {
        self.cache().removals()
    }
}

impl<'t, K: Kernel> LockedRun<'t, K> {
    /// Takes pages out, with all their marks. Pages under writeback stay: wait for it first.
    /// User mappings are the caller's to remove.
    pub fn remove(&mut self, slots: SlotMask) -> Removed<'t, K> {
        let slots = self.removable(slots);
        let mut removed = Removed::new(self.mapping.cache(), slots);
        self.take_out(slots, |frame| removed.push(frame));
        removed
    }
}

impl<'t, K: Kernel> Removed<'t, K> {
    pub(crate) fn new(cache: &'t PageCache<K>, slots: SlotMask) -> Self {
        Self { cache, frames: Vec::new(), slots }
    }

    /// Adds a frame whose count the caller owned.
    pub(crate) fn push(&mut self, frame: FrameNumber) {
        // A leaf has no more slots than there is room.
        let _fits = self.frames.push(frame);
    }

    /// The slots that were emptied, or whose frame was replaced.
    #[must_use]
    pub fn slots(&self) -> SlotMask {
        self.slots
    }

    /// How many pages.
    #[must_use]
    pub fn len(&self) -> usize {
        self.frames.len()
    }

    /// Whether there was nothing to remove.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.frames.is_empty()
    }
}

impl<K: Kernel> Drop for Removed<'_, K> {
    fn drop(&mut self) {
        release(self.cache, &mut self.frames);
    }
}

/// Pages taken out of many runs, which share grace periods: one for each batch of up to 96 frames,
/// instead of one for each run. Made by [`PageCache::removals`] or
/// [`Mapping::removals`](crate::Mapping::removals).
///
/// Dropping it waits for a grace period, then releases the frames; nothing is waited for if there
/// are none. As for [`Removed`]: not inside a read section, with pages locked or not, and
/// forgetting it leaks the frames.
///
/// # Invariants
/// One count of each frame is owned. They were taken out of leaves of the cache.
#[must_use]
pub struct Removals<'t, K: Kernel> {
    cache: &'t PageCache<K>,
    frames: Vec<FrameNumber, BATCH>,
}

impl<'t, K: Kernel> Removals<'t, K> {
    pub(crate) fn new(cache: &'t PageCache<K>) -> Self {
        Self { cache, frames: Vec::new() }
    }

    /// Takes pages out, as [`LockedRun::remove`] does, and keeps their frames; the slots that were
    /// emptied. Pages under writeback stay, and so do all pages of a mapping of another cache.
    ///
    /// Waits for a grace period first if there is no room for the frames. The pages stay locked
    /// meanwhile: readers wait for nothing.
    pub fn take(&mut self, locked: &mut LockedRun<'_, K>, slots: SlotMask) -> SlotMask {
        let booked = locked.leaf.on_books();
        let taken = self.take_victims(locked, slots);
        self.cache.note_removed(locked.leaf, booked & taken);
        taken
    }

    /// The same, but [`Kernel::Replacement`] is told otherwise.
    pub(crate) fn take_victims(
        &mut self,
        locked: &mut LockedRun<'_, K>,
        slots: SlotMask,
    ) -> SlotMask {
        if !core::ptr::eq(locked.mapping().cache(), self.cache) {
            return SlotMask::EMPTY;
        }
        let slots = locked.removable(slots);
        if self.frames.len() + slots.count() as usize > BATCH {
            release(self.cache, &mut self.frames);
        }
        debug_assert!(self.frames.len() + slots.count() as usize <= BATCH, "there is room");
        locked.take_out_victims(slots, |frame| {
            // There is room for a whole leaf in an empty batch, and for these in one that is not.
            let _fits = self.frames.push(frame);
        });
        slots
    }

    /// How many frames wait for a grace period.
    #[must_use]
    pub fn len(&self) -> usize {
        self.frames.len()
    }

    /// Whether no frame waits for a grace period.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.frames.is_empty()
    }
}

impl<K: Kernel> Drop for Removals<'_, K> {
    fn drop(&mut self) {
        release(self.cache, &mut self.frames);
    }
}

/// Waits for a grace period and releases `frames`, which were taken out of leaves of `cache` and
/// whose counts are the caller's. Does not wait if there are none.
fn release<K: Kernel, const N: usize>(cache: &PageCache<K>, frames: &mut Vec<FrameNumber, N>) {
    if frames.is_empty() {
        return;
    }
    cache.synchronize();
    while let Some(frame) = frames.pop() {
        // SAFETY: the count is the caller's, as both types say in their invariants; no reader that
        // may have found the frame is left.
        unsafe { cache.frames().release(frame) };
    }
}

kernel_debug!(Removed<'_, K>, |this| { slots: this.slots });
kernel_debug!(Removals<'_, K>, |this| { frames: this.frames.len() });
