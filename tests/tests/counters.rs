//! Exact counts, on a kernel whose words count their locked instructions (PERFORMANCE.md, rows 1, 7, 9, 10, 17–20).
//! They are tests because they do not depend on the machine.

use std::sync::Arc;

use faultless::filemap::{Inode, NoTask, PrepareCommitStore, WriteOptions};
use faultless::page::{AddressSpaceOperations, Strategy};
use faultless::usercopy::UserSlice;
use faultless_host::counting::locked;
use faultless_host::stores::{BlockStore, MemoryStore};
use faultless_host::{
    AddressSpace, Counted, Counters, CountingKernel, CountingUser, FrameOrder, Machine,
    MachineConfig, Protection, ScriptedMmu, Touches, counting,
};
use faultless_tests::legacy::Legacy;
use faultless_tests::setup::STRATEGIES;
use faultless_tests::{PAGE, calls};

/// A machine, its program and a file.
struct Bench {
    machine: Machine<ScriptedMmu, Counted>,
    user: AddressSpace<ScriptedMmu, Counted>,
    file: Arc<Inode<CountingKernel>>,
}

/// What one write did.
#[derive(Clone, Copy, Debug)]
struct Cost {
    locked: u64,
    counted: Counters,
    touches: Touches,
    allocations: u64,
}

impl Bench {
    fn new() -> Self {
        Self::over(&MemoryStore::new(), FrameOrder::Contiguous)
    }

    fn over<S: AddressSpaceOperations + 'static>(store: &Arc<S>, order: FrameOrder) -> Self {
        Self::with(store, MachineConfig::new().order(order))
    }

    fn with<S: AddressSpaceOperations + 'static>(store: &Arc<S>, config: MachineConfig) -> Self {
        let machine = Machine::build(config);
        let user = machine.space();
        user.map_anonymous(0, 512, Protection::ReadWrite);
        user.fill(user.at(0, 0), 7, 512 * PAGE).expect("user memory");
        let file = machine.inode(store, 0);
        Self { machine, user, file }
    }

    /// A file of `pages` full pages, in the cache and dirty.
    fn hot(pages: usize) -> Self {
        let bench = Self::new();
        bench.fill(pages * PAGE);
        bench
    }

    #[track_caller]
    fn fill(&self, len: usize) {
        let source = self.user.slice(0, 0, len);
        assert_eq!(calls::pwrite(&self.user, &self.file, 0, source), Ok(len));
    }

    #[track_caller]
    fn write(&self, pos: usize, len: usize) -> Cost {
        self.write_as(&[self.user.slice(0, 0, len)], &WriteOptions::at(pos as u64))
    }

    #[track_caller]
    fn write_as(&self, segments: &[UserSlice], options: &WriteOptions) -> Cost {
        let user = CountingUser::new(&self.user);
        let asked = segments.iter().map(UserSlice::len).sum();
        let (allocations, before) = (self.machine.memory().allocation_calls(), locked());
        let (got, counted) =
            counting(|| calls::write_as(&user, &self.file, segments, options, &NoTask));
        let locked = locked() - before;
        let allocations = self.machine.memory().allocation_calls() - allocations;
        assert_eq!(got.map(|written| written.bytes), Ok(asked));
        assert_eq!(counted.faults_under_page_lock, 0);
        Cost { locked, counted, touches: user.touches(), allocations }
    }
}

#[test]
fn row_1_a_hot_overwrite_of_one_byte_costs_two_locked_instructions() {
    let bench = Bench::hot(2);
    for (pos, len) in [(0, 1), (4095, 1), (100, 64), (0, PAGE)] {
        let cost = bench.write(pos, len);
        assert_eq!(cost.locked, 2, "{len} bytes at {pos}: {cost:?}");
    }
}

#[test]
fn row_4_a_hot_overwrite_of_a_whole_leaf_costs_two_locked_instructions_too() {
    let bench = Bench::hot(128);
    for pages in [2, 16, 63, 64] {
        assert_eq!(bench.write(0, pages * PAGE).locked, 2, "{pages} pages");
    }
    // More than a leaf is more than a step: its range is held, and each leaf is locked and unlocked.
    let cost = bench.write(32 * PAGE, 64 * PAGE);
    assert_eq!(cost.counted.page_locks, 2);
}

#[test]
fn row_1_the_first_write_to_a_clean_page_costs_one_more_to_make_it_dirty() {
    let bench = Bench::hot(2);
    assert_eq!(calls::fsync(&bench.file), Ok(()));
    assert_eq!(bench.write(5, 1).locked, 3);
    assert_eq!(bench.write(5, 1).locked, 2);
}

#[test]
fn row_7_a_write_of_full_pages_zeroes_nothing_wherever_it_goes() {
    for strategy in STRATEGIES {
        let bench = Bench::new();
        for (pos, pages) in [(0, 1), (1, 3), (4, 60), (64, 64), (200, 1), (0, 100)] {
            let options = WriteOptions::at((pos * PAGE) as u64).with_strategy(strategy);
            let cost = bench.write_as(&[bench.user.slice(0, 0, pages * PAGE)], &options);
            assert_eq!(cost.counted.zeroed, 0, "{pages} pages at page {pos}, {strategy:?}");
        }
        let options = WriteOptions::append().with_strategy(strategy);
        let cost = bench.write_as(&[bench.user.slice(0, 0, PAGE)], &options);
        assert_eq!(cost.counted.zeroed, 0, "a full page appended, {strategy:?}");
    }
}

#[test]
fn row_9_one_byte_into_a_hole_zeroes_the_other_4095_once() {
    for strategy in STRATEGIES {
        let bench = Bench::new();
        assert_eq!(calls::truncate(&bench.file, 100 * PAGE as u64), Ok(()));
        for (page, offset) in [(0, 0), (1, 1), (5, 2000), (70, 4095), (150, 17)] {
            let options = WriteOptions::at((page * PAGE + offset) as u64).with_strategy(strategy);
            let cost = bench.write_as(&[bench.user.slice(0, 0, 1)], &options);
            assert_eq!(cost.counted.zeroed, 4095, "byte {offset} of page {page}, {strategy:?}");
        }
    }
}

#[test]
fn row_9_a_partial_page_zeroes_just_what_it_does_not_write() {
    let bench = Bench::new();
    // The head of one page, three full ones, the tail of another.
    let cost = bench.write(PAGE - 100, 100 + 3 * PAGE + 50);
    assert_eq!(cost.counted.zeroed, (PAGE - 100 + PAGE - 50) as u64);
}

#[test]
fn row_20_a_cached_overwrite_allocates_nothing_whatever_its_segments() {
    let bench = Bench::hot(128);
    for count in [1, 2, 7, 64, 512, 1024] {
        for len in [0, 1, 8, 400] {
            let segments: Vec<UserSlice> =
                (0..count).map(|number| bench.user.slice(number % 300, number % 97, len)).collect();
            let cost = bench.write_as(&segments, &WriteOptions::at(77));
            assert_eq!((cost.allocations, cost.counted.allocations), (0, 0), "{count} × {len}");
        }
    }
    assert_eq!(bench.write(5 * PAGE + 3, 100 * PAGE).allocations, 0, "over two leaves");
}

#[test]
fn row_18_the_hot_path_touches_user_memory_only_to_copy_and_only_once() {
    let bench = Bench::hot(64);
    for len in [1, 4096, 5000, 60 * PAGE] {
        let cost = bench.write(100, len);
        assert_eq!(cost.touches.besides_the_copy(), 0);
        assert_eq!(cost.touches.atomic_bytes, len as u64, "each byte once");
        assert_eq!(cost.counted.touches, 0, "no probe");
        assert_eq!(cost.counted.copied, len as u64);
        assert_eq!(cost.counted.bounced, 0);
        assert_eq!(cost.touches.atomic_copies, 1, "contiguous frames are one copy");
    }
}

#[test]
fn row_5_scattered_frames_take_one_copy_each() {
    let bench = Bench::over(&MemoryStore::new(), FrameOrder::Scattered);
    bench.fill(64 * PAGE);
    let cost = bench.write(0, 16 * PAGE);
    assert_eq!((cost.touches.atomic_copies, cost.locked), (16, 2));
}

#[test]
fn row_10_many_segments_in_one_page_take_its_lock_once() {
    let bench = Bench::hot(2);
    for (count, len) in [(64, 64), (512, 8), (1024, 1)] {
        let segments: Vec<UserSlice> =
            (0..count).map(|number| bench.user.slice(number % 200, 5, len)).collect();
        let cost = bench.write_as(&segments, &WriteOptions::at(0));
        assert_eq!((cost.counted.page_locks, cost.locked), (1, 2), "{count} × {len}");
        assert_eq!(cost.touches.atomic_copies, count as u64);
    }
}

#[test]
fn row_19_a_dense_file_costs_at_most_ten_bytes_of_metadata_a_page() {
    let bench = Bench::with(&MemoryStore::new(), MachineConfig::new().frames(5000));
    let pages = 4096_usize;
    for part in 0..pages / 256 {
        let _ = bench.write(part * 256 * PAGE, 256 * PAGE);
    }
    assert_eq!(bench.file.mapping().cached_pages(), pages as u64);
    let bytes = bench.machine.cache().metadata_bytes();
    let each = bytes as f64 / pages as f64;
    println!("{bytes} bytes for {pages} pages: {each:.2} each");
    assert!(bytes <= 10 * pages, "{each:.2} bytes a page");
}

#[test]
fn row_17_strategy_a_carries_just_the_bytes_of_pages_that_are_not_uptodate() {
    let bench = Bench::new();
    let strategy = Strategy::PrepareCommit;
    let write = |pos: usize, len: usize| {
        let options = WriteOptions::at(pos as u64).with_strategy(strategy);
        bench.write_as(&[bench.user.slice(0, 3, len)], &options).counted
    };
    assert_eq!(write(0, 3 * PAGE).bounced, 3 * PAGE as u64, "new pages");
    assert_eq!(write(10, 2 * PAGE).bounced, 0, "uptodate pages");
    assert_eq!(write(2 * PAGE + 5, 2 * PAGE).bounced, (PAGE + 5) as u64, "one of either kind");
    assert_eq!(calls::fsync(&bench.file), Ok(()));
    let evicted = calls::evict(&bench.file);
    assert_eq!(evicted, 5, "all pages of the file");
    assert_eq!(write(100, 5000).bounced, 5000, "cold pages");
    assert_eq!(write(100, 5000).bounced, 0, "the same pages again");
}

#[test]
fn row_17_a_store_of_the_old_kind_is_written_by_strategy_a_unless_the_caller_chooses() {
    let old = Arc::new(PrepareCommitStore::new(Legacy::new(BlockStore::new(1024, 64))));
    let bench = Bench::over(&old, FrameOrder::Contiguous);
    assert_eq!(bench.write(0, 2 * PAGE).counted.bounced, 2 * PAGE as u64);
    let options = WriteOptions::at(2 * PAGE as u64).with_strategy(Strategy::BeginEnd);
    let cost = bench.write_as(&[bench.user.slice(0, 0, 2 * PAGE)], &options);
    assert_eq!(cost.counted.bounced, 0);
}

#[test]
fn row_17_strategy_b_carries_nothing_even_when_source_and_pages_are_cold() {
    let bench = Bench::over(&BlockStore::new(1024, 4096), FrameOrder::Contiguous);
    bench.fill(10 * PAGE);
    assert_eq!(calls::fsync(&bench.file), Ok(()));
    let _ = calls::evict(&bench.file);
    bench.user.evict(0, 512);
    for (pos, len) in [(5, 3 * PAGE), (10 * PAGE, 7), (20 * PAGE + 9, 70 * PAGE), (0, 1)] {
        let cost = bench.write(pos, len);
        assert_eq!((cost.counted.bounced, cost.touches.faulting_copies), (0, 0), "{len} at {pos}");
        bench.user.evict(0, 512);
    }
}

#[test]
fn an_absent_source_is_faulted_in_once_and_no_byte_is_copied_twice() {
    let bench = Bench::hot(64);
    bench.user.evict(0, 64);
    let cost = bench.write(0, 10 * PAGE);
    assert_eq!((cost.touches.fault_ins, cost.touches.fault_in_bytes), (1, 10 * PAGE as u64));
    assert_eq!(cost.counted.touches, 11, "one probe for each page, and the last byte");
    assert_eq!(cost.counted.copied, 10 * PAGE as u64);
    assert_eq!(cost.counted.short_copies, 1, "the first attempt's");
}

#[test]
fn an_overwrite_takes_no_inode_lock_and_an_append_takes_it_once() {
    let bench = Bench::hot(2);
    let hot = bench.write(PAGE, PAGE).locked;
    let options = WriteOptions::append();
    let grown = bench.write_as(&[bench.user.slice(0, 0, 1)], &options).locked;
    assert_eq!(hot, 2);
    assert!(grown > hot, "an append takes I: {grown}");
    // The second byte of the page: it is there and has room, so that only I is added.
    let again = bench.write_as(&[bench.user.slice(0, 0, 1)], &options).locked;
    assert!(again <= 5, "lock, unlock, I, its release, and nothing for the size: {again}");
}
