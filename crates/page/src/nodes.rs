//! Where index nodes come from: the pools of a cache, and the frames that they grow by.
//!
//! Neighbours: [`pool`](crate::pool) keeps nodes of one kind, [`tree`](crate::tree) links them.

use crate::anchor::Anchor;
use crate::leaf::Leaf;
use crate::node::Inner;
use crate::pool::{Pool, Spare};
use crate::{Errno, Frames, SyncFamily};

/// The pools and the frames they take, in one copyable view.
pub(crate) struct Nodes<'c, S: SyncFamily, F> {
    pub(crate) leaves: &'c Pool<S, Leaf<S>>,
    pub(crate) inners: &'c Pool<S, Inner<S>>,
    pub(crate) anchors: &'c Pool<S, Anchor<S>>,
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
    /// A view of the pools of a cache. `traced` is called for each frame that a pool takes.
    ///
    /// # Safety
    /// The pools are only ever given these `frames`.
    pub(crate) unsafe fn new(
        leaves: &'c Pool<S, Leaf<S>>,
        inners: &'c Pool<S, Inner<S>>,
        anchors: &'c Pool<S, Anchor<S>>,
        frames: &'c F,
        traced: fn(),
    ) -> Self {
        Self { leaves, inners, anchors, frames, traced }
    }

    pub(crate) fn take_leaf(self) -> Result<Spare<'c, Leaf<S>>, Errno> {
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
