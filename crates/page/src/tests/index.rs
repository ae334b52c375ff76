//! The tree against a model.

use std::collections::BTreeMap;
use std::vec::Vec;

use crate::testing::{Machine, Random, Test, cx, run};
use crate::{Frames, Mapping, Mark, PageIndex};

/// Indices that share leaves, inner nodes, levels.
fn index(random: &mut Random) -> u64 {
    let near = random.below(200);
    match random.below(6) {
        0 => near,
        1 => (1 << 12) + near,
        2 => (1 << 18) + near * 64,
        3 => (1 << (6 * random.below(10))) + near,
        4 => u64::MAX - near,
        _ => random.below(40) << 30,
    }
}

fn present(mapping: &Mapping<Test>) -> Vec<u64> {
    let mut found = Vec::new();
    let mut from = PageIndex::ZERO;
    while let Some(run) = mapping.find(from, PageIndex::new(u64::MAX), Mark::Present) {
        found.extend((0..u64::from(run.pages())).map(|n| run.first().get() + n));
        from = run.end();
    }
    found
}

#[test]
fn the_index_agrees_with_a_map() {
    let mut random = Random::new("the_index_agrees_with_a_map");
    for _ in 0..20 {
        let machine: Machine = Machine::new(4096);
        let mapping = machine.mapping();
        let mut model = BTreeMap::new();
        for _ in 0..600 {
            // The last page of all is never found, as no end lies beyond it.
            let index = index(&mut random).min(u64::MAX - 1);
            match random.below(8) {
                0..5 => {
                    let frame = machine.cache.allocate(1).unwrap().take_first().unwrap();
                    let number = frame.number();
                    let mut locked = mapping.lock_or_create(cx(), run(index, 1)).unwrap();
                    let inserted = locked.insert(PageIndex::new(index), frame).is_ok();
                    assert_eq!(inserted, !model.contains_key(&index));
                    model.entry(index).or_insert(number);
                }
                5..7 => {
                    let picked = model.range(index..).next().map(|(&index, _)| index);
                    let index = picked.unwrap_or(index);
                    let expected = model.remove(&index);
                    let Some(mut locked) = mapping.lock(cx(), run(index, 1)) else {
                        assert_eq!(expected, None);
                        continue;
                    };
                    assert_eq!(locked.frame(PageIndex::new(index)), expected);
                    let removed = locked.remove(locked.mask());
                    assert_eq!(removed.len(), usize::from(expected.is_some()));
                }
                _ => {
                    let end = index.saturating_add(random.below(1 << 20));
                    mapping.prune(PageIndex::new(index), PageIndex::new(end));
                }
            }
        }
        assert_eq!(present(&mapping), model.keys().copied().collect::<Vec<_>>());
        assert_eq!(mapping.cached_pages(), model.len() as u64);
        for (&index, &frame) in &model {
            let locked = mapping.lock(cx(), run(index, 1)).unwrap();
            assert_eq!(locked.frame(PageIndex::new(index)), Some(frame));
            assert_eq!(machine.frames.references(frame), 1);
        }
        drop(mapping);
        machine.assert_balanced();
    }
}

#[test]
fn every_level_is_reached() {
    let machine: Machine = Machine::new(512);
    let mapping = machine.mapping();
    for shift in (0..64).rev() {
        let index = 1u64 << shift;
        drop(mapping.lock_or_create(cx(), run(index, 1)).unwrap());
        assert!(mapping.lock(cx(), run(index, 1)).is_some(), "{index}");
    }
    drop(mapping.lock_or_create(cx(), run(u64::MAX, 1)).unwrap());
    assert!(mapping.lock(cx(), run(u64::MAX, 1)).is_some());
    assert!(mapping.lock(cx(), run((1 << 63) + (1 << 31), 1)).is_none());
    drop(mapping);
    machine.assert_balanced();
}

#[test]
fn one_graft_raises_the_root_to_the_top_and_builds_the_path_down() {
    let machine: Machine = Machine::new(512);
    let mapping = machine.mapping();
    for index in [0, u64::MAX] {
        drop(mapping.lock_or_create(cx(), run(index, 1)).unwrap());
    }
    for index in [0, u64::MAX] {
        assert!(mapping.lock(cx(), run(index, 1)).is_some(), "{index}");
    }
    drop(mapping);
    machine.assert_balanced();
}
