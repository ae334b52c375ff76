//! Where memory goes, and that it comes back, whatever fails.

use crate::testing::{Machine, cx, populate, run, slots};
use crate::{Errno, PAGE_SIZE, PAGES_PER_LEAF, PageIndex, SlotMask};
use core::sync::atomic::Ordering;

#[test]
fn a_dense_file_costs_at_most_ten_bytes_a_page() {
    let machine: Machine = Machine::new(5000);
    let mapping = machine.mapping();
    let leaves = 70;
    for leaf in 0..leaves {
        populate(&mapping, run(leaf * PAGES_PER_LEAF as u64, 64), |_| 1);
    }
    let per_page = machine.cache.metadata_bytes() as f64 / (leaves * 64) as f64;
    assert!(per_page <= 10.0, "{per_page} bytes a page");
    assert_eq!(mapping.cached_pages(), leaves * 64);
    drop(mapping);
    machine.assert_balanced();
}

#[test]
fn a_dropped_mapping_gives_pages_back_and_its_nodes_are_reused() {
    let machine: Machine = Machine::new(64);
    let mut metadata = 0;
    for round in 0..50u64 {
        let mapping = machine.mapping();
        populate(&mapping, run(0, 4), |_| 1);
        populate(&mapping, run((round + 1) << 20, 2), |_| 1);
        drop(mapping);
        if round == 0 {
            metadata = machine.cache.metadata_bytes();
        }
    }
    assert_eq!(machine.cache.metadata_bytes(), metadata);
    machine.assert_balanced();
}

#[test]
fn pruned_nodes_are_reused_and_only_empty_ones_are_pruned() {
    let machine: Machine = Machine::new(256);
    let mapping = machine.mapping();
    for far in 0..100 {
        populate(&mapping, run(far << 24, 1), |_| 1);
        if far % 2 == 1 {
            drop(mapping.lock(cx(), run(far << 24, 1)).unwrap().remove(slots(0b1)));
        }
        mapping.prune(PageIndex::ZERO, PageIndex::new(u64::MAX));
    }
    assert_eq!(mapping.cached_pages(), 50);
    for far in 0..100 {
        assert_eq!(mapping.lock(cx(), run(far << 24, 1)).is_some(), far % 2 == 0, "{far}");
    }
    let before = machine.cache.metadata_bytes();
    for far in (0..100).step_by(2) {
        drop(mapping.lock(cx(), run(far << 24, 1)).unwrap().remove(slots(0b1)));
    }
    mapping.prune(PageIndex::new(5), PageIndex::new(5));
    mapping.prune(PageIndex::ZERO, PageIndex::new(u64::MAX));
    assert!(mapping.lock(cx(), run(0, 1)).is_none());
    for far in 0..50 {
        populate(&mapping, run(far << 24, 1), |_| 1);
    }
    assert_eq!(machine.cache.metadata_bytes(), before);
    drop(mapping);
    machine.assert_balanced();
}

#[test]
fn pruning_ends_where_its_range_ends() {
    let machine: Machine = Machine::new(64);
    let mapping = machine.mapping();
    for index in [0, 64, 128] {
        drop(mapping.lock_or_create(cx(), run(index, 1)).unwrap());
    }
    mapping.prune(PageIndex::new(64), PageIndex::new(128));
    let left = [0, 64, 128].map(|index| mapping.lock(cx(), run(index, 1)).is_some());
    assert_eq!(left, [true, false, true]);
}

#[test]
fn nodes_use_a_frame_up_before_another_is_taken() {
    let machine: Machine = Machine::new(64);
    let leaves = (PAGE_SIZE - 64) / 384;
    let mut mappings = std::vec::Vec::new();
    for n in 1..=3 * leaves {
        // The only leaf of a mapping needs no inner node.
        mappings.push(machine.mapping());
        drop(mappings[n - 1].lock_or_create(cx(), run(0, 1)).unwrap());
        // And one frame of anchors.
        let frames = n.div_ceil(leaves) + 1;
        assert_eq!(machine.cache.metadata_bytes(), frames * PAGE_SIZE, "{n} leaves");
    }
    drop(mappings);
    machine.assert_balanced();
}

#[test]
fn a_locked_leaf_is_not_pruned() {
    let machine: Machine = Machine::new(64);
    let mapping = machine.mapping();
    let mut locked = mapping.lock_or_create(cx(), run(0, 1)).unwrap();
    mapping.prune(PageIndex::ZERO, PageIndex::new(64));
    let frame = machine.cache.allocate(1).unwrap().take_first().unwrap();
    locked.insert(PageIndex::ZERO, frame).unwrap();
    drop(locked);
    assert_eq!(mapping.cached_pages(), 1);
}

#[test]
fn every_allocation_may_fail_and_nothing_is_lost() {
    for budget in 0.. {
        let machine: Machine = Machine::new(256);
        let mapping = machine.mapping();
        machine.frames.budget.store(budget, Ordering::SeqCst);
        let mut failures = 0;
        // The root is raised twice, and paths of several lengths are made.
        for index in [3, 64, 5000, 1 << 33, 1 << 20, (1 << 50) + 7, u64::MAX] {
            let attempt = || -> Result<(), Errno> {
                let mut batch = machine.cache.allocate(2)?;
                let mut locked = mapping.lock_or_create(cx(), run(index, 1))?;
                locked.insert_batch(SlotMask::ALL, &mut batch);
                Ok(())
            };
            match attempt() {
                Ok(()) => assert!(mapping.lock(cx(), run(index, 1)).is_some()),
                Err(error) => {
                    assert_eq!(error, Errno::NoMemory);
                    assert!(mapping.lock(cx(), run(index, 1)).is_none(), "a trace of {index}");
                    failures += 1;
                }
            }
        }
        assert_eq!(mapping.cached_pages(), 7 - failures);
        machine.frames.budget.store(usize::MAX, Ordering::SeqCst);
        drop(mapping);
        machine.assert_balanced();
        if failures == 0 {
            assert!(budget > 10);
            return;
        }
    }
}

#[test]
fn a_forgotten_lock_leaks_its_leaf_and_hangs_nobody() {
    let machine: Machine = Machine::new(64);
    let mapping = machine.mapping();
    populate(&mapping, run(0, 4), |_| 1);
    core::mem::forget(mapping.lock(cx(), run(0, 4)).unwrap());
    drop(mapping);
    let mapping = machine.mapping();
    populate(&mapping, run(0, 4), |_| 1);
    drop(mapping);
    machine.assert_balanced();
}
