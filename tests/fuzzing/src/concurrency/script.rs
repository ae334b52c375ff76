//! What the threads of a script do, in cells: pieces of the file so small that a script has few of
//! them.

#![forbid(unsafe_code)]

use arbitrary::{Arbitrary, Unstructured};
use faultless_filemap::{DirtyVictims, Strategy};
use faultless_page::{Fallocate, PAGE_SIZE, Shift};

use super::scheduler::Wakes;
use super::trouble::{Stores, Trouble};
use faultless_host::stores::Lie;

/// Bytes of a cell.
pub(super) const CELL: usize = 512;
/// Cells of a page.
pub(super) const PER_PAGE: usize = PAGE_SIZE / CELL;
/// Cells of a block of the stores: two, so that a cell can be half of what has room.
pub(super) const PER_BLOCK: usize = 2;
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
pub(super) enum Operation {
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
    /// The two with `RWF_DONTCACHE`. What was written is dropped at once, as at the last close.
    ReadBehind {
        at: usize,
        cells: usize,
    },
    WriteBehind {
        at: usize,
        cells: usize,
    },
    Truncate {
        cells: usize,
    },
    /// `fallocate`: a hole, zeros or room. The size stays.
    Blocks {
        change: Fallocate,
        at: usize,
        cells: usize,
    },
    /// `fallocate` that moves everything behind these cells, which are whole blocks.
    Shift {
        shift: Shift,
        at: usize,
        cells: usize,
    },
    Fsync,
    /// `msync` of a page.
    SyncPage {
        page: usize,
    },
    /// A write with `O_DSYNC`.
    SyncWrite {
        at: usize,
        cells: usize,
    },
    /// The pages are sent, as a flusher sends them.
    Flush,
    /// They are, and their ends are not waited for.
    Send,
    /// All pages are read ahead.
    Ahead,
    Evict,
    /// Pages are dropped for the sake of their contents, dirty ones once the store has them.
    Invalidate,
    /// A page moves to another frame.
    Migrate {
        page: usize,
    },
    /// A direct write of a page, by a transfer that changes nothing.
    Direct {
        page: usize,
    },
    /// A step of a reclaimer.
    Reclaim {
        dirty: DirtyVictims,
    },
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
    /// A fatal signal for a thread. If it waits, it runs at once.
    Kill {
        thread: usize,
    },
}

/// An operation and its file.
#[derive(Clone, Copy, Debug)]
pub(super) struct Op {
    pub(super) file: FileNumber,
    pub(super) operation: Operation,
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
    pub(super) setting: Setting,
}

/// Where its threads run.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Setting {
    pub(super) stores: Stores,
    pub(super) wakes: Wakes,
    pub(super) sources: Sources,
    /// How many other threads hold a range of the first file each, for as long as they can.
    pub(super) holders: usize,
    /// How the stores break their word.
    pub(super) lie: Lie,
    pub(super) crashes: Crashes,
    pub(super) reclaims: Reclaims,
}

/// What an allocation of a frame does first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Reclaims {
    #[default]
    Never,
    /// It drops all clean pages of the files.
    Always,
    /// Frames are few: one that finds none drops what the cache gives up.
    Short,
}

/// Whether the machine stops at each moment of the stores.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Crashes {
    #[default]
    Never,
    Everywhere,
}

/// Whether the sources of writes are in memory.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Sources {
    #[default]
    Resident,
    /// They begin in the middle of a page, and all of their pages but the first are swapped out.
    Swapped,
}

/// Whether the files are in the cache at the begin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cached {
    /// They are not.
    No,
    /// They are, and the stores hold the same.
    Yes,
    /// They are, and the stores do not hold what the cache holds.
    Dirty,
}

/// What an input begins with: a byte of settings, beside the strategy. Inputs that say "prompt" are
/// read as they were before there were others.
#[derive(Clone, Copy, Debug)]
pub(super) struct Mode {
    settings: u8,
    repertoire: Repertoire,
}

/// Which operations an input may name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Repertoire {
    /// Those that there were when its settings were new.
    OfSettings,
    /// All.
    Whole,
}

impl Mode {
    /// A first byte that says "prompt" and has one more bit stands for no settings: it names all
    /// operations, and the settings follow.
    pub(super) fn read(input: &mut Unstructured<'_>) -> arbitrary::Result<Self> {
        let settings: u8 = input.arbitrary()?;
        if settings & 14 == 12 {
            return Ok(Self { settings: input.arbitrary()?, repertoire: Repertoire::Whole });
        }
        Ok(Self { settings, repertoire: Repertoire::OfSettings })
    }

    pub(super) fn strategy(self) -> Strategy {
        if self.settings & 1 == 1 { Strategy::PrepareCommit } else { Strategy::BeginEnd }
    }

    fn is_prompt(self) -> bool {
        self.settings & 6 == 4
    }

    /// The settings, but for the troubles of the stores.
    fn setting(self) -> Setting {
        if self.is_prompt() {
            return Setting::default();
        }
        let wakes = if self.settings & 8 == 0 { Wakes::Lazy } else { Wakes::Eager };
        let sources = if self.settings & 16 == 0 { Sources::Resident } else { Sources::Swapped };
        let reclaims = match self.settings & 0xc0 {
            0xc0 => Reclaims::Short,
            0x40 => Reclaims::Always,
            _ => Reclaims::Never,
        };
        let phased = Stores::Phased(Vec::new());
        let stores = if self.is_late() { Stores::Late(Vec::new()) } else { phased };
        Setting { stores, wakes, sources, reclaims, ..Setting::default() }
    }

    fn is_late(self) -> bool {
        !self.is_prompt() && self.settings & 0xc0 == 0x80
    }

    /// The last operation that an input may name.
    fn operations(self) -> u8 {
        match self {
            _ if self.repertoire == Repertoire::Whole => 31,
            _ if self.is_prompt() => 15,
            _ if self.is_late() => 23,
            _ if self.settings & 0xc0 == 0xc0 => 24,
            _ => 19,
        }
    }

    fn has_trouble(self) -> bool {
        self.settings & 2 != 0
    }

    fn is_dirty(self) -> bool {
        self.settings & 32 != 0
    }
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
    pub(super) fn read(input: &mut Unstructured<'_>, mode: Mode) -> arbitrary::Result<Self> {
        let initial = [cells(input)?, cells(input)?];
        let cached = match input.arbitrary::<u32>()? >> 31 {
            0 => Cached::No,
            _ => Cached::Yes,
        };
        let leaves = input.arbitrary()?;
        let mut setting = mode.setting();
        let operations = mode.operations();
        let number = input.int_in_range(2..=3)?;
        let mut threads = Vec::new();
        let mut tag = 0;
        for _ in 0..number {
            let mut ops = Vec::new();
            for _ in 0..input.int_in_range(1..=MOST)? {
                tag += 1;
                let file = usize::from(input.ratio(1, 4)?);
                ops.push(Op { file, operation: Operation::read(input, operations)?, tag });
            }
            threads.push(ops);
        }
        let mut script = Self { initial, cached, leaves, threads, setting: Setting::default() };
        if !mode.is_prompt() && mode.is_dirty() {
            script.cached = Cached::Dirty;
        }
        if !mode.is_prompt() && mode.has_trouble() {
            setting.stores = setting.stores.with(Trouble::read(input)?);
        }
        script.setting = setting;
        Ok(script)
    }

    /// The operations of all threads.
    pub(super) fn ops(&self) -> impl Iterator<Item = &Op> {
        self.threads.iter().flatten()
    }
}

fn cells(input: &mut Unstructured<'_>) -> arbitrary::Result<usize> {
    input.int_in_range(0..=CELLS)
}

impl Operation {
    /// Whether it writes from memory of its own.
    pub(super) const fn has_source(self) -> bool {
        matches!(
            self,
            Self::Write { .. }
                | Self::WriteBehind { .. }
                | Self::SyncWrite { .. }
                | Self::Append { .. }
        )
    }

    /// One of the first `last + 1` operations.
    fn read(u: &mut Unstructured<'_>, last: u8) -> arbitrary::Result<Self> {
        let page = |u: &mut Unstructured<'_>| u.int_in_range(0..=PAGES - 1);
        let at = |u: &mut Unstructured<'_>| u.int_in_range(0..=CELLS - 1);
        Ok(match u.int_in_range(0..=last)? {
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
            15 => Self::Steal,
            16 => Self::SyncPage { page: page(u)? },
            17 => Self::Flush,
            18 => {
                let at = at(u)?;
                Self::SyncWrite { at, cells: u.int_in_range(1..=CELLS - at)? }
            }
            20 => Self::Send,
            21 => Self::Ahead,
            22 | 23 => {
                let at = at(u)?;
                let changes = [Fallocate::PunchHole, Fallocate::ZeroRange, Fallocate::Allocate];
                let change = *u.choose(&changes)?;
                Self::Blocks { change, at, cells: u.int_in_range(1..=CELLS - at)? }
            }
            24 => Self::Reclaim {
                dirty: if u.arbitrary()? { DirtyVictims::Send } else { DirtyVictims::Leave },
            },
            25 | 26 => {
                let at = at(u)?;
                Self::ReadBehind { at, cells: u.int_in_range(1..=CELLS - at)? }
            }
            27 | 28 => {
                let at = at(u)?;
                Self::WriteBehind { at, cells: u.int_in_range(1..=CELLS - at)? }
            }
            29.. => {
                let shift = *u.choose(&[Shift::Collapse, Shift::Insert])?;
                let at = u.int_in_range(0..=CELLS / PER_BLOCK - 1)? * PER_BLOCK;
                let cells = u.int_in_range(1..=PER_PAGE / PER_BLOCK)? * PER_BLOCK;
                Self::Shift { shift, at, cells }
            }
            _ => match u.int_in_range(0..=3)? {
                0 => Self::Fsync,
                1 => Self::Invalidate,
                2 => Self::Migrate { page: page(u)? },
                _ => Self::Direct { page: page(u)? },
            },
        })
    }
}
