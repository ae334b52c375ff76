//! When a page is back soon.
#![forbid(unsafe_code)]

use std::vec;
use std::vec::Vec;

use super::books::Cache;
use crate::replacement::{Identity, Origin, Outcome, ShadowWords, Shadows};

/// A cache of 1000 pages, each in a leaf of its own, that has dropped page 0 and has no other
/// small page.
fn dropped() -> Cache {
    let mut cache = Cache::new(1000, 4000);
    cache.insert_all((0..1000).map(|page| page * 64));
    cache.insert_all([3000 * 64, 3001 * 64]);
    assert_eq!(cache.drop_one(), Some(50 * 64), "the small hand tires, and the main hand helps");
    assert_eq!(cache.drop_one(), Some(0));
    for page in (1..50).chain([3000, 3001]) {
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
    drop_main(&mut cache, 800);
    cache.insert(0, Origin::Demand);
    assert!(cache.is_main(0), "800 of 1100 ticks");

    let mut cache = dropped();
    drop_main(&mut cache, 800);
    // Less than half is left, so another first fill makes main pages.
    let last = (50..1000).rev().find(|page| cache.is_main(page * 64)).expect("a main page");
    cache.remove(last * 64);
    cache.insert_all((1000..1700).map(|page| page * 64));
    for page in 1000..1050 {
        cache.remove(page * 64);
    }
    drop_main(&mut cache, 400);
    cache.insert(0, Origin::Demand);
    assert!(!cache.is_main(0), "1200 of 1100 ticks");
}

#[test]
fn spared_main_pages_let_time_pass() {
    let mut cache = dropped();
    drop_main(&mut cache, 80);
    cache.insert(0, Origin::Demand);
    assert!(cache.is_main(0), "80 of 1100 ticks");

    let mut cache = dropped();
    // One of 16 is not used: a longer run would be hot.
    for page in (50..1000).filter(|page| page % 16 != 0) {
        cache.hit(page * 64);
        cache.hit(page * 64);
    }
    drop_main(&mut cache, 80);
    cache.insert(0, Origin::Demand);
    assert!(!cache.is_main(0), "two passes spare more than 1100 pages");
}

struct Table(Vec<u32>);

impl ShadowWords for Table {
    fn get(&self, index: u32) -> u32 {
        self.0[index as usize]
    }

    fn set(&mut self, index: u32, value: u32) {
        self.0[index as usize] = value;
    }
}

fn table(entries: u32) -> (Shadows, Table) {
    let shadows = Shadows::new(entries);
    let words = shadows.words() as usize;
    (shadows, Table(vec![0; words]))
}

fn id(page: u64) -> Identity {
    Identity { mapping: 1, page }
}

#[test]
fn a_shadow_is_soon_until_the_window_is_over_and_never_again() {
    for late in (0..200_000).step_by(97) {
        let (mut shadows, mut words) = table(1250);
        shadows.record(&mut words, id(5));
        // As the policy does: time passes in small steps, and the sweep follows.
        let mut left = late;
        while left > 0 {
            let step = left.min(64);
            shadows.tick(step);
            shadows.sweep(&mut words);
            left -= step;
        }
        let soon = shadows.take(&mut words, id(5), 1100);
        assert!(soon || late > 1100 - 53, "not soon after {late}");
        assert!(!soon || late < 1100 + 53, "soon after {late}");
    }
}

#[test]
fn shadows_of_other_mappings_are_other_shadows() {
    let (shadows, mut words) = table(1 << 16);
    let wrong = (0..1000)
        .filter(|page| {
            shadows.record(&mut words, id(*page));
            shadows.take(&mut words, Identity { mapping: 2, page: *page }, 1000)
        })
        .count();
    assert!(wrong <= 5, "{wrong} of 1000");
}

#[test]
fn a_full_table_keeps_most_of_the_newest_shadows() {
    let (mut shadows, mut words) = table(1250);
    for page in 0..10_000 {
        shadows.record(&mut words, id(page));
        shadows.tick(1);
        shadows.sweep(&mut words);
    }
    let kept = (9000..10_000).filter(|page| shadows.take(&mut words, id(*page), 1100)).count();
    assert!(kept > 930, "{kept} of 1000");
}

#[test]
fn a_table_of_no_entries_is_a_bucket() {
    assert_eq!(Shadows::new(0).words(), 4);
    assert_eq!(Shadows::new(9).words(), 8);
    assert_eq!(Shadows::new(u32::MAX).words(), 1 << 30);
}
