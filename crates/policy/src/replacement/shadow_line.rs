//! A cache line of shadows: up to [`WAYS`] tags, each with a stamp of the time.
//!
//! A tag is a *group* and a *rest*. Shadows lie in ascending order of their groups, which therefore
//! need no bits of their own in each shadow: a word says where each group ends. That makes tags of
//! 12.3 bits fit into 9. When something is added, all that lies behind it moves.
//!
//! # Layout
//! Each word but the last has six fields of 10 bits, the lowest first; the last word has one. A
//! field is a stamp of [`STAMP_BITS`] and above it a rest of [`REST_BITS`]. Fields past the last
//! shadow are 0. The other bits describe the groups, those of the last word before those of the
//! first, the second, and so on: a 1 for each shadow, and a 0 behind the last one of each group.
//! So a line of zeros is empty.
#![forbid(unsafe_code)]

/// The words of a cache line of shadows.
pub type ShadowLine = [u64; WORDS];

/// Most shadows of a line.
pub(super) const WAYS: u32 = (WORDS as u32 - 1) * PER_WORD + 1;
/// Tags are below this.
pub(super) const TAGS: u32 = GROUPS << REST_BITS;
/// Stamps are below this.
pub(super) const STAMPS: u32 = 1 << STAMP_BITS;

const WORDS: usize = 8;
/// Fields in a word that is not the last.
const PER_WORD: u32 = 6;
const STAMP_BITS: u32 = 3;
const REST_BITS: u32 = 7;
const FIELD_BITS: u32 = STAMP_BITS + REST_BITS;
/// Bits of such a word that are fields, and the others.
const FIELDS_BITS: u32 = PER_WORD * FIELD_BITS;
const OTHER_BITS: u32 = u64::BITS - FIELDS_BITS;
/// Bits of the last word that describe groups.
const LAST_BITS: u32 = u64::BITS - FIELD_BITS;
const FIELDS: u64 = (1 << FIELDS_BITS) - 1;
const FIELD: u64 = (1 << FIELD_BITS) - 1;
/// As many as the bits that describe them allow in a full line.
const GROUPS: u32 = LAST_BITS + (WORDS as u32 - 1) * OTHER_BITS - WAYS;
/// 1 in each field.
const ONES: u64 = {
    let (mut ones, mut field) = (0, 0);
    while field < PER_WORD {
        ones |= 1 << (field * FIELD_BITS);
        field += 1;
    }
    ones
};

/// The bits of stamps.
const STAMP_FIELDS: u64 = ONES * (STAMPS as u64 - 1);

/// A line, and the bits that describe its groups.
///
/// # Invariants
/// `groups` has at most [`WAYS`] ones, and less than [`GROUPS`] zeros below the highest of them.
/// The bits of `words` that describe groups are stale.
#[derive(Clone, Copy, Debug)]
pub(super) struct Line {
    words: ShadowLine,
    groups: u128,
}

/// Where a shadow is: its number in the line, and its bit in `groups`.
#[derive(Clone, Copy, Debug)]
struct Place {
    number: u32,
    bit: u32,
}

impl Line {
    pub(super) fn of(words: ShadowLine) -> Self {
        let others = words[..WORDS - 1]
            .iter()
            .rev()
            .fold(0, |others, word| others << OTHER_BITS | word >> FIELDS_BITS);
        let last = words[WORDS - 1] >> FIELD_BITS;
        Self { words, groups: u128::from(others) << LAST_BITS | u128::from(last) }
    }

    pub(super) fn words(&self) -> ShadowLine {
        let mut words = self.words;
        let mut others = (self.groups >> LAST_BITS) as u64;
        for word in &mut words[..WORDS - 1] {
            *word = *word & FIELDS | others << FIELDS_BITS;
            others >>= OTHER_BITS;
        }
        words[WORDS - 1] = words[WORDS - 1] & FIELD | (self.groups as u64) << FIELD_BITS;
        words
    }

    /// Adds a shadow, in place of one with the same tag, or of the oldest one of a full line. Its
    /// stamp is the newest.
    pub(super) fn add(&mut self, tag: u32, stamp: u32) {
        let len = self.groups.count_ones();
        if len > WAYS {
            // Not written here. Counts as empty.
            *self = Self { words: [0; WORDS], groups: 0 };
        }
        let (group, rest) = split(tag);
        let mut bit = self.start(group);
        let same = self.find(group, rest, bit);
        let gone = same.or_else(|| (len == WAYS).then(|| self.oldest(stamp)));
        if let Some(gone) = gone {
            self.cut(gone.bit);
            bit -= u32::from(gone.bit < bit);
        }
        let below = (1 << bit) - 1;
        self.groups = self.groups & below | 1 << bit | (self.groups & !below) << 1;
        let field = u64::from(rest << STAMP_BITS | stamp);
        self.move_fields(gone.map_or(WAYS - 1, |gone| gone.number), bit - group, field);
    }

    /// Removes the shadow with this tag; whether there was one.
    pub(super) fn take(&mut self, tag: u32) -> bool {
        let (group, rest) = split(tag);
        let found = self.find(group, rest, self.start(group));
        found.inspect(|place| self.remove(*place)).is_some()
    }

    /// Removes all shadows with this stamp; whether there were any.
    pub(super) fn expire(&mut self, stamp: u32) -> bool {
        let mut expired = false;
        while let Some(place) = self.stamped(stamp) {
            self.remove(place);
            expired = true;
        }
        expired
    }

    /// The shadow with this rest in a group, which begins at the bit `start`.
    fn find(&self, group: u32, rest: u32, start: u32) -> Option<Place> {
        let end = start + (!self.groups >> start).trailing_zeros();
        (start..end.min(group + WAYS))
            .map(|bit| Place { number: bit - group, bit })
            .find(|place| self.field(place.number) >> STAMP_BITS == u64::from(rest))
    }

    /// The oldest shadow of a full line. Stamps count up to `newest`.
    fn oldest(&self, newest: u32) -> Place {
        // The oldest stamp of all becomes 0, the next 1, and so on. Sums do not leave their fields.
        let later = ONES * u64::from((STAMPS - 1 - newest) % STAMPS);
        let ranks = self.words.map(|word| (word & STAMP_FIELDS) + later);
        let mut left = [ONES; WORDS];
        left[WORDS - 1] = 1;
        for bit in (0..STAMP_BITS).rev() {
            let mut lower = left;
            for (lower, ranks) in lower.iter_mut().zip(ranks) {
                *lower &= !(ranks >> bit);
            }
            if lower.iter().fold(0, |all, fields| all | fields) != 0 {
                left = lower;
            }
        }
        let word = left.iter().position(|fields| *fields != 0).unwrap_or(0);
        self.place(word as u32 * PER_WORD + left[word].trailing_zeros() / FIELD_BITS)
    }

    /// The first shadow with this stamp.
    fn stamped(&self, stamp: u32) -> Option<Place> {
        let len = self.groups.count_ones().min(WAYS);
        let flags = ONES << STAMP_BITS;
        for (first, word) in (0..).step_by(PER_WORD as usize).zip(self.words) {
            let others = (word ^ (ONES * u64::from(stamp))) & STAMP_FIELDS;
            // The sum carries into the flag of a field unless the stamp is the one.
            let equal = !(others + STAMP_FIELDS) & flags;
            let number = first + equal.trailing_zeros() / FIELD_BITS;
            if equal != 0 && number < len {
                return Some(self.place(number));
            }
        }
        None
    }

    fn place(&self, number: u32) -> Place {
        Place { number, bit: nth_one(self.groups, number) }
    }

    /// The bit at which a group begins.
    fn start(&self, group: u32) -> u32 {
        group.checked_sub(1).map_or(0, |before| nth_one(!self.groups, before) + 1)
    }

    fn field(&self, number: u32) -> u64 {
        let (word, shift) = field_at(number);
        self.words[word] >> shift & FIELD
    }

    fn remove(&mut self, place: Place) {
        self.cut(place.bit);
        self.move_fields(place.number, WAYS - 1, 0);
    }

    /// Takes a bit out of `groups`.
    fn cut(&mut self, bit: u32) {
        let below = (1 << bit) - 1;
        self.groups = self.groups & below | self.groups >> 1 & !below;
    }

    /// Takes the field `from` out, and puts another one in, so that it becomes the field `to`.
    fn move_fields(&mut self, from: u32, to: u32, field: u64) {
        let ((from, from_shift), (to, to_shift)) = (field_at(from), field_at(to));
        let mut carry = field;
        if (to, to_shift) <= (from, from_shift) {
            for at in to..=from {
                let low = if at == to { to_shift } else { 0 };
                let high = if at == from { from_shift } else { FIELDS_BITS - FIELD_BITS };
                let fields = self.words[at] & fields_between(low, high);
                let moved = fields << FIELD_BITS & fields_between(low, high) | carry << low;
                self.words[at] ^= fields ^ moved;
                carry = fields >> high;
            }
        } else {
            for at in (from..=to).rev() {
                let low = if at == from { from_shift } else { 0 };
                let high = if at == to { to_shift } else { FIELDS_BITS - FIELD_BITS };
                let fields = self.words[at] & fields_between(low, high);
                let moved = fields >> FIELD_BITS & fields_between(low, high) | carry << high;
                self.words[at] ^= fields ^ moved;
                carry = fields >> low & FIELD;
            }
        }
    }
}

/// The bits of the fields of a word from one to another, both of them included.
fn fields_between(low: u32, high: u32) -> u64 {
    ((FIELD << high) | ((1 << high) - 1)) & (u64::MAX << low)
}

/// Group and rest of a tag.
fn split(tag: u32) -> (u32, u32) {
    (tag >> REST_BITS, tag % (1 << REST_BITS))
}

/// Word and shift of a field.
fn field_at(number: u32) -> (usize, u32) {
    ((number / PER_WORD) as usize, number % PER_WORD * FIELD_BITS)
}

/// The place of the 1 before which there are `n` others.
fn nth_one(bits: u128, n: u32) -> u32 {
    let (low, high) = (bits as u64, (bits >> u64::BITS) as u64);
    let counts = ones_up_to_bytes(low);
    let in_low = (counts >> 56) as u32;
    if n < in_low {
        nth_in_half(low, counts, n)
    } else {
        u64::BITS + nth_in_half(high, ones_up_to_bytes(high), n - in_low)
    }
}

/// 1 in each byte.
const BYTES: u64 = u64::MAX / 255;

/// In each byte of the result: the ones of the number in this byte and those below.
fn ones_up_to_bytes(bits: u64) -> u64 {
    let pairs = bits - ((bits >> 1) & (u64::MAX / 3));
    let nibbles = (pairs & (u64::MAX / 5)) + ((pairs >> 2) & (u64::MAX / 5));
    ((nibbles + (nibbles >> 4)) & (u64::MAX / 17)).wrapping_mul(BYTES)
}

fn nth_in_half(bits: u64, counts: u64, n: u32) -> u32 {
    // The highest bit of a byte stays set if there are no more than `n` ones up to it.
    let too_low = (((BYTES * u64::from(n)) | (BYTES << 7)) - counts) & (BYTES << 7);
    let shift = too_low.count_ones().min(7) * 8;
    let before = (counts << 8) >> shift & 0xff;
    let mut rest = bits >> shift;
    for _ in before..u64::from(n) {
        rest &= rest.wrapping_sub(1);
    }
    shift + rest.trailing_zeros()
}
