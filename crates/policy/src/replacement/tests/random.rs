//! Random operations: no page gets lost, no count drifts.
#![forbid(unsafe_code)]

use std::vec::Vec;

use super::books::{Cache, place};
use crate::replacement::{Offer, Origin, Outcome, Victims};

pub(super) struct Dice(pub(super) u64);

impl Dice {
    pub(super) fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) % bound
    }
}

const LEAVES: usize = 40;

/// One operation. Victims may wait in `open` while others are settled.
fn step(cache: &mut Cache, dice: &mut Dice, open: &mut Vec<Victims<usize>>) {
    let page = dice.below(LEAVES as u64 * 64) as usize;
    let (leaf, slots) = place(page);
    let present = cache.books.leaves[leaf].present & slots != 0;
    match dice.below(12) {
        0..4 if !present => {
            let origin = if dice.below(4) == 0 { Origin::Readahead } else { Origin::Demand };
            cache.insert(page, origin);
        }
        4 if present => cache.remove(page),
        // Hints may come late.
        5..8 => cache.hit(page),
        8 => cache.books.leaves[leaf].accessed |= slots,
        9 if dice.below(50) == 0 => cache.policy.set_capacity(100 + dice.below(1500)),
        10 => {
            let want = 1 + dice.below(9) as u32;
            let budget = dice.below(6) as u32;
            if let Offer::Victims(victims) = cache.policy.victims(&mut cache.books, want, budget) {
                let leaf = &cache.books.leaves[victims.leaf];
                assert_ne!(victims.slots, 0);
                assert_eq!(victims.slots & !leaf.present, 0);
                assert!(victims.slots.count_ones() <= want);
                open.push(victims);
            }
        }
        _ if !open.is_empty() => {
            let victims = open.swap_remove(dice.below(open.len() as u64) as usize);
            // Some pages may have been removed meanwhile.
            let there = victims.slots & cache.books.leaves[victims.leaf].present;
            let dropped = there & dice.0;
            cache.settle(victims, Outcome { dropped, referenced: there & !dropped & dice.0 >> 7 });
        }
        _ => {}
    }
}

fn present(cache: &Cache) -> u64 {
    cache.books.leaves.iter().map(|leaf| u64::from(leaf.present.count_ones())).sum()
}

#[test]
fn whatever_happens_every_page_is_counted_and_is_offered_in_the_end() {
    for seed in 1..40 {
        let mut dice = Dice(0x9e37_79b9_7f4a_7c15_u64.wrapping_mul(seed));
        let mut cache = Cache::new(1000, LEAVES);
        let mut open = Vec::new();
        for _ in 0..5000 {
            step(&mut cache, &mut dice, &mut open);
            assert_eq!(cache.policy.pages(), present(&cache), "seed {seed}");
        }
        for victims in open {
            cache.settle(victims, Outcome::default());
        }
        while cache.drop_one().is_some() {}
        assert_eq!(present(&cache), 0, "seed {seed}");
        assert_eq!(cache.policy.pages(), 0, "seed {seed}");
    }
}

/// However uses and pages that must stay are spread, a page that may go is offered before any page
/// was offered four times on average: that is where a reclaimer may stop.
#[test]
fn the_one_page_that_may_go_is_found() {
    for seed in 1..400 {
        let mut dice = Dice(0x9e37_79b9_7f4a_7c15_u64.wrapping_mul(seed));
        let mut cache = Cache::new(1000, LEAVES);
        let mut open = Vec::new();
        for _ in 0..dice.below(5000) {
            step(&mut cache, &mut dice, &mut open);
        }
        for victims in open {
            cache.settle(victims, Outcome::default());
        }
        let pages: Vec<usize> = (0..LEAVES * 64)
            .filter(|&page| cache.books.leaves[place(page).0].present & place(page).1 != 0)
            .collect();
        if pages.is_empty() {
            continue;
        }
        let goes = pages[dice.below(pages.len() as u64) as usize];
        for _ in 0..dice.below(3) {
            cache.hit(goes);
        }
        let mut looks = 0;
        while let Some((page, victims)) = cache.victim()
            && page != goes
        {
            cache.settle(victims, Outcome::default());
            looks += 1;
            assert!(looks <= 3 * pages.len(), "seed {seed}: page {goes} of {}", pages.len());
        }
    }
}
