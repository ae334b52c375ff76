//! What the hand does with pages, one rule a test.
#![forbid(unsafe_code)]

use std::vec::Vec;

use super::books::{Cache, place};
use crate::replacement::{Offer, Origin, Outcome};

/// A cache of 100 pages whose first fill is over: pages 0 to 4 are small, 5 to 99 are main.
fn full() -> Cache {
    let mut cache = Cache::new(100, 16);
    cache.insert_all(0..100);
    cache
}

/// The same without page 0, and with ten more small pages from 900 on.
fn in_use() -> Cache {
    let mut cache = full();
    assert_eq!(cache.drop_one(), Some(0), "all small pages were met, and page 0 again");
    cache.insert_all(900..910);
    cache
}

fn drop_some(cache: &mut Cache, pages: usize) -> Vec<usize> {
    std::iter::from_fn(|| cache.drop_one()).take(pages).collect()
}

#[test]
fn a_first_fill_gives_the_small_queue_its_share_and_the_rest_is_main() {
    let cache = full();
    let main: Vec<usize> = (0..100).filter(|page| cache.is_main(*page)).collect();
    assert_eq!(main, (5..100).collect::<Vec<_>>());
    assert_eq!(cache.policy.pages(), 100);
}

#[test]
fn after_the_first_fill_new_pages_are_small() {
    let mut cache = full();
    cache.drop_one();
    cache.insert(200, Origin::Demand);
    assert!(!cache.is_main(200));
}

#[test]
fn a_burst_of_uses_of_a_new_page_does_not_protect_it() {
    let mut cache = full();
    for _ in 0..4 {
        cache.hit(0);
    }
    assert_eq!(cache.drop_one(), Some(0));
}

#[test]
fn a_use_after_the_first_meeting_makes_a_page_main() {
    let mut cache = full();
    assert_eq!(cache.drop_one(), Some(0), "all small pages were met, and page 0 again");
    cache.insert(200, Origin::Demand);
    cache.hit(1);
    assert_eq!(cache.drop_one(), Some(2));
    assert!(cache.is_main(1));
}

#[test]
fn the_second_meeting_is_a_whole_pass_after_the_first() {
    let mut cache = full();
    cache.drop_one();
    cache.insert(200, Origin::Demand);
    for expected in 1..5 {
        assert_eq!(cache.drop_one(), Some(expected));
        cache.insert(200 + expected, Origin::Demand);
    }
    assert_eq!(cache.drop_one(), Some(200));
}

#[test]
fn a_page_that_becomes_main_in_a_queued_leaf_passes_the_hand_once_for_free() {
    let mut cache = full();
    // Pages 5 and 64 were the first main pages of their leaves, and queued them.
    assert_eq!(drop_some(&mut cache, 5), [0, 5, 64, 6, 7]);

    let mut cache = in_use();
    cache.hit(1);
    assert_eq!(cache.drop_one(), Some(2));
    assert!(cache.is_main(1));
    assert_ne!(cache.books.leaves[0].marks.referenced & 1 << 1, 0);
}

#[test]
fn a_tired_small_hand_exchanges_a_young_page_for_a_main_one() {
    let mut cache = Cache::new(1000, 2000);
    cache.insert_all((0..1001).map(|page| page * 64));
    let before = main_pages(&cache);
    assert_eq!(cache.drop_one(), Some(48 * 64));
    assert!(cache.is_main(31 * 64));
    assert_eq!(main_pages(&cache), before);
}

#[test]
fn two_uses_protect_a_main_page_twice() {
    let mut cache = Cache::new(100, 200);
    // One page a leaf.
    cache.insert_all((0..100).map(|page| page * 64));
    let (once, twice) = (5 * 64, 6 * 64);
    for page in [once, twice, twice] {
        cache.hit(page);
    }
    let order: Vec<usize> = std::iter::from_fn(|| cache.drop_one()).collect();
    let at = |page| order.iter().position(|dropped| *dropped == page).expect("dropped");
    let unused = 7 * 64;
    assert!(at(unused) < at(once) && at(once) < at(twice));
}

#[test]
fn a_page_that_is_used_while_it_is_pending_is_spared() {
    let mut cache = full();
    assert_eq!(cache.drop_one(), Some(0));
    cache.insert(200, Origin::Demand);
    cache.hit(1);
    cache.hit(2);
    assert_eq!(cache.drop_one(), Some(3));
    assert!(cache.is_main(1) && cache.is_main(2));
}

#[test]
fn a_page_read_ahead_and_not_used_goes_at_the_first_meeting_and_is_counted() {
    let mut cache = full();
    cache.drop_one();
    cache.insert(200, Origin::Readahead);
    cache.insert_all(900..910);
    assert_eq!(drop_some(&mut cache, 4), [1, 2, 3, 4]);
    assert_eq!(cache.policy.dropped_unused(), 0);
    assert_eq!(cache.drop_one(), Some(200));
    assert_eq!(cache.policy.dropped_unused(), 1);
    cache.insert(200, Origin::Demand);
    assert!(!cache.is_main(200), "an unused page leaves no shadow");
}

#[test]
fn the_first_use_of_a_page_read_ahead_counts_as_its_arrival() {
    let mut cache = full();
    cache.drop_one();
    cache.insert(200, Origin::Readahead);
    cache.hit(200);
    cache.hit(200);
    for expected in 1..5 {
        assert_eq!(cache.drop_one(), Some(expected));
        cache.insert(200 + expected, Origin::Demand);
    }
    assert_eq!(cache.drop_one(), Some(200), "at the second meeting");
    assert!(!cache.is_main(200));
    assert_eq!(cache.policy.dropped_unused(), 0);
}

#[test]
fn a_page_that_cannot_be_dropped_is_offered_again_at_the_next_pass() {
    let mut cache = in_use();
    let (page, victims) = cache.victim().expect("a victim");
    assert_eq!(page, 1);
    cache.settle(victims, Outcome::default());
    let pages = cache.policy.pages();
    assert_eq!(drop_some(&mut cache, 4), [2, 3, 4, 1]);
    assert_eq!(cache.policy.pages(), pages - 4);
}

#[test]
fn a_page_that_cannot_be_dropped_and_is_used_becomes_main() {
    let mut cache = in_use();
    let (page, victims) = cache.victim().expect("a victim");
    cache.settle(victims, Outcome::default());
    cache.hit(page);
    assert!(!drop_some(&mut cache, 4).contains(&page));
    assert!(cache.is_main(page));
}

#[test]
fn a_victim_that_was_found_in_use_becomes_main() {
    let mut cache = full();
    let (page, victims) = cache.victim().expect("a victim");
    cache.settle(victims, Outcome { dropped: 0, referenced: victims.slots });
    assert!(cache.is_main(page));
    assert_eq!(cache.policy.pages(), 100);
}

#[test]
fn a_small_queue_that_cannot_be_dropped_lets_the_main_queue_help() {
    let mut cache = full();
    let mut offered_main = false;
    for _ in 0..1000 {
        let (page, victims) = cache.victim().expect("a victim");
        if cache.is_main(page) {
            offered_main = true;
            break;
        }
        cache.settle(victims, Outcome::default());
    }
    assert!(offered_main);
}

#[test]
fn an_access_through_page_tables_counts_as_a_use() {
    let mut cache = in_use();
    let (leaf, slots) = place(1);
    let (_, victims) = cache.victim().expect("a victim");
    cache.settle(victims, Outcome::default());
    cache.books.leaves[leaf].accessed |= slots;
    drop_some(&mut cache, 4);
    assert!(cache.is_main(1));
    let mut cache = Cache::new(100, 100);
    cache.insert_all((0..100).map(|page| page * 64));
    cache.books.leaves[50].accessed = 1;
    let order: Vec<usize> = std::iter::from_fn(|| cache.drop_one()).collect();
    let at = |page: usize| order.iter().position(|dropped| *dropped == page * 64).expect("dropped");
    assert!(at(50) > at(99));
}

#[test]
fn accesses_through_page_tables_in_the_first_burst_are_forgotten_at_the_first_meeting() {
    let mut cache = in_use();
    let (leaf, slots) = place(900);
    cache.books.leaves[leaf].accessed |= slots;
    assert_eq!(drop_some(&mut cache, 5), [1, 2, 3, 4, 900]);
}

#[test]
fn an_empty_leaf_on_a_queue_is_skipped() {
    let mut cache = Cache::new(100, 200);
    cache.insert_all((0..100).map(|page| page * 64));
    for page in 0..99 {
        cache.remove(page * 64);
    }
    assert_eq!(cache.drop_one(), Some(99 * 64));
    assert_eq!(cache.drop_one(), None);
    assert_eq!(cache.policy.pages(), 0);
}

#[test]
fn a_queued_leaf_that_gets_other_pages_serves_them() {
    let mut cache = full();
    for page in 0..100 {
        cache.remove(page);
    }
    cache.insert_all([3, 70]);
    let mut dropped = [cache.drop_one(), cache.drop_one()];
    dropped.sort_unstable();
    assert_eq!(dropped, [Some(3), Some(70)]);
    assert_eq!(cache.drop_one(), None);
}

#[test]
fn no_more_leaves_are_visited_than_the_budget_allows() {
    let mut cache = Cache::new(1000, 1000);
    cache.insert_all((0..1000).map(|page| page * 64));
    for budget in [0, 1, 5] {
        let before = cache.policy.visits();
        let offer = cache.policy.victims(&mut cache.books, 1, budget);
        assert_eq!(offer, Offer::Again);
        assert_eq!(cache.policy.visits(), before + u64::from(budget));
    }
}

#[test]
fn one_call_offers_no_more_pages_than_wanted() {
    let mut cache = full();
    match cache.policy.victims(&mut cache.books, 3, 100) {
        Offer::Victims(victims) => assert_eq!(victims.slots, 0b111),
        other => panic!("{other:?}"),
    }
}

#[test]
fn the_search_is_bounded_when_every_page_of_a_large_cache_was_used() {
    let mut cache = Cache::new(5000, 10_000);
    cache.insert_all((0..5000).map(|page| page * 64));
    for _ in 0..2 {
        (0..5000).for_each(|page| cache.hit(page * 64));
    }
    for fresh in 0..2000 {
        let before = cache.policy.visits();
        let promoted = main_pages(&cache);
        cache.drop_one().expect("a victim");
        // A dropped page may have been main.
        let promoted = (main_pages(&cache) + 1).saturating_sub(promoted);
        let visits = cache.policy.visits() - before;
        assert!(visits <= 64 + promoted, "{visits} visits");
        cache.insert((5000 + fresh) * 64, Origin::Demand);
    }
}

fn main_pages(cache: &Cache) -> u64 {
    cache.books.leaves.iter().map(|leaf| u64::from(leaf.marks.main.count_ones())).sum()
}

#[test]
fn a_large_truncation_starts_another_first_fill() {
    let mut cache = full();
    cache.drop_one();
    for page in 10..100 {
        cache.remove(page);
    }
    cache.insert_all(200..290);
    assert!(cache.is_main(289));
    let mut cache = full();
    cache.drop_one();
    for page in 10..30 {
        cache.remove(page);
    }
    cache.insert_all(200..220);
    assert!(!cache.is_main(219), "a small one does not");
}

#[test]
fn a_larger_capacity_makes_room_for_a_first_fill_and_a_smaller_one_for_none() {
    let mut cache = full();
    cache.drop_one();
    cache.policy.set_capacity(1000);
    cache.insert_all(200..300);
    assert!(cache.is_main(299));
    let mut cache = full();
    cache.drop_one();
    cache.policy.set_capacity(50);
    cache.insert_all(200..210);
    assert!(!cache.is_main(209));
}

#[test]
fn a_page_promoted_before_it_was_counted_is_counted_once() {
    let mut cache = in_use();
    // Page 10 is small now, and queues its leaf.
    cache.remove(10);
    cache.insert(10, Origin::Demand);
    // The slot of page 0 is locked, its present bit is set, a late hint marks it; `insert` comes
    // later.
    cache.books.leaves[0].present |= 1;
    cache.books.leaves[0].marks.referenced |= 1;
    assert_eq!(drop_some(&mut cache, 5), [1, 2, 3, 4, 900]);
    assert!(cache.is_main(0));
    let before = cache.policy.pages();
    cache.insert(0, Origin::Demand);
    assert_eq!(cache.policy.pages(), before + 1);
    // Ten pages are small: five may go until fewer than the share of six are left.
    assert_eq!(drop_some(&mut cache, 5), [901, 902, 903, 904, 905]);
    assert!(cache.drop_one().is_some_and(|page| page < 100 && page != 10));
    let dropped = std::iter::from_fn(|| cache.drop_one()).count();
    assert_eq!(dropped as u64, before + 1 - 6);
    assert_eq!(cache.policy.pages(), 0);
}

#[test]
fn an_empty_cache_has_no_victims() {
    let mut cache = Cache::new(0, 1);
    assert_eq!(cache.drop_one(), None);
}

#[test]
fn l1_pages_that_are_hit_between_any_two_looks_are_offered_in_the_end() {
    for pages in [1, 3, 200] {
        let mut cache = Cache::new(pages, 200);
        cache.insert_all((0..pages as usize).map(|page| page * 64));
        cache.books.is_hot = true;
        for left in (0..pages).rev() {
            assert!(cache.drop_one().is_some(), "{left} of {pages}");
        }
        assert_eq!(cache.drop_one(), None);
    }
}
