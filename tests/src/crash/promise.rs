//! What a crash may leave of a file: of each byte, the value that was synced last or one that it
//! had since; of the size, too.
#![forbid(unsafe_code)]

use std::ops::Range;

use faultless::page::Shift;
use faultless_host::POISON;
use faultless_host::stores::{SECTOR, Sizing};

use super::BYTES;

/// Values of bytes: data is below 0x80, and everything else is never right.
type Values = u128;

/// A byte that a program stores past the end of the file: it must never be seen.
pub const SCRIBBLE: u8 = 0xE7;

/// The bytes of a file at the moment, and what was promised of them. Past the end a byte counts as
/// zero.
#[derive(Clone, Debug)]
pub struct Promise {
    sizing: Sizing,
    now: Vec<u8>,
    size: usize,
    /// What was synced.
    synced: Vec<u8>,
    /// What each byte may have been since, as far as that may have reached the disk.
    since: Vec<Values>,
    /// The size that was synced, and those that the file had since.
    sizes: Vec<usize>,
}

impl Promise {
    /// An empty file.
    #[must_use]
    pub fn new(sizing: Sizing) -> Self {
        Self {
            sizing,
            now: vec![0; BYTES],
            size: 0,
            synced: vec![0; BYTES],
            since: vec![0; BYTES],
            sizes: vec![0],
        }
    }

    /// The size at the moment.
    #[must_use]
    pub fn size(&self) -> usize {
        self.size
    }

    /// The file at the moment.
    #[must_use]
    pub fn contents(&self) -> &[u8] {
        &self.now[..self.size]
    }

    /// Bytes are being written at `at`: from now on they may be on the disk.
    ///
    /// # Panics
    /// If one of them is no byte of data: those are below 0x80.
    pub fn may_write(&mut self, at: usize, bytes: &[u8]) {
        for (since, byte) in self.since[at..].iter_mut().zip(bytes) {
            assert!(*byte < 0x80, "{byte:#x} is no byte of data");
            *since |= 1 << byte;
        }
        self.may_have_size(self.size.max(at + bytes.len()));
    }

    /// They were, and are the file's contents.
    pub fn wrote(&mut self, at: usize, bytes: &[u8]) {
        self.may_write(at, bytes);
        self.now[at..at + bytes.len()].copy_from_slice(bytes);
        self.size = self.size.max(at + bytes.len());
    }

    /// The size is being set.
    pub fn may_resize(&mut self, size: usize) {
        for since in &mut self.since[size.min(self.size)..] {
            *since |= 1;
        }
        self.may_have_size(size);
    }

    /// It was.
    pub fn resized(&mut self, size: usize) {
        self.may_resize(size);
        self.now[size.min(self.size)..].fill(0);
        self.size = size;
    }

    /// What lies behind `range` is being moved: each byte may come to be one that its source was,
    /// on the disk or since.
    pub fn may_shift(&mut self, shift: Shift, range: &Range<usize>) {
        let was = |at: usize| self.since[at] | 1 << self.synced[at];
        let moved: Vec<Values> = match shift {
            Shift::Collapse => {
                (range.end..BYTES).map(was).chain(range.clone().map(|_| 1)).collect()
            }
            Shift::Insert => {
                range.clone().map(|_| 1).chain((range.start..BYTES).map(was)).collect()
            }
        };
        for (since, moved) in self.since[range.start..].iter_mut().zip(moved) {
            *since |= moved;
        }
        self.may_have_size(self.size_after(shift, range));
    }

    /// It was.
    pub fn shifted(&mut self, shift: Shift, range: &Range<usize>) {
        self.may_shift(shift, range);
        self.size = self.size_after(shift, range);
        let tail = &mut self.now[range.start..];
        match shift {
            Shift::Collapse => {
                tail.rotate_left(range.len());
                self.now[BYTES - range.len()..].fill(0);
            }
            Shift::Insert => {
                tail.rotate_right(range.len());
                self.now[range.clone()].fill(0);
            }
        }
    }

    fn size_after(&self, shift: Shift, range: &Range<usize>) -> usize {
        match shift {
            Shift::Collapse => self.size - range.len(),
            Shift::Insert => self.size + range.len(),
        }
    }

    /// Bytes `range` and the size are durable.
    pub fn synced(&mut self, range: Range<usize>) {
        let range = range.start.min(BYTES)..range.end.min(BYTES);
        self.synced[range.clone()].copy_from_slice(&self.now[range.clone()]);
        self.since[range].fill(0);
        self.sizes = vec![self.size];
    }

    fn may_have_size(&mut self, size: usize) {
        if !self.sizes.contains(&size) {
            self.sizes.push(size);
        }
    }

    /// `found` is what a mount finds after a crash.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn check(&self, found: &[u8]) -> Result<(), String> {
        if !self.allows_size(found.len()) {
            return Err(format!("a size of {}, not one of {:?}", found.len(), self.sizes));
        }
        let pieces = found.chunks(SECTOR).zip(self.synced.chunks(SECTOR));
        for (nth, (found, synced)) in pieces.enumerate() {
            if *found == synced[..found.len()] {
                continue;
            }
            for (offset, (&byte, &synced)) in found.iter().zip(synced).enumerate() {
                let at = nth * SECTOR + offset;
                let since = self.since[at];
                let kept = byte == synced || byte < 0x80 && since & (1 << byte) != 0;
                if !kept {
                    return Err(format!(
                        "{} at {at}, where {synced:#04x} was synced",
                        describe(byte)
                    ));
                }
            }
        }
        Ok(())
    }

    /// A host's file also has any length in between: it grows as sectors arrive.
    fn allows_size(&self, size: usize) -> bool {
        let between = || {
            let (least, most) = (self.sizes.iter().min(), self.sizes.iter().max());
            least.is_some_and(|least| *least <= size) && most.is_some_and(|most| size <= *most)
        };
        let grows = self.sizing == Sizing::Length && size.is_multiple_of(SECTOR);
        self.sizes.contains(&size) || grows && between()
    }
}

fn describe(byte: u8) -> String {
    match byte {
        POISON => "recycled memory".into(),
        SCRIBBLE => "what was stored past the end".into(),
        _ => format!("{byte:#04x}"),
    }
}
