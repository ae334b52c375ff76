//! What the threads of a script do, in cells: pieces of the file so small that a script has few of them.

#![forbid(unsafe_code)]

use arbitrary::{Arbitrary, Unstructured};
use faultless_page::PAGE_SIZE;

/// Bytes of a cell.
pub(super) const CELL: usize = 512;
/// Cells of a page.
pub(super) const PER_PAGE: usize = PAGE_SIZE / CELL;
/// Pages of a file.
pub(super) const PAGES: usize = 3;
/// Cells of a file.
pub(super) const CELLS: usize = PAGES * PER_PAGE;
/// Operations of a thread, at most.
const MOST: usize = 3;

/// One of the two files.
pub(super) type FileNumber = usize;

/// What a thread does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Deed {
    /// Writes cells of its own.
    Write {
        at: usize,
        cells: usize,
    },
    /// Writes cells of its own at the end.
    Append {
        cells: usize,
    },
    /// Writes cells that it sees in a mapping of a page of a file.
    Copy {
        at: usize,
        cells: usize,
        from: FileNumber,
        page: usize,
    },
    Read {
        at: usize,
        cells: usize,
    },
    Truncate {
        cells: usize,
    },
    Fsync,
    Evict,
    /// Stores a cell through the mapping.
    Store {
        cell: usize,
    },
    /// Looks at a page of the mapping.
    Load {
        page: usize,
    },
    /// `munmap` of a page of the mapping, and `mmap`.
    Remap {
        page: usize,
    },
    /// `mlock` of a page of the mapping.
    Populate {
        page: usize,
    },
    /// All pages of files stop being resident.
    Steal,
}

/// A deed and the file that it is done to.
#[derive(Clone, Copy, Debug)]
pub(super) struct Op {
    pub(super) file: FileNumber,
    pub(super) deed: Deed,
    /// Its number in the script, from 1: the value of the cells that it writes.
    pub(super) tag: u8,
}

/// Where a script begins, and what its threads do.
#[derive(Clone, Debug)]
pub(super) struct Script {
    /// Cells that the files have.
    pub(super) initial: [usize; 2],
    pub(super) cached: Cached,
    pub(super) leaves: Leaves,
    pub(super) threads: Vec<Vec<Op>>,
}

/// Whether the files are in the cache at the begin.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Arbitrary)]
pub(super) enum Cached {
    No,
    Yes,
}

/// Whether the files' pages lie in one leaf.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Arbitrary)]
pub(super) enum Leaves {
    One,
    Two,
}

impl Leaves {
    /// The first page of the part of the files that scripts work on.
    pub(super) const fn origin(self) -> u64 {
        match self {
            Self::One => 0,
            Self::Two => 62,
        }
    }
}

impl Script {
    pub(super) fn read(input: &mut Unstructured<'_>) -> arbitrary::Result<Self> {
        let initial = [cells(input)?, cells(input)?];
        let (cached, leaves) = (input.arbitrary()?, input.arbitrary()?);
        let number = input.int_in_range(2..=3)?;
        let mut threads = Vec::new();
        let mut tag = 0;
        for _ in 0..number {
            let mut ops = Vec::new();
            for _ in 0..input.int_in_range(1..=MOST)? {
                tag += 1;
                let file = usize::from(input.ratio(1, 4)?);
                ops.push(Op { file, deed: Deed::arbitrary(input)?, tag });
            }
            threads.push(ops);
        }
        Ok(Self { initial, cached, leaves, threads })
    }

    /// The operations of all threads.
    pub(super) fn ops(&self) -> impl Iterator<Item = &Op> {
        self.threads.iter().flatten()
    }
}

fn cells(input: &mut Unstructured<'_>) -> arbitrary::Result<usize> {
    input.int_in_range(0..=CELLS)
}

impl<'a> Arbitrary<'a> for Deed {
    fn arbitrary(u: &mut Unstructured<'a>) -> arbitrary::Result<Self> {
        let page = |u: &mut Unstructured<'a>| u.int_in_range(0..=PAGES - 1);
        let at = |u: &mut Unstructured<'a>| u.int_in_range(0..=CELLS - 1);
        Ok(match u.int_in_range(0..=15)? {
            0..=3 => {
                let at = at(u)?;
                Self::Write { at, cells: u.int_in_range(1..=CELLS - at)? }
            }
            4 => Self::Append { cells: u.int_in_range(1..=PER_PAGE)? },
            5 | 6 => {
                let at = at(u)?;
                let cells = u.int_in_range(1..=PER_PAGE.min(CELLS - at))?;
                Self::Copy { at, cells, from: u.int_in_range(0..=1)?, page: page(u)? }
            }
            7 | 8 => {
                let at = at(u)?;
                Self::Read { at, cells: u.int_in_range(1..=CELLS - at)? }
            }
            9 => Self::Truncate { cells: cells(u)? },
            10 => Self::Fsync,
            11 => Self::Evict,
            12 => Self::Store { cell: at(u)? },
            13 => Self::Load { page: page(u)? },
            14 => match u.int_in_range(0..=1)? {
                0 => Self::Remap { page: page(u)? },
                _ => Self::Populate { page: page(u)? },
            },
            _ => Self::Steal,
        })
    }
}
