//! One operation in the middle of another, at every possible place.

use std::boxed::Box;
use std::cell::{Cell, RefCell};
use std::format;
use std::rc::Rc;
use std::sync::Arc;
use std::vec::Vec;

use crate::leaf::Leaf;
use crate::testing::{
    Interrupted, Machine, Test, cx, interrupt, populate, run, slots, with_watchdog,
};
use crate::{
    FrameNumber, Frames, LockId, Mapping, PAGE_SIZE, PageIndex, SleepMutex, SlotMask, SyncFamily,
};

type K = Test<Interrupted>;

fn frame_at(mapping: &Mapping<K>, index: u64) -> Option<FrameNumber> {
    mapping.lock(cx(), run(index, 1))?.frame(PageIndex::new(index))
}

#[test]
fn a_reader_never_takes_a_new_page_for_the_uptodate_one_before_it() {
    for before in 0.. {
        let machine: Machine<Interrupted> = Machine::new(64);
        let mapping = Arc::new(machine.mapping());
        populate(&mapping, run(0, 2), |_| 1);
        mapping.lock(cx(), run(0, 2)).unwrap().span(0, 2 * PAGE_SIZE).unwrap();
        let old = machine.frames.address(frame_at(&mapping, 0).unwrap());
        // The old frame is held: it may be released once the section is over.
        let keep = machine.cache.allocate(1).unwrap();
        let (section, other) = (mapping.read_section(cx()), mapping.clone());
        let released = Rc::new(RefCell::new(Vec::new()));
        let removed_frames = released.clone();
        let (seen, fired) = interrupt(
            before,
            move || {
                let mut fresh = other.cache().allocate(1).unwrap();
                let mut locked = other.lock(cx(), run(0, 1)).unwrap();
                let removed = locked.remove(slots(0b1));
                removed_frames.borrow_mut().push(removed.slots());
                // Its drop would wait for the section that this very thread has open.
                core::mem::forget(removed);
                assert_eq!(locked.insert_batch(slots(0b1), &mut fresh), slots(0b1));
            },
            || section.span(0, 2 * PAGE_SIZE),
        );
        if let Some((memory, _)) = seen {
            assert_eq!(memory, old, "a page that is not uptodate was read, before {before}");
        }
        drop(section);
        drop(keep);
        if !fired {
            assert!(before >= 5 && seen.is_some(), "the reader makes more accesses than that");
            return;
        }
        assert_eq!(*released.borrow(), [slots(0b1)]);
    }
}

/// Empties and prunes `mapping`, then has its nodes reused in another shape by `other`.
fn take_nodes_over(mapping: &Mapping<K>, other: &Mapping<K>, target: u64, shape: &[u64]) {
    let removed = match mapping.try_lock(cx(), run(target, 1)) {
        Some(mut locked) => locked.remove(SlotMask::ALL),
        // The intruded operation has it by now.
        None => return,
    };
    drop(removed);
    mapping.prune(PageIndex::ZERO, PageIndex::new(u64::MAX));
    for &index in shape {
        populate(other, run(index, 1), |_| 2);
    }
}

/// Runs `operation` on a mapping with one page at `target`, with its nodes taken over before each
/// of its accesses.
fn sweep(target: u64, shape: &'static [u64], operation: impl Fn(&Mapping<K>)) {
    for before in 0.. {
        let machine: Machine<Interrupted> = Machine::new(64);
        let mapping = Arc::new(machine.mapping());
        let other = Arc::new(machine.mapping());
        populate(&mapping, run(target, 1), |_| 1);
        let (a, b) = (mapping.clone(), other.clone());
        let interruption = move || take_nodes_over(&a, &b, target, shape);
        let ((), fired) = interrupt(before, interruption, || operation(&mapping));
        if !fired {
            assert!(before > 3);
            return;
        }
        if other.cached_pages() > 0 {
            for &index in shape {
                assert!(frame_at(&other, index).is_some(), "{index} was lost, before {before}");
            }
            assert_eq!(other.cached_pages(), shape.len() as u64);
            assert!(other.try_lock(cx(), run(shape[0], 1)).is_some(), "still locked");
        }
        drop((mapping, other));
        machine.assert_balanced();
    }
}

const SHAPES: [&[u64]; 5] =
    [&[0], &[64], &[1 << 12, 0, 64], &[1 << 18], &[1 << 24, 1 << 12, 1 << 36, 3]];
const TARGETS: [u64; 4] = [0, 64, 1 << 18, (1 << 30) + 70];

#[test]
fn a_locker_whose_nodes_are_reused_finds_nothing_and_breaks_nothing() {
    for shape in SHAPES {
        for target in TARGETS {
            sweep(target, shape, |mapping| {
                if let Some(locked) = mapping.lock(cx(), run(target, 1)) {
                    assert_eq!(locked.mapping().id(), mapping.id());
                    assert_eq!(locked.present(), locked.mask());
                    assert_eq!(locked.leaf_identity(), (mapping.id(), target / 64 * 64));
                }
            });
        }
    }
}

#[test]
fn a_trier_whose_nodes_are_reused_gets_its_own_leaf_or_nothing_and_locks_no_other() {
    for shape in SHAPES {
        for target in TARGETS {
            sweep(target, shape, |mapping| {
                if let Some(locked) = mapping.try_lock(cx(), run(target, 1)) {
                    assert_eq!(locked.leaf_identity(), (mapping.id(), target / 64 * 64));
                }
            });
        }
    }
}

#[test]
fn a_creator_whose_nodes_are_reused_makes_new_ones() {
    for shape in SHAPES {
        for target in TARGETS {
            sweep(target, shape, |mapping| {
                let locked = mapping.lock_or_create(cx(), run(target, 1)).unwrap();
                assert_eq!(locked.leaf_identity(), (mapping.id(), target / 64 * 64));
            });
        }
    }
}

#[test]
fn a_creator_whose_leaf_is_pruned_gets_one_that_is_found_again() {
    sweep_pruned(|mapping| {
        let mut batch = mapping.cache().allocate(1).unwrap();
        let mut locked = mapping.lock_or_create(cx(), run(70, 1)).unwrap();
        assert_eq!(locked.insert_batch(SlotMask::single(6), &mut batch), SlotMask::single(6));
        drop(locked);
        assert!(frame_at(mapping, 70).is_some(), "the page went into a leaf that nobody finds");
    });
}

#[test]
fn a_page_that_comes_in_while_its_empty_leaf_is_pruned_stays() {
    for before in 0.. {
        let machine: Machine<Interrupted> = Machine::new(64);
        let mapping = Arc::new(machine.mapping());
        drop(mapping.lock_or_create(cx(), run(0, 1)).unwrap());
        let inserted = Rc::new(Cell::new(0));
        let (other, pages) = (mapping.clone(), inserted.clone());
        let interruption = move || {
            let mut batch = other.cache().allocate(1).unwrap();
            // None once the leaf is locked for good.
            if let Some(mut locked) = other.try_lock(cx(), run(0, 1)) {
                pages.set(u64::from(locked.insert_batch(slots(0b1), &mut batch).count()));
            }
        };
        let all = (PageIndex::ZERO, PageIndex::new(u64::MAX));
        let ((), fired) = interrupt(before, interruption, || mapping.prune(all.0, all.1));
        assert_eq!(mapping.cached_pages(), inserted.get(), "before {before}");
        assert_eq!(frame_at(&mapping, 0).is_some(), inserted.get() == 1, "before {before}");
        drop(mapping);
        machine.assert_balanced();
        if !fired {
            assert!(before > 5);
            return;
        }
    }
}

/// Runs `operation` on a mapping with an empty leaf for page 70, pruned before each of its
/// accesses.
fn sweep_pruned(operation: impl Fn(&Mapping<K>)) {
    for before in 0.. {
        let machine: Machine<Interrupted> = Machine::new(64);
        let mapping = Arc::new(machine.mapping());
        drop(mapping.lock_or_create(cx(), run(70, 1)).unwrap());
        let other = mapping.clone();
        let interruption = move || other.prune(PageIndex::ZERO, PageIndex::new(u64::MAX));
        let ((), fired) = interrupt(before, interruption, || operation(&mapping));
        drop(mapping);
        machine.assert_balanced();
        if !fired {
            assert!(before > 3);
            return;
        }
    }
}

/// Creates a leaf while `interruption` changes how many nodes that takes, at every place but under
/// the tree's lock.
fn sweep_insertions(interruption: fn(&Mapping<K>)) {
    for before in 0.. {
        let machine: Machine<Interrupted> = Machine::new(64);
        let mapping = Arc::new(machine.mapping());
        drop(mapping.lock_or_create(cx(), run(1 << 18, 1)).unwrap());
        let other = mapping.clone();
        let unless_locked = move || {
            if !other.tree().lock.is_locked() {
                interruption(&other);
            }
        };
        let create = || populate(&mapping, run(1 << 30, 1), |_| 1);
        let ((), fired) = interrupt(before, unless_locked, create);
        assert!(frame_at(&mapping, 1 << 30).is_some(), "before {before}");
        assert_eq!(mapping.cached_pages(), 1);
        drop(mapping);
        machine.assert_balanced();
        if !fired {
            assert!(before > 10);
            return;
        }
    }
}

#[test]
fn a_creator_who_has_more_nodes_than_are_still_needed_goes_on() {
    with_watchdog(|| {
        sweep_insertions(|mapping| {
            drop(mapping.lock_or_create(cx(), run((1 << 30) + 64, 1)).unwrap());
        });
    });
}

#[test]
fn a_creator_who_has_fewer_nodes_than_are_needed_now_gets_more() {
    with_watchdog(|| {
        sweep_insertions(|mapping| mapping.prune(PageIndex::ZERO, PageIndex::new(u64::MAX)));
    });
}

#[test]
fn only_pages_that_are_locked_are_remembered_as_contiguous() {
    for before in 0.. {
        let machine: Machine<Interrupted> = Machine::new(64);
        let mapping = Arc::new(machine.mapping());
        populate(&mapping, run(0, 3), |_| 1);
        let locked = mapping.lock(cx(), run(0, 2)).unwrap();
        let other = mapping.clone();
        let interruption = move || {
            // Another frame takes the place of the third page's.
            let mut fresh = other.cache().allocate(1).unwrap();
            let mut locked = other.lock(cx(), run(2, 1)).unwrap();
            drop(locked.remove(SlotMask::single(2)));
            assert_eq!(locked.insert_batch(SlotMask::single(2), &mut fresh), SlotMask::single(2));
        };
        let (span, fired) = interrupt(before, interruption, || locked.span(0, usize::MAX));
        assert_eq!(span.unwrap().1, 2 * PAGE_SIZE);
        drop(locked);
        let locked = mapping.lock(cx(), run(0, 3)).unwrap();
        let expected = if fired { 2 } else { 3 };
        assert_eq!(locked.span(0, usize::MAX).unwrap().1, expected * PAGE_SIZE, "before {before}");
        if !fired {
            assert!(before >= 4);
            return;
        }
    }
}

#[test]
fn nodes_of_a_frame_that_came_second_are_not_lost() {
    let mut frames_taken = Vec::new();
    for before in 0.. {
        let machine: Machine<Interrupted> = Machine::new(64);
        let (mapping, other) = (machine.mapping(), Arc::new(machine.mapping()));
        let creator = other.clone();
        let interruption = move || drop(creator.lock_or_create(cx(), run(0, 1)).unwrap());
        let create = || drop(mapping.lock_or_create(cx(), run(0, 1)).unwrap());
        let ((), fired) = interrupt(before, interruption, create);
        let taken = machine.cache.nodes().leaves.bytes();
        frames_taken.push(taken / PAGE_SIZE);
        let leaves = taken / PAGE_SIZE * ((PAGE_SIZE - 64) / 384);
        let mut mappings = Vec::new();
        for _ in 1 + usize::from(fired)..leaves {
            mappings.push(machine.mapping());
            drop(mappings.last().unwrap().lock_or_create(cx(), run(0, 1)).unwrap());
        }
        assert_eq!(machine.cache.nodes().leaves.bytes(), taken, "before {before}");
        drop((mapping, other, mappings));
        machine.assert_balanced();
        if !fired {
            break;
        }
    }
    assert!(frames_taken.contains(&2), "never met: {frames_taken:?}");
}

#[test]
fn a_leaf_that_is_locked_for_an_instant_when_its_mapping_ends_is_used_again() {
    let machine: Machine<Interrupted> = Machine::new(64);
    let other = machine.mapping();
    for before in 0..300 {
        let mapping = machine.mapping();
        drop(mapping.lock_or_create(cx(), run(0, 1)).unwrap());
        let leaf: *const Leaf<Interrupted> = mapping.tree().lookup(PageIndex::ZERO).unwrap();
        // SAFETY: nodes are type-stable, and the machine outlives its cache's users.
        let leaf: &'static Leaf<Interrupted> = unsafe { &*leaf };
        // By someone who took it for the other mapping's.
        assert!(leaf.try_lock(slots(0b1)));
        let wait = machine.wait.clone();
        let ((), unlocked) =
            interrupt(before, move || leaf.unlock(slots(0b1), &wait), || drop(mapping));
        assert!(unlocked, "nobody waited, before {before}");
        // A frame of leaves, and one of anchors.
        assert_eq!(machine.cache.metadata_bytes(), 2 * PAGE_SIZE);
    }
    drop(other);
    machine.assert_balanced();
}

#[test]
fn a_sleeping_lock_that_comes_free_while_its_taker_spins_is_taken_without_an_announcement() {
    // The attempt, and a look in each round.
    for before in 0..=Interrupted::SPIN_ROUNDS {
        let machine: Machine<Interrupted> = Machine::new(1);
        // For the guard that the interruption drops.
        let lock: &'static _ = Box::leak(Box::new(SleepMutex::<K>::new(LockId::Inode(1))));
        let wait: &'static _ = Box::leak(Box::new(machine.wait.clone()));
        let held = lock.lock(wait);
        let (taken, fired) = interrupt(before, move || drop(held), || lock.lock(wait));
        assert!(fired);
        assert_eq!(format!("{lock:?}"), "SleepMutex { id: Inode(1), state: 1, .. }", "{before}");
        drop(taken);
    }
}
