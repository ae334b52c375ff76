//! The table of shadows: how long it remembers, how much, and how often it is wrong.
#![forbid(unsafe_code)]

use core::ops::Range;
use std::vec;
use std::vec::Vec;

use crate::replacement::{Identity, ShadowLine, ShadowLines, Shadows};

struct Lines(Vec<ShadowLine>);

impl ShadowLines for Lines {
    fn get(&self, index: u32) -> ShadowLine {
        self.0[index as usize]
    }

    fn set(&mut self, index: u32, line: &ShadowLine) {
        self.0[index as usize] = *line;
    }
}

/// The table for a cache of some pages, and how long a page counts as back soon.
struct Table {
    shadows: Shadows,
    lines: Lines,
    window: u64,
}

impl Table {
    fn new(pages: u64) -> Self {
        let shadows = Shadows::new(Shadows::lines_for(pages));
        let lines = Lines(vec![ShadowLine::default(); shadows.lines() as usize]);
        Self { shadows, lines, window: pages * 11 / 10 }
    }

    /// Drops pages, each in a tick of its own.
    fn drop_all(&mut self, pages: impl IntoIterator<Item = u64>) {
        for page in pages {
            self.shadows.record(&mut self.lines, id(page));
            self.pass(1);
        }
    }

    /// As the policy does: the broom follows each step.
    fn pass(&mut self, ticks: u64) {
        self.shadows.tick(ticks);
        self.shadows.sweep(&mut self.lines, self.window);
    }

    /// How many of the pages are back soon.
    fn soon(&mut self, pages: impl IntoIterator<Item = Identity>) -> usize {
        let Self { shadows, lines, .. } = self;
        pages.into_iter().filter(|page| shadows.take(lines, *page)).count()
    }
}

fn id(page: u64) -> Identity {
    Identity { mapping: 1, page }
}

fn ids(pages: Range<u64>) -> impl Iterator<Item = Identity> {
    pages.map(id)
}

#[test]
fn a_shadow_is_soon_until_the_window_is_over_and_never_again() {
    for late in (0..20_000).step_by(37) {
        let mut table = Table::new(1000);
        table.pass(late * 7 % 1100);
        table.drop_all([late]);
        let mut left = late;
        while left > 0 {
            let step = left.min(64);
            table.pass(step);
            left -= step;
        }
        let soon = table.soon([id(late)]) > 0;
        // Half a round of the broom more or less.
        assert!(soon || late > 1100 - 75, "not soon after {late}");
        assert!(!soon || late < 1100 + 75, "soon after {late}");
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
    table.drop_all([5, 6, 5]);
    assert_eq!(table.soon(ids(5..7)), 2);
    assert_eq!(table.soon(ids(5..7)), 0);
}

#[test]
fn a_table_keeps_most_shadows_of_a_cache_whose_pages_all_leave_them() {
    let mut table = Table::new(10_000);
    table.drop_all(0..50_000);
    let kept = table.soon(ids(42_000..50_000));
    assert!(kept > 7500, "{kept} of 8000");
}

#[test]
fn in_a_full_table_less_than_one_page_of_a_hundred_is_taken_for_another() {
    let strangers = [id(1 << 20), id(1 << 40), Identity { mapping: 2, page: 0 }];
    for first in strangers {
        let mut table = Table::new(10_000);
        table.drop_all(0..50_000);
        let wrong = table.soon((0..20_000).map(|page| first.at(page)));
        assert!(wrong < 200, "{wrong} of 20,000, from {first:?}");
    }
}

#[test]
fn a_table_has_five_lines_for_256_pages_and_at_least_sixteen() {
    assert_eq!(Shadows::lines_for(0), 16);
    assert_eq!(Shadows::lines_for(819), 16);
    assert_eq!(Shadows::lines_for(820), 17);
    assert_eq!(Shadows::lines_for(1 << 14), 5 << 6);
    assert_eq!(Shadows::lines_for(u64::MAX), 1 << 28);
    assert_eq!(Shadows::new(u32::MAX).lines(), 1 << 28);
}

#[test]
fn a_table_without_lines_remembers_nothing() {
    let mut table = Table { shadows: Shadows::new(0), lines: Lines(Vec::new()), window: 100 };
    table.drop_all(0..100);
    assert_eq!(table.soon(ids(0..100)), 0);
}
