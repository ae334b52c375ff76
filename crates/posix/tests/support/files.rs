//! Files in memory and on a disk, whose stores fail as planned.

use std::fmt;
use std::ops::{Deref, Range};
use std::sync::{Arc, Mutex};

use faultless::page::{FailedSync, FillBuf, PageIndex};
use faultless::parts::{
    Answer, BlockStore, Call, FaultyStore, FixedMap, RamDisk, RamStore, When, YieldWait,
};
use faultless::prelude::*;
use faultless_posix::Description;
use linux_raw_sys::general as linux;

use super::{Machine, Open, Rig, TestKernel, nothing_held};

/// Pages of a file on a disk.
pub const DISK_PAGES: usize = 64;

type Disk = RamDisk<Vec<u8>>;
type DiskStore = BlockStore<Disk, FixedMap<DISK_PAGES>, YieldWait>;

/// The stores that files have here.
pub struct Store {
    kind: Kind,
    /// Private mappings of it are memory without a file.
    is_zeros: bool,
    at_read: Mutex<Option<Box<dyn FnOnce() + Send>>>,
}

enum Kind {
    Memory(Box<FaultyStore<RamStore>>),
    Disk(Box<FaultyStore<DiskStore>>),
}

macro_rules! each {
    ($self:ident, $store:ident => $call:expr) => {
        match &$self.kind {
            Kind::Memory($store) => $call,
            Kind::Disk($store) => $call,
        }
    };
}

impl Store {
    pub fn is_zeros(&self) -> bool {
        self.is_zeros
    }

    /// See [`FaultyStore::plan`].
    pub fn plan(&self, call: Call, when: When, answer: Answer) {
        each!(self, store => store.plan(call, when, answer)).expect("a plan that can be");
    }

    /// All writebacks fail from now on.
    pub fn fail_writebacks(&self) {
        self.plan(Call::Writeback, When::EveryNth(1), Answer::Fail(Errno::Io));
    }

    pub fn clear(&self) {
        each!(self, store => store.clear());
    }

    /// Has another thread run in the next read, with the page locked.
    pub fn at_read(&self, other_thread: impl FnOnce() + Send + 'static) {
        *self.at_read.lock().expect("no panic") = Some(Box::new(other_thread));
    }

    pub fn count(&self, call: Call) -> u64 {
        each!(self, store => store.count(call))
    }
}

impl AddressSpaceOperations for Store {
    fn read(&self, index: PageIndex, buf: &mut FillBuf<'_>) -> Result<(), Errno> {
        nothing_held("a read of the store");
        let other_thread = self.at_read.lock().expect("no panic").take();
        other_thread.into_iter().for_each(|other_thread| other_thread());
        each!(self, store => store.read(index, buf))
    }
    fn write_begin(&self, pos: u64, len: usize) -> Result<Begun, Errno> {
        nothing_held("a write to the store");
        each!(self, store => store.write_begin(pos, len))
    }
    fn write_end(&self, pos: u64, len: usize, copied: usize) {
        each!(self, store => store.write_end(pos, len, copied));
    }
    fn writeback(&self, run: &WritebackRun<'_>) -> Result<(), Errno> {
        nothing_held("a writeback");
        each!(self, store => store.writeback(run))
    }
    fn prepare_size(&self, size: u64) -> Result<(), Errno> {
        nothing_held("a truncation to be prepared");
        each!(self, store => store.prepare_size(size))
    }
    fn truncate_blocks(&self, size: u64) {
        nothing_held("a truncation of the store");
        each!(self, store => store.truncate_blocks(size));
    }
    fn set_size(&self, size: u64) {
        each!(self, store => store.set_size(size));
    }
    fn sync(&self, kind: SyncKind) -> Result<(), Errno> {
        nothing_held("a sync of the store");
        each!(self, store => store.sync(kind))
    }
    fn fallocate(&self, change: Fallocate, range: Range<u64>) -> Result<(), Errno> {
        nothing_held("a change of blocks");
        each!(self, store => store.fallocate(change, range))
    }
    fn shift_unit(&self) -> Option<u64> {
        each!(self, store => store.shift_unit())
    }
    fn shift(&self, shift: Shift, range: Range<u64>, size: u64) -> Result<(), Errno> {
        nothing_held("a shift of blocks");
        each!(self, store => store.shift(shift, range, size))
    }
    fn extent(&self, pos: u64) -> Result<Option<Range<u64>>, Errno> {
        each!(self, store => store.extent(pos))
    }

    fn failed_sync(&self) -> FailedSync {
        each!(self, store => store.failed_sync())
    }
    fn max_size(&self) -> u64 {
        each!(self, store => store.max_size())
    }
    fn is_persistent(&self) -> bool {
        each!(self, store => store.is_persistent())
    }
}

/// A handle of a file.
#[derive(Clone)]
pub struct File(Arc<Inner>);

struct Inner {
    inode: Inode<TestKernel>,
    store: Arc<Store>,
}

impl Deref for File {
    type Target = Inode<TestKernel>;
    fn deref(&self) -> &Self::Target {
        &self.0.inode
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            nothing_held("the drop of a file");
            super::no_lock_of_the_cache_held();
        }
    }
}

impl fmt::Debug for File {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("File").field(&self.0.inode).finish()
    }
}

impl File {
    pub fn store(&self) -> &Store {
        &self.0.store
    }

    /// How many handles there are.
    pub fn handles(&self) -> usize {
        Arc::strong_count(&self.0)
    }

    /// Opens it, as `open` with these flags.
    pub fn open(&self, flags: u32) -> Open {
        Arc::new(Description::<Machine>::new(self.clone(), flags))
    }

    /// Opens it for reads and writes.
    pub fn open_rw(&self) -> Open {
        self.open(linux::O_RDWR)
    }

    /// Drops the clean pages; how many.
    pub fn evict_all(&self) -> u64 {
        super::syscall(|token| self.evict(token, 0..u64::MAX))
    }
}

impl Rig {
    fn file(&self, kind: Kind) -> File {
        self.file_on(Store { kind, is_zeros: false, at_read: Mutex::default() }, 0)
    }

    fn file_on(&self, store: Store, size: u64) -> File {
        let store = Arc::new(store);
        let handle: Arc<dyn AddressSpaceOperations> = Arc::<Store>::clone(&store);
        let inode = Inode::new(self.cache, handle, Default::default(), size);
        File(Arc::new(Inner { inode, store }))
    }

    /// An empty file whose only copy is the cache.
    pub fn memory_file(&self) -> File {
        self.file(Kind::Memory(Box::new(FaultyStore::new(RamStore::new()))))
    }

    /// What memory without a file is a private mapping of: a hole of so many pages.
    pub fn zeros(&self, pages: usize) -> File {
        let kind = Kind::Memory(Box::new(FaultyStore::new(RamStore::new())));
        let store = Store { kind, is_zeros: true, at_read: Mutex::default() };
        self.file_on(store, (pages * PAGE_SIZE) as u64)
    }

    /// An empty file on a disk of its own.
    pub fn disk_file(&self) -> File {
        let disk = Disk::new(vec![0xdb; DISK_PAGES * PAGE_SIZE], PAGE_SIZE).expect("a block size");
        let map = FixedMap::new(0..DISK_PAGES as u64);
        let wait = YieldWait::new(super::yield_now as fn());
        let store = BlockStore::with_wait(disk, map, wait).expect("a block size");
        self.file(Kind::Disk(Box::new(FaultyStore::new(store))))
    }

    /// A file in memory of pages of 1, 2, 3, …
    pub fn numbered(&self, pages: usize) -> File {
        let file = self.memory_file();
        super::pwrite(&file.open_rw(), &numbered_bytes(pages), 0).expect("room");
        file
    }

    /// The same on a disk, with nothing dirty.
    pub fn numbered_on_disk(&self, pages: usize) -> File {
        let file = self.disk_file();
        let open = file.open_rw();
        super::pwrite(&open, &numbered_bytes(pages), 0).expect("room");
        super::fsync(&open).expect("nothing fails");
        file
    }
}

pub fn numbered_bytes(pages: usize) -> Vec<u8> {
    (0..pages).flat_map(|page| [page as u8 + 1; PAGE_SIZE]).collect()
}
