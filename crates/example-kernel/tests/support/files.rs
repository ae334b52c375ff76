//! Files on a disk in memory, and the system calls of a program that has one open.

use std::ops::Deref;
use std::sync::{Arc, Mutex};

use faultless::parts::{BlockDevice, BlockStore, FixedMap, RamDisk, YieldWait};
use faultless::prelude::*;
use faultless_example_kernel::{Example, user_memory};

use super::{Host, cpu, nothing_held, syscall, yield_now};

/// Blocks of a page that a file may have.
const BLOCKS: usize = 64;

type Disk = RamDisk<&'static mut [u8]>;

/// What is done when the store reads a page next, which is locked.
type Hook = Box<dyn FnOnce() + Send>;

/// A store that can be preempted where it reads.
pub(crate) struct Store {
    blocks: BlockStore<&'static Disk, FixedMap<BLOCKS>, YieldWait>,
    disk: &'static Disk,
    at_read: Mutex<Option<Hook>>,
}

impl AddressSpaceOperations for Store {
    fn read(&self, index: PageIndex, buf: &mut FillBuf<'_>) -> Result<(), Errno> {
        nothing_held("a disk is read");
        if let Some(hook) = self.at_read.lock().expect("no panic").take() {
            hook();
        }
        self.blocks.read(index, buf)
    }

    fn write_begin(&self, pos: u64, len: usize) -> Result<Begun, Errno> {
        nothing_held("room is made");
        self.blocks.write_begin(pos, len)
    }

    fn write_end(&self, pos: u64, len: usize, copied: usize) {
        self.blocks.write_end(pos, len, copied);
    }

    fn writeback(&self, run: &WritebackRun<'_>) -> Result<(), Errno> {
        nothing_held("a disk is written");
        self.blocks.writeback(run)
    }

    fn truncate_blocks(&self, size: u64) {
        self.blocks.truncate_blocks(size);
    }

    fn set_size(&self, size: u64) {
        self.blocks.set_size(size);
    }

    fn sync(&self, kind: SyncKind) -> Result<(), Errno> {
        self.blocks.sync(kind)
    }
}

/// A handle of a file.
#[derive(Clone)]
pub(crate) struct File {
    inode: Arc<Inode<Example<Host>>>,
    store: &'static Store,
}

/// A file of these bytes, on a disk of its own, nothing of it in the cache.
pub(crate) fn new_file(bytes: &[u8]) -> File {
    let len = BLOCKS * PAGE_SIZE;
    let disk = RamDisk::new(vec![0; len].leak(), PAGE_SIZE).expect("a size of blocks");
    let disk: &'static Disk = Box::leak(Box::new(disk));
    let map = FixedMap::new(0..BLOCKS as u64);
    let wait: YieldWait = YieldWait::new(yield_now);
    let blocks = BlockStore::with_wait(disk, map, wait).expect("a store");
    let store: &'static Store =
        Box::leak(Box::new(Store { blocks, disk, at_read: Mutex::new(None) }));
    let inode = Inode::<Example<Host>>::new(cpu().cache, store, Default::default(), 0);
    let file = File { inode: Arc::new(inode), store };
    // SAFETY: no lock is held, and there is no other token.
    let mut kernel = unsafe { InKernel::enter() };
    let memory = KernelMemory::readable(bytes);
    let all = memory.slice();
    let mut from = IovIter::from_slice(&memory, &all);
    let written = file.write(&mut kernel, &mut from, &WriteOptions::at(0), &NoTask);
    assert_eq!(written.map(|written| written.bytes), Ok(bytes.len()));
    file.sync();
    file.evict_all();
    file
}

/// The first pages of the file's disk, of which blocks are handed out from the first on.
pub(crate) fn disk_bytes(file: &File, pages: usize) -> Vec<u8> {
    let mut bytes = vec![0; pages * PAGE_SIZE];
    file.store.disk.read(0, &mut bytes).expect("a disk");
    bytes
}

impl File {
    /// The user program writes from its memory.
    pub(crate) fn sys_write(&self, from: usize, len: usize, pos: u64) -> Result<usize, Errno> {
        let memory = user_memory::<Host>();
        syscall(|token| {
            let slice =
                UserSlice::new(&memory, UserAddr::new(from), len).map_err(|_| Errno::Fault)?;
            let mut bytes = IovIter::from_slice(&memory, &slice);
            let written = self.write(token, &mut bytes, &WriteOptions::at(pos), &NoTask)?;
            Ok(written.bytes)
        })
    }

    /// `ftruncate`.
    pub(crate) fn truncate(&self, size: u64) {
        syscall(|token| self.set_size(token, size, &NoTask)).expect("nothing fails");
    }

    /// `fsync`.
    pub(crate) fn sync(&self) {
        syscall(|token| self.fsync(token, SyncKind::All, &NoTask)).expect("nothing fails");
    }

    /// Drops the clean pages; how many.
    pub(crate) fn evict_all(&self) -> u64 {
        syscall(|token| self.evict(token, 0..u64::MAX))
    }

    /// At the next read of the disk, with the page locked.
    pub(crate) fn at_read(&self, hook: impl FnOnce() + Send + 'static) {
        *self.store.at_read.lock().expect("no panic") = Some(Box::new(hook));
    }
}

impl Deref for File {
    type Target = Inode<Example<Host>>;
    fn deref(&self) -> &Self::Target {
        &self.inode
    }
}

impl Drop for File {
    fn drop(&mut self) {
        if Arc::strong_count(&self.inode) == 1 {
            nothing_held("a file is dropped");
        }
    }
}
