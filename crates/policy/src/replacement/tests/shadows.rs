//! The table of shadows: how long it remembers, how much, and how often it is wrong.
#![forbid(unsafe_code)]

use core::ops::Range;
use std::vec;
use std::vec::Vec;

use crate::replacement::{Identity, ShadowWords, Shadows};

struct Words(Vec<u64>);

impl ShadowWords for Words {
    fn word(&mut self, index: u32) -> Option<&mut u64> {
        self.0.get_mut(index as usize)
    }
}

/// The table for a cache of some pages, and how long a page counts as back soon.
struct Table {
    shadows: Shadows,
    words: Words,
    window: u64,
}

impl Table {
    fn new(pages: u64) -> Self {
        let shadows = Shadows::new(Shadows::words_for(pages));
        let words = Words(vec![0; shadows.words() as usize]);
        Self { shadows, words, window: pages * 6 / 5 }
    }

    /// Drops pages, each in a tick of its own.
    fn drop_all(&mut self, pages: impl IntoIterator<Item = u64>) {
        for page in pages {
            self.shadows.record(&mut self.words, 1, id(page));
            self.pass(1);
        }
    }

    /// As the policy does: the broom follows each step.
    fn pass(&mut self, ticks: u64) {
        self.shadows.tick(ticks);
        self.shadows.sweep(&mut self.words, self.window);
    }

    /// How many of the pages are back soon.
    fn soon(&mut self, pages: impl IntoIterator<Item = Identity>) -> usize {
        let Self { shadows, words, .. } = self;
        pages.into_iter().filter(|page| shadows.take(words, 1, *page) != 0).count()
    }
}

fn id(page: u64) -> Identity {
    Identity { mapping: 1, page }
}

fn ids(pages: Range<u64>) -> impl Iterator<Item = Identity> {
    pages.map(id)
}

#[test]
fn shadows_are_lost_by_and_by_and_none_outlives_the_window() {
    // Of 200 shadows that no others follow, so many ticks later.
    for (ticks, left) in [(0, 195..=200), (700, 190..=200), (950, 20..=180), (1300, 0..=0)] {
        for step in [1, 50] {
            let mut table = Table::new(1000);
            table.pass(1200 * 7);
            table.drop_all(0..200);
            (0..ticks / step).for_each(|_| table.pass(step));
            let soon = table.soon(ids(0..200));
            assert!(left.contains(&soon), "{soon} after {ticks} ticks, {step} at once");
        }
    }
}

#[test]
fn time_passes_in_steps_of_any_size() {
    for (step, times) in [(1, 1300), (130, 10), (1300, 1), (u64::MAX / 2, 3)] {
        let mut table = Table::new(1000);
        table.drop_all(0..500);
        (0..times).for_each(|_| table.pass(step));
        assert_eq!(table.soon(ids(0..500)), 0, "{times} steps of {step}");
    }
}

#[test]
fn a_page_that_returns_is_forgotten() {
    let mut table = Table::new(1000);
    table.drop_all([5, 6]);
    assert_eq!(table.soon(ids(5..7)), 2);
    assert_eq!(table.soon(ids(5..7)), 0);
}

#[test]
fn a_table_keeps_most_shadows_of_a_cache_whose_pages_all_leave_them() {
    let mut table = Table::new(10_000);
    table.drop_all(0..50_000);
    let [old, young] = [20_000..30_000, 42_000..50_000].map(|pages| table.soon(ids(pages)));
    assert!(young > 6400, "{young} of 8000");
    assert!(old < 400, "{old} of 10,000 after two rounds of the cache");
}

#[test]
fn in_a_full_table_less_than_one_page_of_a_hundred_is_taken_for_another() {
    let strangers = [id(1 << 20), id(1 << 40), Identity { mapping: 2, page: 0 }];
    for first in strangers {
        let mut table = Table::new(10_000);
        table.drop_all(0..50_000);
        let wrong =
            table.soon((0..20_000).map(|page| Identity { page: first.page + page, ..first }));
        assert!(wrong < 200, "{wrong} of 20,000, from {first:?}");
    }
}

#[test]
fn a_table_has_five_words_for_32_pages_and_at_least_128() {
    assert_eq!(Shadows::words_for(0), 128);
    assert_eq!(Shadows::words_for(819), 128);
    assert_eq!(Shadows::words_for(820), 129);
    assert_eq!(Shadows::words_for(1 << 14), 5 << 9);
    assert_eq!(Shadows::words_for(u64::MAX), 1 << 31);
    assert_eq!(Shadows::new(u32::MAX).words(), 1 << 31);
}

#[test]
fn a_table_without_words_remembers_nothing() {
    let mut table = Table { shadows: Shadows::new(0), words: Words(Vec::new()), window: 100 };
    table.drop_all(0..100);
    assert_eq!(table.soon(ids(0..100)), 0);
}
