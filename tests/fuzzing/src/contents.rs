//! What a file ought to hold, byte by byte, and where a byte that ought not to be there comes from.
//!
//! Bytes are tainted by their values: data is `1..=0x7f`, what a mapping stores past the end is
//! `0x80..=0x9f`, and neither recycled memory nor stale blocks look like either. A hole is zeros.
//! So a byte that was never defined is known by sight.

#![forbid(unsafe_code)]

use std::ops::Range;

use faultless_page::{Errno, PAGE_SIZE, Shift};

use faultless_host::memory::POISON;

/// What a block of a device holds that was never written.
pub(super) const STALE: u8 = 0xDB;

/// A file, and what mappings stored in its last page past its end.
#[derive(Clone, Debug)]
pub(super) struct Contents {
    bytes: Vec<u8>,
    /// Of each byte of the last page: what was stored there last, past the end; 0 for nothing.
    past: Vec<u8>,
}

/// The data byte at `at` of a source: never zero, never above 0x7f.
pub(super) fn data(at: usize) -> u8 {
    ((at.wrapping_mul(0x9E37_79B1) >> 13) % 0x7f) as u8 + 1
}

/// The byte that a store past the end leaves.
pub(super) const fn scribble(number: u8) -> u8 {
    0x80 + number % 0x20
}

/// Where a byte comes from, by its value.
fn origin(byte: u8) -> &'static str {
    match byte {
        0 => "zero",
        1..=0x7f => "data",
        0x80..=0x9f => "a scribble past the end",
        POISON => "recycled memory",
        STALE => "a stale block",
        _ => "out of nowhere",
    }
}

impl Contents {
    /// An empty file.
    pub(super) fn new() -> Self {
        Self { bytes: Vec::new(), past: vec![0; PAGE_SIZE] }
    }

    pub(super) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    pub(super) fn size(&self) -> u64 {
        self.bytes.len() as u64
    }

    /// Pages with a byte of the file.
    pub(super) fn pages(&self) -> usize {
        self.bytes.len().div_ceil(PAGE_SIZE)
    }

    fn page_end(&self) -> usize {
        self.pages() * PAGE_SIZE
    }

    /// Moves the end. What lay past it is zero from now on where it becomes part of the file, and
    /// where it was cut off.
    pub(super) fn resize(&mut self, size: usize) {
        let (old, old_end) = (self.bytes.len(), self.page_end());
        self.bytes.resize(size, 0);
        if size < old || self.page_end() != old_end {
            self.past.fill(0);
        }
    }

    /// What lies behind the range moves: down in its place, or up behind it. Of what was stored
    /// past the end nothing is left, since the last page moves.
    pub(super) fn shift(&mut self, shift: Shift, range: Range<usize>) {
        match shift {
            Shift::Collapse => drop(self.bytes.drain(range)),
            Shift::Insert => {
                drop(self.bytes.splice(range.start..range.start, range.map(|_| 0)));
            }
        }
        self.past.fill(0);
    }

    /// `data` at `pos`: what a write of them leaves.
    pub(super) fn put(&mut self, pos: usize, data: &[u8]) {
        let end = pos + data.len();
        if end > self.bytes.len() {
            self.resize(end);
        }
        self.bytes[pos..end].copy_from_slice(data);
    }

    /// A mapping stores `byte` at `pos`, in a page of the file.
    pub(super) fn store(&mut self, pos: usize, byte: u8) {
        match self.bytes.get_mut(pos) {
            Some(inside) => *inside = byte,
            None => self.past[pos % PAGE_SIZE] = byte,
        }
    }

    /// Judges what a write of `asked` bytes at `pos` returned, of which just `source` can be read,
    /// and follows it. Where something was made to fail, `excuses` says with which errors (W1–W4,
    /// W9).
    #[track_caller]
    pub(super) fn wrote(
        &mut self,
        pos: usize,
        source: &[u8],
        asked: usize,
        result: Result<usize, Errno>,
        excuses: &[Errno],
    ) {
        let readable = source.len();
        match result {
            Ok(0) => assert_eq!(asked, 0, "W1: a write of {asked} bytes returned 0"),
            Ok(bytes) => {
                assert!(bytes <= readable, "W1: wrote {bytes}, and {readable} can be read");
                let exact = bytes == readable || !excuses.is_empty();
                assert!(exact, "W1: wrote {bytes} of {readable} readable bytes");
                self.put(pos, &source[..bytes]);
            }
            Err(Errno::Fault) if readable == 0 && asked > 0 => {}
            Err(errno) => {
                let excused = excuses.contains(&errno) && asked > 0;
                assert!(excused, "W1: {errno} for a write of {readable} of {asked} bytes");
            }
        }
    }

    /// `got` is what a read of `[pos, pos + len)` must give.
    #[track_caller]
    pub(super) fn check_read(&self, pos: usize, len: usize, got: &[u8], what: &str) {
        let start = pos.min(self.bytes.len());
        let expected = &self.bytes[start..(pos + len).clamp(start, self.bytes.len())];
        same(got, expected, pos, what);
    }

    /// `got` is what a mapping may show of page `page`: the file, then zeros or what was stored
    /// there last.
    #[track_caller]
    pub(super) fn check_mapped(&self, page: usize, got: &[u8]) {
        let start = page * PAGE_SIZE;
        let inside = (self.bytes.len() - start).min(PAGE_SIZE);
        same(&got[..inside], &self.bytes[start..start + inside], start, "a mapping");
        if got[inside..] == self.past[inside..] {
            return;
        }
        for (at, (&byte, &stored)) in got.iter().zip(&self.past).enumerate().skip(inside) {
            let known = byte == 0 || byte == stored;
            assert!(
                known,
                "P2: past the end, at {}, a mapping shows {byte:#x} ({}); stored there: {stored:#x}",
                start + at,
                origin(byte),
            );
        }
    }

    /// `got` is the whole file.
    #[track_caller]
    pub(super) fn check_all(&self, got: &[u8], what: &str) {
        same(got, &self.bytes, 0, what);
    }
}

#[track_caller]
fn same(got: &[u8], expected: &[u8], pos: usize, what: &str) {
    if got == expected {
        return;
    }
    match got.iter().zip(expected).position(|(got, expected)| got != expected) {
        None => panic!("W2: {what} has {} bytes from {pos}, not {}", got.len(), expected.len()),
        Some(at) => panic!(
            "W2, W5: {what} shows {:#x} ({}) at {}, where {:#x} ({}) belongs",
            got[at],
            origin(got[at]),
            pos + at,
            expected[at],
            origin(expected[at]),
        ),
    }
}
