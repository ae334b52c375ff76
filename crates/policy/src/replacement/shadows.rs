//! What is remembered of pages that were dropped: a hashed table of shadows, and its clock.
//!
//! A page's hash says which word of the table its shadow lies in, and which tag it has there
//! (module `shadow_word`). No page is looked for elsewhere.
//!
//! A word is a queue, and so is the table, about: a shadow is lost when as many have gone into its
//! word after it as a word has places. While pages leave fewer shadows than would fill the table
//! within the time in which a page may be back soon, a broom makes up for those that are missing:
//! it goes round the words, and moves their shadows on. So shadows are lost in time, some of them
//! early, some late: a working set that is a little too large for the cache is recognised in part.
#![forbid(unsafe_code)]

use super::hand::bits;
use super::shadow_word::{self, PLACES, TAGS};

/// Words of the table for so many pages of the cache.
const WORDS: u64 = 5;
const PAGES: u64 = 32;
/// Words that every cache gets, however small: there, a wrong tag would weigh more.
const LEAST: u64 = 128;
/// Words of the largest table.
const MOST: u64 = 1 << 31;
/// Places by which the broom moves the shadows of a word on.
const STEP: u32 = 2;
/// The broom may be ahead by one place in so many of the table.
const AHEAD_PART: i64 = 16;

/// The words of the table, which the caller supplies: [`Shadows::words`] of them, all 0 at first.
///
/// A kernel carves them from frames. Words are reached under the reclaimer's lock only. What a
/// wrong word costs is a wrong guess.
pub trait ShadowWords {
    /// A word. `None`: there is no memory for it.
    fn word(&mut self, index: u32) -> Option<&mut u64>;
}

/// Names a page of a mapping.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Identity {
    /// Id of the mapping, unique among those that share a cache.
    pub mapping: u64,
    /// Index of the page in it.
    pub page: u64,
}

/// The table's shape and clock. O(1) an operation for each page.
#[derive(Clone, Debug)]
pub struct Shadows {
    words: u32,
    /// The next word that the broom comes to.
    broom: u32,
    /// Ticks and shadows that the broom has not followed yet: see [`sweep`](Self::sweep).
    ticks: u64,
    recorded: u32,
    /// Places by which the broom has to move shadows on, and what is left of a place. Negative if
    /// it is ahead.
    due: i64,
    part: u64,
}

impl Shadows {
    /// A table of so many words, at most 2^31. One without words remembers nothing.
    #[must_use]
    pub const fn new(words: u32) -> Self {
        let words = if words > MOST as u32 { MOST as u32 } else { words };
        Self { words, broom: 0, ticks: 0, recorded: 0, due: 0, part: 0 }
    }

    /// How many words are enough for a cache of so many pages: 5 for every 32, which are 1.25 bytes
    /// a page, and at least 128. With fewer, long loops are recognised less often.
    #[must_use]
    pub const fn words_for(pages: u64) -> u32 {
        let words = pages.saturating_mul(WORDS).div_ceil(PAGES);
        let words = if words < LEAST { LEAST } else { words };
        if words > MOST { MOST as u32 } else { words as u32 }
    }

    /// How many words the table has.
    #[must_use]
    pub const fn words(&self) -> u32 {
        self.words
    }

    /// Lets time pass, which the next [`sweep`](Self::sweep) follows.
    pub(super) fn tick(&mut self, ticks: u64) {
        self.ticks = self.ticks.saturating_add(ticks);
    }

    /// Remembers that pages were dropped now. `first` names the page of slot 0.
    pub(super) fn record(&mut self, table: &mut impl ShadowWords, slots: u64, first: Identity) {
        for (_, index, tag) in places(self.words, slots, first) {
            if let Some(word) = table.word(index) {
                *word = shadow_word::with(*word, tag);
            }
        }
        self.recorded = self.recorded.saturating_add(slots.count_ones());
    }

    /// Forgets pages. Which were dropped a short time ago. `first` names the page of slot 0.
    pub(super) fn take(&self, table: &mut impl ShadowWords, slots: u64, first: Identity) -> u64 {
        let mut soon = 0;
        for (slot, index, tag) in places(self.words, slots, first) {
            if let Some(word) = table.word(index)
                && let Some(rest) = shadow_word::without(*word, tag)
            {
                *word = rest;
                soon |= 1 << slot;
            }
        }
        soon
    }

    /// Forgets pages that were dropped more than `window` ticks ago, about: in so many ticks
    /// shadows are moved on by as many places as the table has, by the broom if not by new ones.
    pub(super) fn sweep(&mut self, table: &mut impl ShadowWords, window: u64) {
        let places = i64::from(self.words) * i64::from(PLACES);
        let window = window.max(1);
        self.part = self.part.saturating_add(self.ticks.saturating_mul(places as u64));
        let passed = i64::try_from(self.part / window).unwrap_or(i64::MAX).min(2 * places);
        self.part %= window;
        self.ticks = 0;
        let due = self.due + passed - i64::from(self.recorded);
        self.due = due.clamp(-places / AHEAD_PART, places);
        self.recorded = 0;
        while self.due >= i64::from(STEP) {
            self.due -= i64::from(STEP);
            if let Some(word) = table.word(self.broom) {
                *word = shadow_word::aged(*word, STEP);
            }
            self.broom = if self.broom + 1 < self.words { self.broom + 1 } else { 0 };
        }
    }
}

/// The slots of pages, and for each its word among so many, and its tag there. None if there are no
/// words.
fn places(words: u32, slots: u64, first: Identity) -> impl Iterator<Item = (u32, u32, u32)> {
    let mapping = mix(first.mapping);
    bits(if words == 0 { 0 } else { slots }).map(move |slot| {
        let hash = mix(first.page.wrapping_add(slot.into()) ^ mapping);
        let below = |part: u64, end: u32| ((part * u64::from(end)) >> 32) as u32;
        let tag = 1 + below(hash & u64::from(u32::MAX), TAGS - 1);
        (slot, below(hash >> 32, words), tag)
    })
}

/// Spreads a number over all bits (the finaliser of MurmurHash3).
const fn mix(mut x: u64) -> u64 {
    x = (x ^ (x >> 33)).wrapping_mul(0xff51_afd7_ed55_8ccd);
    x = (x ^ (x >> 33)).wrapping_mul(0xc4ce_b9fe_1a85_ec53);
    x ^ (x >> 33)
}
