//! What a case consists of: a file, a program's memory, and operations on both, named without an
//! address, so that several systems can be given the same ones.

#![forbid(unsafe_code)]

use std::fmt;

use faultless_filemap::{FileSize, Strategy};
use faultless_page::{Fallocate, PAGE_SIZE, Shift};

use faultless_host::mmu::Protection;

/// Pages of the program's memory that operations change.
pub const WINDOW: usize = 12;

/// Pages after the window, and before the end of user addresses, where nothing is ever mapped.
pub const GUARD: usize = 4;

/// Bytes that a segment has at most, unless its length is negative: it does not reach across the
/// guard.
pub const MAX_SEGMENT: usize = (GUARD - 1) * PAGE_SIZE;

/// A sequence of operations and the world in which they happen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Case {
    /// What it was made from.
    pub seed: u64,
    /// How Faultless writes.
    pub strategy: Strategy,
    /// What is behind Faultless's file.
    pub backing: Backing,
    /// Whether the file is open with `O_APPEND`.
    pub mode: OpenMode,
    /// `RLIMIT_FSIZE`, if there is one.
    pub limit: Option<u64>,
    /// Bytes that the file has to begin with.
    pub size: u64,
    /// What happens, in this order.
    pub ops: Vec<Op>,
}

/// A store for Faultless.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Backing {
    /// Whole pages, kept in memory.
    Memory,
    /// Blocks of so many bytes.
    Blocks(usize),
    /// A file of the host.
    HostFile,
}

/// Where a file's writes go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OpenMode {
    /// To the position.
    Plain,
    /// To the end (`O_APPEND`).
    Append,
}

/// One operation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Op {
    /// `write`, `pwrite`, `writev`, `pwritev`.
    Write(Transfer),
    /// `read`, `pread`, `readv`, `preadv`.
    Read(Transfer),
    /// `mmap` of private memory that holds the bytes of [`pattern`] for this seed.
    MapPrivate {
        /// The first page of the window.
        page: usize,
        /// How many.
        pages: usize,
        /// What the program may do there.
        protection: Protection,
        /// Which bytes.
        seed: u64,
    },
    /// `mmap` of the file, shared.
    MapFile {
        /// The first page of the window.
        page: usize,
        /// How many.
        pages: usize,
        /// What the program may do there.
        protection: Protection,
        /// The page of the file that the first one shows.
        first: u64,
    },
    /// `munmap`.
    Unmap {
        /// The first page of the window.
        page: usize,
        /// How many.
        pages: usize,
    },
    /// `mprotect` of what is mapped.
    Protect {
        /// The first page of the window.
        page: usize,
        /// How many.
        pages: usize,
        /// What the program may do there from now on.
        protection: Protection,
    },
    /// `ftruncate`.
    Truncate(u64),
    /// `fallocate`.
    Fallocate {
        /// Room, a hole or zeros. tmpfs knows no zeros: there it is a hole and then room.
        change: Fallocate,
        /// The first byte.
        at: u64,
        /// How many.
        len: u64,
        /// What becomes of the size, but for a hole, which keeps it.
        size: FileSize,
    },
    /// `fallocate` that takes bytes out or puts a hole in. A file system that cannot, as tmpfs, has
    /// the bytes read and written by the oracle.
    Shift {
        /// Which of the two.
        shift: Shift,
        /// The first byte.
        at: u64,
        /// How many.
        len: u64,
    },
    /// `lseek` with `SEEK_SET`.
    Seek(u64),
    /// The program stores bytes of [`pattern`].
    Store {
        /// From where on.
        at: Bytes,
        /// Which bytes.
        seed: u64,
    },
    /// The program loads.
    Load(Bytes),
    /// Faultless writes the file back and drops its pages; Linux does nothing.
    Chill,
    /// Pages of Faultless's program stop being resident; Linux does nothing.
    Steal {
        /// The first page of the window.
        page: usize,
        /// How many.
        pages: usize,
    },
    /// The whole file is read and compared. It is at the end of each case, too.
    Compare,
}

/// A range of the window.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bytes {
    /// The page of the window.
    pub page: usize,
    /// The first byte in it.
    pub offset: usize,
    /// How many; the range may end in the guard.
    pub len: usize,
}

/// A request to read or to write.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Transfer {
    /// Which bytes of the file.
    pub at: At,
    /// With or without a vector.
    pub form: Form,
    /// The memory. Just one segment if there is no vector.
    pub segments: Vec<Segment>,
}

/// Where in the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum At {
    /// At the file's position, which moves.
    Position,
    /// Here (`pread`, `pwrite`).
    Offset(u64),
}

/// How the segments are handed over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// As arguments.
    Plain,
    /// As an array in good memory.
    Vector,
    /// As an array at an address where nothing is mapped.
    LostVector,
}

/// A piece of user memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Segment {
    /// Where.
    pub place: Place,
    /// How many bytes. Above `isize::MAX` it is a negative length.
    pub len: usize,
}

/// An address, in words that mean the same in every address space.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// Byte `offset` of page `page` of the window.
    Window(usize, usize),
    /// So many bytes before the end of user addresses, where nothing is mapped.
    BeforeEnd(usize),
    /// So many bytes past the end of user addresses.
    PastEnd(usize),
    /// So many bytes before the end of all addresses.
    Last(usize),
}

impl Transfer {
    /// The bytes of all segments, if no length is negative and there are not too many segments.
    #[must_use]
    pub fn total(&self) -> Option<usize> {
        if self.segments.len() > faultless_usercopy::MAX_SEGMENTS {
            return None;
        }
        self.segments.iter().try_fold(0_usize, |sum, segment| {
            sum.checked_add(segment.len).filter(|sum| isize::try_from(*sum).is_ok())
        })
    }
}

impl Place {
    /// The address, in an address space whose window begins at `window` and whose user addresses
    /// end at `end`.
    #[must_use]
    pub const fn address(self, window: usize, end: usize) -> usize {
        match self {
            Self::Window(page, offset) => window + page * PAGE_SIZE + offset,
            Self::BeforeEnd(before) => end - before,
            Self::PastEnd(past) => end.wrapping_add(past),
            Self::Last(before) => 0_usize.wrapping_sub(before),
        }
    }
}

/// `len` bytes for this seed, none of them zero.
#[must_use]
pub fn pattern(seed: u64, len: usize) -> Vec<u8> {
    let mut bytes = faultless_host::rng::Rng::new(seed).bytes(len);
    for byte in &mut bytes {
        *byte |= 1;
    }
    bytes
}

impl fmt::Display for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "seed {}: a file of {} bytes", self.seed, self.size)?;
        if self.mode == OpenMode::Append {
            f.write_str(", O_APPEND")?;
        }
        if let Some(limit) = self.limit {
            write!(f, ", RLIMIT_FSIZE {limit}")?;
        }
        writeln!(f, "; Faultless: {:?} over {:?}", self.strategy, self.backing)?;
        self.ops.iter().enumerate().try_for_each(|(at, op)| writeln!(f, "{at:>4}  {op}"))
    }
}

impl fmt::Display for Op {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Write(transfer) => transfer.tell(f, "write"),
            Self::Read(transfer) => transfer.tell(f, "read"),
            Self::MapPrivate { page, pages, protection, seed } => {
                write!(f, "mmap pages {page}+{pages}: private, {protection:?}, bytes of {seed}")
            }
            Self::MapFile { page, pages, protection, first } => {
                write!(f, "mmap pages {page}+{pages}: the file from page {first}, {protection:?}")
            }
            Self::Unmap { page, pages } => write!(f, "munmap pages {page}+{pages}"),
            Self::Protect { page, pages, protection } => {
                write!(f, "mprotect pages {page}+{pages}: {protection:?}")
            }
            Self::Truncate(size) => write!(f, "ftruncate to {size}"),
            Self::Fallocate { change, at, len, size } => {
                write!(f, "fallocate at {at}, {len} B: {change:?}, the size {size:?}")
            }
            Self::Shift { shift, at, len } => write!(f, "fallocate at {at}, {len} B: {shift:?}"),
            Self::Seek(pos) => write!(f, "lseek to {pos}"),
            Self::Store { at, seed } => write!(f, "store at {at}, bytes of {seed}"),
            Self::Load(at) => write!(f, "load at {at}"),
            Self::Chill => f.write_str("Faultless: write back and evict the file"),
            Self::Steal { page, pages } => write!(f, "Faultless: steal pages {page}+{pages}"),
            Self::Compare => f.write_str("compare the file"),
        }
    }
}

impl Transfer {
    fn tell(&self, f: &mut fmt::Formatter<'_>, verb: &str) -> fmt::Result {
        let p = if self.at == At::Position { "" } else { "p" };
        let v = if self.form == Form::Plain { "" } else { "v" };
        write!(f, "{p}{verb}{v}")?;
        if let At::Offset(pos) = self.at {
            write!(f, " at {pos}")?;
        }
        if self.form == Form::LostVector {
            f.write_str(" by a vector that is not mapped")?;
        }
        f.write_str(":")?;
        let told = 8;
        for segment in self.segments.iter().take(told) {
            write!(f, " [{segment}]")?;
        }
        match self.segments.len().saturating_sub(told) {
            0 => Ok(()),
            more => write!(f, " and {more} more segments"),
        }
    }
}

impl fmt::Display for Segment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.place {
            Place::Window(page, offset) => write!(f, "page {page}+{offset}")?,
            Place::BeforeEnd(before) => write!(f, "end-{before}")?,
            Place::PastEnd(past) => write!(f, "end+{past}")?,
            Place::Last(before) => write!(f, "-{before}")?,
        }
        write!(f, ", {} B", self.len.cast_signed())
    }
}

impl fmt::Display for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "page {}+{}, {} B", self.page, self.offset, self.len)
    }
}
