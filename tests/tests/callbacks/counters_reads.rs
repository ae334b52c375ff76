//! Exact counts of reads: copies, locks, temporary pages.

use faultless_host::FrameOrder;
use faultless_host::stores::MemoryStore;
use faultless_tests::PAGE;
use faultless_tests::costs::Bench;

#[test]
fn a_hot_read_is_one_copy_and_takes_no_page_lock() {
    let bench = Bench::hot(64);
    let target = bench.user.slice(100, 5, 10 * PAGE + 7);
    let cost = bench.read(3, target);
    assert_eq!((cost.counted.page_locks, cost.counted.allocations), (0, 0));
    assert_eq!((cost.counted.copied, cost.accesses.atomic_copies), (target.len() as u64, 1));
}

#[test]
fn a_read_of_scattered_frames_takes_one_copy_each_and_none_falls_short() {
    let bench = Bench::over(&MemoryStore::new(), FrameOrder::Scattered);
    bench.fill(16 * PAGE);
    let cost = bench.read(0, bench.user.slice(100, 0, 16 * PAGE));
    assert_eq!((cost.accesses.atomic_copies, cost.counted.short_copies), (16, 0));
}

/// Each leaf is a round of its own, whose first copy finds the target absent. A round that got on
/// does not count as fruitless (W6).
#[test]
fn w6_a_long_read_to_absent_memory_needs_no_temporary_page() {
    let leaves = 6;
    let bench = Bench::hot(leaves * 64);
    bench.user.evict(0, 512);
    let cost = bench.read(0, bench.user.slice(0, 0, leaves * 64 * PAGE));
    assert_eq!(
        (cost.counted.short_copies, cost.accesses.fault_ins),
        (leaves as u64, leaves as u64)
    );
    assert_eq!(cost.counted.temporary_pages, 0);
}
