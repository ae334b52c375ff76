//! The cache: memory, waiting, node pools and the epoch that all mappings of a kernel share.
//!
//! It does not know its mappings, and has no policy of what to keep.

use core::sync::atomic::Ordering::Relaxed;

use crate::debug::kernel_debug;
use crate::frame;
use crate::leaf::Leaf;
use crate::node::Inner;
use crate::pool::{Pool, Spare};
use crate::{
    Epoch, EpochGuard, Errno, FrameBatch, Frames, Kernel, Removals, SyncFamily, Trace, Word, Word64,
};

/// What all mappings share. Usually one per kernel, but there is no global: tests have many.
pub struct PageCache<K: Kernel> {
    frames: K::Frames,
    wait: K::Wait,
    epoch: Epoch<K>,
    leaves: Pool<K::Sync, Leaf<K::Sync>>,
    inners: Pool<K::Sync, Inner<K::Sync>>,
    /// Ids are not reused: 64 bits do not run out.
    last_id: Word64<K>,
}

/// The pools and the frames they take, in one copyable view.
pub(crate) struct Nodes<'c, S: SyncFamily, F> {
    pub(crate) leaves: &'c Pool<S, Leaf<S>>,
    pub(crate) inners: &'c Pool<S, Inner<S>>,
    frames: &'c F,
    traced: fn(),
}

impl<S: SyncFamily, F> Clone for Nodes<'_, S, F> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<S: SyncFamily, F> Copy for Nodes<'_, S, F> {}

impl<'c, S: SyncFamily, F: Frames> Nodes<'c, S, F> {
    pub(crate) fn take_leaf(self) -> Result<Spare<'c, Leaf<S>>, Errno> {
        // SAFETY: a cache has one `frames`, and `PageCache::nodes` is the only constructor.
        unsafe { self.leaves.take(self.frames, self.traced) }
    }

    pub(crate) fn take_inner(self) -> Result<Spare<'c, Inner<S>>, Errno> {
        // SAFETY: as above.
        unsafe { self.inners.take(self.frames, self.traced) }
    }
}

impl<K: Kernel> PageCache<K> {
    /// A cache without pages. Allocates nothing.
    #[must_use]
    pub fn new(frames: K::Frames, wait: K::Wait) -> Self {
        Self {
            frames,
            wait,
            epoch: Epoch::new(),
            leaves: Pool::new(),
            inners: Pool::new(),
            last_id: Word::new(0),
        }
    }

    /// Where memory comes from.
    #[must_use]
    #[inline]
    pub fn frames(&self) -> &K::Frames {
        &self.frames
    }

    /// How this cache's users sleep.
    #[must_use]
    #[inline]
    pub fn wait(&self) -> &K::Wait {
        &self.wait
    }

    /// Up to `pages` (clipped to 1..=64) consecutive frames, at least one. May sleep and reclaim: no page lock may be held (P3).
    /// Traces [`Trace::Allocated`] for each.
    ///
    /// # Errors
    /// [`Errno::NoMemory`], or whatever [`Frames::allocate`] says.
    pub fn allocate(&self, pages: u32) -> Result<FrameBatch<'_, K>, Errno> {
        let pages = pages.clamp(1, crate::PAGES_PER_LEAF as u32);
        let (first, count) = frame::allocate(&self.frames, pages)?;
        for _ in 0..count {
            K::trace(Trace::Allocated);
        }
        // SAFETY: `allocate` has just given us these frames, with one count each.
        Ok(unsafe { FrameBatch::new(self, first, count) })
    }

    /// Memory in bytes that index nodes have taken from the frames. It is reused, and given back with the cache.
    #[must_use]
    pub fn metadata_bytes(&self) -> usize {
        self.leaves.bytes() + self.inners.bytes()
    }

    /// Waits until every read section that is open now has ended. Called between taking a frame out of a mapping and
    /// reusing it; for embedders who free what else a reader may have seen. Traces [`Trace::GracePeriod`].
    ///
    /// Called inside a section of the same thread, it waits for that section and never returns; so it does after a
    /// section was forgotten ([`mem::forget`](core::mem::forget)) and thus never ends.
    pub fn synchronize(&self) {
        K::trace(Trace::GracePeriod);
        self.epoch.synchronize(&self.wait);
    }

    /// Collects pages that leave their mappings, in several runs, so that they share grace periods.
    pub fn removals(&self) -> Removals<'_, K> {
        Removals::new(self)
    }

    #[inline]
    pub(crate) fn enter(&self) -> EpochGuard<'_, K> {
        self.epoch.enter(&self.wait)
    }

    pub(crate) fn nodes(&self) -> Nodes<'_, K::Sync, K::Frames> {
        Nodes {
            leaves: &self.leaves,
            inners: &self.inners,
            frames: &self.frames,
            traced: || K::trace(Trace::Allocated),
        }
    }

    pub(crate) fn new_id(&self) -> u64 {
        self.last_id.fetch_add(1, Relaxed) + 1
    }
}

impl<K: Kernel> Drop for PageCache<K> {
    fn drop(&mut self) {
        // SAFETY: `take` was given these frames only; mappings keep their cache alive, so there are none left.
        unsafe { self.leaves.destroy(&self.frames) };
        // SAFETY: as above.
        unsafe { self.inners.destroy(&self.frames) };
    }
}

kernel_debug!(PageCache<K>, |this| { metadata_bytes: this.metadata_bytes() });
