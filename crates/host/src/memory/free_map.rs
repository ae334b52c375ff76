//! Which frames are free: a bitmap, searched from where the last search ended, in a
//! [`FrameOrder`].

#![forbid(unsafe_code)]

/// Runs looked at before the longest so far is taken.
const CANDIDATES: usize = 16;
/// How far the next frame lies from the last one when frames are to be scattered. Prime, so that
/// every frame is reached.
const STRIDE: usize = 37;

/// How frames that are allocated together, or after one another, lie in memory.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum FrameOrder {
    /// Side by side, as far as memory is not fragmented.
    #[default]
    Contiguous,
    /// One at a time and far apart: no run longer than a frame is ever handed out.
    Scattered,
}

/// The free frames, by place (from 0).
#[derive(Debug)]
pub(super) struct FreeMap {
    /// Bit set: free.
    words: Vec<u64>,
    frames: usize,
    free: usize,
    cursor: usize,
}

impl FreeMap {
    /// All of `frames` frames free.
    pub(super) fn new(frames: usize) -> Self {
        let mut words = vec![u64::MAX; frames.div_ceil(64)];
        if let (Some(last), used @ 1..) = (words.last_mut(), frames % 64) {
            *last = u64::MAX >> (64 - used);
        }
        Self { words, frames, free: frames, cursor: 0 }
    }

    /// Number of free frames.
    pub(super) fn free(&self) -> usize {
        self.free
    }

    /// Takes a run of up to `wanted` frames: its first place and its length.
    pub(super) fn take(&mut self, wanted: usize, order: FrameOrder) -> Option<(usize, usize)> {
        if self.free == 0 {
            return None;
        }
        let (first, len) = match order {
            FrameOrder::Contiguous => self.best_run(wanted)?,
            FrameOrder::Scattered => (self.next_free(self.cursor)?, 1),
        };
        for place in first..first + len {
            self.words[place / 64] &= !(1 << (place % 64));
        }
        self.free -= len;
        self.cursor = match order {
            FrameOrder::Contiguous => first + len,
            FrameOrder::Scattered => (first + STRIDE) % self.frames,
        };
        Some((first, len))
    }

    /// Gives the frame in `place` back.
    pub(super) fn give(&mut self, place: usize) {
        let bit = 1 << (place % 64);
        assert_eq!(self.words[place / 64] & bit, 0, "frame in place {place} freed twice");
        self.words[place / 64] |= bit;
        self.free += 1;
    }

    /// The first run of `wanted` frames, or the longest among the first few runs.
    fn best_run(&self, wanted: usize) -> Option<(usize, usize)> {
        let mut best: Option<(usize, usize)> = None;
        let mut from = self.cursor;
        for _ in 0..CANDIDATES {
            let first = self.next_free(from)?;
            let len = self.run_length(first, wanted);
            if best.is_none_or(|(_, longest)| len > longest) {
                best = Some((first, len));
            }
            if len == wanted {
                break;
            }
            from = first + len;
        }
        best
    }

    /// The first free place at or after `from`, going round.
    fn next_free(&self, from: usize) -> Option<usize> {
        let from = if from < self.frames { from } else { 0 };
        let start = from / 64;
        let head = self.words[start] & (u64::MAX << (from % 64));
        if head != 0 {
            return Some(start * 64 + head.trailing_zeros() as usize);
        }
        let order = (start + 1..self.words.len()).chain(0..=start);
        let word = order.into_iter().find(|word| self.words[*word] != 0)?;
        Some(word * 64 + self.words[word].trailing_zeros() as usize)
    }

    fn run_length(&self, first: usize, wanted: usize) -> usize {
        let end = (first + wanted).min(self.frames);
        (first..end).take_while(|p| self.words[p / 64] & (1 << (p % 64)) != 0).count()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fresh_map_gives_runs_one_after_the_other() {
        let mut map = FreeMap::new(200);
        assert_eq!(map.take(64, FrameOrder::Contiguous), Some((0, 64)));
        assert_eq!(map.take(64, FrameOrder::Contiguous), Some((64, 64)));
        assert_eq!(map.take(64, FrameOrder::Contiguous), Some((128, 64)));
        assert_eq!(map.take(64, FrameOrder::Contiguous), Some((192, 8)));
        assert_eq!(map.take(1, FrameOrder::Contiguous), None);
    }

    #[test]
    fn a_full_run_is_preferred_to_an_earlier_fragment() {
        let mut map = FreeMap::new(64);
        assert_eq!(map.take(64, FrameOrder::Contiguous), Some((0, 64)));
        map.give(3);
        for place in 10..20 {
            map.give(place);
        }
        assert_eq!(map.take(8, FrameOrder::Contiguous), Some((10, 8)));
        assert_eq!(map.take(8, FrameOrder::Contiguous), Some((18, 2)));
        assert_eq!(map.take(8, FrameOrder::Contiguous), Some((3, 1)));
        assert_eq!(map.free(), 0);
    }

    #[test]
    fn scattered_frames_are_never_neighbours_while_there_is_room() {
        let mut map = FreeMap::new(256);
        let mut last = None;
        for _ in 0..256 {
            let (place, len) = map.take(64, FrameOrder::Scattered).expect("room");
            assert_eq!(len, 1);
            if map.free() > 128 {
                assert_ne!(last.map(|l: usize| l + 1), Some(place));
            }
            last = Some(place);
        }
        assert_eq!(map.take(1, FrameOrder::Scattered), None);
    }

    #[test]
    #[should_panic(expected = "freed twice")]
    fn a_double_free_is_found() {
        FreeMap::new(4).give(0);
    }
}
