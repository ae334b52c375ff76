//! Which frames of a pool are free: one bit each, and a hint where the search begins.
#![forbid(unsafe_code)]

/// Bits in a word.
const BITS: u32 = u64::BITS;

/// The longest run that one search returns.
pub(crate) const MAX_RUN: u32 = BITS;

/// Frames `0..total` of a pool. A set bit is a free frame.
///
/// # Invariants
/// `free` is the number of set bits; bits from `total` on are not set.
#[derive(Debug)]
pub(crate) struct Bitmap {
    words: &'static mut [u64],
    free: u32,
    /// Where the next search begins: after the last run that was taken. Fresh memory is handed out
    /// in ascending order, so that runs are long.
    hint: u32,
}

impl Bitmap {
    /// Frames `0..total`, all free. `words` has a bit for each.
    pub(crate) fn all_free(words: &'static mut [u64], total: u32) -> Self {
        for (word, first) in words.iter_mut().zip((0..).step_by(BITS as usize)) {
            *word = mask(0, total.saturating_sub(first).min(BITS));
        }
        Self { words, free: total, hint: 0 }
    }

    /// How many frames are free.
    pub(crate) fn free(&self) -> u32 {
        self.free
    }

    /// Takes the first free frame from the hint on, and those behind it that are free too, up to
    /// `pages` (1..=64); the first one, and how many. Looks at each word at most twice.
    pub(crate) fn take(&mut self, pages: u32) -> Option<(u32, u32)> {
        if self.free == 0 {
            return None;
        }
        let first = self.first_free(self.hint).or_else(|| self.first_free(0))?;
        let len = self.run_at(first).min(pages.clamp(1, MAX_RUN));
        self.for_each_word(first, len, |word, bits| *word &= !bits);
        self.free -= len;
        self.hint = first + len;
        Some((first, len))
    }

    /// Makes a frame free. Does nothing to one that is free already.
    pub(crate) fn give(&mut self, frame: u32) {
        let word = &mut self.words[(frame / BITS) as usize];
        let bit = mask(frame % BITS, 1);
        debug_assert!(*word & bit == 0, "frame {frame} of the pool was free already");
        self.free += u32::from(*word & bit == 0);
        *word |= bit;
    }

    /// The first free frame from `from` on.
    fn first_free(&self, from: u32) -> Option<u32> {
        let mut at = (from / BITS) as usize;
        let mut word = self.words.get(at)? & (u64::MAX << (from % BITS));
        while word == 0 {
            at += 1;
            word = *self.words.get(at)?;
        }
        Some(at as u32 * BITS + word.trailing_zeros())
    }

    /// How many frames are free from `first` on: exact up to the end of the word after its own.
    fn run_at(&self, first: u32) -> u32 {
        let (at, bit) = ((first / BITS) as usize, first % BITS);
        let here = (self.words[at] >> bit).trailing_ones();
        if here < BITS - bit {
            return here;
        }
        here + self.words.get(at + 1).map_or(0, |word| word.trailing_ones())
    }

    /// Calls `change` with each word that has some of the frames `first..first + len`, and their
    /// bits.
    fn for_each_word(&mut self, first: u32, len: u32, mut change: impl FnMut(&mut u64, u64)) {
        let (mut at, mut left) = (first, len);
        while left > 0 {
            let here = left.min(BITS - at % BITS);
            change(&mut self.words[(at / BITS) as usize], mask(at % BITS, here));
            at += here;
            left -= here;
        }
    }
}

/// The bits `first..first + len` of a word; `first + len` is at most 64.
fn mask(first: u32, len: u32) -> u64 {
    match len {
        0 => 0,
        len => (u64::MAX >> (BITS - len)) << first,
    }
}
