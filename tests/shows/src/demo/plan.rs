//! What the demo writes, and what must come of it, computed on plain bytes.
//!
//! A [`Step`] says what is written from where. The same steps go through the page cache (`replay`)
//! and, here, over a vector: the two computations share nothing but the list. Sources and
//! destinations never overlap, because what an overlap holds is unspecified (W13); they do share
//! pages.

#![forbid(unsafe_code)]

use std::ops::Range;

use faultless_page::PAGE_SIZE;

/// Bytes by which a file may be appended to itself.
const MOST_APPENDED: usize = 4 << 20;
/// Places where a hole is put in the source.
const HOLES: usize = 8;
/// What makes a distance odd, and no multiple of anything.
const ODD: usize = 13;

/// How the source lies to the destination.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Pattern {
    /// Every chunk onto itself: source and destination are the same pages.
    Same,
    /// Every chunk from another.
    Crossed,
    /// Every chunk from an odd distance, so that it crosses pages where the destination does not.
    Shifted,
    /// To the end of the file, from its beginning.
    Appended,
    /// From a source with a page missing in the middle.
    Holed,
}

impl Pattern {
    pub(super) const ALL: [Self; 5] =
        [Self::Same, Self::Crossed, Self::Shifted, Self::Appended, Self::Holed];
}

/// One write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// `len` bytes at `from` are written to `to`.
    Copy { to: usize, from: usize, len: usize },
    /// `len` bytes at `from` are written to the end.
    Append { from: usize, len: usize },
    /// As `Copy`, but page `hole` of the source is not mapped: exactly what lies before it arrives
    /// (W1).
    Holed { to: usize, from: usize, len: usize, hole: usize },
}

impl Step {
    /// The bytes of the file that are read, or would be.
    pub(super) fn source(self) -> Range<usize> {
        let (Self::Copy { from, len, .. }
        | Self::Append { from, len }
        | Self::Holed { from, len, .. }) = self;
        from..from + len
    }

    /// How many of them can be read.
    pub(super) fn readable(self) -> usize {
        match self {
            Self::Copy { len, .. } | Self::Append { len, .. } => len,
            Self::Holed { from, hole, .. } => hole * PAGE_SIZE - from,
        }
    }

    /// Does the same to plain bytes.
    pub(super) fn apply(self, bytes: &mut Vec<u8>) {
        let from = self.source().start;
        let source = from..from + self.readable();
        match self {
            Self::Copy { to, .. } | Self::Holed { to, .. } => bytes.copy_within(source, to),
            Self::Append { .. } => bytes.extend_from_within(source),
        }
    }
}

/// The steps of a pattern over a file of `size` bytes in pieces of `chunk`. A file that is too
/// small for a pattern has none.
pub(super) fn steps(pattern: Pattern, size: usize, chunk: usize) -> Vec<Step> {
    let chunk = chunk.clamp(1, size.max(1));
    match pattern {
        Pattern::Same => {
            pieces(size, chunk).map(|(pos, len)| Step::Copy { to: pos, from: pos, len }).collect()
        }
        Pattern::Crossed => crossed(size, chunk),
        Pattern::Shifted => shifted(size, chunk),
        Pattern::Appended => pieces(size.min(MOST_APPENDED), chunk)
            .map(|(from, len)| Step::Append { from, len })
            .collect(),
        Pattern::Holed => holed(size, chunk),
    }
}

fn pieces(size: usize, chunk: usize) -> impl Iterator<Item = (usize, usize)> {
    (0..size).step_by(chunk).map(move |pos| (pos, chunk.min(size - pos)))
}

fn crossed(size: usize, chunk: usize) -> Vec<Step> {
    let count = size / chunk;
    let other = |piece: usize| {
        let other = (piece * 7 + 3) % count;
        if other == piece { (piece + 1) % count } else { other }
    };
    (0..if count < 2 { 0 } else { count })
        .map(|piece| Step::Copy { to: piece * chunk, from: other(piece) * chunk, len: chunk })
        .collect()
}

fn shifted(size: usize, chunk: usize) -> Vec<Step> {
    let distance = (chunk + ODD) | 1;
    pieces(size.saturating_sub(distance), chunk)
        .enumerate()
        .map(|(at, (pos, len))| {
            let (to, from) =
                if at % 2 == 0 { (pos, pos + distance) } else { (pos + distance, pos) };
            Step::Copy { to, from, len }
        })
        .collect()
}

fn holed(size: usize, chunk: usize) -> Vec<Step> {
    let pages = size / PAGE_SIZE;
    let step = (pages / HOLES).max(1);
    (1..pages).step_by(step).filter_map(|hole| with_hole(size, chunk, hole)).collect()
}

/// A write whose source has page `hole` about in its middle, if there is room for it.
fn with_hole(size: usize, chunk: usize, hole: usize) -> Option<Step> {
    let start = hole * PAGE_SIZE;
    let from = start.checked_sub((chunk / 2).max(1).min(start))?;
    let len = chunk.max(2).min(size - from);
    let to = if from >= len {
        0
    } else if from + 2 * len <= size {
        size - len
    } else {
        return None;
    };
    (from + len > start).then_some(Step::Holed { to, from, len, hole })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn disjoint_or_equal(step: Step) -> bool {
        let source = step.source();
        match step {
            Step::Append { .. } => true,
            Step::Copy { to, len, .. } | Step::Holed { to, len, .. } => {
                to == source.start || to + len <= source.start || source.end <= to
            }
        }
    }

    #[test]
    fn every_step_stays_inside_the_file_and_no_source_overlaps_its_destination() {
        for size in [1, 2, 100, 4095, 4096, 4097, 8192, 12_289, 100_000, 262_144] {
            for chunk in [1, 13, 1000, 4096, 5000, 65_536, 1 << 20] {
                for pattern in Pattern::ALL {
                    for step in steps(pattern, size, chunk) {
                        let what = format!("{pattern:?} {size} {chunk} {step:?}");
                        assert!(step.source().end <= size && !step.source().is_empty(), "{what}");
                        assert!(disjoint_or_equal(step), "{what}");
                        assert!(step.readable() > 0, "{what}");
                        if let Step::Copy { to, len, .. } | Step::Holed { to, len, .. } = step {
                            assert!(to + len <= size, "{what}");
                        }
                        if let Step::Holed { len, .. } = step {
                            assert!(step.readable() < len, "{what}");
                        }
                    }
                }
            }
        }
    }

    #[test]
    fn a_file_of_some_pages_gets_every_pattern() {
        for pattern in Pattern::ALL {
            assert!(!steps(pattern, 100_000, 5000).is_empty(), "{pattern:?}");
        }
        assert!(steps(Pattern::Same, 0, 4096).is_empty());
    }

    #[test]
    fn plain_bytes_get_what_lies_before_the_hole() {
        let mut bytes: Vec<u8> = (0..8192_u32).map(|at| at as u8).collect();
        let before = bytes.clone();
        Step::Holed { to: 0, from: 4090, len: 20, hole: 1 }.apply(&mut bytes);
        assert_eq!(bytes[..6], before[4090..4096]);
        assert_eq!(bytes[6..], before[6..]);
        Step::Append { from: 1, len: 3 }.apply(&mut bytes);
        assert_eq!(bytes[8192..], before[4091..4094], "what had arrived there");
    }
}
