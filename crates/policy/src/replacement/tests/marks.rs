//! What a hit sets.
#![forbid(unsafe_code)]

use crate::replacement::{Hit, Marks};

#[test]
fn the_first_use_of_a_page_sets_one_bit_and_further_uses_of_a_small_page_set_none() {
    let small = Marks::default();
    assert_eq!(small.hit(0b1), Hit { referenced: 0b1, extra: 0 });
    let used = Marks { referenced: 0b1, ..small };
    assert!(used.hit(0b1).is_empty());
    let young = Marks { extra: 0b1, ..used };
    assert!(young.hit(0b1).is_empty());
}

#[test]
fn the_second_use_of_a_main_page_sets_the_other_bit_and_the_third_none() {
    let main = Marks { main: 0b1, ..Marks::default() };
    assert_eq!(main.hit(0b1), Hit { referenced: 0b1, extra: 0 });
    let once = Marks { referenced: 0b1, ..main };
    assert_eq!(once.hit(0b1), Hit { referenced: 0, extra: 0b1 });
    let twice = Marks { extra: 0b1, ..once };
    assert!(twice.hit(0b1).is_empty());
}

#[test]
fn a_hit_on_many_slots_is_the_hits_on_each_of_them() {
    for bits in 0..512_u64 {
        let words = [bits & 7, bits >> 3 & 7, bits >> 6 & 7];
        let marks = Marks { main: words[0], referenced: words[1], extra: words[2] };
        for slots in 0..8 {
            let mut each = Hit::default();
            for slot in [1, 2, 4] {
                let hit = marks.hit(slots & slot);
                each.referenced |= hit.referenced;
                each.extra |= hit.extra;
            }
            assert_eq!(marks.hit(slots), each);
            assert_eq!(marks.has_noticed(slots), each.is_empty());
        }
    }
}
