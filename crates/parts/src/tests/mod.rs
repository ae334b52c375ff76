//! Tests of the parts, most of them by an inode on top. A rig is a cache, one file on a store, and
//! a buffer that stands for user memory.

use core::marker::PhantomData;
use core::ops::Range;
use std::boxed::Box;
use std::string::String;
use std::sync::Arc;
use std::vec::Vec;
use std::{format, println};

use faultless_filemap::{FileSize, Inode, NoTask, WriteOptions};
use faultless_page::{
    AddressSpaceOperations, Begun, CoreSync, Count, Errno, FailedSync, Fallocate, FillBuf, Kernel,
    NoUserMappings, PageCache, PageIndex, Shift, SpinWait, StoreId, SyncKind, Trace, WritebackRun,
};
use faultless_usercopy::arch::NoWindow;
use faultless_usercopy::{CurrentUser, IovIter, MayFault, UserAddr, UserSlice};

use crate::{CacheCounters, FramePool, LockOrder, Page};

mod block_faults;
mod block_model;
mod block_races;
mod block_twins;
mod counted;
mod counters;
mod counts;
mod cpu_frames;
mod faulty;
mod interrupts;
mod lock_order;
mod pool;
mod ram;
mod waits;

/// Bytes of user memory that a rig has.
const USER: usize = 64 * 1024;

/// The kernel of a rig.
struct TestKernel<S>(PhantomData<fn() -> S>);

impl<S: AddressSpaceOperations + 'static> Kernel for TestKernel<S> {
    type Sync = CoreSync;
    type Frames = FramePool;
    type Wait = SpinWait;
    type Cache = Arc<PageCache<Self>>;
    type Store = Arc<S>;
    type UserMappings = NoUserMappings;
    type Replacement = ();

    fn trace(event: Trace) {
        LOCKS.with(|locks| locks.trace(0, event).unwrap_or_else(|what| panic!("{what}")));
    }

    fn count(_store: StoreId, what: Count, pages: u32) {
        COUNTERS.with(|counters| counters.count(what, pages));
    }
}

std::thread_local! {
    /// What this thread has locked. Each test has mappings of its own, with the same ids.
    static LOCKS: LockOrder<1> = const { LockOrder::new() };
    /// What this thread has counted.
    static COUNTERS: CacheCounters = const { CacheCounters::new() };
}

/// One open file.
struct Rig<S: AddressSpaceOperations + 'static> {
    cache: Arc<PageCache<TestKernel<S>>>,
    store: Arc<S>,
    file: Option<Inode<TestKernel<S>>>,
    user: CurrentUser<NoWindow>,
    buffer: *mut u8,
}

// SAFETY: the buffer is used by user copies, and by the rig's owner.
unsafe impl<S: AddressSpaceOperations + 'static> Send for Rig<S> {}

impl<S: AddressSpaceOperations + 'static> Rig<S> {
    /// A file of `size` bytes on `store`, in a cache of `frames` frames.
    fn new(store: S, size: u64, frames: usize) -> Self {
        let region = Box::leak(std::vec![Page::ZERO; frames + 1].into_boxed_slice());
        let cache = Arc::new(PageCache::new(FramePool::new(region), SpinWait));
        let store = Arc::new(store);
        let file = Some(Inode::new(cache.clone(), store.clone(), NoUserMappings, size));
        let process = Box::leak(std::vec![0_u8; USER].into_boxed_slice());
        let range = process.as_mut_ptr_range();
        let (start, end) = (range.start.expose_provenance(), range.end.addr());
        // SAFETY: the buffer is leaked, all of it is mapped, and it is reached by pointers alone.
        let user = unsafe { CurrentUser::new(start..end) };
        Self { cache, store, file, user, buffer: range.start }
    }

    fn file(&self) -> &Inode<TestKernel<S>> {
        self.file.as_ref().expect("open")
    }

    fn write(&self, pos: u64, bytes: &[u8]) -> Result<usize, Errno> {
        assert!(bytes.len() <= USER);
        // SAFETY: fits, and no copy is under way.
        unsafe { self.buffer.copy_from_nonoverlapping(bytes.as_ptr(), bytes.len()) };
        let slice = self.slice(bytes.len());
        let options = WriteOptions::at(pos);
        let mut from = IovIter::from_slice(&self.user, &slice);
        let written = self.file().write(&mut token(), &mut from, &options, &NoTask)?;
        Ok(written.bytes)
    }

    fn read(&self, pos: u64, len: usize) -> Result<Vec<u8>, Errno> {
        assert!(len <= USER);
        let slice = self.slice(len);
        let mut to = IovIter::from_slice(&self.user, &slice);
        let got = self.file().read(&mut token(), &mut to, pos, &NoTask)?;
        // SAFETY: fits, and no copy is under way.
        let bytes = unsafe { core::slice::from_raw_parts(self.buffer, got) };
        Ok(bytes.to_vec())
    }

    fn read_all(&self) -> Result<Vec<u8>, Errno> {
        let mut bytes = Vec::new();
        loop {
            let piece = self.read(bytes.len() as u64, USER)?;
            if piece.is_empty() {
                return Ok(bytes);
            }
            bytes.extend_from_slice(&piece);
        }
    }

    fn set_size(&self, size: u64) -> Result<(), Errno> {
        self.file().set_size(&mut token(), size, &NoTask)
    }

    fn fallocate(&self, change: Fallocate, range: Range<u64>) -> Result<(), Errno> {
        let (token, file, size) = (&mut token(), self.file(), FileSize::Grows);
        match change {
            Fallocate::Allocate => file.allocate(token, range, size, &NoTask),
            Fallocate::PunchHole => file.punch_hole(token, range, &NoTask),
            Fallocate::ZeroRange => file.zero_range(token, range, size, &NoTask),
        }
    }

    fn shift(&self, shift: Shift, range: Range<u64>) -> Result<(), Errno> {
        match shift {
            Shift::Collapse => self.file().collapse_range(&mut token(), range, &NoTask),
            Shift::Insert => self.file().insert_range(&mut token(), range, &NoTask),
        }
    }

    fn fsync(&self) -> Result<(), Errno> {
        self.file().fsync(&mut token(), SyncKind::All, &NoTask)
    }

    fn evict(&self) -> u64 {
        self.file().evict(&mut token(), 0..u64::MAX)
    }

    /// Closes the file, gives up what is dirty, and opens it again: its pages come from the store.
    fn reopen(&mut self, size: u64) {
        if let Some(file) = self.file.take() {
            file.discard();
        }
        let (cache, store) = (self.cache.clone(), self.store.clone());
        self.file = Some(Inode::new(cache, store, NoUserMappings, size));
    }

    fn slice(&self, len: usize) -> UserSlice {
        UserSlice::new(&self.user, UserAddr::new(self.buffer.addr()), len).expect("in range")
    }
}

impl<S: AddressSpaceOperations + 'static> Drop for Rig<S> {
    fn drop(&mut self) {
        if let Some(file) = self.file.take() {
            file.discard();
        }
    }
}

/// Tests hold no page lock between calls.
fn token() -> MayFault {
    // SAFETY: made for one call at its entry, where the thread holds no lock.
    unsafe { MayFault::assert() }
}

/// Pseudo-random numbers, the same for a seed.
struct Rng(u64);

impl Rng {
    /// From a fixed seed, or the one of the environment; told in case the test fails.
    fn new(fixed: u64) -> Self {
        let given = std::env::var("FAULTLESS_SEED").ok().and_then(|value| value.parse().ok());
        let seed = given.map_or(fixed, |seed: u64| seed.wrapping_add(fixed));
        println!("seed {seed}");
        Self(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1)
    }

    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 16
    }

    /// A number below `end`.
    fn below(&mut self, end: u64) -> u64 {
        self.next() % end
    }

    fn bytes(&mut self, len: usize) -> Vec<u8> {
        // Never 0 or the stale byte of a disk, so that both are told from data.
        (0..len).map(|_| 1 + self.below(200) as u8).collect()
    }
}

/// Where two files differ, in words.
fn difference(found: &[u8], expected: &[u8]) -> Result<(), String> {
    if found.len() != expected.len() {
        return Err(format!("{} bytes and not {}", found.len(), expected.len()));
    }
    match found.iter().zip(expected).position(|(a, b)| a != b) {
        None => Ok(()),
        Some(at) => Err(format!("byte {at} is {} and not {}", found[at], expected[at])),
    }
}

/// What a [`Twisted`] store does in place of some calls of the store below it.
trait Twist<S: AddressSpaceOperations>: Send + Sync {
    fn read(&self, below: &S, index: PageIndex, buf: &mut FillBuf<'_>) -> Result<(), Errno> {
        below.read(index, buf)
    }
    fn write_begin(&self, below: &S, pos: u64, len: usize) -> Result<Begun, Errno> {
        below.write_begin(pos, len)
    }
    fn writeback(&self, below: &S, run: &WritebackRun<'_>) -> Result<(), Errno> {
        below.writeback(run)
    }
    fn truncate_blocks(&self, below: &S, size: u64) {
        below.truncate_blocks(size);
    }
    fn set_size(&self, below: &S, size: u64) {
        below.set_size(size);
    }
    fn is_persistent(&self, below: &S) -> bool {
        below.is_persistent()
    }
}

/// A store with a mistake: a store, and what is done in its place.
struct Twisted<S, T>(S, T);

/// A `truncate_blocks` of one's own.
struct Truncation<F>(F);

impl<S: AddressSpaceOperations, F: Fn(&S, u64) + Send + Sync> Twist<S> for Truncation<F> {
    fn truncate_blocks(&self, below: &S, size: u64) {
        self.0(below, size);
    }
}

impl<S: AddressSpaceOperations, T: Twist<S>> AddressSpaceOperations for Twisted<S, T> {
    faultless_page::forward_to_store!(self => self.0; fallocate, extent, prepare_size);
    faultless_page::forward_to_store!(self => self.0; shift, shift_unit);
    fn read(&self, index: PageIndex, buf: &mut FillBuf<'_>) -> Result<(), Errno> {
        self.1.read(&self.0, index, buf)
    }
    fn write_begin(&self, pos: u64, len: usize) -> Result<Begun, Errno> {
        self.1.write_begin(&self.0, pos, len)
    }
    fn write_end(&self, pos: u64, len: usize, copied: usize) {
        self.0.write_end(pos, len, copied);
    }
    fn writeback(&self, run: &WritebackRun<'_>) -> Result<(), Errno> {
        self.1.writeback(&self.0, run)
    }
    fn truncate_blocks(&self, size: u64) {
        self.1.truncate_blocks(&self.0, size);
    }
    fn set_size(&self, size: u64) {
        self.1.set_size(&self.0, size);
    }
    fn sync(&self, kind: SyncKind) -> Result<(), Errno> {
        self.0.sync(kind)
    }
    fn failed_sync(&self) -> FailedSync {
        self.0.failed_sync()
    }
    fn max_size(&self) -> u64 {
        self.0.max_size()
    }
    fn is_persistent(&self) -> bool {
        self.1.is_persistent(&self.0)
    }
}
