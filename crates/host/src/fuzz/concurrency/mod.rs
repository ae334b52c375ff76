//! Two or three threads on two files, interrupted where the input says, in one address space.
//!
//! Whatever the interleaving: everybody comes to an end; every byte that is seen is one that was there or is written (W5); what is
//! left is what some order of the writes, stores and truncations leaves; read, mapping and store agree on it; and all
//! memory comes back, and so does all room past the ends.

mod baton;
mod kernel;
mod order;
mod pairs;
mod script;
mod space;

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;

use arbitrary::Unstructured;
use faultless_filemap::{Inode, NoTask, Strategy, SyncKind, WriteOptions};
use faultless_page::{AddressSpaceOperations, PAGE_SIZE, PageCache, PageIndex};
use faultless_usercopy::{IovIter, MayFault, UserSlice};

use self::kernel::{BatonKernel, BatonWait};
pub use self::pairs::pairs;
use self::script::{CELL, CELLS, Cached, Deed, FileNumber, Op, PAGES, PER_PAGE, Script};
use self::space::{Area, File, Maps, Space};
use super::Plant;
use super::reuse::reuse;
use super::show::show;
use crate::controls::{Control, ControlFile, Request};
use crate::memory::{FrameOrder, HostFrames, PhysicalMemory, Poisoning};
use crate::stores::BlockStore;

/// Pages at which a file is mapped, for each file; then those of the sources, then those to which threads read.
const MAPPED: usize = 0;
const SOURCES: usize = 2 * PAGES;
/// Operations of a script, at most.
const OPS: usize = 9;
const WINDOWS: usize = SOURCES + OPS * PAGES;
const WINDOW: usize = PAGES + 2;
/// Pages of the space: a window for each thread and one for the end.
const SPACE: usize = WINDOWS + 4 * WINDOW;
const FRAMES: usize = 256;
/// Bytes of a block of the stores: two cells, so that a cell can be half of what has room.
const BLOCK: usize = 2 * CELL;
/// Blocks of a store: as many as the largest file can come to have, with a page of room for a fault behind it.
const CAPACITY: usize = (CELLS + (OPS + 1) * PER_PAGE) * CELL / BLOCK;
/// Rounds after which the loop of an old write path is taken for endless.
const STEPS: u64 = 2_000;

thread_local! {
    static MEMORY: Cell<Option<Arc<PhysicalMemory>>> = const { Cell::new(None) };
}

pub(super) fn body(input: &mut Unstructured<'_>, plant: Plant) -> arbitrary::Result<()> {
    let strategy = if input.arbitrary()? { Strategy::PrepareCommit } else { Strategy::BeginEnd };
    let script = Script::read(input)?;
    let decisions = input.bytes(input.len())?;
    show(format_args!("{strategy:?} {script:#?} {decisions:?}"));
    let first = decisions.first().map_or(u32::MAX, |first| baton::points(*first));
    play(script, strategy, plant, first, decisions.get(1..).unwrap_or_default());
    Ok(())
}

/// Plays a script with the first thread for `first` points, then as `decisions` say; how many of those were used.
fn play(script: Script, strategy: Strategy, plant: Plant, first: u32, decisions: &[u8]) -> usize {
    let make = || PhysicalMemory::new(FRAMES, FrameOrder::Contiguous, Poisoning::Checked);
    reuse(&MEMORY, make, |memory| {
        let world = Rc::new(World::new(memory, script, strategy, plant));
        let threads = (0..world.script.threads.len()).map(|thread| -> baton::Work {
            let world = Rc::clone(&world);
            Box::new(move || world.thread(thread))
        });
        let used = baton::run(threads.collect(), first, decisions);
        world.check();
        world.space.tear_down();
        drop(world);
        assert_eq!(memory.in_use(), 0, "frames are still held (P5)");
        used
    })
}

/// What the threads share.
struct World {
    script: Script,
    strategy: Strategy,
    plant: Plant,
    space: Space,
    files: [File; 2],
    stores: [Arc<BlockStore>; 2],
    /// Tags of operations that had no effect.
    failed: RefCell<Vec<u8>>,
}

/// The token of a system call.
fn enter() -> MayFault {
    // SAFETY: each thread is in one system call at a time, and takes no lock outside of it.
    unsafe { MayFault::assert() }
}

impl World {
    fn new(memory: &Arc<PhysicalMemory>, script: Script, strategy: Strategy, plant: Plant) -> Self {
        let frames = HostFrames::new(Arc::clone(memory));
        let cache = Arc::new(PageCache::<BatonKernel>::new(frames, BatonWait::new(plant)));
        let maps = Maps::new(memory, SPACE, plant);
        let origin = script.leaves.origin();
        let stores = [0, 1].map(|file| {
            let mut bytes = vec![0; origin as usize * PAGE_SIZE];
            bytes.resize(bytes.len() + script.initial[file] * CELL, order::INITIAL + file as u8);
            BlockStore::with_contents(BLOCK, CAPACITY, &bytes)
        });
        let files = [0, 1].map(|file: FileNumber| {
            let store: Arc<dyn AddressSpaceOperations> = Arc::<BlockStore>::clone(&stores[file]);
            let size = stores[file].size();
            Arc::new(Inode::new(Arc::clone(&cache), store, maps.clone(), size))
        });
        let mut areas = Vec::new();
        for file in &files {
            let page = |page| Area::File(Arc::clone(file), PageIndex::new(origin + page as u64));
            areas.extend((0..PAGES).map(page));
        }
        areas.resize(SPACE, Area::Private);
        let space = Space::new(memory, maps, areas);
        let world =
            Self { script, strategy, plant, space, files, stores, failed: RefCell::default() };
        world.prepare();
        world
    }

    /// The sources hold their tags, and the files are cached, if they are to be.
    fn prepare(&self) {
        for op in self.script.ops() {
            for page in 0..PAGES {
                let tags = [op.tag; PAGE_SIZE];
                self.space.store(source(op) + page, 0, &tags).expect("the program's own memory");
            }
        }
        if self.script.cached == Cached::Yes {
            (0..2).for_each(|file| drop(self.contents(file)));
        }
    }

    fn pos(&self, cell: usize) -> u64 {
        self.script.leaves.origin() * PAGE_SIZE as u64 + (cell * CELL) as u64
    }

    fn slice(&self, page: usize, bytes: usize) -> UserSlice {
        UserSlice::new(&self.space, self.space.at(page), bytes).expect("inside the space")
    }

    fn thread(&self, thread: usize) {
        for op in &self.script.threads[thread] {
            let file = &self.files[op.file];
            let mapped = MAPPED + op.file * PAGES;
            match op.deed {
                Deed::Write { at, cells } => {
                    let options = WriteOptions::at(self.pos(at));
                    self.write(op, self.slice(source(op), cells * CELL), options);
                }
                Deed::Append { cells } => {
                    let slice = self.slice(source(op), cells * CELL);
                    self.write(op, slice, WriteOptions::append());
                }
                Deed::Copy { at, cells, from, page } => {
                    let slice = self.slice(MAPPED + from * PAGES + page, cells * CELL);
                    self.write(op, slice, WriteOptions::at(self.pos(at)));
                }
                Deed::Read { at, cells } => self.read(op, thread, at, cells),
                Deed::Truncate { cells } => {
                    let changed = file.set_size(&mut enter(), self.pos(cells), &NoTask);
                    assert_eq!(changed, Ok(()), "truncation");
                }
                Deed::Fsync => {
                    assert_eq!(file.fsync(&mut enter(), SyncKind::All, &NoTask), Ok(()), "fsync")
                }
                Deed::Evict => drop(file.evict(&mut enter(), 0..u64::MAX)),
                Deed::Store { cell } => {
                    let (page, offset) = (mapped + cell / PER_PAGE, cell % PER_PAGE * CELL);
                    if self.space.store(page, offset, &[op.tag; CELL]).is_err() {
                        self.failed.borrow_mut().push(op.tag);
                    }
                }
                Deed::Load { page } => self.load(op, mapped + page, page),
                Deed::Remap { page } => {
                    self.space.map(mapped + page, Area::Nothing);
                    let index = PageIndex::new(self.script.leaves.origin() + page as u64);
                    self.space.map(mapped + page, Area::File(Arc::clone(file), index));
                }
                Deed::Populate { page } => self.space.populate(mapped + page),
                Deed::Steal => self.space.steal(),
            }
        }
    }

    fn control(&self) -> Option<Control> {
        match self.plant {
            Plant::ConcurrencyLinux2623 => Some(Control::Linux2623),
            Plant::ConcurrencyPrefaultOnly => Some(Control::PrefaultOnly),
            _ => None,
        }
    }

    fn write(&self, op: &Op, slice: UserSlice, options: WriteOptions) {
        let file = &self.files[op.file];
        let options = options.with_strategy(self.strategy);
        if let Some(control) = self.control() {
            let request = Request { control, segments: &[slice], options, steps: STEPS };
            let _ = ControlFile::new(file).write(&request, &mut enter(), &self.space, &NoTask);
            return;
        }
        let mut from = IovIter::from_slice(&slice);
        let written = file.write(&mut enter(), &self.space, &mut from, &options, &NoTask);
        if !matches!(op.deed, Deed::Copy { .. }) {
            let written = written.map(|written| written.bytes);
            assert_eq!(written, Ok(slice.len()), "W1: {op:?}");
        }
    }

    fn read(&self, op: &Op, thread: usize, at: usize, cells: usize) {
        let window = WINDOWS + thread * WINDOW;
        let slice = self.slice(window, cells * CELL);
        let mut to = IovIter::from_slice(&slice);
        let file = &self.files[op.file];
        let read = file.read(&mut enter(), &self.space, &mut to, self.pos(at), &NoTask);
        let got = read.unwrap_or_else(|errno| panic!("{op:?}: {errno}"));
        let mut bytes = vec![0; got];
        self.space.load(window, &mut bytes).expect("the program's own memory");
        for (cell, bytes) in bytes.chunks(CELL).enumerate() {
            self.check_seen(op.file, at + cell, bytes, "a read");
        }
    }

    fn load(&self, op: &Op, mapped: usize, page: usize) {
        let mut bytes = vec![0; PAGE_SIZE];
        if self.space.load(mapped, &mut bytes).is_ok() {
            for (cell, bytes) in bytes.chunks(CELL).enumerate() {
                self.check_seen(op.file, page * PER_PAGE + cell, bytes, "a mapping");
            }
        }
    }

    /// Every byte is one that the cell may have had at some time (W5).
    fn check_seen(&self, file: FileNumber, cell: usize, bytes: &[u8], what: &str) {
        if self.control().is_some() {
            return;
        }
        let values = order::values(&self.script, file, cell);
        if let Some(odd) = bytes.iter().find(|byte| !values.contains(byte)) {
            panic!(
                "W5: {what} shows {odd:#x} in cell {cell} of file {file}, not one of {values:x?}"
            );
        }
    }

    /// The script's part of a file, by read.
    fn contents(&self, file: FileNumber) -> Vec<u8> {
        let window = WINDOWS + 3 * WINDOW;
        let mut bytes = Vec::new();
        loop {
            let slice = self.slice(window, WINDOW * PAGE_SIZE);
            let (mut to, mut may) = (IovIter::from_slice(&slice), enter());
            let pos = self.pos(0) + bytes.len() as u64;
            let read = self.files[file].read(&mut may, &self.space, &mut to, pos, &NoTask);
            let got = read.expect("a store that works");
            if got == 0 {
                return bytes;
            }
            let mut piece = vec![0; got];
            self.space.load(window, &mut piece).expect("the program's own memory");
            bytes.extend(piece);
        }
    }

    /// When all threads have ended.
    fn check(&self) {
        if self.control().is_some() {
            return;
        }
        for file in 0..2 {
            let bytes = self.contents(file);
            self.check_mapped(file, &bytes);
            self.check_order(file, &bytes);
            let size = self.files[file].size();
            assert_eq!(
                size.saturating_sub(self.pos(0)),
                bytes.len() as u64,
                "W3: size of file {file}"
            );
            assert_eq!(
                self.files[file].fsync(&mut enter(), SyncKind::All, &NoTask),
                Ok(()),
                "fsync"
            );
            let stored = self.stores[file].contents();
            let start = (self.pos(0) as usize).min(stored.len());
            assert!(stored[start..] == bytes, "W2: the store does not hold what file {file} does");
            self.check_room(file);
            let _ = self.files[file].evict(&mut enter(), 0..u64::MAX);
            let cached = self.files[file].mapping().cached_pages();
            assert_eq!(cached, 0, "pages of file {file} stay in the cache");
            assert!(self.contents(file) == bytes, "W2: file {file} changes when it is read back");
        }
    }

    /// No room is kept past the end, and data was only sent where there is room.
    fn check_room(&self, file: FileNumber) {
        let size = self.files[file].size();
        // What a fault asked for beside a change of the size goes back with the next one.
        assert_eq!(self.files[file].set_size(&mut enter(), size, &NoTask), Ok(()), "the same size");
        assert_eq!(
            self.stores[file].blocks_past(size),
            0,
            "W9: blocks past the end of file {file}"
        );
        let complaints = self.stores[file].complaints();
        assert!(complaints.is_empty(), "W9, P2: file {file}: {complaints:?}");
    }

    /// The mapping, as the threads left it, shows the file.
    fn check_mapped(&self, file: FileNumber, bytes: &[u8]) {
        for page in 0..PAGES {
            let mut seen = vec![0; PAGE_SIZE];
            let loaded = self.space.load(MAPPED + file * PAGES + page, &mut seen);
            let rest = bytes.get(page * PAGE_SIZE..).unwrap_or_default();
            let inside = &rest[..rest.len().min(PAGE_SIZE)];
            assert_eq!(loaded.is_ok(), !inside.is_empty(), "P6: a mapping of page {page}");
            let same = seen[..inside.len()] == *inside;
            assert!(loaded.is_err() || same, "P6: a mapping of page {page} shows something else");
        }
    }

    fn check_order(&self, file: FileNumber, bytes: &[u8]) {
        if order::is_vague(&self.script, file) {
            return;
        }
        let cells: Vec<u8> = bytes.chunks(CELL).map(|cell| cell[0]).collect();
        let torn = bytes.chunks(CELL).any(|cell| cell.iter().any(|byte| *byte != cell[0]));
        assert!(!torn, "a cell of file {file} holds parts of two writes");
        let done = |tag: u8| !self.failed.borrow().contains(&tag);
        let explained = order::explains(&self.script, file, &cells, &done);
        assert!(explained, "no order of the operations leaves {cells:x?} in file {file}");
        debug_assert!(cells.len() <= CELLS + OPS * PER_PAGE, "a file of many cells");
    }
}

/// The first page of an operation's source.
fn source(op: &Op) -> usize {
    SOURCES + (usize::from(op.tag) - 1) * PAGES
}
