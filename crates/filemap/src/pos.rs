//! Positions in a file that have passed the limits.
//!
//! Key type: [`FilePos`]. A number from a system call becomes one where it enters: in `read`,
//! `seek` and `set_size`; the end of a file is one too. From there on no check of the largest file
//! and no care for overflow is needed. The path of a hot overwrite works on plain numbers that
//! [`limits`](crate::limits) has clipped: there the type costs instructions.
#![forbid(unsafe_code)]

use faultless_page::{Errno, Kernel, MAX_FILE_SIZE, Mapping, PAGE_SIZE, PageIndex, PageRun};

/// A byte position in a file, or the size of one: the position of its end. In bytes.
///
/// # Invariants
/// At most [`MAX_FILE_SIZE`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
#[doc(alias = "loff_t")]
pub(crate) struct FilePos(u64);

impl FilePos {
    /// The first byte.
    pub(crate) const ZERO: Self = Self(0);
    /// The end of the largest file.
    pub(crate) const MAX: Self = Self(MAX_FILE_SIZE);

    /// The position `pos`.
    ///
    /// # Errors
    /// [`Errno::Invalid`] above [`MAX_FILE_SIZE`].
    pub(crate) fn new(pos: u64) -> Result<Self, Errno> {
        Self::at_most(pos, Self::MAX).ok_or(Errno::Invalid)
    }

    /// The position `pos`, if it is not above `max`.
    pub(crate) fn at_most(pos: u64, max: Self) -> Option<Self> {
        // INVARIANT: `max` has it.
        (pos <= max.0).then_some(Self(pos))
    }

    /// The position `pos`; above [`MAX_FILE_SIZE`] it is that.
    pub(crate) fn clipped(pos: u64) -> Self {
        // INVARIANT: clipped.
        Self(pos.min(MAX_FILE_SIZE))
    }

    /// The end of the file, as it is now.
    #[inline(always)]
    pub(crate) fn end_of<K: Kernel>(mapping: &Mapping<K>) -> Self {
        // INVARIANT: a mapping clips its size.
        Self(mapping.size())
    }

    /// The number of bytes before the position.
    #[inline(always)]
    pub(crate) const fn get(self) -> u64 {
        self.0
    }

    /// The position `len` bytes further on, which is inside the largest file: `len` was clipped to
    /// a limit, or to the end of a file.
    #[inline(always)]
    pub(crate) const fn plus(self, len: usize) -> Self {
        // INVARIANT: the caller's promise. A buffer is too short for a number that wraps.
        Self(self.0 + len as u64)
    }

    /// How many bytes lie between `start` and this position; 0 if it does not come after `start`.
    pub(crate) fn since(self, start: Self) -> usize {
        usize::try_from(self.0.saturating_sub(start.0)).unwrap_or(usize::MAX)
    }

    /// The page that holds the byte.
    #[inline(always)]
    pub(crate) const fn page(self) -> PageIndex {
        PageIndex::containing(self.0)
    }

    /// The first page that does not begin before the position.
    #[inline(always)]
    pub(crate) const fn page_from(self) -> PageIndex {
        PageIndex::new(self.0.div_ceil(PAGE_SIZE as u64))
    }

    /// The byte's place in its page, below [`PAGE_SIZE`].
    #[inline(always)]
    pub(crate) const fn offset_in_page(self) -> usize {
        (self.0 % PAGE_SIZE as u64) as usize
    }

    /// How many bytes there are from here to the end of the page: 1..=[`PAGE_SIZE`].
    #[inline(always)]
    pub(crate) const fn room_in_page(self) -> usize {
        PAGE_SIZE - self.offset_in_page()
    }

    /// The pages that hold the next `len` bytes, cut at the end of the first one's leaf. `None` for
    /// no bytes.
    #[inline(always)]
    pub(crate) const fn run(self, len: usize) -> Option<PageRun> {
        PageRun::covering(self.0, len)
    }
}
