//! What is remembered of pages that were dropped: a hashed table of 16-bit entries and its clock.
//!
//! An entry is a tag of [`TAG_BITS`] and the time in [`TIME_BITS`]; eight of them are a bucket of
//! 16 bytes. 0 is an empty entry. Time is coarse: [`UNITS`] units pass while as many ticks pass as
//! the table has entries. As time wraps, a sweep clears old entries before they could look new.
#![forbid(unsafe_code)]

/// Entries in a bucket.
const WAYS: u32 = 8;
/// Entries in a word.
const PER_WORD: u32 = 2;
/// Entries of the largest table.
const MOST: u32 = 1 << 31;
const WORDS: u32 = WAYS / PER_WORD;
const TIME_BITS: u32 = 6;
const TAG_BITS: u32 = 16 - TIME_BITS;
const TIMES: u32 = 1 << TIME_BITS;
/// Units of time in as many ticks as the table has entries.
const UNITS: u64 = 24;
/// No page is back soon after more than this. The sweep needs half a table of ticks for a round,
/// so no entry gets older than this and `UNITS / 2 + 1` more, which must stay below [`TIMES`].
const LONGEST: u32 = TIMES - UNITS as u32 / 2 - 2;

/// The words of the table, which the caller supplies: at least [`Shadows::words`], 0 at first.
///
/// A kernel carves them from frames: word `i` is in frame `i / 1024`, at byte `i % 1024 * 4`. A
/// bucket is four aligned words, so it lies in one frame and in one cache line. Words are reached
/// under the reclaimer's lock only. What a wrong word costs is a wrong guess.
pub trait ShadowWords {
    /// Loads a word.
    fn get(&self, index: u32) -> u32;
    /// Stores a word.
    fn set(&mut self, index: u32, value: u32);
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
    buckets: u32,
    unit_ticks: u64,
    /// Ticks of the current unit that have passed.
    passed: u64,
    now: u32,
    /// The next bucket to sweep, and the ticks that the sweep has not followed yet.
    broom: u32,
    unswept: u64,
}

impl Shadows {
    /// A table of at least `entries`, rounded up to buckets of eight. 5 for every 4 pages that the
    /// cache may hold is enough; with fewer, long loops are recognised less often.
    ///
    /// The table may have at most 2^31 entries, and gets no more.
    #[must_use]
    pub const fn new(entries: u32) -> Self {
        let entries = if entries > MOST { MOST } else { entries };
        let buckets = if entries == 0 { 1 } else { entries.div_ceil(WAYS) };
        let ticks = (buckets * WAYS) as u64 / UNITS;
        let unit_ticks = if ticks == 0 { 1 } else { ticks };
        Self { buckets, unit_ticks, passed: 0, now: 0, broom: 0, unswept: 0 }
    }

    /// How many words the table needs.
    #[must_use]
    pub const fn words(&self) -> u32 {
        self.buckets * WORDS
    }

    /// Lets time pass.
    pub(super) fn tick(&mut self, ticks: u64) {
        self.passed += ticks;
        self.unswept += ticks;
        self.now = (self.now + (self.passed / self.unit_ticks % u64::from(TIMES)) as u32) % TIMES;
        self.passed %= self.unit_ticks;
    }

    /// Remembers that a page was dropped now. The oldest entry of a full bucket makes room.
    pub(super) fn record(&self, words: &mut impl ShadowWords, page: Identity) {
        let (first, tag) = self.place(page);
        let mut oldest = (0, first, 0);
        for (word, shift) in bucket(first) {
            let entry = words.get(word) >> shift & 0xffff;
            let age =
                if entry == 0 || entry >> TIME_BITS == tag { TIMES } else { self.age(entry) + 1 };
            if age > oldest.0 {
                oldest = (age, word, shift);
            }
        }
        let (_, word, shift) = oldest;
        put(words, word, shift, tag << TIME_BITS | self.now);
    }

    /// Forgets a page; whether it was dropped at most `window` ticks ago.
    pub(super) fn take(&self, words: &mut impl ShadowWords, page: Identity, window: u64) -> bool {
        let longest = u64::from(LONGEST).min(window / self.unit_ticks) as u32;
        let (first, tag) = self.place(page);
        for (word, shift) in bucket(first) {
            let entry = words.get(word) >> shift & 0xffff;
            if entry >> TIME_BITS == tag {
                put(words, word, shift, 0);
                return self.age(entry) <= longest;
            }
        }
        false
    }

    /// Clears entries that are too old to matter, in proportion to the time that has passed.
    pub(super) fn sweep(&mut self, words: &mut impl ShadowWords) {
        let due = self.unswept * 2 / u64::from(WAYS);
        self.unswept -= due * u64::from(WAYS) / 2;
        for _ in 0..due.min(u64::from(self.buckets)) {
            for (word, shift) in bucket(self.broom * WORDS) {
                let entry = words.get(word) >> shift & 0xffff;
                if entry != 0 && self.age(entry) > LONGEST {
                    put(words, word, shift, 0);
                }
            }
            self.broom = (self.broom + 1) % self.buckets;
        }
    }

    /// The units since an entry was made.
    fn age(&self, entry: u32) -> u32 {
        self.now.wrapping_sub(entry) % TIMES
    }

    /// The first word of a page's bucket, and its tag, which is not 0.
    fn place(&self, page: Identity) -> (u32, u32) {
        let hash = mix(page.page ^ mix(page.mapping));
        let bucket = ((hash >> 32) * u64::from(self.buckets)) >> 32;
        let tag = (hash as u32) >> (32 - TAG_BITS);
        (bucket as u32 * WORDS, tag.max(1))
    }
}

/// The places of a bucket: words and shifts in them.
fn bucket(first: u32) -> impl Iterator<Item = (u32, u32)> {
    (0..WAYS).map(move |way| (first + way / PER_WORD, way % PER_WORD * 16))
}

fn put(words: &mut impl ShadowWords, word: u32, shift: u32, entry: u32) {
    let others = words.get(word) & !(0xffff << shift);
    words.set(word, others | entry << shift);
}

/// Spreads a number over all bits (the finaliser of MurmurHash3).
const fn mix(mut x: u64) -> u64 {
    x = (x ^ (x >> 33)).wrapping_mul(0xff51_afd7_ed55_8ccd);
    x = (x ^ (x >> 33)).wrapping_mul(0xc4ce_b9fe_1a85_ec53);
    x ^ (x >> 33)
}
