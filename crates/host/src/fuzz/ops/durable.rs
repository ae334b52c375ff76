//! What a crash may leave of a file: of each byte, the value that was synced last or one that was written since.

#![forbid(unsafe_code)]

use super::super::contents::Contents;

/// Values of data bytes fit in so many bits.
type Values = u128;

/// What was promised.
#[derive(Clone, Debug, Default)]
pub(super) struct Durable {
    /// Of each byte, all values that it may have.
    may: Vec<Values>,
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
        self.may.resize(self.may.len().max(bytes.len()), bit(0));
        for (may, byte) in self.may.iter_mut().zip(bytes) {
            *may |= bit(*byte);
        }
    }

    /// Bytes `range` of the file are synced, and with them its size.
    pub(super) fn synced(&mut self, contents: &Contents, range: std::ops::Range<usize>) {
        self.changed(contents);
        let size = contents.bytes().len();
        self.sizes = vec![size];
        for at in range.start..range.end.min(size) {
            self.may[at] = bit(contents.bytes()[at]);
        }
        // What lies past the end now is zero, should it ever become part of the file without being written.
        self.may[size..].iter_mut().for_each(|may| *may |= bit(0));
    }

    /// The whole file is synced.
    pub(super) fn all_synced(&mut self, contents: &Contents) {
        self.may.clear();
        self.synced(contents, 0..contents.bytes().len());
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
        let lost = found.iter().zip(&self.may).position(|(byte, may)| bit(*byte) & may == 0);
        if let Some(at) = lost {
            let kept = self.may[at];
            panic!("after a crash: {:#x} at {at}, not one of {kept:#x}", found[at]);
        }
    }
}
