//! What the requests of a store have in common: pages that belong to the I/O, not to a thread.
//!
//! Key type: [`Raw`], a request without its kernel's type, so that stores need not know it;
//! [`erased`](crate::erased) has what needs the type.
//! [`ReadRequest`](crate::ReadRequest) owns the locks of its pages,
//! [`WritebackRequest`](crate::WritebackRequest) their marks of being under writeback. Either keeps
//! the pages in their leaf, so that the frames are looked up when they are needed.
//!
//! # Why the pointers stay valid
//! A request is counted in its mapping's [anchor](crate::anchor) until it has ended, and the drop
//! of a mapping waits for that. The mapping holds the cache, so that the cache and the node pools
//! outlive each request.

use core::fmt;
use core::ptr::NonNull;

use crate::{Errno, FrameNumber, LockId, PAGE_SIZE, PageIndex, PageRun, SlotMask, Trace};

/// A request of some kernel.
///
/// # Invariants
/// `cache`, `leaf` and `anchor` are those of one mapping of the kernel that `ops` is for, and the
/// anchor counts this request. The pages of `run` in the leaf are present, and stay.
pub(crate) struct Raw {
    cache: NonNull<()>,
    leaf: NonNull<()>,
    anchor: NonNull<()>,
    ops: &'static Ops,
    mapping: u64,
    run: PageRun,
}

// SAFETY: the cache, the leaf and the anchor are shared by threads, and what `Ops` does is possible
// on each of them.
unsafe impl Send for Raw {}
// SAFETY: as above.
unsafe impl Sync for Raw {}

/// What needs the kernel's type.
pub(crate) struct Ops {
    pub(crate) frame: fn(&Raw, PageIndex) -> Option<FrameNumber>,
    pub(crate) address: fn(&Raw, FrameNumber) -> NonNull<u8>,
    pub(crate) begin: fn(&Raw),
    pub(crate) end_read: fn(&Raw, SlotMask, Option<Errno>),
    pub(crate) end_writeback: fn(&Raw, Result<(), Errno>),
    pub(crate) trace: fn(Trace),
}

impl Raw {
    /// A request of the kernel that `ops` is for.
    ///
    /// # Safety
    /// The invariant.
    pub(crate) unsafe fn from_parts(
        [cache, leaf, anchor]: [NonNull<()>; 3],
        ops: &'static Ops,
        mapping: u64,
        run: PageRun,
    ) -> Self {
        // INVARIANT: the caller's promise.
        Self { cache, leaf, anchor, ops, mapping, run }
    }

    /// The cache, the leaf and the anchor.
    pub(crate) fn parts(&self) -> [NonNull<()>; 3] {
        [self.cache, self.leaf, self.anchor]
    }

    pub(crate) fn run(&self) -> PageRun {
        self.run
    }

    /// The length in whole pages, in bytes.
    pub(crate) fn padded_len(&self) -> usize {
        self.run.pages() as usize * PAGE_SIZE
    }

    /// How many bytes of the run lie before byte `end` of the file.
    pub(crate) fn len_before(&self, end: u64) -> usize {
        end.saturating_sub(self.run.start()).min(self.padded_len() as u64) as usize
    }

    /// The identity in traces of the request's page locks.
    pub(crate) fn lock_id(&self) -> LockId {
        let (base, slots) = (self.run.leaf_base().get(), self.run.mask());
        LockId::Pages { mapping: self.mapping, base, slots }
    }

    /// The identity in traces of its writeback.
    pub(crate) fn writeback_id(&self) -> LockId {
        let (base, slots) = (self.run.leaf_base().get(), self.run.mask());
        LockId::Writeback { mapping: self.mapping, base, slots }
    }

    pub(crate) fn trace(&self, event: Trace) {
        (self.ops.trace)(event);
    }

    /// The memory of a page of the run.
    pub(crate) fn page(&self, index: PageIndex) -> Option<NonNull<u8>> {
        if !self.run.contains(index) {
            return None;
        }
        (self.ops.frame)(self, index).map(|frame| (self.ops.address)(self, frame))
    }

    /// Ends a read: the pages of `good` are uptodate, the others are not because of `errno`.
    /// Not to be called twice.
    pub(crate) fn end_read(&self, good: SlotMask, errno: Option<Errno>) {
        (self.ops.end_read)(self, good, errno);
    }

    /// Ends a writeback. Not to be called twice.
    pub(crate) fn end_writeback(&self, result: Result<(), Errno>) {
        (self.ops.end_writeback)(self, result);
    }

    /// Keeps the first `pages` pages and splits the others off. `None`, with nothing changed, if
    /// one of the two would have none.
    pub(crate) fn split_off(&mut self, pages: u32) -> Option<Self> {
        if pages == 0 || pages >= self.run.pages() {
            return None;
        }
        (self.ops.begin)(self);
        let rest = u64::from(self.run.pages() - pages);
        let other = PageRun::new(self.run.first().plus(u64::from(pages)), rest);
        self.run = PageRun::new(self.run.first(), u64::from(pages));
        // INVARIANT: counted above; the pages were this request's, which has given them up.
        Some(Self { run: other, ..*self })
    }

    /// The first `len` bytes of the run, as stretches of consecutive frames.
    pub(crate) fn segments(&self, len: usize) -> Segments<'_> {
        Segments { raw: self, next: self.run.first(), left: len }
    }
}

impl fmt::Debug for Raw {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Raw")
            .field("mapping", &self.mapping)
            .field("run", &self.run)
            .finish_non_exhaustive()
    }
}

/// Consecutive memory of a request: one entry of a scatter list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Segment {
    /// The frame in which it begins, at its first byte; frames with the next numbers follow.
    pub frame: FrameNumber,
    /// Kernel address of its first byte.
    pub address: NonNull<u8>,
    /// Bytes.
    pub len: usize,
}

/// The memory of a request, front to back, with consecutive frames merged.
#[derive(Debug)]
pub struct Segments<'r> {
    raw: &'r Raw,
    next: PageIndex,
    left: usize,
}

impl Iterator for Segments<'_> {
    type Item = Segment;

    fn next(&mut self) -> Option<Segment> {
        if self.left == 0 || !self.raw.run.contains(self.next) {
            return None;
        }
        let frame = (self.raw.ops.frame)(self.raw, self.next)?;
        let mut pages = 1;
        let end = self.raw.run.end().get();
        while self.next.get() + u64::from(pages) < end && pages as usize * PAGE_SIZE < self.left {
            let index = self.next.plus(u64::from(pages));
            let follows = frame.checked_add(pages);
            if follows.is_none() || (self.raw.ops.frame)(self.raw, index) != follows {
                break;
            }
            pages += 1;
        }
        self.next = self.next.plus(u64::from(pages));
        let len = self.left.min(pages as usize * PAGE_SIZE);
        self.left -= len;
        Some(Segment { frame, address: (self.raw.ops.address)(self.raw, frame), len })
    }
}
