//! What loom's models share: a small machine, and short names for what they do to it.

use std::sync::Arc;

use faultless_filemap::Inode;
use faultless_page::{
    Errno, LockContext, LockedRun, Mapping, NoUserMappings, OwnedFrame, PageCache, PageIndex,
    PageRun, Strategy, WritebackRequest,
};

use crate::checker::Checker;
use crate::kernel::ModelKernel;
use crate::memory::{Memory, ModelFrames};
use crate::on_loom::Loom;
use crate::store::ModelStore;
use crate::wait::ModelWait;

/// The kernel under loom.
pub type K = ModelKernel<Loom>;
/// A machine of that kernel.
pub type World = Machine<Loom>;

/// The first page of a file, as a run.
pub const PAGE: PageRun = PageRun::single(PageIndex::ZERO);

/// A cache and its memory.
#[derive(Clone, Debug)]
pub struct Machine<C: Checker> {
    /// The machine's memory.
    pub memory: Arc<Memory<C>>,
    /// The cache.
    pub cache: Arc<PageCache<ModelKernel<C>>>,
}

/// Permission to lock pages. Models keep its promise themselves.
#[must_use]
pub fn cx() -> LockContext<'static> {
    // SAFETY: no fault handler exists in these models, and each locks one run of pages at a time.
    unsafe { LockContext::new() }
}

/// A writeback under way, which any thread may end: the request, and its file.
#[derive(Debug)]
pub struct Sent {
    writeback: WritebackRequest,
    /// Dropped after the request.
    _file: Arc<Mapping<K>>,
}

impl Sent {
    /// Begins the writeback of a run of dirty pages.
    ///
    /// # Panics
    /// If they are not.
    #[must_use]
    pub fn begin(file: &Arc<Mapping<K>>, run: PageRun) -> Self {
        let mut locked = file.lock(cx(), run).expect("a leaf");
        let writeback = locked.begin_writeback(run, u64::MAX).expect("dirty pages");
        Self { writeback, _file: Arc::clone(file) }
    }

    /// Ends it.
    pub fn complete(self, result: Result<(), Errno>) {
        self.writeback.complete(result);
    }
}

impl<C: Checker<Maps = NoUserMappings>> Machine<C> {
    /// A machine of so many frames.
    #[must_use]
    pub fn new(frames: usize) -> Self {
        let memory = Memory::new(frames);
        let cache = PageCache::at_run_time(ModelFrames(Arc::clone(&memory)), ModelWait::new());
        Self { memory, cache: Arc::new(cache) }
    }

    /// A file of `size` bytes without pages.
    #[must_use]
    pub fn mapping(&self, size: u64) -> Arc<Mapping<ModelKernel<C>>> {
        let store = Arc::new(ModelStore::new(&[], Strategy::BeginEnd));
        Arc::new(Mapping::new(Arc::clone(&self.cache), store, NoUserMappings, size))
    }

    /// A file that holds `bytes`, on a store that holds them.
    #[must_use]
    pub fn inode(&self, bytes: &[u8]) -> Arc<Inode<ModelKernel<C>>> {
        let store = Arc::new(ModelStore::new(bytes, Strategy::BeginEnd));
        let cache = Arc::clone(&self.cache);
        Arc::new(Inode::new(cache, store, NoUserMappings, bytes.len() as u64))
    }

    /// A frame of its own.
    ///
    /// # Panics
    /// If there is none.
    pub fn frame(&self) -> OwnedFrame<'_, ModelKernel<C>> {
        self.cache.allocate(1).expect("a frame").take_first().expect("a frame")
    }

    /// Puts a page with `bytes` at its start into a locked, absent slot. It is not uptodate.
    ///
    /// # Panics
    /// If there is a page, or no frame.
    pub fn insert(
        &self,
        locked: &mut LockedRun<'_, ModelKernel<C>>,
        index: PageIndex,
        bytes: &[u8],
    ) {
        let frame = self.frame();
        self.memory.poke(frame.as_ptr().as_ptr(), bytes);
        assert!(locked.insert(index, frame).is_ok(), "the slot is absent");
    }

    /// Writes `bytes` to a locked, present page at `pos`.
    ///
    /// # Panics
    /// If there is no page.
    pub fn poke(&self, locked: &LockedRun<'_, ModelKernel<C>>, pos: u64, bytes: &[u8]) {
        let (to, room) = locked.span(pos, bytes.len()).expect("a page");
        assert_eq!(room, bytes.len());
        self.memory.poke(to.as_ptr(), bytes);
    }

    /// What a lock-free reader finds at `pos`.
    #[must_use]
    pub fn read(&self, mapping: &Mapping<ModelKernel<C>>, pos: u64, len: usize) -> Option<Vec<u8>> {
        let section = mapping.read_section(cx());
        let (from, len) = section.span(pos, len)?;
        Some(self.memory.peek(from.as_ptr(), len))
    }

    /// A page with `bytes`, uptodate, in `mapping`.
    ///
    /// # Panics
    /// If it cannot be made.
    pub fn fill(&self, mapping: &Mapping<ModelKernel<C>>, index: PageIndex, bytes: &[u8]) {
        let mut locked = mapping.lock_or_create(cx(), PageRun::single(index)).expect("memory");
        self.insert(&mut locked, index, b"junk");
        self.poke(&locked, index.start(), bytes);
        locked.set_uptodate(locked.mask());
    }
}
