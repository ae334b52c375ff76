//! Where index nodes come from: the pools of a cache, and the frames that they grow by.
//!
//! Neighbours: [`pool`](crate::pool) keeps nodes of one kind, [`tree`](crate::tree) links them.

use crate::anchor::Anchor;
use crate::leaf::Leaf;
use crate::node::Inner;
use crate::pool::{Pool, Spare, Taken};
use crate::{Errno, Frames, Replacement, SyncFamily};

/// The pools and the frames they take, in one copyable view.
pub(crate) struct Nodes<'c, S: SyncFamily, R: Replacement, F> {
    pub(crate) leaves: &'c Pool<S, Leaf<S, R>>,
    pub(crate) inners: &'c Pool<S, Inner<S>>,
    pub(crate) anchors: &'c Pool<S, Anchor<S>>,
    frames: &'c F,
    traced: fn(),
}

impl<S: SyncFamily, R: Replacement, F> Clone for Nodes<'_, S, R, F> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<S: SyncFamily, R: Replacement, F> Copy for Nodes<'_, S, R, F> {}

impl<'c, S: SyncFamily, R: Replacement, F: Frames> Nodes<'c, S, R, F> {
    /// A view of the pools of a cache. `traced` is called for each frame that a pool takes.
    ///
    /// # Safety
    /// The pools are only ever given these `frames`.
    pub(crate) unsafe fn new(
        leaves: &'c Pool<S, Leaf<S, R>>,
        inners: &'c Pool<S, Inner<S>>,
        anchors: &'c Pool<S, Anchor<S>>,
        frames: &'c F,
        traced: fn(),
    ) -> Self {
        Self { leaves, inners, anchors, frames, traced }
    }

    pub(crate) fn take_leaf(self) -> Result<Spare<'c, Leaf<S, R>>, Errno> {
        // SAFETY: the promise of the constructor's caller.
        unsafe { self.leaves.take(self.frames, self.traced) }
    }

    pub(crate) fn take_inner(self) -> Result<Spare<'c, Inner<S>>, Errno> {
        // SAFETY: as above.
        unsafe { self.inners.take(self.frames, self.traced) }
    }

    pub(crate) fn take_anchor(self) -> Result<Spare<'c, Anchor<S>>, Errno> {
        // SAFETY: as above.
        unsafe { self.anchors.take(self.frames, self.traced) }
    }
}

/// All nodes of a cache, taken from its pools.
pub(crate) struct TakenNodes<S: SyncFamily, R: Replacement> {
    pub(crate) leaves: Taken<Leaf<S, R>>,
    pub(crate) inners: Taken<Inner<S>>,
    pub(crate) anchors: Taken<Anchor<S>>,
}

impl<S: SyncFamily, R: Replacement> TakenNodes<S, R> {
    /// Drops the nodes, and gives their frames back.
    ///
    /// # Safety
    /// `frames` is what the pools were given, and nothing uses a node any more.
    pub(crate) unsafe fn give_back(self, frames: &impl Frames) {
        // SAFETY: the caller's promise.
        unsafe { self.leaves.give_back(frames) };
        // SAFETY: as above.
        unsafe { self.inners.give_back(frames) };
        // SAFETY: as above.
        unsafe { self.anchors.give_back(frames) };
    }
}
