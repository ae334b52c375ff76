//! A word of shadows: a FIFO queue of [`PLACES`] tags.
//!
//! A tag goes in at one end, and what was there moves on by one place, and out at the other end. So
//! the place of a shadow is its age, and no age is kept. A tag that is taken leaves its place
//! empty, or older ones would become younger.
//!
//! # Layout
//! Tags have 10 bits, the youngest is lowest; the upper 4 bits are 0. An empty place is 0. So a
//! word of 0 is empty, and any word is one of shadows.
#![forbid(unsafe_code)]

/// Places of a word.
pub(super) const PLACES: u32 = 6;
/// Tags are below this, and not 0.
pub(super) const TAGS: u32 = 1 << TAG_BITS;

const TAG_BITS: u32 = 10;
/// The bits that are tags.
const FIELDS: u64 = (1 << (PLACES * TAG_BITS)) - 1;
/// 1 in each field.
const ONES: u64 = FIELDS / (TAGS as u64 - 1);
/// The highest bit of each field.
const HIGHS: u64 = ONES << (TAG_BITS - 1);

/// The word with one more shadow, and without its oldest.
pub(super) fn with(word: u64, tag: u32) -> u64 {
    (word << TAG_BITS | u64::from(tag)) & FIELDS
}

/// The word with its shadows moved on by so many places, less than there are.
pub(super) fn aged(word: u64, places: u32) -> u64 {
    (word << (places * TAG_BITS)) & FIELDS
}

/// The word without the youngest shadow that has this tag; `None` if none has.
pub(super) fn without(word: u64, tag: u32) -> Option<u64> {
    let others = word ^ (ONES * u64::from(tag));
    // A field that is 0 loses its highest bit by the subtraction, and no field borrows.
    let equal = HIGHS & !(others | ((others | HIGHS) - ONES));
    let field = u64::from(TAGS - 1);
    (equal != 0).then(|| word & !(field << (equal.trailing_zeros() + 1 - TAG_BITS)))
}
