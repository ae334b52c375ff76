//! Units of a file: byte positions, page indices, and runs of pages inside one leaf.
#![forbid(unsafe_code)]

use core::fmt;

use crate::SlotMask;

/// log2 of [`PAGE_SIZE`].
pub const PAGE_SHIFT: u32 = 12;
/// Bytes in a page and in a frame.
pub const PAGE_SIZE: usize = 1 << PAGE_SHIFT;
/// Pages that one leaf of a mapping's index covers: one bit each in a 64-bit word.
pub const PAGES_PER_LEAF: usize = 64;
/// Bytes that one leaf covers.
pub const LEAF_SIZE: usize = PAGES_PER_LEAF * PAGE_SIZE;
/// The largest size of a file in bytes (`i64::MAX`, as `loff_t`).
pub const MAX_FILE_SIZE: u64 = i64::MAX as u64;

/// The number of a page in a file: the byte position divided by [`PAGE_SIZE`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[doc(alias = "pgoff_t")]
pub struct PageIndex(u64);

impl PageIndex {
    /// The first page of a file.
    pub const ZERO: Self = Self(0);

    /// The page with this number.
    #[must_use]
    #[inline]
    pub const fn new(index: u64) -> Self {
        Self(index)
    }

    /// The page that holds byte `pos` of the file.
    #[must_use]
    #[inline]
    pub const fn containing(pos: u64) -> Self {
        Self(pos >> PAGE_SHIFT)
    }

    /// The number itself.
    #[must_use]
    #[inline]
    pub const fn get(self) -> u64 {
        self.0
    }

    /// Position in the file of the page's first byte. Meaningful below [`MAX_FILE_SIZE`].
    #[must_use]
    #[inline]
    pub const fn start(self) -> u64 {
        self.0 << PAGE_SHIFT
    }

    /// How many bytes there are from byte `pos` of a file to the end of its page, `1..=PAGE_SIZE`.
    #[must_use]
    #[inline]
    pub const fn bytes_from(pos: u64) -> usize {
        PAGE_SIZE - pos as usize % PAGE_SIZE
    }

    /// How many pages the `len` bytes at `pos` touch.
    #[must_use]
    #[inline]
    pub const fn touched(pos: u64, len: usize) -> usize {
        if len == 0 { 0 } else { (pos as usize % PAGE_SIZE + len).div_ceil(PAGE_SIZE) }
    }

    /// The pages of the first and the last one of the `len` bytes at `pos`: of no bytes, that of
    /// `pos` twice.
    #[must_use]
    #[inline]
    pub const fn first_and_last(pos: u64, len: usize) -> [Self; 2] {
        let last = pos.saturating_add((len as u64).saturating_sub(1));
        [Self::containing(pos), Self::containing(last)]
    }

    /// How many bytes of the page lie before byte `end` of the file, `0..=PAGE_SIZE`.
    #[must_use]
    #[inline]
    pub const fn bytes_before(self, end: u64) -> usize {
        let bytes = end.saturating_sub(self.start());
        if bytes < PAGE_SIZE as u64 { bytes as usize } else { PAGE_SIZE }
    }

    /// Slot of the page in its leaf, `0..64`.
    #[must_use]
    #[inline]
    pub const fn slot(self) -> u32 {
        (self.0 % PAGES_PER_LEAF as u64) as u32
    }

    /// The page's slot in its leaf, as a set of one.
    #[must_use]
    #[inline]
    pub const fn bit(self) -> SlotMask {
        SlotMask::single(self.slot())
    }

    /// First page of the leaf that covers this page.
    #[must_use]
    #[inline]
    pub const fn leaf_base(self) -> Self {
        Self(self.0 & !(PAGES_PER_LEAF as u64 - 1))
    }

    /// The page `pages` further on; stops at the last number.
    #[must_use]
    #[inline]
    pub const fn plus(self, pages: u64) -> Self {
        Self(self.0.saturating_add(pages))
    }
}

impl fmt::Display for PageIndex {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "page {}", self.0)
    }
}

/// One or more consecutive pages that lie in one leaf.
///
/// # Invariants
/// `len` is 1..=64 and `first.slot() + len <= 64`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PageRun {
    first: PageIndex,
    len: u32,
}

impl PageRun {
    /// The run of the single page `index`.
    #[must_use]
    #[inline]
    pub const fn single(index: PageIndex) -> Self {
        // INVARIANT: a slot is below 64, so one page fits in its leaf.
        Self { first: index, len: 1 }
    }

    /// The pages that hold bytes `[pos, pos + len)`, cut at the end of the first page's leaf.
    /// `None` for an empty range.
    #[must_use]
    #[inline]
    pub const fn covering(pos: u64, len: usize) -> Option<Self> {
        if len == 0 {
            return None;
        }
        let first = PageIndex::containing(pos);
        let last = PageIndex::containing(pos.saturating_add(len as u64 - 1)).0;
        let leaf_last = first.leaf_base().0 + (PAGES_PER_LEAF as u64 - 1);
        let end = if last < leaf_last { last } else { leaf_last };
        // INVARIANT: `end` is not before `first` and not after its leaf's last page.
        Some(Self { first, len: (end - first.0 + 1) as u32 })
    }

    /// `pages` pages from `first` on, cut at the end of its leaf. At least one page.
    #[must_use]
    #[inline]
    pub const fn new(first: PageIndex, pages: u64) -> Self {
        let room = PAGES_PER_LEAF as u64 - first.slot() as u64;
        let len = if pages == 0 {
            1
        } else if pages < room {
            pages
        } else {
            room
        };
        // INVARIANT: `len` is 1..=room, and the first page's slot plus the room is 64.
        Self { first, len: len as u32 }
    }

    /// The lowest maximal group of adjacent slots of `slots`, in the leaf whose first page is
    /// `base`. `None` for no slots.
    #[must_use]
    #[inline]
    pub const fn first_of(base: PageIndex, slots: SlotMask) -> Option<Self> {
        let Some(run) = slots.first_run() else { return None };
        // INVARIANT: the run is not empty, and slots end at 64.
        Some(Self { first: base.leaf_base().plus(run.start as u64), len: run.end - run.start })
    }

    /// The pages from `first` on up to that of the highest of `slots`, which is not below it.
    #[inline]
    pub(crate) const fn of(first: PageIndex, slots: SlotMask) -> Self {
        let last = slots.last();
        debug_assert!(last >= first.slot(), "the slot of the first page is among them");
        // INVARIANT: slots are below 64, and the last one is not below the first.
        Self { first, len: last - first.slot() + 1 }
    }

    /// The pages that hold bytes `[pos, pos + len)`, if they lie in one leaf. `None` for an empty
    /// range, too.
    #[must_use]
    #[inline]
    pub const fn covering_all(pos: u64, len: usize) -> Option<Self> {
        let room = LEAF_SIZE as u64 - pos % LEAF_SIZE as u64;
        // An empty range wraps, and does not fit.
        let to_last = (len as u64).wrapping_sub(1);
        if to_last >= room {
            return None;
        }
        let first = PageIndex::containing(pos);
        let last = PageIndex::containing(pos + to_last);
        // INVARIANT: both pages lie in the leaf, the last one not before the first.
        Some(Self { first, len: (last.0 - first.0 + 1) as u32 })
    }

    /// The whole leaf that covers `index`.
    #[must_use]
    #[inline]
    pub const fn leaf(index: PageIndex) -> Self {
        // INVARIANT: the base's slot is 0.
        Self { first: index.leaf_base(), len: PAGES_PER_LEAF as u32 }
    }

    /// First page of the run.
    #[must_use]
    #[inline]
    pub const fn first(self) -> PageIndex {
        self.first
    }

    /// The last page.
    #[must_use]
    #[inline]
    pub const fn last(self) -> PageIndex {
        self.first.plus(self.len as u64 - 1)
    }

    /// The page after the last one.
    #[must_use]
    #[inline]
    pub const fn end(self) -> PageIndex {
        self.first.plus(self.len as u64)
    }

    /// Pages in the run, `1..=64`.
    #[must_use]
    #[inline]
    pub const fn pages(self) -> u32 {
        self.len
    }

    /// Position in the file of the run's first byte.
    #[must_use]
    #[inline]
    pub const fn start(self) -> u64 {
        self.first.start()
    }

    /// First page of the leaf that the run lies in.
    #[must_use]
    #[inline]
    pub const fn leaf_base(self) -> PageIndex {
        self.first.leaf_base()
    }

    /// Whether `index` is one of the run's pages.
    #[must_use]
    #[inline]
    pub const fn contains(self, index: PageIndex) -> bool {
        index.0 >= self.first.0 && index.0 - self.first.0 < self.len as u64
    }

    /// The run's slots.
    #[must_use]
    #[inline]
    pub const fn mask(self) -> SlotMask {
        SlotMask::lowest(self.len).moved_up(self.first.slot())
    }

    /// Bytes of the file in `[pos, pos + len)` that lie in this run, where `pos` lies in its first
    /// page.
    #[must_use]
    #[inline]
    pub const fn clip_len(self, pos: u64, len: usize) -> usize {
        let room = self.end().start().saturating_sub(pos);
        if (len as u64) < room { len } else { room as usize }
    }
}
