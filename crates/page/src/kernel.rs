//! The kernel that embeds a cache, and the cache: memory, waiting, node pools and the epoch that
//! all its mappings share.
//!
//! Key types: [`Kernel`], the bundle of all seams, and [`PageCache`]. The two name each other, so
//! they stand together. The cache does not know its mappings; what it keeps is
//! [`Replacement`]'s affair.

use core::ops::Deref;
use core::sync::atomic::Ordering::Relaxed;

use stable_deref_trait::CloneStableDeref;

use crate::anchor::Anchor;
use crate::debug::kernel_debug;
use crate::leaf::Leaf;
use crate::node::Inner;
use crate::nodes::{Nodes, TakenNodes};
use crate::pool::Pool;
use crate::recent::RecentLeaves;
use crate::replacement::Ops;
use crate::{
    AddressSpaceOperations, ConstSync, Count, Epoch, EpochGuard, Frames, Initial, LockContext,
    Replacement, SlotMask, Spin, StoreId, SyncFamily, Trace, UserMappings, Wait, Word,
};

/// Everything static that a kernel supplies, in one trait, so that types read `Mapping<K>`.
///
/// The trait is safe, and so are most seams: an implementor that lies may lose data or hang, and
/// does not break memory. What memory depends on is promised by the unsafe traits [`SyncFamily`],
/// [`Frames`] and [`CloneStableDeref`].
pub trait Kernel: Sized + Send + Sync + 'static {
    /// Words and short locks: [`CoreSync`](crate::CoreSync).
    type Sync: SyncFamily;
    /// Memory.
    type Frames: Frames;
    /// Sleeping and waking: [`SpinWait`](crate::SpinWait) until there is a scheduler.
    type Wait: Wait;
    /// How a mapping reaches its cache: `&'static PageCache<Self>`, or an `Arc` (with the feature
    /// `alloc` of the crate `stable_deref_trait`, in the embedder's manifest).
    type Cache: Deref<Target = PageCache<Self>> + CloneStableDeref + Send + Sync;
    /// How a mapping reaches its store: `&'static dyn AddressSpaceOperations`, `Arc<dyn …>`,
    /// `Box<dyn …>`.
    type Store: Deref<Target: AddressSpaceOperations> + Send + Sync;
    /// How user mappings of a file's pages are found and removed.
    type UserMappings: UserMappings;
    /// Which pages go when memory is short: `()`, or [`TwoQueues`](crate::TwoQueues).
    type Replacement: Replacement;

    /// The current CPU, by which what each one writes for itself is kept apart: counters of
    /// readers, and which pages it has used last. Any value is sound, and may be out of date when
    /// it is used; CPUs of the same number share cache lines.
    #[inline(always)]
    fn cpu() -> usize {
        0
    }

    /// An inode of mapping `mapping` was dropped with `pages` pages that were dirty or under
    /// writeback, of a store that keeps data: what was in them is lost. The embedder has called
    /// neither `close` nor `discard` of the inode (F6). Called from the drop.
    ///
    /// # Panics
    /// The default does, so that data is not lost in silence. A kernel that goes on after such a
    /// mistake overrides it.
    fn dirty_pages_dropped(mapping: u64, pages: u64) {
        panic!("inode {mapping} was dropped with {pages} dirty pages: close or discard it");
    }

    /// A frame is needed and none can be had: gives up pages, about `wanted` of them, and says how
    /// many it has freed. After an answer of 0 the operation fails with
    /// [`Errno::NoMemory`](crate::Errno::NoMemory); otherwise the frame is asked for again. The
    /// default has nothing to give.
    ///
    /// Called on the thread that allocates, with no page lock held and in no read section; `locks`
    /// is its permission. I, a range, M or the lock of a file's shifts may be held, so it must not
    /// wait for any of them, and not for a store that could: pages are dropped here, and sent
    /// elsewhere. `Reclaimer` of `faultless-filemap` does that.
    #[doc(alias = "direct reclaim")]
    #[doc(alias = "try_to_free_pages")]
    fn reclaim(_cache: &PageCache<Self>, _locks: LockContext<'_>, _wanted: u32) -> u32 {
        0
    }

    /// Called at each event of interest; the default compiles to nothing. For lock checkers:
    /// `LockOrder` of `faultless-parts` is one.
    ///
    /// Any lock of the cache but its short ones may be held, page locks too: the call must not
    /// sleep, fault or call into the cache. It may print, and it may panic.
    #[inline(always)]
    fn trace(_event: Trace) {}

    /// A number of pages of files on `store` has grown by `pages`, which is not 0; the default
    /// compiles to nothing. For the statistics of a kernel: `CacheCounters` of `faultless-parts`
    /// keeps them; and for its limit of dirty pages, `DirtyLimit` of `faultless-filemap`. As for
    /// [`trace`](Self::trace), locks may be held.
    ///
    /// A page is counted out for the store that it was counted in for.
    #[inline(always)]
    fn count(_store: StoreId, _what: Count, _pages: u32) {}
}

/// Tells the kernel of a count that has grown by the pages in `slots`, of a file on `store`.
#[inline(always)]
pub(crate) fn count<K: Kernel>(store: StoreId, what: Count, slots: SlotMask) {
    if !slots.is_empty() {
        K::count(store, what, slots.count());
    }
}

/// A 64-bit word of the kernel `K`.
pub type Word64<K> = <<K as Kernel>::Sync as SyncFamily>::Word64;
/// A 32-bit word of the kernel `K`.
pub type Word32<K> = <<K as Kernel>::Sync as SyncFamily>::Word32;
/// A short lock of the kernel `K`.
pub type SpinLock<K, T> = <<K as Kernel>::Sync as SyncFamily>::Spin<T>;

/// What all mappings share. Usually one per kernel, but there is no global: tests have many.
pub struct PageCache<K: Kernel> {
    frames: K::Frames,
    wait: K::Wait,
    epoch: Epoch<K::Sync>,
    recent: RecentLeaves<K::Sync, K::Replacement>,
    leaves: Pool<K::Sync, Leaf<K::Sync, K::Replacement>>,
    inners: Pool<K::Sync, Inner<K::Sync>>,
    anchors: Pool<K::Sync, Anchor<K::Sync>>,
    books: SpinLock<K, <K::Replacement as Ops>::Books>,
    pub(crate) users: SpinLock<K, u64>,
    /// Ids are not reused: 64 bits do not run out.
    last_id: Word64<K>,
}

impl<K: Kernel> PageCache<K> {
    /// A cache without pages. Allocates nothing.
    ///
    /// It is a few KiB large. In a `static` it is made at compile time; made at run time, it may
    /// pass over the stack, more than once in a build without optimisation.
    #[must_use]
    pub const fn new(frames: K::Frames, wait: K::Wait) -> Self
    where
        K::Sync: ConstSync,
    {
        Self {
            frames,
            wait,
            epoch: Epoch::new(),
            recent: RecentLeaves::new(),
            leaves: Pool::new(),
            inners: Pool::new(),
            anchors: Pool::new(),
            books: <K::Sync as ConstSync>::Free::<<K::Replacement as Ops>::Books>::INITIAL,
            users: <K::Sync as ConstSync>::Free::<u64>::INITIAL,
            last_id: <Word64<K> as Initial>::INITIAL,
        }
    }

    /// The same for a family of words that do not exist at compile time: a model checker's.
    #[must_use]
    pub fn at_run_time(frames: K::Frames, wait: K::Wait) -> Self {
        Self {
            frames,
            wait,
            epoch: Epoch::at_run_time(),
            recent: RecentLeaves::at_run_time(),
            leaves: Pool::at_run_time(),
            inners: Pool::at_run_time(),
            anchors: Pool::at_run_time(),
            books: Spin::new(<<K::Replacement as Ops>::Books as Initial>::INITIAL),
            users: Spin::new(0),
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

    /// Memory in bytes that was taken from the frames and is not in a page: index nodes, which are
    /// reused, and given back when the last mapping is dropped; and what
    /// [`set_capacity`](Self::set_capacity) took, which goes with the cache.
    #[must_use]
    pub fn metadata_bytes(&self) -> usize {
        let nodes = self.leaves.bytes() + self.inners.bytes() + self.anchors.bytes();
        nodes + K::Replacement::bytes(&self.books.lock())
    }

    /// Waits until every read section that is open now has ended. Called between taking a frame out
    /// of a mapping and reusing it; for embedders that free what else a reader may have seen.
    /// Traces [`Trace::GracePeriod`].
    ///
    /// Called inside a section of the same thread, it waits for that section and never returns; so
    /// it does after a section was forgotten ([`mem::forget`](core::mem::forget)) and thus never
    /// ends.
    pub fn synchronize(&self) {
        K::trace(Trace::GracePeriod);
        self.epoch.synchronize(&self.wait);
    }

    #[inline]
    pub(crate) fn enter(&self) -> EpochGuard<'_, K::Sync, K::Wait> {
        self.epoch.enter(K::cpu(), &self.wait)
    }

    /// Begins a read section, with the counter to end it by.
    #[inline(always)]
    pub(crate) fn begin(&self) -> &Word64<K> {
        self.epoch.begin(K::cpu())
    }

    /// Ends a read section of this cache.
    #[inline(always)]
    pub(crate) fn end(&self, counter: &Word64<K>) {
        self.epoch.end(counter, &self.wait);
    }

    /// The leaf that each CPU has used last.
    #[inline(always)]
    pub(crate) fn recent(&self) -> &RecentLeaves<K::Sync, K::Replacement> {
        &self.recent
    }

    /// What [`Kernel::Replacement`] has.
    pub(crate) fn books(&self) -> &SpinLock<K, <K::Replacement as Ops>::Books> {
        &self.books
    }

    pub(crate) fn nodes(&self) -> Nodes<'_, K::Sync, K::Replacement, K::Frames> {
        let traced = || K::trace(Trace::Allocated);
        // SAFETY: a cache has one `frames`.
        unsafe { Nodes::new(&self.leaves, &self.inners, &self.anchors, &self.frames, traced) }
    }

    /// All nodes, with the cache left without any. The cache has no user, and gets none meanwhile.
    pub(crate) fn take_nodes(&self) -> TakenNodes<K::Sync, K::Replacement> {
        TakenNodes {
            leaves: self.leaves.take_all(),
            inners: self.inners.take_all(),
            anchors: self.anchors.take_all(),
        }
    }

    pub(crate) fn new_id(&self) -> u64 {
        self.last_id.fetch_add(1, Relaxed) + 1
    }
}

impl<K: Kernel> Drop for PageCache<K> {
    fn drop(&mut self) {
        self.close_books();
        let nodes = self.take_nodes();
        // SAFETY: the pools are only given these frames; mappings keep their cache alive, so there
        // are none left, and nothing else uses a node.
        unsafe { nodes.give_back(&self.frames) };
    }
}

kernel_debug!(PageCache<K>, |this| { metadata_bytes: this.metadata_bytes() });
