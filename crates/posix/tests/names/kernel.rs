//! The least kernel that a tree of names needs. Its files notice if the last handle is dropped with
//! a short lock held.

#[path = "../support/interrupts.rs"]
mod interrupts;

use std::fmt;
use std::ops::{Deref, Range};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use faultless::parts::{FramePool, InterruptsOff, Page, RamStore, YieldWait};
use faultless::prelude::*;
use faultless_posix as posix;
use faultless_posix::{AddressSpace, Caller, Entry, PageTable, ReverseMap, System};

pub type Tree = posix::Tree<Machine>;
pub type Node = Arc<posix::Node<Machine>>;
pub type Result<T> = std::result::Result<T, posix::Errno>;

pub use interrupts::{Interrupts, nothing_held};

#[derive(Debug)]
pub struct TestKernel;

impl Kernel for TestKernel {
    type Sync = InterruptsOff<Interrupts>;
    type Frames = FramePool;
    type Wait = YieldWait;
    type Cache = &'static PageCache<Self>;
    type Store = Box<RamStore>;
    type UserMappings = ReverseMap<Arc<AddressSpace<Machine>>, InterruptsOff<Interrupts>>;
    type Replacement = ();
}

#[derive(Debug)]
pub struct Machine;

// SAFETY: handles are counted; there are no entries of page tables.
unsafe impl System for Machine {
    type Kernel = TestKernel;
    type Sync = InterruptsOff<Interrupts>;
    type File = File;
    type Space = Arc<AddressSpace<Self>>;
    type PageTable = NoTable;

    fn unique() -> u64 {
        static LAST: AtomicU64 = AtomicU64::new(0);
        LAST.fetch_add(1, Ordering::Relaxed) + 1
    }

    fn flush(_root: usize, _pages: Range<usize>) {
        nothing_held("a flush");
    }
}

/// No test here maps anything.
#[derive(Debug)]
pub struct NoTable;

// SAFETY: nothing is ever set.
unsafe impl PageTable for NoTable {
    fn root(&self) -> usize {
        0
    }
    fn prepare(&mut self, _page: usize) {}
    fn get(&self, _page: usize) -> Option<Entry> {
        None
    }
    fn next(&self, _pages: Range<usize>) -> Option<(usize, Entry)> {
        None
    }
    fn set(&mut self, _page: usize, _entry: Option<Entry>) {}
}

/// A handle of a file.
#[derive(Clone)]
pub struct File(Arc<Counted>);

struct Counted {
    inode: Inode<TestKernel>,
    files: Arc<AtomicUsize>,
}

impl Deref for File {
    type Target = Inode<TestKernel>;

    fn deref(&self) -> &Self::Target {
        &self.0.inode
    }
}

impl fmt::Debug for File {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("File").field(&self.0.inode.mapping().id()).finish()
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        nothing_held("the drop of a file");
        self.files.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Makes files, and counts those that live.
#[derive(Clone, Debug)]
pub struct Files {
    cache: &'static PageCache<TestKernel>,
    live: Arc<AtomicUsize>,
}

impl Files {
    pub fn new() -> Self {
        let frames = FramePool::new(Box::leak(vec![Page::ZERO; 16].into_boxed_slice()));
        let wait: YieldWait = YieldWait::new(std::thread::yield_now);
        let cache = Box::leak(Box::new(PageCache::new(frames, wait)));
        Self { cache, live: Arc::default() }
    }

    /// An empty file.
    pub fn make(&self) -> Result<File> {
        nothing_held("the making of a file");
        self.live.fetch_add(1, Ordering::Relaxed);
        let inode = Inode::new(self.cache, Box::new(RamStore::new()), ReverseMap::new(), 0);
        Ok(File(Arc::new(Counted { inode, files: Arc::clone(&self.live) })))
    }

    pub fn live(&self) -> usize {
        self.live.load(Ordering::Relaxed)
    }
}

/// Root, at this time.
pub fn at_time(now: u64) -> Caller {
    Caller { uid: 0, gid: 0, now }
}
