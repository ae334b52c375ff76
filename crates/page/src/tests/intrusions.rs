//! One operation in the middle of another, at every possible place.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;
use std::vec::Vec;

use crate::testing::{Intruded, Machine, Test, cx, intrude, populate, run};
use crate::{FrameNumber, Frames, Mapping, PAGE_SIZE, PageIndex};

type K = Test<Intruded>;

fn frame_at(mapping: &Mapping<K>, index: u64) -> Option<FrameNumber> {
    mapping.lock(cx(), run(index, 1))?.frame(PageIndex::new(index))
}

#[test]
fn a_reader_never_takes_a_new_page_for_the_uptodate_one_before_it() {
    for before in 0.. {
        let machine: Machine<Intruded> = Machine::new(64);
        let mapping = Arc::new(machine.mapping());
        populate(&mapping, run(0, 2), |_| 1);
        mapping.lock(cx(), run(0, 2)).unwrap().span(0, 2 * PAGE_SIZE).unwrap();
        let old = machine.frames.address(frame_at(&mapping, 0).unwrap());
        // The old frame is held: it may be released once the section is over.
        let keep = machine.cache.allocate(1).unwrap();
        let (section, other) = (mapping.read_section(cx()), mapping.clone());
        let released = Rc::new(RefCell::new(Vec::new()));
        let removed_frames = released.clone();
        let (seen, fired) = intrude(
            before,
            move || {
                let mut fresh = other.cache().allocate(1).unwrap();
                let mut locked = other.lock(cx(), run(0, 1)).unwrap();
                let removed = locked.remove(1);
                removed_frames.borrow_mut().push(removed.slots());
                // Its drop would wait for the section that this very thread has open.
                core::mem::forget(removed);
                assert_eq!(locked.insert_batch(1, &mut fresh), 1);
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
        assert_eq!(*released.borrow(), [1]);
    }
}

/// Empties and prunes `mapping`, then has its nodes reused in another shape by `other`.
fn take_nodes_over(mapping: &Mapping<K>, other: &Mapping<K>, target: u64, shape: &[u64]) {
    let removed = match mapping.try_lock(cx(), run(target, 1)) {
        Some(mut locked) => locked.remove(u64::MAX),
        // The intruded operation has it by now.
        None => return,
    };
    drop(removed);
    mapping.prune(PageIndex::ZERO, PageIndex::new(u64::MAX));
    for &index in shape {
        populate(other, run(index, 1), |_| 2);
    }
}

/// Runs `operation` on a mapping with one page at `target`, with its nodes taken over before each of its accesses.
fn sweep(target: u64, shape: &'static [u64], operation: impl Fn(&Mapping<K>)) {
    for before in 0.. {
        let machine: Machine<Intruded> = Machine::new(64);
        let mapping = Arc::new(machine.mapping());
        let other = Arc::new(machine.mapping());
        populate(&mapping, run(target, 1), |_| 1);
        let (a, b) = (mapping.clone(), other.clone());
        let intrusion = move || take_nodes_over(&a, &b, target, shape);
        let ((), fired) = intrude(before, intrusion, || operation(&mapping));
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
