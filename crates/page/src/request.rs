//! What the requests of a store have in common: pages that belong to the I/O, not to a thread.
//!
//! Key type: [`Raw`], a request without its kernel's type, so that stores need not know it.
//! [`ReadRequest`](crate::ReadRequest) owns the locks of its pages,
//! [`WritebackRequest`](crate::WritebackRequest) their marks of being under writeback. Either keeps
//! the pages in their leaf, so that the frames are looked up when they are needed.
//!
//! # Why the pointers stay valid
//! A request is counted in its mapping's [anchor](crate::anchor) until it has ended, and the drop
//! of a mapping waits for that. The mapping holds the cache, so that the cache and the node pools
//! outlive each request.

use core::fmt;
use core::marker::PhantomData;
use core::ptr::NonNull;

use crate::anchor::Anchor;
use crate::leaf::Leaf;
use crate::{
    Errno, FrameNumber, Frames, Kernel, LockId, Mapping, PAGE_SIZE, PageCache, PageIndex, PageRun,
    SlotMask, Trace,
};

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
struct Ops {
    frame: fn(&Raw, PageIndex) -> Option<FrameNumber>,
    address: fn(&Raw, FrameNumber) -> NonNull<u8>,
    begin: fn(&Raw),
    end_read: fn(&Raw, SlotMask, Option<Errno>),
    end_writeback: fn(&Raw, Result<(), Errno>),
    trace: fn(Trace),
}

struct OpsOf<K>(PhantomData<K>);

impl<K: Kernel> OpsOf<K> {
    const OPS: &'static Ops = &Ops {
        frame: |raw, index| raw.leaf::<K>().frame(index.slot()),
        address: |raw, frame| raw.cache::<K>().frames().address(frame),
        begin: |raw| raw.anchor::<K>().begin(),
        end_read: Self::end_read,
        end_writeback: Self::end_writeback,
        trace: K::trace,
    };

    fn end_read(raw: &Raw, good: SlotMask, errno: Option<Errno>) {
        let _counted: Counted<'_, K> = Counted(raw, PhantomData);
        raw.leaf::<K>().end_read(raw.cache::<K>(), raw.run, good, errno);
    }

    fn end_writeback(raw: &Raw, result: Result<(), Errno>) {
        let _counted: Counted<'_, K> = Counted(raw, PhantomData);
        if let Err(errno) = result {
            raw.anchor::<K>().record(errno);
        }
        raw.leaf::<K>().end_writeback(raw.cache::<K>(), raw.run.mask(), result);
    }
}

/// A request that ends, also by a wake that unwinds. Its drop counts the request out: nothing that
/// it points to is used afterwards.
struct Counted<'r, K: Kernel>(&'r Raw, PhantomData<K>);

impl<K: Kernel> Drop for Counted<'_, K> {
    fn drop(&mut self) {
        let anchor = self.0.anchor::<K>();
        anchor.leave(self.0.cache::<K>().wait());
        anchor.count_out();
    }
}

impl Raw {
    /// A request for the present pages of `run`, which lie in `leaf`.
    ///
    /// # Safety
    /// The leaf belongs to the mapping, and the pages of the run are now the request's: they are
    /// locked for it, or marked as under writeback by it.
    pub(crate) unsafe fn new<K: Kernel>(
        mapping: &Mapping<K>,
        leaf: &Leaf<K::Sync>,
        run: PageRun,
    ) -> Option<Self> {
        let anchor = mapping.anchor()?;
        anchor.begin();
        // INVARIANT: just counted; the caller's promise.
        Some(Self {
            cache: NonNull::from(mapping.cache()).cast(),
            leaf: NonNull::from(leaf).cast(),
            anchor: NonNull::from(anchor).cast(),
            ops: OpsOf::<K>::OPS,
            mapping: mapping.id(),
            run,
        })
    }

    fn cache<K: Kernel>(&self) -> &PageCache<K> {
        // SAFETY: by the invariant, a cache of the kernel that chose `ops`, which alone calls this;
        // it lives as long as the request.
        unsafe { self.cache.cast().as_ref() }
    }

    fn leaf<K: Kernel>(&self) -> &Leaf<K::Sync> {
        // SAFETY: as above.
        unsafe { self.leaf.cast().as_ref() }
    }

    fn anchor<K: Kernel>(&self) -> &Anchor<K::Sync> {
        // SAFETY: as above.
        unsafe { self.anchor.cast().as_ref() }
    }

    pub(crate) fn run(&self) -> PageRun {
        self.run
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
