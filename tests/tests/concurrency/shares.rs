//! Two stores under one limit of dirty pages, each with writers and a flusher. One of them ends no
//! request: its writers stop at its share, and those of the other one do not notice (L6).

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};
use std::sync::{Arc, Mutex, PoisonError};

use faultless::filemap::{
    DirtyLimit, DirtyThresholds, DirtyWriter, Inode, NoTask, SyncKind, Task, WriteOptions,
};
use faultless::page::{
    AddressSpaceOperations, CoreSync, Count, Errno, Kernel, NoUserMappings, PageCache, StoreId,
};
use faultless::usercopy::IovIter;
use faultless_host::memory::HostFrames;
use faultless_host::rng::seed;
use faultless_host::stores::{DeferredStore, HookedStore, MemoryStore};
use faultless_host::{Machine, MachineConfig, Mmu, PlainMemory, on_both_mmus, syscall};
use faultless_tests::threads::spawn_in;
use faultless_tests::{PAGE, assert_same, pattern};

use super::short_of_memory::Looking;

const GOOD: StoreId = StoreId(0);
const STUCK: StoreId = StoreId(1);
/// Pages that may be dirty or under writeback.
const HARD: u64 = 128;
/// Pages that each writer writes.
const EACH: usize = 150;
/// Writers of each store.
const WRITERS: usize = 3;

/// A kernel with a limit that tells its stores apart.
#[derive(Debug)]
enum Sharing {}

impl Kernel for Sharing {
    type Sync = CoreSync;
    type Frames = HostFrames;
    type Wait = Looking;
    type Cache = Arc<PageCache<Self>>;
    type Store = Arc<dyn AddressSpaceOperations>;
    type UserMappings = NoUserMappings;
    type Replacement = ();

    fn count(store: StoreId, what: Count, pages: u32) {
        // Before the limit is told that there is room again. Nothing is cut off or fails.
        if what == Count::WritebackEnded {
            UNCLEAN.fetch_sub(u64::from(pages), SeqCst);
        }
        LIMIT.count(store, what, pages, &Looking);
        if what == Count::Dirtied {
            let unclean = UNCLEAN.fetch_add(u64::from(pages), SeqCst) + u64::from(pages);
            MOST_UNCLEAN.fetch_max(unclean, SeqCst);
        }
    }
}

type File = Arc<Inode<Sharing>>;
type Store = Arc<DeferredStore<HookedStore<MemoryStore>>>;

static LIMIT: DirtyLimit<Sharing, 2> = DirtyLimit::new(DirtyThresholds::new(HARD / 4, HARD));
/// The limit is for one test at a time.
static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());
/// Pages that are dirty or under writeback, and the most that ever were.
static UNCLEAN: AtomicU64 = AtomicU64::new(0);
static MOST_UNCLEAN: AtomicU64 = AtomicU64::new(0);
/// Nanoseconds: a millisecond for each look, and every pause.
static CLOCK: AtomicU64 = AtomicU64::new(1);

/// A writer that asks before it dirties pages, and pauses. It dies once it is told to.
struct Writer<'k> {
    dirty: DirtyWriter<'static, Sharing, 2>,
    killed: &'k AtomicBool,
}

impl Task for Writer<'_> {
    const LIMITS_DIRTY_PAGES: bool = true;

    fn now(&self) -> u64 {
        CLOCK.fetch_add(1_000_000, SeqCst)
    }

    fn fatal_signal_pending(&self) -> bool {
        self.killed.load(SeqCst)
    }

    fn throttle(&self) {
        let pause_ns = self.dirty.pause_ns(self.now());
        assert!(pause_ns <= 200_000_000, "L6: {pause_ns} ns");
        CLOCK.fetch_add(pause_ns, SeqCst);
    }

    fn admit_dirty(&self, store: StoreId, wanted: u32) -> u32 {
        self.dirty.admit(store, wanted, &|| self.fatal_signal_pending())
    }

    fn settle_dirty(&self, dirtied: u32) {
        self.dirty.settle(dirtied);
    }
}

fn store(number: StoreId) -> Store {
    let hooked = HookedStore::new(MemoryStore::new()).with_store_id(number);
    DeferredStore::new(Arc::new(hooked), seed())
}

fn open<M: Mmu>(machine: &Machine<M>, store: &Store) -> File {
    let frames = HostFrames::new(Arc::clone(machine.memory()));
    let store: Arc<dyn AddressSpaceOperations> = Arc::clone(store) as _;
    Arc::new(Inode::new(Arc::new(PageCache::new(frames, Looking)), store, NoUserMappings, 0))
}

/// Writes `bytes` at page `first`, a few pages at a time; the bytes that landed before an error,
/// and the error.
fn write(file: &File, first: usize, bytes: &[u8], killed: &AtomicBool) -> (usize, Option<Errno>) {
    let task = Writer { dirty: DirtyWriter::new(&LIMIT, &Looking), killed };
    let mut memory = PlainMemory::new(3 * PAGE);
    let mut landed = 0;
    while landed < bytes.len() {
        let len = (bytes.len() - landed).min(3 * PAGE);
        memory.bytes()[..len].copy_from_slice(&bytes[landed..][..len]);
        let source = [memory.slice(0..len)];
        let mut from = IovIter::new(memory.user(), &source).expect("a request");
        let options = WriteOptions::at((first * PAGE + landed) as u64);
        match syscall(|token| file.write(token, &mut from, &options, &task)) {
            Ok(written) => landed += written.bytes,
            Err(errno) => return (landed, Some(errno)),
        }
    }
    (landed, None)
}

fn holds(file: &File, first: usize, bytes: &[u8]) {
    if bytes.is_empty() {
        return;
    }
    let mut memory = PlainMemory::new(bytes.len());
    let target = [memory.slice(0..bytes.len())];
    let mut to = IovIter::new(memory.user(), &target).expect("a request");
    let got = syscall(|token| file.read(token, &mut to, (first * PAGE) as u64, &NoTask));
    assert_eq!(got, Ok(bytes.len()), "from page {first}");
    assert_same(&memory.bytes()[..bytes.len()], bytes, "the file");
}

/// Sends what there is to send, until `over`.
fn flush(file: &File, number: StoreId, over: &AtomicBool) {
    while !over.load(SeqCst) {
        let pages = LIMIT.to_flush(number).min(16) as u32;
        let _sent = syscall(|token| file.flush(token, pages, &NoTask));
        std::thread::yield_now();
    }
}

/// Says yes at its end, also when a claim fails: other threads wait for it.
struct Ends<'f>(&'f AtomicBool);

impl Drop for Ends<'_> {
    fn drop(&mut self) {
        self.0.store(true, SeqCst);
    }
}

on_both_mmus! {
    fn l6_a_store_that_is_stuck_stops_its_own_writers_and_no_others(
        machine = MachineConfig::new().frames(2 * WRITERS * EACH + 200)
    ) {
        let _alone = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
        let [good, stuck] = [GOOD, STUCK].map(store);
        let workers = good.workers(2);
        let files = [open(machine, &good), open(machine, &stuck)];
        let bytes = pattern(1, EACH * PAGE);
        let [over, killed, never] = [(); 3].map(|()| AtomicBool::new(false));
        let landed = std::thread::scope(|scope| {
            let ends = [Ends(&killed), Ends(&over)];
            for (file, number) in files.iter().zip([GOOD, STUCK]) {
                let over = &over;
                spawn_in(scope, move || flush(file, number, over));
            }
            let start = |file, killed| {
                let bytes = &bytes;
                let start = move |nth| spawn_in(scope, move || write(file, nth * EACH, bytes, killed));
                (0..WRITERS).map(start).collect::<Vec<_>>()
            };
            let (stopping, going_on) = (start(&files[1], &killed), start(&files[0], &never));
            for writer in going_on {
                assert_eq!(writer.join().expect("a writer"), (bytes.len(), None));
            }
            let [kill, _flushers_go_on] = ends;
            drop(kill);
            let landed = stopping.into_iter().map(|writer| writer.join().expect("a writer"));
            landed.collect::<Vec<_>>()
        });
        let stopped: usize = landed.iter().map(|(bytes, _)| bytes.div_ceil(PAGE)).sum();
        assert!(stopped as u64 <= HARD - HARD / 16, "{stopped} pages of the stuck store");
        assert!(landed.iter().all(|(_, errno)| *errno == Some(Errno::Interrupted)), "{landed:?}");
        assert!(MOST_UNCLEAN.load(SeqCst) <= HARD, "{MOST_UNCLEAN:?}");

        // It goes on, and so do its writers.
        let more = stuck.workers(2);
        over.store(false, SeqCst);
        std::thread::scope(|scope| {
            let _ends = Ends(&over);
            spawn_in(scope, || flush(&files[1], STUCK, &over));
            for (nth, (landed, _)) in landed.iter().enumerate() {
                holds(&files[1], nth * EACH, &bytes[..*landed]);
                assert_eq!(write(&files[1], nth * EACH, &bytes, &never), (bytes.len(), None));
            }
        });
        for file in &files {
            (0..WRITERS).for_each(|nth| holds(file, nth * EACH, &bytes));
            assert_eq!(syscall(|token| file.fsync(token, SyncKind::All, &NoTask)), Ok(()));
        }
        assert!(MOST_UNCLEAN.load(SeqCst) <= HARD, "{MOST_UNCLEAN:?}");
        assert_eq!((LIMIT.charged(), LIMIT.charged_to(STUCK), UNCLEAN.load(SeqCst)), (0, 0, 0));
        drop((files, workers, more));
        assert_eq!(machine.memory().in_use(), 0, "frames");
    }
}
