//! What is remembered of pages that were dropped: a hashed table of shadows, and its clock.
//!
//! A page's hash says which cache line of the table its shadow lies in, and which tag it has there
//! (module `shadow_line`). No page is looked for elsewhere.
//!
//! The clock is a broom that goes round the lines, [`ROUNDS`] rounds and a half while a page may be
//! back soon. In each line it takes away the shadows that it has passed [`ROUNDS`] times before. So
//! a shadow that is found is young enough, give or take half a round, and needs a stamp of 3 bits:
//! the number of the broom's next round at its line.
#![forbid(unsafe_code)]

use super::shadow_line::{Line, STAMPS, ShadowLine, TAGS};

/// Lines of the table for so many pages of the cache.
const LINES: u64 = 5;
const PAGES: u64 = 256;
/// Lines that every cache gets, however small: there, a wrong tag would weigh more.
const LEAST: u64 = 16;
/// Lines of the largest table.
const MOST: u64 = 1 << 28;
/// How many times the broom passes a shadow without taking it away.
const ROUNDS: u64 = STAMPS as u64 - 1;

/// The lines of the table, which the caller supplies: [`Shadows::lines`] of them, all 0 at first.
///
/// A kernel carves them from frames, 64 from each; a line is a cache line if it is aligned to its
/// size. Lines are reached under the reclaimer's lock only. What a wrong line costs is a wrong
/// guess.
pub trait ShadowLines {
    /// Loads a line.
    fn get(&self, index: u32) -> ShadowLine;
    /// Stores a line.
    fn set(&mut self, index: u32, line: &ShadowLine);
}

/// Names a page of a mapping.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Identity {
    /// Id of the mapping, unique among those that share a cache.
    pub mapping: u64,
    /// Index of the page in it.
    pub page: u64,
}

impl Identity {
    /// The page so many slots on.
    pub(super) const fn at(self, slot: u32) -> Self {
        Self { page: self.page.wrapping_add(slot as u64), ..self }
    }
}

/// The table's shape and clock. O(1) an operation.
#[derive(Clone, Debug)]
pub struct Shadows {
    lines: u32,
    /// The broom's round, counted modulo [`STAMPS`], and the next line that it comes to.
    round: u32,
    broom: u32,
    /// Ticks that the broom has not followed yet, and what is left of a step: see
    /// [`sweep`](Self::sweep).
    ticks: u64,
    owed: u64,
}

impl Shadows {
    /// A table of so many lines, at most 2^28. One without lines remembers nothing.
    #[must_use]
    pub const fn new(lines: u32) -> Self {
        let lines = if lines > MOST as u32 { MOST as u32 } else { lines };
        Self { lines, round: 0, broom: 0, ticks: 0, owed: 0 }
    }

    /// How many lines are enough for a cache of so many pages: 5 for every 256, which are 1.25
    /// bytes a page, and at least 16. With fewer, long loops are recognised less often.
    #[must_use]
    pub const fn lines_for(pages: u64) -> u32 {
        let lines = pages.saturating_mul(LINES).div_ceil(PAGES);
        let lines = if lines < LEAST { LEAST } else { lines };
        if lines > MOST { MOST as u32 } else { lines as u32 }
    }

    /// How many lines the table has.
    #[must_use]
    pub const fn lines(&self) -> u32 {
        self.lines
    }

    /// Lets time pass, which the next [`sweep`](Self::sweep) follows.
    pub(super) fn tick(&mut self, ticks: u64) {
        self.ticks = self.ticks.saturating_add(ticks);
    }

    /// Remembers that a page was dropped now.
    pub(super) fn record(&self, table: &mut impl ShadowLines, page: Identity) {
        let Some((index, tag)) = self.place(page) else { return };
        let mut line = Line::of(table.get(index));
        line.add(tag, self.stamp(index));
        table.set(index, &line.words());
    }

    /// Forgets a page; whether it was dropped a short time ago.
    pub(super) fn take(&self, table: &mut impl ShadowLines, page: Identity) -> bool {
        let Some((index, tag)) = self.place(page) else { return false };
        let mut line = Line::of(table.get(index));
        let found = line.take(tag);
        if found {
            table.set(index, &line.words());
        }
        found
    }

    /// Forgets pages that were dropped more than `window` ticks ago: moves the broom on by as many
    /// lines as is due for the time that has passed.
    pub(super) fn sweep(&mut self, table: &mut impl ShadowLines, window: u64) {
        let half_lines = (2 * ROUNDS + 1) * u64::from(self.lines);
        let half_windows = window.max(1).saturating_mul(2);
        self.owed = self.owed.saturating_add(self.ticks.saturating_mul(half_lines));
        self.ticks = 0;
        // After as many rounds as there are stamps nothing is left to forget.
        let due = (self.owed / half_windows).min(u64::from(STAMPS) * u64::from(self.lines));
        self.owed %= half_windows;
        for _ in 0..due {
            self.sweep_line(table);
        }
    }

    fn sweep_line(&mut self, table: &mut impl ShadowLines) {
        let index = self.broom;
        let mut line = Line::of(table.get(index));
        // The stamp of the shadows to come is that of those which are too old.
        if line.expire((self.round + 1) % STAMPS) {
            table.set(index, &line.words());
        }
        self.broom += 1;
        if self.broom == self.lines {
            self.broom = 0;
            self.round = (self.round + 1) % STAMPS;
        }
    }

    /// The stamp of a shadow that is put into a line now.
    fn stamp(&self, line: u32) -> u32 {
        (self.round + u32::from(line < self.broom)) % STAMPS
    }

    /// The line of a page, and its tag. `None` if there are no lines.
    fn place(&self, page: Identity) -> Option<(u32, u32)> {
        if self.lines == 0 {
            return None;
        }
        let hash = mix(page.page ^ mix(page.mapping));
        let [line, tag] = [(hash >> 32, self.lines), (hash & u64::from(u32::MAX), TAGS)]
            .map(|(part, places)| ((part * u64::from(places)) >> 32) as u32);
        Some((line, tag))
    }
}

/// Spreads a number over all bits (the finaliser of MurmurHash3).
const fn mix(mut x: u64) -> u64 {
    x = (x ^ (x >> 33)).wrapping_mul(0xff51_afd7_ed55_8ccd);
    x = (x ^ (x >> 33)).wrapping_mul(0xc4ce_b9fe_1a85_ec53);
    x ^ (x >> 33)
}
