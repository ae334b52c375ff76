//! One file in a cache of its own, the calls on it, and what tests look at.

use core::sync::atomic::Ordering::Relaxed;
use std::sync::Arc;
use std::vec::Vec;

use faultless_page::{AddressSpaceOperations, Errno, PAGE_SIZE, PageCache, SyncKind};
use faultless_parts::Call;
use faultless_usercopy::{IovIter, MayFault, UserSlice};

use super::kernel::{self, Mappings, Memory, Patient, TestKernel, Tester};
use super::store::{Disk, TestStore, disk, unpaired};
use super::user::{READABLE, User};
use crate::{InFault, Inode, Strategy, WriteOptions, Written};

/// Bytes of a page.
pub(super) const PAGE: usize = PAGE_SIZE;
/// Frames of a rig's cache.
const FRAMES: usize = 160;
/// Blocks of a rig's disk: more than the tests write.
const ROOM: usize = 512;

/// A file.
pub(super) type File = Inode<TestKernel>;

/// One open file, and everything around it.
pub(super) struct Rig<S: AddressSpaceOperations + 'static = Disk> {
    pub(super) cache: Arc<PageCache<TestKernel>>,
    pub(super) store: Arc<TestStore<S>>,
    pub(super) maps: Mappings,
    pub(super) user: User,
    pub(super) task: Tester,
    file: Option<Arc<File>>,
}

/// Runs `body` with an empty file for each of the two strategies.
#[track_caller]
pub(super) fn both(body: impl Fn(Rig)) {
    for strategy in [Strategy::BeginEnd, Strategy::PrepareCommit] {
        std::println!("{strategy:?}");
        body(Rig::with(strategy));
    }
}

/// `len` bytes that tell where they come from; none is zero, stale or poison.
pub(super) fn bytes(seed: usize, len: usize) -> Vec<u8> {
    (0..len).map(|at| 1 + ((at * 31 + at / 251 + seed * 47) % 150) as u8).collect()
}

/// `under` with `over` written at `pos`, zeros in the gap.
pub(super) fn overlay(under: &[u8], pos: usize, over: &[u8]) -> Vec<u8> {
    let mut all = under.to_vec();
    all.resize(under.len().max(pos + over.len()), 0);
    all[pos..pos + over.len()].copy_from_slice(over);
    all
}

/// Tests hold no lock between calls.
pub(super) fn token() -> MayFault {
    // SAFETY: made for one call at its entry, where the thread holds no lock.
    unsafe { MayFault::assert() }
}

/// The fault handler's token: tests hold no lock when they fault.
pub(super) fn in_fault() -> InFault {
    // SAFETY: made for one fault, at whose entry no page is locked; there is no other token.
    unsafe { InFault::enter() }
}

/// Writes `bytes` to a file from elsewhere: the other task of a hook.
#[track_caller]
pub(super) fn write_elsewhere(file: &File, pos: u64, bytes: &[u8]) {
    let user = User::new();
    let slice = user.put(0, bytes);
    let mut from = IovIter::from_slice(&user, &slice);
    let options = WriteOptions::at(pos);
    let written = file.write(&mut token(), &mut from, &options, &Tester::new());
    assert_eq!(written.map(|written| written.bytes), Ok(bytes.len()), "the other write");
}

impl Rig {
    /// An empty file for strategy B.
    pub(super) fn new() -> Self {
        Self::with(Strategy::BeginEnd)
    }

    pub(super) fn with(strategy: Strategy) -> Self {
        Self::on(disk(ROOM), strategy, FRAMES)
    }

    /// A disk of so many blocks.
    pub(super) fn with_room(strategy: Strategy, blocks: usize) -> Self {
        Self::on(disk(blocks), strategy, FRAMES)
    }
}

impl<S: AddressSpaceOperations + 'static> Rig<S> {
    /// An empty file on `store`, in a cache of so many frames.
    pub(super) fn on(store: S, strategy: Strategy, frames: usize) -> Self {
        kernel::forget();
        let cache = Arc::new(PageCache::new(Memory::new(frames), Patient));
        let store = Arc::new(TestStore::new(store, strategy));
        let (maps, user, task) = (Mappings::default(), User::new(), Tester::new());
        let below: Arc<dyn AddressSpaceOperations> = store.clone();
        let file = Some(Arc::new(Inode::new(cache.clone(), below, maps.clone(), 0)));
        Self { cache, store, maps, user, task, file }
    }

    pub(super) fn file(&self) -> &Arc<File> {
        self.file.as_ref().expect("open")
    }

    /// Takes the file out, to be closed by the test.
    pub(super) fn take_file(&mut self) -> File {
        self.file.take().and_then(Arc::into_inner).expect("the only handle")
    }

    /// Writes the file anew: `bytes`, in the cache and on the store, and everything clean.
    #[track_caller]
    pub(super) fn fill(&self, bytes: &[u8]) {
        for (at, piece) in bytes.chunks(READABLE).enumerate() {
            assert_eq!(self.write((at * READABLE) as u64, piece), Ok(piece.len()), "filling");
        }
        assert_eq!(self.fsync(), Ok(()));
        self.store.take_events();
        kernel::take_seen(|_| false);
    }

    /// As `fill`, and the cache is empty.
    #[track_caller]
    pub(super) fn fill_cold(&self, bytes: &[u8]) {
        self.fill(bytes);
        self.chill();
    }

    /// Drops everything from the cache.
    #[track_caller]
    pub(super) fn chill(&self) {
        self.evict();
        assert_eq!(self.cached(), 0, "pages stay in the cache");
    }

    /// Writes `bytes` at `pos`.
    #[track_caller]
    pub(super) fn write(&self, pos: u64, bytes: &[u8]) -> Result<usize, Errno> {
        let slice = self.user.put(0, bytes);
        self.write_from(&[slice], &WriteOptions::at(pos)).0.map(|written| written.bytes)
    }

    /// Writes from `segments`; also how many bytes remain in the iterator.
    #[track_caller]
    pub(super) fn write_from(
        &self,
        segments: &[UserSlice],
        options: &WriteOptions,
    ) -> (Result<Written, Errno>, usize) {
        let mut from = IovIter::new(&self.user, segments).expect("a vector");
        let written = self.file().write(&mut token(), &mut from, options, &self.task);
        assert_eq!(kernel::held(), [], "P5: locks after a write");
        (written, from.count())
    }

    /// Reads up to `len` bytes at `pos`.
    #[track_caller]
    pub(super) fn read(&self, pos: u64, len: usize) -> Result<Vec<u8>, Errno> {
        let slice = self.user.slice(0, len);
        let mut to = IovIter::from_slice(&self.user, &slice);
        let got = self.file().read(&mut token(), &mut to, pos, &self.task)?;
        assert_eq!(to.count(), len - got, "the iterator stands behind what arrived");
        Ok(self.user.get(0, got))
    }

    pub(super) fn set_size(&self, size: u64) -> Result<(), Errno> {
        self.file().set_size(&mut token(), size, &self.task)
    }

    pub(super) fn fsync(&self) -> Result<(), Errno> {
        self.file().fsync(&mut token(), SyncKind::All, &self.task)
    }

    pub(super) fn writeback(&self) -> Result<(), Errno> {
        self.file().writeback(&mut token(), 0..u64::MAX, &self.task)
    }

    pub(super) fn evict(&self) -> u64 {
        self.file().evict(&mut token(), 0..u64::MAX)
    }

    /// Cuts the file to `size` by a task that is killed while it waits for the writeback of page
    /// `busy`, which is written again first: that page and those behind it stay in the cache.
    #[track_caller]
    pub(super) fn cut_and_kill(&self, size: u64, busy: u64) {
        let page = self.read(busy * PAGE as u64, PAGE).expect("a page of the file");
        assert_eq!(self.write(busy * PAGE as u64, &page), Ok(PAGE));
        let file = self.file().clone();
        self.store.at_next(Call::Writeback, move || {
            let task = Tester::new();
            task.looks.set(0);
            assert_eq!(file.set_size(&mut token(), size, &task), Ok(()), "it has happened");
        });
        assert_eq!(self.writeback(), Ok(()));
    }

    /// Pages of the file in the cache.
    pub(super) fn cached(&self) -> u64 {
        self.file().mapping().cached_pages()
    }

    /// Frames in use, those of the index excepted.
    pub(super) fn frames(&self) -> u64 {
        let pool = &self.cache.frames().pool;
        let index = self.cache.metadata_bytes() / PAGE;
        u64::from(pool.total() - pool.free()) - index as u64
    }

    /// Only so many allocations succeed from now on.
    pub(super) fn grant(&self, allocations: u64) {
        self.cache.frames().grants.store(allocations, Relaxed);
    }

    /// The file is exactly `expected`, by reading; what is cached past the end is zeros (P2).
    #[track_caller]
    pub(super) fn assert_holds(&self, expected: &[u8]) {
        self.user.heal();
        assert_eq!(self.file().size(), expected.len() as u64, "the size");
        let mut found = Vec::new();
        loop {
            let piece = self.read(found.len() as u64, 4 * PAGE).expect("a file that can be read");
            if piece.is_empty() {
                break;
            }
            found.extend_from_slice(&piece);
        }
        assert_same(&found, expected, "of the file");
        let used = expected.len() % PAGE;
        if let Some(page) = self.cached_page((expected.len() / PAGE) as u64) {
            assert_same(&page[used..], &std::vec![0; PAGE - used], "past the end (P2)");
        }
    }

    /// The store has exactly `expected`, and zeros behind it to the end of the page.
    #[track_caller]
    pub(super) fn assert_stored(&self, expected: &[u8]) {
        let pages = expected.len().div_ceil(PAGE);
        let found: Vec<u8> = (0..pages as u64).flat_map(|at| self.store.page(at)).collect();
        let mut padded = expected.to_vec();
        padded.resize(pages * PAGE, 0);
        assert_same(&found, &padded, "on the store");
    }

    /// The file is `expected`, also after it has gone to the store and come back.
    #[track_caller]
    pub(super) fn assert_keeps(&self, expected: &[u8]) {
        self.assert_holds(expected);
        assert_eq!(self.fsync(), Ok(()));
        self.assert_stored(expected);
        self.chill();
        self.assert_holds(expected);
    }

    /// A cached page as it is, uptodate.
    pub(super) fn cached_page(&self, index: u64) -> Option<Vec<u8>> {
        let mut token = token();
        let locks = crate::PageLocks::page_locks(&mut token);
        let section = self.file().mapping().read_section(locks);
        let (page, len) = section.span(index * PAGE as u64, PAGE)?;
        // SAFETY: `len` bytes of a frame that stays for the section; this thread alone uses it.
        Some(unsafe { core::slice::from_raw_parts(page.as_ptr(), len) }.to_vec())
    }
}

/// Says where two files differ, in words.
#[track_caller]
pub(super) fn assert_same(found: &[u8], expected: &[u8], of: &str) {
    if let Some(at) = found.iter().zip(expected).position(|(a, b)| a != b) {
        panic!("byte {at} {of} is {:#x} and not {:#x}", found[at], expected[at]);
    }
    assert_eq!(found.len(), expected.len(), "bytes {of}");
}

impl<S: AddressSpaceOperations + 'static> Drop for Rig<S> {
    fn drop(&mut self) {
        if let Some(file) = self.file.take().and_then(Arc::into_inner) {
            file.discard();
        }
        if std::thread::panicking() {
            return;
        }
        assert_eq!(kernel::held(), [], "P5: locks at the end");
        assert_eq!(self.frames(), 0, "P5: frames at the end");
        assert_eq!(unpaired(&self.store.events()), None, "P5: a begin without its end");
    }
}
