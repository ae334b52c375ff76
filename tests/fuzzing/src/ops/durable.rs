//! What a crash may leave of a file: of each byte, the value that was synced last or one that was
//! written since.

#![forbid(unsafe_code)]

use std::ops::Range;

use super::super::contents::Contents;

/// Bytes that are looked at together: most stay as they are.
const CHUNK: usize = 512;

/// Values of data bytes fit in so many bits.
type Values = u128;

/// What was promised. Past the end a byte counts as zero.
#[derive(Clone, Debug, Default)]
pub(super) struct Durable {
    /// What was synced.
    synced: Vec<u8>,
    /// What each byte was when it was looked at last.
    last: Vec<u8>,
    /// What each byte has been since it was synced.
    since: Vec<Values>,
    /// The size that was synced last, and those that may have been since, by a sync that failed.
    sizes: Vec<usize>,
}

fn bit(value: u8) -> Values {
    assert!(value < 0x80, "W5: {value:#x} is no byte of data");
    1 << value
}

impl Durable {
    /// The file is as `contents` says, and not synced.
    pub(super) fn changed(&mut self, contents: &Contents) {
        let bytes = contents.bytes();
        let len = self.last.len().max(bytes.len());
        self.synced.resize(len, 0);
        self.last.resize(len, 0);
        self.since.resize(len, 0);
        let chunks = self.last.chunks_mut(CHUNK).zip(self.since.chunks_mut(CHUNK));
        for (nth, (last, since)) in chunks.enumerate() {
            let start = (nth * CHUNK).min(bytes.len());
            let now = &bytes[start..(start + last.len()).min(bytes.len())];
            let (inside, past) = last.split_at_mut(now.len());
            if *inside != *now {
                inside.copy_from_slice(now);
                since.iter_mut().zip(now).for_each(|(since, byte)| *since |= bit(*byte));
            }
            if past.iter().any(|byte| *byte != 0) {
                past.fill(0);
                since[now.len()..].iter_mut().for_each(|since| *since |= bit(0));
            }
        }
    }

    /// Bytes `range` of the file are synced, and with them its size.
    pub(super) fn synced(&mut self, contents: &Contents, range: Range<usize>) {
        self.changed(contents);
        self.sizes = vec![contents.bytes().len()];
        let end = range.end.min(self.last.len());
        let range = range.start.min(end)..end;
        self.synced[range.clone()].copy_from_slice(&self.last[range.clone()]);
        self.since[range].fill(0);
    }

    /// The whole file is synced.
    pub(super) fn all_synced(&mut self, contents: &Contents) {
        self.synced(contents, 0..usize::MAX);
    }

    /// A sync has failed: it may have gone any part of the way.
    pub(super) fn maybe_synced(&mut self, contents: &Contents) {
        self.changed(contents);
        self.sizes.push(contents.bytes().len());
    }

    /// `found` is what a crash left.
    #[track_caller]
    pub(super) fn check(&self, found: &[u8]) {
        let (size, sizes) = (found.len(), &self.sizes);
        assert!(sizes.contains(&size), "after a crash: a size of {size}, not one of {sizes:?}");
        for (at, (&byte, &synced)) in found.iter().zip(&self.synced).enumerate() {
            let kept = byte == synced || self.since[at] & bit(byte) != 0;
            assert!(kept, "after a crash: {byte:#x} at {at}, where {synced:#x} was synced");
        }
    }
}
