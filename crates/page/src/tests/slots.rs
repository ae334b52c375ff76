//! Sets of slots against sets of numbers.

use std::collections::BTreeSet;
use std::format;
use std::vec::Vec;

use crate::testing::{Random, slots};
use crate::{PageIndex, SlotMask};

fn set(mask: SlotMask) -> BTreeSet<u32> {
    mask.iter().collect()
}

#[test]
fn a_mask_is_a_set_of_slots() {
    let mut random = Random::new("a_mask_is_a_set_of_slots");
    let mut bits = || random.below(u64::MAX) & random.below(u64::MAX);
    for _ in 0..100 {
        let (a, b) = (SlotMask::from_bits(bits()), SlotMask::from_bits(bits()));
        let (in_a, in_b) = (set(a), set(b));
        assert_eq!(set(a & b), &in_a & &in_b);
        assert_eq!(set(a | b), &in_a | &in_b);
        assert_eq!(set(a - b), &in_a - &in_b);
        assert_eq!(!a, SlotMask::ALL - a);
        assert_eq!((a.count() as usize, a.first()), (in_a.len(), in_a.first().copied()));
        assert_eq!(a.contains(b), in_a.is_superset(&in_b));
        assert_eq!(a.intersects(b), !in_a.is_disjoint(&in_b));
        assert_eq!(a.is_empty(), in_a.is_empty());
        assert!(a.contains(a & b) && !(a - b).intersects(b));
        for slot in 0..64 {
            assert_eq!(a.contains(SlotMask::single(slot)), in_a.contains(&slot));
            assert_eq!(a.count_from(slot) as usize, in_a.range(slot..).count());
            let run = (slot..64).take_while(|slot| in_a.contains(slot)).count();
            assert_eq!(a.run_len_from(slot) as usize, run);
            assert_eq!(set(SlotMask::lowest(slot + 1)), (0..=slot).collect());
            let higher = in_a.iter().map(|other| other + slot).filter(|other| *other < 64);
            assert_eq!(set(a.moved_up(slot)), higher.collect());
        }
        let below: BTreeSet<u32> = in_a.iter().filter_map(|slot| slot.checked_sub(1)).collect();
        assert_eq!(set(a.predecessors()), below);
    }
}

#[test]
fn the_last_slot_and_all_slots_are_no_special_case() {
    assert_eq!(SlotMask::lowest(64), SlotMask::ALL);
    assert_eq!(SlotMask::lowest(1).moved_up(63), PageIndex::new(127).bit());
    assert_eq!(SlotMask::ALL.first_run(), Some(0..64));
    assert_eq!(SlotMask::EMPTY.first_run(), None);
    assert_eq!(SlotMask::ALL.iter().collect::<Vec<_>>(), (0..64).collect::<Vec<_>>());
    assert_eq!(SlotMask::default(), SlotMask::EMPTY);
}

#[test]
fn the_assigning_operators_do_as_the_others() {
    let mut mask = slots(0b1100);
    mask |= slots(0b0001);
    assert_eq!(mask.bits(), 0b1101);
    mask -= slots(0b0110);
    assert_eq!(mask.bits(), 0b1001);
    mask &= slots(0b1110);
    assert_eq!(mask.bits(), 0b1000);
}

#[test]
fn a_mask_is_shown_as_ranges() {
    assert_eq!(format!("{:?}", slots(0b1000_1111 | 1 << 63)), "{0..4, 7..8, 63..64}");
    assert_eq!(format!("{:?}", SlotMask::EMPTY), "{}");
    assert_eq!(format!("{:?}", SlotMask::ALL), "{0..64}");
}
