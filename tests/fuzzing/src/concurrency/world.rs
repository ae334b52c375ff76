//! What the threads share: the files with their stores, the address space, and what has been seen
//! of them so far. Sources hold their tags, and the files their first contents, before a thread
//! begins.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;

use faultless_filemap::{DropBehind, Inode, NoTask, ReadAhead, Strategy, WriteOptions};
use faultless_page::{
    AddressSpaceOperations, FrameNumber, Frames, PAGE_SIZE, PageCache, PageIndex,
};
use faultless_usercopy::{IovIter, MayFault, UserSlice};

use super::super::Plant;
use super::kernel::{
    Area, File, Mappings, Scheduled, ScheduledKernel, ScheduledWait, Space, reclaim_from,
};
use super::late::{LateStore, Requests};
use super::order;
use super::owed::Owed;
use super::scheduler::{self, Order, Work};
use super::script::{
    CELL, CELLS, Cached, FileNumber, Op, Operation, PAGES, PER_BLOCK, PER_PAGE, Reclaims, Script,
    Setting, Sources,
};
use super::trouble::Troubles;
use faultless_controls::Control;
use faultless_host::memory::{HostFrames, PhysicalMemory};
use faultless_host::reclaim::Files;
use faultless_host::stepped::{Far, Omitted};
use faultless_host::stores::{BlockStore, PhasedStore};

/// Pages at which a file is mapped, for each file; then those of the sources, then those to which
/// threads read.
pub(super) const MAPPED: usize = 0;
const SOURCES: usize = 2 * PAGES;
/// Pages of a source.
const SOURCE: usize = PAGES + 1;
/// Operations of a script, at most.
pub(super) const OPS: usize = 9;
/// Tags, at most: those of the operations, and of the threads that hold a range.
const TAGS: usize = OPS + 8;
pub(super) const WINDOWS: usize = SOURCES + TAGS * SOURCE;
pub(super) const WINDOW: usize = PAGES + 2;
/// Pages of the space: a window for each thread and one for the end.
const SPACE: usize = WINDOWS + 4 * WINDOW;
pub(super) const FRAMES: usize = 256;
/// Frames of a machine that is short of them: with all of a script's own pages some are left.
pub(super) const LITTLE_FRAMES: usize = 96;
/// How many of them its threads find free.
const SPARE_FRAMES: usize = 2;
/// Pages that the cache is told it has room for.
const CAPACITY_PAGES: u64 = 4;
/// Bytes of a block of the stores.
const BLOCK: usize = PER_BLOCK * CELL;
/// Blocks of a store: as many as the largest file can come to have, with a page of room for a fault
/// behind it.
const CAPACITY: usize = (CELLS + (OPS + 1) * PER_PAGE) * CELL / BLOCK;
/// Rounds after which the loop of an old write path is taken for endless.
pub(super) const STEPS: u64 = 2_000;

/// What the threads share.
pub(super) struct World {
    pub(super) script: Script,
    pub(super) strategy: Strategy,
    pub(super) plant: Plant,
    pub(super) space: Space,
    pub(super) cache: Arc<PageCache<ScheduledKernel>>,
    /// Frames that are kept from the threads.
    taken: RefCell<Vec<FrameNumber>>,
    pub(super) files: [File; 2],
    /// An open file of each.
    pub(super) ahead: [ReadAhead<ScheduledKernel>; 2],
    pub(super) behind: [DropBehind<ScheduledKernel>; 2],
    pub(super) stores: [Arc<PhasedStore>; 2],
    pub(super) troubles: Troubles,
    /// What waits for the thread of the stores, if there is one.
    pub(super) requests: Arc<Requests>,
    /// Points for which the first thread runs that holds no range.
    pub(super) first: Cell<u32>,
    /// How many cells landed of the operations that did not land as a whole.
    pub(super) landed: RefCell<BTreeMap<u8, usize>>,
    /// Files of which it is not known how much of an operation landed.
    pub(super) unknown: RefCell<Vec<FileNumber>>,
    /// Threads that have got a fatal signal, as a mask.
    pub(super) killed: Cell<u64>,
    /// Whether the operation that ended last was a step that found nothing.
    pub(super) was_idle: Cell<bool>,
    /// Tags of operations that have returned.
    pub(super) returned: RefCell<Vec<u8>>,
    /// The sizes that each file has had.
    pub(super) sizes: RefCell<[Vec<u64>; 2]>,
    /// Bytes of the books of the cache, which stay when the last file goes.
    pub(super) books: usize,
    /// What syncs that said Ok have promised, and since which moment of the store.
    pub(super) promises: RefCell<Vec<(usize, Owed)>>,
}

/// The token of a system call.
pub(super) fn enter() -> MayFault {
    // SAFETY: each thread is in one system call at a time, and takes no lock outside of it.
    unsafe { MayFault::assert() }
}

impl World {
    /// Files, stores and an address space for a script.
    pub(super) fn new(
        memory: &Arc<PhysicalMemory>,
        script: Script,
        strategy: Strategy,
        plant: Plant,
    ) -> Self {
        let frames = HostFrames::new(Arc::clone(memory));
        let omitted = match plant {
            Plant::ConcurrencyNoZap => Omitted::Unmap,
            _ => Omitted::Nothing,
        };
        let maps = Mappings::new(frames.clone(), Scheduled, SPACE, omitted);
        let cache =
            Arc::new(PageCache::<ScheduledKernel>::at_run_time(frames, ScheduledWait::new(plant)));
        cache.set_capacity(CAPACITY_PAGES).expect("a frame for the shadows");
        let books = cache.metadata_bytes();
        let origin = script.leaves.origin();
        let troubles = Troubles::new(script.setting.stores.clone());
        let stores = [0, 1].map(|file| {
            let mut bytes = vec![0; origin as usize * PAGE_SIZE];
            let held = match script.cached {
                Cached::Dirty => order::BEFORE,
                Cached::No | Cached::Yes => order::INITIAL,
            };
            bytes.resize(bytes.len() + script.initial[file] * CELL, held + file as u8);
            let blocks = BlockStore::with_contents(BLOCK, CAPACITY, &bytes);
            PhasedStore::new(blocks, Box::new(troubles.clone()), script.setting.lie)
        });
        let requests = Requests::of(script.threads.len());
        let files = [0, 1].map(|file: FileNumber| {
            let inner = Arc::<PhasedStore>::clone(&stores[file]);
            let store: Arc<dyn AddressSpaceOperations> = if script.setting.stores.are_late() {
                Arc::new(LateStore { inner, requests: Arc::clone(&requests) })
            } else {
                inner
            };
            let size = stores[file].inner().size();
            Arc::new(Inode::new(Arc::clone(&cache), store, maps.clone(), size))
        });
        memory.stop_reclaiming();
        if script.setting.reclaims == Reclaims::Always {
            let reclaimed = Files::default();
            files.iter().for_each(|file| reclaimed.add(file));
            reclaimed.reclaim_above(memory, 0);
        }
        reclaim_from(&files);
        let mut areas = Vec::new();
        for file in &files {
            let page = |page| Area::File(Arc::clone(file), PageIndex::new(origin + page as u64));
            areas.extend((0..PAGES).map(page));
        }
        areas.resize(WINDOWS, Area::Nothing);
        for op in script.ops() {
            areas[source(op)..source(op) + SOURCE].fill(Area::Private);
        }
        areas.resize(SPACE, Area::Nothing);
        let is_read =
            |op: &Op| matches!(op.operation, Operation::Read { .. } | Operation::ReadBehind { .. });
        let reads = |ops: &&[Op]| ops.iter().any(is_read);
        let threads = script.threads[script.setting.holders..].iter().map(Vec::as_slice);
        for (thread, _) in threads.enumerate().filter(|(_, ops)| reads(ops)) {
            areas[WINDOWS + thread * WINDOW..][..WINDOW].fill(Area::Private);
        }
        areas[WINDOWS + 3 * WINDOW..].fill(Area::Private);
        let space = Space::new(&maps, areas);
        let sizes = [0, 1].map(|file: FileNumber| vec![files[file].size()]);
        let world = Self {
            script,
            strategy,
            plant,
            space,
            cache,
            taken: RefCell::default(),
            files,
            ahead: [0, 1].map(|_| ReadAhead::new()),
            behind: [0, 1].map(|_| DropBehind::with_pages(1)),
            stores,
            troubles,
            requests,
            first: Cell::new(u32::MAX),
            landed: RefCell::default(),
            unknown: RefCell::default(),
            killed: Cell::new(0),
            was_idle: Cell::new(false),
            returned: RefCell::default(),
            sizes: RefCell::new(sizes),
            books,
            promises: RefCell::default(),
        };
        world.prepare();
        if world.script.setting.reclaims == Reclaims::Short {
            world.take_frames();
        }
        world
    }

    /// Threads find few frames. Those for nodes, and what they read to, are there.
    fn take_frames(&self) {
        (0..2).for_each(|file| drop(self.contents(file)));
        if self.script.cached == Cached::No {
            for file in &self.files {
                let _pages = file.evict(&mut enter(), 0..u64::MAX);
            }
        }
        for window in 0..3 {
            for page in WINDOWS + window * WINDOW..WINDOWS + (window + 1) * WINDOW {
                let _ = self.space.store(page, 0, &[0]);
            }
        }
        let frames = self.cache.frames();
        let free = frames.memory().frames() - frames.memory().in_use();
        assert!(free > SPARE_FRAMES, "all frames are used");
        let take = |_| frames.allocate(1).expect("a free frame").0;
        self.taken.borrow_mut().extend((SPARE_FRAMES..free).map(take));
    }

    /// Frames are there again.
    pub(super) fn return_frames(&self) {
        for frame in self.taken.take() {
            // SAFETY: taken by `take_frames`, and used by nothing.
            unsafe { self.cache.frames().release(frame) };
        }
    }

    /// The sources hold their tags, and the files are cached, if they are to be.
    fn prepare(&self) {
        match self.script.cached {
            Cached::No => {}
            Cached::Yes => (0..2).for_each(|file| drop(self.contents(file))),
            Cached::Dirty => (0..2).for_each(|file| self.dirty(file)),
        }
        for op in self.script.ops().filter(|op| op.operation.has_source()) {
            for page in 0..SOURCE {
                let tags = [op.tag; PAGE_SIZE];
                self.space.store(source(op) + page, 0, &tags).expect("the program's own memory");
            }
        }
        let Setting { sources, holders, .. } = self.script.setting;
        for (nth, op) in self
            .script
            .threads
            .iter()
            .enumerate()
            .flat_map(|(nth, ops)| ops.iter().map(move |op| (nth, op)))
        {
            let far = match sources {
                _ if nth < holders => Far::Yes,
                Sources::Swapped => Far::No,
                Sources::Resident => continue,
            };
            (1..SOURCE).for_each(|page| self.space.swap_out(source(op) + page, far));
        }
    }

    /// The cache holds a file's first contents, and the store does not.
    fn dirty(&self, file: FileNumber) {
        let (page, bytes) = (WINDOWS + 3 * WINDOW, self.script.initial[file] * CELL);
        let initial = vec![order::INITIAL + file as u8; bytes];
        self.space.store(page, 0, &initial).expect("the program's own memory");
        let slice = self.slice((page, 0), bytes);
        let mut from = IovIter::from_slice(&self.space, &slice);
        let options = WriteOptions::at(self.pos(0)).with_strategy(self.strategy);
        let written = self.files[file].write(&mut enter(), &mut from, &options, &NoTask);
        assert_eq!(written.map(|written| written.bytes), Ok(bytes), "the first contents");
    }

    /// Runs these threads, as [`scheduler::run`] does, and notes the sizes of the files meanwhile.
    pub(super) fn run(self: &Rc<Self>, threads: Vec<Work>, order: Order<'_>) -> usize {
        let world = Rc::clone(self);
        scheduler::run(threads, order, Some(Rc::new(move || world.observe())))
    }

    /// The thread of the stores, if requests end later.
    pub(super) fn server(self: &Rc<Self>) -> Option<Work> {
        let world = Rc::clone(self);
        let server = move || world.requests.serve();
        self.script.setting.stores.are_late().then(|| Box::new(server) as Work)
    }

    /// Notes the sizes of the files.
    pub(super) fn observe(&self) {
        for (file, sizes) in self.files.iter().zip(self.sizes.borrow_mut().iter_mut()) {
            let size = file.size();
            if sizes.last() != Some(&size) {
                sizes.push(size);
            }
        }
    }

    /// Where the source of an operation of a thread begins: page and offset.
    pub(super) fn source(&self, thread: usize, op: &Op) -> (usize, usize) {
        let Setting { sources, holders, .. } = self.script.setting;
        let offset = match sources {
            _ if thread < holders => PAGE_SIZE - CELL,
            Sources::Swapped => PAGE_SIZE / 2,
            Sources::Resident => 0,
        };
        (source(op), offset)
    }

    /// Where a cell lies in its file.
    pub(super) fn pos(&self, cell: usize) -> u64 {
        self.script.leaves.origin() * PAGE_SIZE as u64 + (cell * CELL) as u64
    }

    /// User memory from an offset of a page on.
    pub(super) fn slice(&self, (page, offset): (usize, usize), bytes: usize) -> UserSlice {
        UserSlice::new(&self.space, self.space.at(page, offset), bytes).expect("inside the space")
    }

    /// The old write path that is planted, if one is.
    pub(super) fn control(&self) -> Option<Control> {
        match self.plant {
            Plant::ConcurrencyLinux2623 => Some(Control::Linux2623),
            Plant::ConcurrencyPrefaultOnly => Some(Control::PrefaultOnly),
            _ => None,
        }
    }
}

/// The first page of an operation's source.
fn source(op: &Op) -> usize {
    SOURCES + (usize::from(op.tag) - 1) * SOURCE
}
