//! A kernel with memory for a quarter of its file: pages are given up when memory is short.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use faultless::filemap::{DirtyVictims, Files, Reclaimer};
use faultless::page::TwoQueues;
use faultless::parts::{BlockStore, FixedMap, FramePool, Page, RamDisk, YieldWait};
use faultless::prelude::*;

/// A file of up to 256 blocks of 4 KiB.
type Disk = BlockStore<RamDisk<Vec<u8>>, FixedMap<256>, YieldWait>;
type File = Inode<MyKernel>;

struct MyKernel;

impl Kernel for MyKernel {
    type Sync = CoreSync;
    type Frames = FramePool;
    type Wait = YieldWait;
    type Cache = &'static PageCache<Self>;
    type Store = Box<Disk>;
    type UserMappings = NoUserMappings;
    type Replacement = TwoQueues;

    /// Direct reclaim. No store of this kernel needs a lock that an allocating thread may hold, so
    /// it may send dirty pages, too; a kernel with loop devices leaves these to a thread.
    fn reclaim(cache: &PageCache<Self>, mut locks: LockContext<'_>, wanted: u32) -> u32 {
        Reclaimer::new(DirtyVictims::Send).step(cache, &Table, &mut locks, wanted, &NoTask).dropped
    }
}

/// The inodes of the kernel, by the ids of their mappings.
static INODES: Mutex<BTreeMap<u64, Weak<File>>> = Mutex::new(BTreeMap::new());

struct Table;

impl Files<MyKernel> for Table {
    type Handle = Arc<File>;

    fn find(&self, mapping: u64) -> Option<Arc<File>> {
        let inodes = INODES.lock().unwrap_or_else(PoisonError::into_inner);
        inodes.get(&mapping)?.upgrade()
    }
}

fn main() -> Result<(), Errno> {
    let frames = FramePool::new(Box::leak(vec![Page::ZERO; 64].into_boxed_slice()));
    let wait: YieldWait = YieldWait::new(std::thread::yield_now);
    let cache: &'static PageCache<MyKernel> = Box::leak(Box::new(PageCache::new(frames, wait)));
    // About as many pages as there is memory for: what "soon back" is measured by.
    cache.set_capacity(56)?;

    let disk = RamDisk::new(vec![0; 256 * PAGE_SIZE], PAGE_SIZE)?;
    let store = BlockStore::with_wait(disk, FixedMap::new(0..256), wait)?;
    let file = Arc::new(Inode::new(cache, Box::new(store), NoUserMappings, 0));
    let mut inodes = INODES.lock().unwrap_or_else(PoisonError::into_inner);
    inodes.insert(file.mapping().id(), Arc::downgrade(&file));
    drop(inodes);

    // SAFETY: a thread of the kernel, which holds no lock.
    let mut token = unsafe { InKernel::enter() };
    for page in 0..256_u64 {
        let bytes = [page as u8; PAGE_SIZE];
        let memory = KernelMemory::readable(&bytes);
        let slice = memory.slice();
        let mut from = IovIter::from_slice(&memory, &slice);
        let options = WriteOptions::at(page * PAGE_SIZE as u64);
        assert_eq!(file.write(&mut token, &mut from, &options, &NoTask)?.bytes, PAGE_SIZE);
    }
    let written = file.mapping().cached_pages();
    for page in 0..256_u64 {
        let mut bytes = [0; PAGE_SIZE];
        let memory = KernelMemory::writable(&mut bytes);
        let slice = memory.slice();
        let mut to = IovIter::from_slice(&memory, &slice);
        file.read(&mut token, &mut to, page * PAGE_SIZE as u64, &NoTask)?;
        assert_eq!(bytes, [page as u8; PAGE_SIZE]);
    }
    let read = file.mapping().cached_pages();
    println!("256 pages written and read with 64 frames; {written}, then {read} in the cache");
    assert!((32..64).contains(&written) && (32..64).contains(&read));
    let mut file = Arc::into_inner(file).expect("the last handle");
    file.close(&mut token, &NoTask)
}
