//! The reference model: a file as a `Vec<u8>`, and what a request must do to it (W1–W3, W7, W8).
//!
//! Key types: [`Model`], and [`Piece`], a segment of which a prefix can be read. Every run is
//! compared with it.

#![forbid(unsafe_code)]

use faultless_page::Errno;

/// A segment of a request: bytes, of which the first `readable` can be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Piece {
    /// The bytes that a reader would find. What lies past `readable` is only counted.
    pub bytes: Vec<u8>,
    /// How many can be read.
    pub readable: usize,
}

impl Piece {
    /// A segment that can be read.
    #[must_use]
    pub fn good(bytes: &[u8]) -> Self {
        Self { bytes: bytes.to_vec(), readable: bytes.len() }
    }

    /// A segment of which nothing can be read.
    #[must_use]
    pub fn bad(len: usize) -> Self {
        Self { bytes: vec![0; len], readable: 0 }
    }

    /// A segment that ends to be readable after `readable` bytes.
    #[must_use]
    pub fn cut(bytes: &[u8], readable: usize) -> Self {
        Self { bytes: bytes.to_vec(), readable: readable.min(bytes.len()) }
    }
}

/// The bytes before the first that cannot be read: R is their number.
#[must_use]
pub fn readable_prefix(pieces: &[Piece]) -> Vec<u8> {
    let mut prefix = Vec::new();
    for piece in pieces {
        prefix.extend_from_slice(&piece.bytes[..piece.readable]);
        if piece.readable < piece.bytes.len() {
            break;
        }
    }
    prefix
}

/// How far a file may grow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// `RLIMIT_FSIZE`.
    pub file_size: u64,
    /// The store's largest file.
    pub max_size: u64,
}

impl Limits {
    /// None but the largest position.
    pub const NONE: Self = Self { file_size: u64::MAX, max_size: faultless_page::MAX_FILE_SIZE };
}

/// A file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Model {
    bytes: Vec<u8>,
}

impl Model {
    /// An empty file.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// A file of these bytes.
    #[must_use]
    pub fn with_contents(bytes: &[u8]) -> Self {
        Self { bytes: bytes.to_vec() }
    }

    /// Its bytes.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Its size.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.bytes.len() as u64
    }

    /// Bytes `[pos, pos + len)`, as far as the file goes.
    #[must_use]
    pub fn read(&self, pos: u64, len: usize) -> &[u8] {
        let start = self.bytes.len().min(usize::try_from(pos).unwrap_or(usize::MAX));
        &self.bytes[start..start.saturating_add(len).min(self.bytes.len())]
    }

    /// Writes at `pos` and returns what the call must return.
    ///
    /// # Errors
    /// [`Errno::Fault`] if the first byte cannot be read; nothing changes (W1).
    pub fn write(&mut self, pos: u64, pieces: &[Piece]) -> Result<usize, Errno> {
        self.write_within(pos, pieces, Limits::NONE)
    }

    /// Writes at the end and returns what the call must return.
    ///
    /// # Errors
    /// As for [`write`](Self::write).
    pub fn append(&mut self, pieces: &[Piece]) -> Result<usize, Errno> {
        self.write(self.size(), pieces)
    }

    /// Writes at `pos` under limits and returns what the call must return.
    ///
    /// # Errors
    /// [`Errno::FileTooBig`] before the source is looked at (W8), then as for
    /// [`write`](Self::write).
    pub fn write_within(
        &mut self,
        pos: u64,
        pieces: &[Piece],
        limits: Limits,
    ) -> Result<usize, Errno> {
        let total: usize = pieces.iter().map(|piece| piece.bytes.len()).sum();
        if total == 0 {
            return Ok(0);
        }
        let end = limits.file_size.min(limits.max_size);
        if pos >= end {
            return Err(Errno::FileTooBig);
        }
        let room = usize::try_from(end - pos).unwrap_or(usize::MAX);
        let mut source = readable_prefix(pieces);
        source.truncate(room);
        if source.is_empty() {
            return Err(Errno::Fault);
        }
        self.put(pos, &source);
        Ok(source.len())
    }

    /// Writes all of `bytes` at `pos`.
    ///
    /// # Panics
    /// If the file would not fit in memory.
    pub fn put(&mut self, pos: u64, bytes: &[u8]) {
        let start = usize::try_from(pos).expect("a position in memory");
        let end = start + bytes.len();
        if self.bytes.len() < end {
            self.bytes.resize(end, 0);
        }
        self.bytes[start..end].copy_from_slice(bytes);
    }

    /// Sets the size: cuts off, or extends with zeros.
    ///
    /// # Panics
    /// If the file would not fit in memory.
    pub fn truncate(&mut self, size: u64) {
        self.bytes.resize(usize::try_from(size).expect("a size in memory"), 0);
    }

    /// Compares a whole file with the model.
    ///
    /// # Panics
    /// If they differ: with the first difference in words.
    #[track_caller]
    pub fn assert_is(&self, actual: &[u8]) {
        assert_same(actual, &self.bytes);
    }
}

/// Compares bytes, and says where they differ instead of printing them all.
///
/// # Panics
/// If they differ.
#[track_caller]
pub fn assert_same(actual: &[u8], expected: &[u8]) {
    if let Some(difference) = difference(actual, expected) {
        panic!("{difference}");
    }
}

/// Where two files differ first, in words.
#[must_use]
pub fn difference(actual: &[u8], expected: &[u8]) -> Option<String> {
    if actual == expected {
        return None;
    }
    let at = actual.iter().zip(expected).position(|(a, e)| a != e);
    let hex = |bytes: &[u8], at: usize| {
        let end = bytes.len().min(at + 8);
        bytes[at..end].iter().map(|byte| format!("{byte:02x} ")).collect::<String>()
    };
    match at {
        Some(at) => Some(format!(
            "byte {at} (page {}, offset {}): {}where {}was expected; sizes {} and {}",
            at / 4096,
            at % 4096,
            hex(actual, at),
            hex(expected, at),
            actual.len(),
            expected.len(),
        )),
        None => Some(format!("size {} where {} was expected", actual.len(), expected.len())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_counts_is_the_readable_prefix() {
        let mut model = Model::with_contents(b"0123456789");
        let request =
            [Piece::good(b"ab"), Piece::good(b""), Piece::cut(b"cdef", 1), Piece::good(b"x")];
        assert_eq!(model.write(8, &request), Ok(3));
        model.assert_is(b"01234567abc");
        assert_eq!(model.append(&[Piece::bad(5)]), Err(Errno::Fault));
        assert_eq!(model.write(0, &[]), Ok(0));
        assert_eq!(model.size(), 11);
    }

    #[test]
    fn a_gap_reads_as_zeros_and_limits_clip() {
        let mut model = Model::new();
        assert_eq!(model.write(3, &[Piece::good(b"a")]), Ok(1));
        model.assert_is(b"\0\0\0a");
        let limits = Limits { file_size: 6, ..Limits::NONE };
        assert_eq!(model.write_within(4, &[Piece::good(b"abc")], limits), Ok(2));
        assert_eq!(model.write_within(6, &[Piece::bad(1)], limits), Err(Errno::FileTooBig));
        model.truncate(2);
        model.truncate(4);
        assert_eq!(model.read(1, 10), b"\0\0\0");
    }

    #[test]
    fn a_difference_is_told_in_words() {
        assert_eq!(difference(b"same", b"same"), None);
        let told = difference(&[0; 5000], &[[0; 4097].as_slice(), &[1; 903]].concat());
        assert!(told.is_some_and(|told| told.contains("page 1, offset 1")));
        assert!(difference(b"a", b"ab").is_some_and(|told| told.contains("size 1")));
    }
}
