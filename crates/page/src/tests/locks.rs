//! Page locks and the sleeping lock: cost, exclusion, traces, wake-ups.

use core::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::thread;

use crate::testing::{
    Counting, Machine, Random, Test, cx, populate, run, slots, take_locked_instructions,
    take_traces, with_watchdog,
};
use crate::{LockId, PAGE_SIZE, PageIndex, SleepMutex, SlotMask, Trace};

#[test]
fn a_hot_overwrite_costs_two_locked_instructions() {
    let machine = Machine::<Counting>::new(256);
    let mapping = machine.mapping();
    populate(&mapping, run(0, 64), |_| 7);
    mapping.lock(cx(), run(0, 64)).unwrap().set_dirty(SlotMask::ALL);
    for run in [run(5, 1), run(3, 16), run(0, 64)] {
        // The first time learns which frames are contiguous.
        mapping.lock(cx(), run).unwrap().span(run.start(), 64 * PAGE_SIZE).unwrap();
        take_locked_instructions();
        let mut locked = mapping.lock(cx(), run).unwrap();
        assert_eq!(locked.uptodate(), run.mask());
        let (_, len) = locked.span(run.start(), 64 * PAGE_SIZE).unwrap();
        assert_eq!(len, run.pages() as usize * PAGE_SIZE);
        locked.set_dirty(run.mask());
        drop(locked);
        assert_eq!(take_locked_instructions(), 2);
    }
    drop(mapping);
    machine.assert_balanced();
}

#[test]
fn a_lock_free_read_costs_two_locked_instructions_of_its_own_cpu() {
    let machine = Machine::<Counting>::new(256);
    let mapping = machine.mapping();
    populate(&mapping, run(0, 64), |_| 7);
    take_locked_instructions();
    let section = mapping.read_section(cx());
    assert!(section.span(1, 100_000).is_some());
    drop(section);
    assert_eq!(take_locked_instructions(), 2);
}

#[test]
fn overlapping_runs_exclude_and_disjoint_ones_do_not() {
    let machine: Machine = Machine::new(16);
    let mapping = machine.mapping();
    let held = mapping.lock_or_create(cx(), run(10, 4)).unwrap();
    assert!(mapping.try_lock(cx(), run(13, 1)).is_none());
    assert!(mapping.try_lock(cx(), run(0, 64)).is_none());
    let other = mapping.try_lock(cx(), run(14, 50)).unwrap();
    drop(held);
    assert!(mapping.try_lock(cx(), run(10, 4)).is_some());
    drop(other);
    assert!(mapping.try_lock(cx(), run(0, 64)).is_some());
}

#[test]
fn no_leaf_means_nothing_to_lock() {
    let machine: Machine = Machine::new(16);
    let mapping = machine.mapping();
    assert!(mapping.lock(cx(), run(0, 1)).is_none());
    assert!(mapping.try_lock(cx(), run(0, 1)).is_none());
    drop(mapping.lock_or_create(cx(), run(0, 1)).unwrap());
    assert!(mapping.lock(cx(), run(0, 1)).is_some());
    assert!(mapping.lock(cx(), run(64, 1)).is_none());
    assert!(mapping.lock(cx(), run(1 << 40, 1)).is_none());
}

#[test]
fn traces_say_acquiring_acquired_released() {
    let machine: Machine = Machine::new(16);
    let mapping = machine.mapping();
    drop(mapping.lock_or_create(cx(), run(64, 1)).unwrap());
    take_traces();
    drop(mapping.lock(cx(), run(66, 2)).unwrap());
    let id = LockId::Pages { mapping: mapping.id(), base: 64, slots: slots(0b1100) };
    assert_eq!(take_traces(), [Trace::Acquiring(id), Trace::Acquired(id), Trace::Released(id)]);
    let mutex = SleepMutex::<Test>::new(LockId::Inode(9));
    drop(mutex.lock(machine.cache.wait()));
    let id = LockId::Inode(9);
    assert_eq!(take_traces(), [Trace::Acquiring(id), Trace::Acquired(id), Trace::Released(id)]);
}

/// Threads lock random runs; each slot has a word that only its holder may hold at 1.
fn stress_runs(machine: &Machine, rounds: u32) {
    let mapping = machine.mapping();
    let mut random = Random::new("stress_runs");
    let owners: [AtomicU32; 64] = core::array::from_fn(|_| AtomicU32::new(0));
    let total = AtomicU64::new(0);
    thread::scope(|scope| {
        for _ in 0..4 {
            let mut random = random.fork();
            let (mapping, owners, total) = (&mapping, &owners, &total);
            scope.spawn(move || {
                for _ in 0..rounds {
                    let first = random.below(8);
                    let run = run(first, 1 + random.below(8));
                    let locked = mapping.lock_or_create(cx(), run).unwrap();
                    for slot in run.first().slot()..run.first().slot() + run.pages() {
                        assert_eq!(owners[slot as usize].swap(1, Ordering::Relaxed), 0);
                    }
                    if random.below(16) == 0 {
                        thread::yield_now();
                    }
                    for slot in run.first().slot()..run.first().slot() + run.pages() {
                        owners[slot as usize].store(0, Ordering::Relaxed);
                    }
                    drop(locked);
                    total.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
    });
    assert_eq!(total.into_inner(), 4 * u64::from(rounds));
}

#[test]
fn no_wake_up_is_lost_and_no_slot_is_held_twice() {
    with_watchdog(|| stress_runs(&Machine::new(64), 20_000));
}

#[test]
fn a_wait_that_returns_too_early_breaks_no_exclusion() {
    with_watchdog(|| {
        let machine = Machine::new(64);
        machine.wait.lies.store(true, Ordering::Relaxed);
        stress_runs(&machine, 2_000);
    });
}

#[test]
fn the_sleeping_lock_excludes_and_wakes() {
    with_watchdog(|| {
        let machine: Machine = Machine::new(4);
        let mutex = SleepMutex::<Test>::new(LockId::Inode(1));
        let counter = AtomicU64::new(0);
        thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for round in 0..10_000 {
                        let held = mutex.lock(machine.cache.wait());
                        let seen = counter.load(Ordering::Relaxed);
                        if round % 64 == 0 {
                            thread::yield_now();
                        }
                        counter.store(seen + 1, Ordering::Relaxed);
                        drop(held);
                    }
                });
            }
        });
        assert_eq!(counter.into_inner(), 40_000);
        let held = mutex.try_lock(machine.cache.wait()).unwrap();
        assert!(mutex.try_lock(machine.cache.wait()).is_none());
        drop(held);
    });
}

#[test]
fn whoever_sleeps_for_the_sleeping_lock_is_woken_by_its_unlock() {
    with_watchdog(|| {
        let machine: Machine = Machine::new(4);
        let mutex = SleepMutex::<Test>::new(LockId::Inode(1));
        let held = mutex.lock(machine.cache.wait());
        thread::scope(|scope| {
            scope.spawn(|| drop(mutex.lock(machine.cache.wait())));
            while machine.wait.sleeping.load(Ordering::SeqCst) == 0 {
                thread::yield_now();
            }
            drop(held);
        });
    });
}

#[test]
fn size_grows_to_the_largest_asked_for() {
    let machine: Machine = Machine::new(16);
    let mapping = machine.mapping();
    let mut locked = mapping.lock_or_create(cx(), run(0, 1)).unwrap();
    locked.grow_size(100);
    locked.grow_size(50);
    assert_eq!(mapping.size(), 100);
    drop(locked);
    mapping.truncate_size(10);
    assert_eq!(mapping.size(), 10);
    assert_eq!(mapping.lock(cx(), run(0, 1)).unwrap().frame(PageIndex::ZERO), None);
}
