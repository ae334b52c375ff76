//! Exact counts, on a kernel whose words count their locked instructions: the rows of `cargo xtask
//! bench` that do not depend on the machine.

use std::sync::Arc;

use faultless::filemap::{PrepareCommitStore, WriteOptions};
use faultless::page::{PageIndex, Strategy};
use faultless::usercopy::UserSlice;
use faultless_host::stores::{BlockStore, Call, FaultyStore, MemoryStore};
use faultless_host::{
    Action, Counted, CountingUser, Event, FrameOrder, Machine, MachineConfig, Protection,
    ScriptedMmu, When, counting,
};
use faultless_tests::costs::{Bench, Cost};
use faultless_tests::legacy::Legacy;
use faultless_tests::setup::STRATEGIES;
use faultless_tests::{PAGE, calls};

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
    // More than a leaf is more than a step: its range is held, and each leaf is locked and
    // unlocked.
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
        assert_eq!(cost.accesses.besides_the_copy(), 0);
        assert_eq!(cost.accesses.atomic_bytes, len as u64, "each byte once");
        assert_eq!(cost.counted.accesses, 0, "no probe");
        assert_eq!(cost.counted.copied, len as u64);
        assert_eq!(cost.counted.bounced, 0);
        assert_eq!(cost.accesses.atomic_copies, 1, "contiguous frames are one copy");
    }
}

#[test]
fn row_5_scattered_frames_take_one_copy_each() {
    let bench = Bench::over(&MemoryStore::new(), FrameOrder::Scattered);
    bench.fill(64 * PAGE);
    let cost = bench.write(0, 16 * PAGE);
    assert_eq!((cost.accesses.atomic_copies, cost.locked), (16, 2));
}

#[test]
fn row_10_many_segments_in_one_page_take_its_lock_once() {
    let bench = Bench::hot(2);
    for (count, len) in [(64, 64), (512, 8), (1024, 1)] {
        let segments: Vec<UserSlice> =
            (0..count).map(|number| bench.user.slice(number % 200, 5, len)).collect();
        let cost = bench.write_as(&segments, &WriteOptions::at(0));
        assert_eq!((cost.counted.page_locks, cost.locked), (1, 2), "{count} × {len}");
        assert_eq!(cost.accesses.atomic_copies, count as u64);
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
    // The temporary page becomes the page.
    assert_eq!(write(0, 3 * PAGE).bounced, 0, "new pages");
    assert_eq!(write(10, 2 * PAGE).bounced, 0, "uptodate pages");
    assert_eq!(write(2 * PAGE + 5, 2 * PAGE).bounced, 0, "one of either kind");
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
    let _ = bench.write(0, 4 * PAGE);
    assert_eq!(calls::fsync(&bench.file), Ok(()));
    assert_eq!(calls::evict(&bench.file), 4);
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
        assert_eq!((cost.counted.bounced, cost.accesses.faulting_copies), (0, 0), "{len} at {pos}");
        bench.user.evict(0, 512);
    }
}

#[test]
fn an_absent_source_is_faulted_in_once_and_no_byte_is_copied_twice() {
    let bench = Bench::hot(64);
    bench.user.evict(0, 64);
    let cost = bench.write(0, 10 * PAGE);
    assert_eq!((cost.accesses.fault_ins, cost.accesses.fault_in_bytes), (1, 10 * PAGE as u64));
    assert_eq!(cost.counted.accesses, 11, "one probe for each page, and the last byte");
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

#[test]
fn cold_pages_cost_one_frame_each_whether_read_or_written() {
    let bench = Bench::new();
    bench.fill(64 * PAGE);
    assert_eq!(calls::fsync(&bench.file), Ok(()));
    // What is dirty stays, and with it the leaf: frames are for pages only.
    for page in [3, 13, 23, 60] {
        let _ = bench.write(page * PAGE, 1);
    }
    assert_eq!(calls::evict(&bench.file), 60);
    let read = |page: usize, pages: usize| {
        let target = bench.user.slice(200, 0, pages * PAGE);
        let (got, counted) =
            counting(|| calls::pread(&bench.user, &bench.file, (page * PAGE) as u64, target));
        assert_eq!(got, Ok(target.len()));
        counted.allocations
    };
    assert_eq!((read(1, 1), read(2, 4)), (1, 3), "pages 1, 2, 4 and 5");
    assert_eq!(bench.write(10 * PAGE + 5, 10).allocations, 1, "page 10");
    let cost = bench.write(12 * PAGE + 5, 3 * PAGE).counted;
    assert_eq!(cost.allocations, 3, "12, 14 and 15");
    // One to look, one to put frames in, one for each of the two reads, one to write.
    assert_eq!(cost.page_locks, 5, "the first and the last page are read together");
    let (addr, first) = (bench.user.at(300, 77), PageIndex::new(20));
    bench.user.map_file(300, 1, &bench.file, first, Protection::ReadWrite);
    let (stored, counted) = counting(|| bench.user.store(addr, b"x"));
    assert_eq!((stored, counted.allocations), (Ok(()), 1), "page 20");
}

#[test]
fn w6_memory_that_never_answers_is_given_three_rounds_and_then_carried() {
    let script = |bench: &Bench| {
        bench.user.script().clear();
        bench.user.script().add(Event::AtomicCopy, When::Every(1), Action::Short(0));
    };
    // Strategy A faults in before it copies.
    for (strategy, rounds) in [(Strategy::BeginEnd, 3), (Strategy::PrepareCommit, 4)] {
        let bench = Bench::hot(2);
        script(&bench);
        let options = WriteOptions::at(10).with_strategy(strategy);
        let cost = bench.write_as(&[bench.user.slice(0, 0, 100)], &options);
        assert_eq!((cost.accesses.fault_ins, cost.counted.temporary_pages), (rounds, 1));
    }
    let bench = Bench::hot(2);
    script(&bench);
    let user = CountingUser::new(&bench.user);
    let target = bench.user.slice(0, 0, 100);
    let (got, counted) = counting(|| calls::pread(&user, &bench.file, 10, target));
    assert_eq!(got, Ok(100));
    assert_eq!((user.accesses().fault_ins, counted.temporary_pages), (3, 1));
}

#[test]
fn a_copy_that_falls_short_goes_on_where_it_stopped() {
    // Over hot pages; over the end into new ones; over pages without room in the store yet; into
    // new ones only.
    let cases = [(7, 3, 4096), (PAGE + 9, 5, 4096), (7, 3, 512), (4 * PAGE + 9, 3, 4096)];
    for (pos, pages, store) in cases {
        let len = pages * PAGE;
        let bench = Bench::over(&BlockStore::new(store, 4096), FrameOrder::Contiguous);
        bench.fill(4 * PAGE - 100);
        bench.user.script().clear();
        bench.user.script().add(Event::AtomicCopy, When::Nth(1), Action::Short(5000));
        let cost = bench.write(pos, len);
        assert_eq!(cost.counted.short_copies, 1, "{len} at {pos}");
        assert_eq!(cost.counted.copied, len as u64, "{len} at {pos}: each byte once");
    }
}

#[test]
fn a_copy_that_falls_short_in_a_page_that_was_read_for_it_goes_on_there() {
    let bench = Bench::over(&BlockStore::new(1024, 64), FrameOrder::Contiguous);
    bench.fill(2 * PAGE);
    assert_eq!(calls::fsync(&bench.file), Ok(()));
    assert_eq!(calls::evict(&bench.file), 2);
    bench.user.script().clear();
    bench.user.script().add(Event::AtomicCopy, When::Nth(1), Action::Short(1000));
    let cost = bench.write(50, 3000);
    assert_eq!((cost.counted.short_copies, cost.counted.copied), (1, 3000), "each byte once");
}

#[test]
fn a_temporary_page_that_is_not_filled_at_once_goes_on_where_it_stopped() {
    let bench = Bench::hot(2);
    assert_eq!(calls::fsync(&bench.file), Ok(()));
    let _ = calls::evict(&bench.file);
    bench.user.script().clear();
    bench.user.script().add(Event::FaultingCopy, When::Nth(1), Action::Short(300));
    let options = WriteOptions::at(50).with_strategy(Strategy::PrepareCommit);
    let cost = bench.write_as(&[bench.user.slice(0, 0, 1000)], &options);
    // The page is uptodate after the first piece: the rest goes straight in.
    assert_eq!((cost.counted.bounced, cost.counted.copied), (300, 1000));
}

#[test]
fn w9_a_write_that_lands_whole_gives_nothing_back() {
    for strategy in STRATEGIES {
        let machine = Machine::<ScriptedMmu, Counted>::build(MachineConfig::new());
        let store = FaultyStore::new(MemoryStore::new(), machine.watchdog());
        let bench = Bench::over(&store, FrameOrder::Contiguous);
        for (pos, len) in [(0, 10), (10, 10), (20, 3 * PAGE), (64 * PAGE - 5, 2 * PAGE), (7, 9)] {
            let options = WriteOptions::at(pos as u64).with_strategy(strategy);
            let _ = bench.write_as(&[bench.user.slice(0, 0, len)], &options);
            assert_eq!(store.count(Call::TruncateBlocks), 0, "{len} at {pos}, {strategy:?}");
        }
    }
}

#[test]
fn row_1_each_kind_of_write_takes_just_the_locks_that_it_needs() {
    let bench = Bench::hot(130);
    let append = WriteOptions::append();
    let of = |cost: Cost| (cost.counted.page_locks, cost.counted.fast_path_pages);
    let two = [bench.user.slice(0, 0, 2 * PAGE)];
    assert_eq!(of(bench.write_as(&two, &append)), (1, 0), "new pages are not looked for");
    let _ = bench.write_as(&[bench.user.slice(0, 0, 10)], &append);
    let ten = [bench.user.slice(0, 0, 10)];
    assert_eq!(of(bench.write_as(&ten, &append)), (1, 1), "room in the last page");
    assert_eq!(of(bench.write(7, 129 * PAGE)), (3, 130), "three leaves");
    let options = WriteOptions::at(7).with_strategy(Strategy::PrepareCommit);
    assert_eq!(of(bench.write_as(&two, &options)), (3, 3), "strategy A: page by page");
}

#[test]
fn row_1_a_write_that_moves_the_end_locks_its_pages_once() {
    let bench = Bench::new();
    bench.fill(100);
    for (pos, len) in [(100, 10), (0, 200), (150, 100)] {
        assert_eq!(bench.write(pos, len).counted.page_locks, 1, "{len} at {pos}");
    }
}

#[test]
fn p2_only_a_scribbled_page_has_its_tail_zeroed_and_only_once() {
    let bench = Bench::new();
    bench.fill(100);
    bench.user.map_file(300, 1, &bench.file, PageIndex::ZERO, Protection::ReadWrite);
    bench.user.store(bench.user.at(300, 50), b"stored past the end, perhaps").expect("a store");
    let sync = || {
        let (synced, counted) = counting(|| calls::fsync(&bench.file));
        assert_eq!(synced, Ok(()));
        counted.zeroed
    };
    assert_eq!(sync(), (PAGE - 100) as u64);
    assert_eq!(bench.write(100, 10).counted.zeroed, 0, "clean since");
    assert_eq!(sync(), 0, "dirty, and not stored to past the end");
}
