//! Files of several memories: threads that reclaim, and allocations that do, beside writers,
//! readers and truncations, on stores that answer at once, later, or with errors (F5, W9, L1).

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};

use faultless::filemap::{
    DirtyLimit, DirtyThresholds, DirtyVictims, DirtyWriter, Files, Inode, NoTask, PageLocks,
    Reclaimer, SyncKind, Task, WriteOptions,
};
use faultless::page::{
    AddressSpaceOperations, CoreSync, Count, Errno, Kernel, LockContext, NoUserMappings, PageCache,
    StoreId, TwoQueues, Wait, WaitKey,
};
use faultless::usercopy::IovIter;
use faultless_host::memory::HostFrames;
use faultless_host::rng::{Rng, seed};
use faultless_host::stores::{DeferredStore, MemoryStore};
use faultless_host::{Machine, MachineConfig, Mmu, PlainMemory, on_both_mmus, syscall};
use faultless_tests::waiting::until;
use faultless_tests::{PAGE, assert_same, pattern};

/// Frames of the machine.
const FRAMES: usize = 128;
/// Of them dirty or under writeback, at most, if writers ask.
const DIRTY: u64 = 48;
/// Pages of a file that is larger.
const LARGE: usize = 400;

/// A kernel whose cache gives up pages, and whose allocations have it do so.
#[derive(Debug)]
enum Short {}

impl Kernel for Short {
    type Sync = CoreSync;
    type Frames = HostFrames;
    type Wait = Looking;
    type Cache = Arc<PageCache<Self>>;
    type Store = Arc<dyn AddressSpaceOperations>;
    type UserMappings = NoUserMappings;
    type Replacement = TwoQueues;

    fn reclaim(cache: &PageCache<Self>, mut locks: LockContext<'_>, wanted: u32) -> u32 {
        step(cache, DirtyVictims::Leave, &mut locks, wanted)
    }

    fn count(store: StoreId, what: Count, pages: u32) {
        LIMIT.count(store, what, pages, &Looking);
    }
}

type File = Arc<Inode<Short>>;

/// Files of all caches.
static FILES: Mutex<Vec<Weak<Inode<Short>>>> = Mutex::new(Vec::new());
static LIMIT: DirtyLimit<Short> = DirtyLimit::new(DirtyThresholds::new(DIRTY / 2, DIRTY));
/// The limit is for one test at a time.
static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

/// A thread that waits looks again and again.
#[derive(Debug)]
pub(super) struct Looking;

impl Wait for Looking {
    fn wait_until(&self, _key: WaitKey, condition: &mut dyn FnMut() -> bool) {
        until("what a thread waits for", condition);
    }

    fn wake(&self, _key: WaitKey) {}
}

/// The files of this cache.
struct Its<'c>(&'c PageCache<Short>);

impl Files<Short> for Its<'_> {
    type Handle = File;

    fn find(&self, mapping: u64) -> Option<File> {
        let is_it = |file: &File| {
            let found = file.mapping();
            std::ptr::eq(found.cache(), self.0) && found.id() == mapping
        };
        let files = FILES.lock().unwrap_or_else(PoisonError::into_inner).clone();
        files.iter().filter_map(Weak::upgrade).find(is_it)
    }
}

fn step(
    cache: &PageCache<Short>,
    dirty: DirtyVictims,
    locks: &mut impl PageLocks,
    wanted: u32,
) -> u32 {
    Reclaimer::new(dirty).step(cache, &Its(cache), locks, wanted, &NoTask).dropped
}

/// A writer that asks before it dirties pages.
struct Limited(DirtyWriter<'static, Short>);

impl Task for Limited {
    const LIMITS_DIRTY_PAGES: bool = true;

    fn admit_dirty(&self, store: StoreId, wanted: u32) -> u32 {
        self.0.admit(store, wanted, &|| false)
    }

    fn settle_dirty(&self, dirtied: u32) {
        self.0.settle(dirtied);
    }
}

/// A file over `store` in a cache of its own.
fn open<M: Mmu>(machine: &Machine<M>, store: &Arc<impl AddressSpaceOperations + 'static>) -> File {
    let frames = HostFrames::new(Arc::clone(machine.memory()));
    let store: Arc<dyn AddressSpaceOperations> = Arc::clone(store) as _;
    let cache = Arc::new(PageCache::new(frames, Looking));
    let file = Arc::new(Inode::new(cache, store, NoUserMappings, 0));
    let mut files = FILES.lock().unwrap_or_else(PoisonError::into_inner);
    files.retain(|file| file.strong_count() > 0);
    files.push(Arc::downgrade(&file));
    file
}

/// Drops a file whose pages are clean: all frames are free.
fn close<M: Mmu>(machine: &Machine<M>, file: File) {
    assert_eq!(syscall(|token| file.fsync(token, SyncKind::All, &NoTask)), Ok(()));
    let mapping = file.mapping();
    assert_eq!(mapping.cache().reclaimable_pages(), mapping.cached_pages(), "the books");
    drop(file);
    assert_eq!(machine.memory().in_use(), 0, "frames");
}

fn write(file: &File, at: usize, bytes: &[u8], task: &impl Task) -> Result<usize, Errno> {
    let mut memory = PlainMemory::new(bytes.len());
    memory.bytes()[..bytes.len()].copy_from_slice(bytes);
    let source = [memory.slice(0..bytes.len())];
    let mut from = IovIter::new(memory.user(), &source).expect("a request");
    let options = WriteOptions::at(at as u64);
    syscall(|token| file.write(token, &mut from, &options, task)).map(|written| written.bytes)
}

fn read(file: &File, at: usize, len: usize) -> Vec<u8> {
    let mut memory = PlainMemory::new(len);
    let target = [memory.slice(0..len)];
    let mut to = IovIter::new(memory.user(), &target).expect("a request");
    let got = syscall(|token| file.read(token, &mut to, at as u64, &NoTask)).expect("a read");
    memory.bytes()[..got].to_vec()
}

fn holds(file: &File, bytes: &[u8]) {
    for (nth, piece) in bytes.chunks(16 * PAGE).enumerate() {
        assert_same(&read(file, nth * 16 * PAGE, piece.len()), piece, "the file");
    }
}

/// Runs `work` beside threads that reclaim, one for each way.
fn beside_reclaim<R>(file: &File, ways: &[DirtyVictims], work: impl FnOnce() -> R) -> R {
    struct Over<'o>(&'o AtomicBool);
    impl Drop for Over<'_> {
        fn drop(&mut self) {
            self.0.store(true, Ordering::Relaxed);
        }
    }
    let over = &AtomicBool::new(false);
    std::thread::scope(|scope| {
        for &way in ways {
            faultless_tests::threads::spawn_in(scope, move || {
                while !over.load(Ordering::Relaxed) {
                    let _pages = syscall(|token| step(file.mapping().cache(), way, token, 8));
                    std::thread::yield_now();
                }
            });
        }
        let _over = Over(over);
        work()
    })
}

/// Three writers, each of a third of a large file, and a reader.
fn write_at_full_speed(file: &File) {
    const THIRD: usize = LARGE / 3 * PAGE;
    let bytes = pattern(1, 3 * THIRD);
    beside_reclaim(file, &[DirtyVictims::Send], || {
        std::thread::scope(|scope| {
            for nth in 0..3 {
                let third = &bytes[nth * THIRD..][..THIRD];
                faultless_tests::threads::spawn_in(scope, move || {
                    let task = Limited(DirtyWriter::new(&LIMIT, &Looking));
                    for (piece, bytes) in third.chunks(5 * PAGE + 100).enumerate() {
                        let at = nth * THIRD + piece * (5 * PAGE + 100);
                        assert_eq!(write(file, at, bytes, &task), Ok(bytes.len()), "at {at}");
                    }
                });
            }
            let mut rng = Rng::new(seed());
            for _ in 0..200 {
                let page = rng.range(0..bytes.len() / PAGE) * PAGE;
                let is_right = |(at, byte): (usize, &u8)| [0, bytes[page + at]].contains(byte);
                assert!(read(file, page, PAGE).iter().enumerate().all(is_right), "W5: at {page}");
            }
        });
        holds(file, &bytes);
    });
}

on_both_mmus! {
    fn l1_a_file_of_several_memories_is_written_on_a_store_that_answers_at_once(
        machine = MachineConfig::new().frames(FRAMES)
    ) {
        let _alone = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
        let file = open(machine, &MemoryStore::new());
        write_at_full_speed(&file);
        close(machine, file);
    }

    fn l1_a_file_of_several_memories_is_written_on_a_store_that_answers_later(
        machine = MachineConfig::new().frames(FRAMES)
    ) {
        let _alone = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
        let store = DeferredStore::new(MemoryStore::new(), seed());
        let workers = store.workers(2);
        let file = open(machine, &store);
        write_at_full_speed(&file);
        close(machine, file);
        drop(workers);
    }

    fn w9_all_memory_dirty_on_a_store_that_fails_is_an_error_and_no_loss(
        machine = MachineConfig::new().frames(FRAMES)
    ) {
        let _alone = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
        let store = DeferredStore::new(MemoryStore::new(), seed());
        let workers = store.workers(2);
        let file = open(machine, &store);
        let bytes = pattern(1, 2 * FRAMES * PAGE);
        store.fail_one_of(1);
        beside_reclaim(&file, &[DirtyVictims::Send], || {
            let mut landed = 0;
            let error = loop {
                match write(&file, landed, &bytes[landed..][..PAGE], &NoTask) {
                    Ok(more) => landed += more,
                    Err(errno) => break errno,
                }
            };
            assert_eq!(error, Errno::NoMemory, "after {landed} bytes");
            assert!((FRAMES / 2 * PAGE..FRAMES * PAGE).contains(&landed), "{landed}");
            store.fail_one_of(0);
            let _told = syscall(|token| file.fsync(token, SyncKind::All, &NoTask));
            holds(&file, &bytes[..landed]);
            for (nth, piece) in bytes.chunks(PAGE).enumerate() {
                let task = Limited(DirtyWriter::new(&LIMIT, &Looking));
                assert_eq!(write(&file, nth * PAGE, piece, &task), Ok(PAGE), "page {nth}");
            }
            holds(&file, &bytes);
        });
        close(machine, file);
        drop(workers);
    }

    /// Two reclaimers at once, and allocations that reclaim.
    fn f5_reclaim_races_truncation(machine = MachineConfig::new().frames(FRAMES)) {
        let _alone = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
        let file = open(machine, &MemoryStore::new());
        let mut rng = Rng::new(seed());
        let mut holds_now = Vec::new();
        beside_reclaim(&file, &[DirtyVictims::Send, DirtyVictims::Leave], || {
            for round in 0..60 {
                let size = rng.range(0..150 * PAGE);
                assert_eq!(syscall(|token| file.set_size(token, size as u64, &NoTask)), Ok(()));
                holds_now.resize(size, 0);
                let at = rng.range(0..100 * PAGE);
                let bytes = pattern(round, rng.range(1..60 * PAGE));
                let task = Limited(DirtyWriter::new(&LIMIT, &Looking));
                assert_eq!(write(&file, at, &bytes, &task), Ok(bytes.len()), "round {round}");
                holds_now.resize(holds_now.len().max(at + bytes.len()), 0);
                holds_now[at..at + bytes.len()].copy_from_slice(&bytes);
                holds(&file, &holds_now);
            }
        });
        close(machine, file);
    }
}
