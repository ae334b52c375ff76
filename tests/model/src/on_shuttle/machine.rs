//! A machine with one process under shuttle, and the system calls that the scenarios make.

use std::sync::Arc;

use faultless_controls::{Control, ControlFile, Failure, Request};
use faultless_filemap::{Inode, NoTask, WriteOptions};
use faultless_host::stepped::{Area, Far, Mappings, Omitted, SteppedSpace};
use faultless_host::{Access, UserFault};
use faultless_page::{Errno, LockContext, PageCache, PageIndex, PageRun, Strategy};
use faultless_usercopy::{IovIter, MayFault, UserSlice};
use shuttle::thread::{self, JoinHandle};

use crate::kernel::ModelKernel;
use crate::memory::{Memory, ModelFrames};
use crate::on_shuttle::checker::{Shuttle, ShuttleThreads};
use crate::on_shuttle::held::held_runs;
use crate::plant::{self, Plant};
use crate::store::ModelStore;
use crate::wait::ModelWait;

/// The kernel under shuttle.
type K = ModelKernel<Shuttle>;

/// Pages of the process's address space.
const PAGES: usize = 4;

/// A machine with one process.
#[derive(Clone)]
pub(super) struct Machine {
    memory: Arc<Memory<Shuttle>>,
    cache: Arc<PageCache<K>>,
    mappings: Mappings<ModelFrames<Shuttle>, ShuttleThreads>,
    space: Arc<SteppedSpace<K, ShuttleThreads>>,
}

pub(super) type File = Arc<Inode<K>>;

/// The system call's token.
pub(super) fn token() -> MayFault {
    // SAFETY: each thread of a scenario makes one call at a time and holds no lock between them.
    // (The controls break the promise inside the call; that is what they are for.)
    unsafe { MayFault::assert() }
}

impl Machine {
    /// Its process has [`PAGES`] private pages full of `p`, none of them present, besides the
    /// `frames` that are free.
    pub(super) fn new(frames: usize) -> Self {
        let memory = Memory::new(frames + PAGES + 1);
        let omitted = match () {
            () if plant::is(Plant::NoUnmap) => Omitted::Unmap,
            () if plant::is(Plant::NoProtect) => Omitted::WriteProtect,
            () => Omitted::Nothing,
        };
        let frames = || ModelFrames(Arc::clone(&memory));
        let mappings = Mappings::new(frames(), ShuttleThreads::default(), PAGES, omitted);
        let space = Arc::new(SteppedSpace::new(&mappings, vec![Area::Private; PAGES]));
        (0..PAGES).for_each(|page| space.swap_out(page, Far::No));
        let cache = Arc::new(PageCache::at_run_time(frames(), ModelWait::new()));
        Self { memory, cache, mappings, space }
    }

    pub(super) fn file(&self, byte: u8, len: usize, strategy: Strategy) -> File {
        self.file_on(ModelStore::new(&vec![byte; len], strategy), len)
    }

    /// A file of `len` bytes on this store.
    pub(super) fn file_on(&self, store: ModelStore, len: usize) -> File {
        let store = Arc::new(store);
        Arc::new(Inode::new(Arc::clone(&self.cache), store, self.mappings.clone(), len as u64))
    }

    /// Starts a thread.
    pub(super) fn spawn(&self, body: impl FnOnce(Self) + Send + 'static) -> JoinHandle<()> {
        let machine = self.clone();
        thread::spawn(move || {
            body(machine);
            assert_eq!(held_runs(), 0, "a call returned with a page lock (P3)");
        })
    }

    /// `pwrite` of `len` bytes at `pos` from `offset` of the process's `page`, or what a control
    /// makes of it.
    pub(super) fn write(
        &self,
        file: &File,
        pos: u64,
        page: usize,
        offset: usize,
        len: usize,
    ) -> Result<usize, Errno> {
        self.write_with(file, page, offset, len, WriteOptions::at(pos))
    }

    /// The same with other options.
    pub(super) fn write_with(
        &self,
        file: &File,
        page: usize,
        offset: usize,
        len: usize,
        options: WriteOptions,
    ) -> Result<usize, Errno> {
        let slice = self.slice(page, offset, len);
        let control = match () {
            () if plant::is(Plant::FaultUnderLock) => Control::Linux2623,
            () if plant::is(Plant::PrefaultOnly) => Control::PrefaultOnly,
            () => {
                let mut from = IovIter::from_slice(&*self.space, &slice);
                let written = file.write(&mut token(), &mut from, &options, &NoTask);
                return written.map(|written| written.bytes);
            }
        };
        let request = Request { control, segments: &[slice], options, steps: 100 };
        let file = ControlFile::new(file);
        match file.write(&request, &mut token(), &*self.space, &NoTask) {
            Ok(written) => Ok(written.bytes),
            Err(Failure::Errno(errno)) => Err(errno),
            Err(Failure::Livelock) => panic!("livelock"),
        }
    }

    /// `pread` into the process's last page.
    pub(super) fn read(&self, file: &File, pos: u64, len: usize) -> Vec<u8> {
        let page = PAGES - 1;
        let slice = self.slice(page, 0, len);
        let mut to = IovIter::from_slice(&*self.space, &slice);
        let got = file.read(&mut token(), &mut to, pos, &NoTask).expect("a readable file");
        let mut bytes = vec![0; got];
        self.space.load(page, 0, &mut bytes).expect("a private page");
        bytes
    }

    fn slice(&self, page: usize, offset: usize, len: usize) -> UserSlice {
        UserSlice::new(&*self.space, self.space.at(page, offset), len).expect("in range")
    }

    /// The process loads a byte.
    pub(super) fn load(&self, page: usize, offset: usize) -> Result<u8, UserFault> {
        let mut byte = [0];
        self.space.load(page, offset, &mut byte).map(|()| byte[0])
    }

    /// The process stores a byte.
    pub(super) fn store(&self, page: usize, offset: usize, byte: u8) -> Result<(), UserFault> {
        self.space.store(page, offset, &[byte])
    }

    /// Maps a page of a file.
    pub(super) fn map(&self, page: usize, file: &File, index: PageIndex) {
        self.space.map(page, Area::File(Arc::clone(file), index));
    }

    pub(super) fn unmap(&self, page: usize) {
        self.space.map(page, Area::Nothing);
    }

    /// `mlock`.
    pub(super) fn populate(&self, page: usize, access: Access) -> Result<(), UserFault> {
        self.space.populate(page, access)
    }

    /// Reclaim of user pages.
    pub(super) fn steal(&self, page: usize) {
        self.space.swap_out(page, Far::No);
    }

    pub(super) fn cut(&self, file: &File, size: u64) {
        file.set_size(&mut token(), size, &NoTask).expect("a small file");
    }

    pub(super) fn write_back(&self, file: &File) {
        file.writeback(&mut token(), 0..u64::MAX, &NoTask).expect("a good store");
    }

    pub(super) fn evict(&self, file: &File) {
        file.evict(&mut token(), 0..u64::MAX);
    }

    /// What must hold when all calls are over.
    pub(super) fn check(self, threads: Vec<JoinHandle<()>>, files: Vec<File>) {
        threads.into_iter().for_each(|thread| thread.join().expect("a thread panicked"));
        self.space.tear_down();
        for file in files {
            // What a fault asked for beside a change of the size goes back with the next one.
            self.cut(&file, file.size());
            let mapping = file.mapping();
            // SAFETY: no other page is locked, and nothing here may fault.
            let cx = unsafe { LockContext::new() };
            let leaf = mapping.try_lock(cx, PageRun::leaf(PageIndex::ZERO));
            assert!(leaf.is_some() || mapping.cached_pages() == 0, "a page is locked (P5)");
            drop(leaf);
            let store = mapping.store();
            assert_eq!(store.unbalanced(), 0, "begun and not ended (P5)");
            assert!(store.room() <= file.size(), "room past the end is kept (W9)");
            assert_eq!(Arc::strong_count(&file), 1, "a mapping outlives its address space");
        }
        let Self { memory, cache, .. } = self;
        drop(cache);
        assert_eq!(memory.in_use(), 0, "frames leaked");
    }
}
