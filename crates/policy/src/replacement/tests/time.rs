//! When a page is back soon.
#![forbid(unsafe_code)]

use super::books::Cache;
use crate::replacement::{Origin, Outcome};

/// A cache of 1000 pages, each in a leaf of its own, that has dropped page 0 and has no other
/// small page.
fn dropped() -> Cache {
    let mut cache = Cache::new(1000, 4000);
    cache.insert_all((0..1000).map(|page| page * 64));
    cache.insert_all([3000 * 64, 3001 * 64]);
    assert_eq!(cache.drop_one(), Some(48 * 64), "the small hand tires, and the main hand helps");
    assert_eq!(cache.drop_one(), Some(0));
    for page in (1..48).chain([3000, 3001]) {
        if !cache.is_main(page * 64) {
            cache.remove(page * 64);
        }
    }
    cache
}

/// Drops so many pages, all of them main.
fn drop_main(cache: &mut Cache, pages: usize) {
    for _ in 0..pages {
        let (page, victims) = cache.victim().expect("a victim");
        assert!(cache.is_main(page), "page {page}");
        cache.settle(victims, Outcome { dropped: victims.slots, referenced: 0 });
    }
}

#[test]
fn a_page_that_returns_soon_is_main_at_once() {
    let mut cache = dropped();
    cache.insert(0, Origin::Demand);
    assert!(cache.is_main(0));
}

#[test]
fn a_page_that_returns_once_is_not_remembered_twice() {
    let mut cache = dropped();
    cache.insert(0, Origin::Demand);
    cache.remove(0);
    cache.insert(0, Origin::Demand);
    assert!(!cache.is_main(0));
}

#[test]
fn dropped_main_pages_let_time_pass() {
    let mut cache = dropped();
    drop_main(&mut cache, 100);
    cache.insert(0, Origin::Demand);
    assert!(cache.is_main(0), "100 of 1200 ticks");

    let mut cache = dropped();
    drop_main(&mut cache, 800);
    // Less than half is left, so another first fill makes main pages.
    let last = (48..1000).rev().find(|page| cache.is_main(page * 64)).expect("a main page");
    cache.remove(last * 64);
    cache.insert_all((1000..1700).map(|page| page * 64));
    for page in 1000..1050 {
        cache.remove(page * 64);
    }
    drop_main(&mut cache, 500);
    cache.insert(0, Origin::Demand);
    assert!(!cache.is_main(0), "1300 of 1200 ticks");
}

#[test]
fn spared_main_pages_let_time_pass() {
    let mut cache = dropped();
    drop_main(&mut cache, 80);
    cache.insert(0, Origin::Demand);
    assert!(cache.is_main(0), "80 of 1200 ticks");

    let mut cache = dropped();
    // One of 16 is not used: a longer run would be hot.
    for page in (48..1000).filter(|page| page % 16 != 0) {
        cache.hit(page * 64);
        cache.hit(page * 64);
    }
    drop_main(&mut cache, 80);
    cache.insert(0, Origin::Demand);
    assert!(!cache.is_main(0), "two passes spare more than 1200 pages");
}
