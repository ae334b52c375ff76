//! A mounted image, with its files in a page cache.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use faultless::parts::{FramePool, Page, YieldWait};
use faultless::prelude::*;
use faultless_ext2::{Access, Caller, Error, Ext2, File};

use crate::disk::{Disk, Worker};

pub(crate) const CALLER: Caller =
    Caller { uid: 1000, gid: 100_000, now: 1_700_000_000_123_456_789 };

/// How long a test may wait.
const LIMIT: Duration = Duration::from_secs(60);

#[derive(Debug)]
pub(crate) struct TestKernel;

impl Kernel for TestKernel {
    type Sync = CoreSync;
    type Frames = FramePool;
    type Wait = YieldWait;
    type Cache = &'static PageCache<Self>;
    type Store = Arc<File<Self>>;
    type UserMappings = NoUserMappings;
    type Replacement = ();
}

std::thread_local! {
    static SINCE: std::cell::Cell<Option<Instant>> = const { std::cell::Cell::new(None) };
}

fn yield_now() {
    let since = SINCE.get().unwrap_or_else(Instant::now);
    SINCE.set(Some(since));
    assert!(since.elapsed() < LIMIT, "a wait does not end");
    std::thread::yield_now();
}

pub(crate) type Node = Arc<File<TestKernel>>;

/// A file in the page cache.
pub(crate) type Cached = Arc<Inode<TestKernel>>;

pub(crate) struct Rig {
    fs: Option<Ext2<TestKernel>>,
    /// Files that are open, by number.
    files: BTreeMap<u32, Cached>,
    cache: &'static PageCache<TestKernel>,
    pub(crate) disk: Arc<Disk>,
    _worker: Worker,
}

pub(crate) fn token() -> InKernel {
    SINCE.set(None);
    // SAFETY: tests hold no lock between calls, and make one token at a time.
    unsafe { InKernel::enter() }
}

impl Rig {
    pub(crate) fn mount(image: Vec<u8>, seed: u64) -> Self {
        Self::try_mount(image, seed, Access::ReadWrite).expect("a mount")
    }

    /// With few frames.
    pub(crate) fn look_at(image: Vec<u8>) -> Self {
        Self::with_frames(128, image, 1, Access::ReadWrite).expect("a mount")
    }

    pub(crate) fn try_mount(image: Vec<u8>, seed: u64, access: Access) -> Result<Self, Errno> {
        Self::with_frames(1024, image, seed, access)
    }

    /// With fewer frames, for a test that mounts often: their memory is not given back.
    pub(crate) fn with_frames(
        frames: usize,
        image: Vec<u8>,
        seed: u64,
        access: Access,
    ) -> Result<Self, Errno> {
        SINCE.set(None);
        let frames = FramePool::new(Box::leak(vec![Page::ZERO; frames].into_boxed_slice()));
        let cache = PageCache::new(frames, YieldWait::new(yield_now as fn()));
        let cache: &'static PageCache<TestKernel> = Box::leak(Box::new(cache));
        let disk = Disk::new(image, seed);
        let worker = disk.worker();
        let fs = Ext2::mount(disk.clone(), cache, access)?;
        Ok(Self { fs: Some(fs), files: BTreeMap::new(), cache, disk, _worker: worker })
    }

    pub(crate) fn fs(&self) -> &Ext2<TestKernel> {
        SINCE.set(None);
        self.fs.as_ref().expect("mounted")
    }

    /// The node of a path.
    pub(crate) fn node(&self, path: &str) -> Result<Node, Error> {
        let mut at = self.fs().root()?;
        for name in path.split('/').filter(|name| !name.is_empty()) {
            at = self.fs().lookup(&at, name.as_bytes())?;
        }
        Ok(at)
    }

    /// The directory of a path, and the last name.
    pub(crate) fn parent<'p>(&self, path: &'p str) -> Result<(Node, &'p [u8]), Error> {
        let (above, name) = path.rsplit_once('/').unwrap_or(("", path));
        Ok((self.node(above)?, name.as_bytes()))
    }

    pub(crate) fn create(&self, path: &str) -> Result<Node, Error> {
        let (parent, name) = self.parent(path)?;
        self.fs().create(&CALLER, &parent, name, 0o644)
    }

    pub(crate) fn make_directory(&self, path: &str) -> Result<Node, Error> {
        let (parent, name) = self.parent(path)?;
        self.fs().make_directory(&CALLER, &parent, name, 0o755)
    }

    pub(crate) fn unlink(&self, path: &str) -> Result<(), Error> {
        let (parent, name) = self.parent(path)?;
        self.fs().unlink(&CALLER, &parent, name)
    }

    /// The page cache's file of a node: there is one for each number.
    pub(crate) fn file(&mut self, node: &Node) -> Cached {
        if let Some(file) = self.files.get(&node.number()) {
            return Arc::clone(file);
        }
        let status = self.fs().status(node).expect("a status");
        let file = Inode::new(self.cache, Arc::clone(node), NoUserMappings, status.size);
        file.set_times(Times { modified: status.modified, changed: status.changed });
        let file = Arc::new(file);
        self.files.insert(node.number(), Arc::clone(&file));
        file
    }

    /// The file of a path, made if it is not there.
    pub(crate) fn open(&mut self, path: &str) -> Cached {
        let node = self.node(path).or_else(|_| self.create(path)).expect("a node");
        self.file(&node)
    }

    /// Forgets a file that no test has open.
    pub(crate) fn close(&mut self, number: u32) {
        let Some(file) = self.files.remove(&number) else { return };
        let mut file = Arc::into_inner(file).expect("the last handle");
        if self.fs().status(file.mapping().store()).expect("a status").links == 0 {
            return file.discard();
        }
        if file.close(&mut token(), &NoTask).is_err() {
            file.discard();
        }
    }

    /// Forgets a file with what was not sent.
    pub(crate) fn forget(&mut self, number: u32) {
        if let Some(file) = self.files.remove(&number).and_then(Arc::into_inner) {
            file.discard();
        }
    }

    /// Closes all files, and unmounts; the image.
    pub(crate) fn unmount(mut self) -> Vec<u8> {
        let numbers: Vec<u32> = self.files.keys().copied().collect();
        numbers.into_iter().for_each(|number| self.close(number));
        SINCE.set(None);
        let fs = self.fs.take().expect("mounted");
        fs.unmount().map_err(|(errno, _)| errno).expect("an unmount");
        self.disk.image()
    }

    /// Drops all, with what was not sent.
    pub(crate) fn abandon(mut self) {
        self.discard();
    }

    fn discard(&mut self) {
        for file in std::mem::take(&mut self.files).into_values() {
            if let Some(file) = Arc::into_inner(file) {
                file.discard();
            }
        }
    }
}

impl Drop for Rig {
    fn drop(&mut self) {
        self.discard();
    }
}

pub(crate) fn write(file: &Inode<TestKernel>, pos: u64, bytes: &[u8]) -> Result<usize, Errno> {
    let memory = KernelMemory::readable(bytes);
    let slice = memory.slice();
    let mut from = IovIter::from_slice(&memory, &slice);
    let written = file.write(&mut token(), &mut from, &WriteOptions::at(pos), &NoTask);
    written.map(|written| written.bytes)
}

pub(crate) fn read(file: &Inode<TestKernel>, pos: u64, len: usize) -> Result<Vec<u8>, Errno> {
    let mut buffer = vec![0xee; len];
    let memory = KernelMemory::writable(&mut buffer);
    let slice = memory.slice();
    let mut to = IovIter::from_slice(&memory, &slice);
    let got = file.read(&mut token(), &mut to, pos, &NoTask)?;
    buffer.truncate(got);
    Ok(buffer)
}

pub(crate) fn contents(file: &Inode<TestKernel>) -> Result<Vec<u8>, Errno> {
    read(file, 0, file.size() as usize + 1)
}

pub(crate) fn fsync(file: &Inode<TestKernel>) -> Result<(), Errno> {
    file.fsync(&mut token(), SyncKind::All, &NoTask)
}

/// Writes back and drops what is in the cache.
pub(crate) fn evict(file: &Inode<TestKernel>) -> Result<(), Errno> {
    file.writeback(&mut token(), 0..u64::MAX, &NoTask)?;
    file.evict(&mut token(), 0..u64::MAX);
    Ok(())
}
