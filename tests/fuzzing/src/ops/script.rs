//! What a script of operations can say.

#![forbid(unsafe_code)]

use arbitrary::{Arbitrary, Unstructured};
use faultless_filemap::SyncKind;
use faultless_page::{Errno, PAGE_SIZE, Shift};

use faultless_host::script::{Action, Event, When};
use faultless_host::stores::Call;

/// Pages of the file that a script works on.
pub(super) const PAGES: usize = 6;
pub(super) const BYTES: usize = PAGES * PAGE_SIZE;

/// What a step came to: a count or an error.
pub(super) type Answer = Option<Result<usize, Errno>>;

/// A place in the part of the file that a script works on.
#[derive(Clone, Copy, Debug, Arbitrary)]
pub(super) enum Place {
    End(i8),
    Edge(u8, i8),
    Block(u8, i8),
    Any(u16),
}

impl Place {
    /// The place, for a file that ends at `end`.
    pub(super) fn get(self, end: usize) -> usize {
        let at = match self {
            Self::End(by) => end as isize + isize::from(by),
            Self::Edge(page, by) => {
                (usize::from(page) % (PAGES + 1) * PAGE_SIZE) as isize + isize::from(by)
            }
            Self::Block(block, by) => isize::from(block) * 512 + isize::from(by),
            Self::Any(at) => at as isize,
        };
        at.clamp(0, BYTES as isize) as usize
    }
}

#[derive(Clone, Copy, Debug, Arbitrary)]
pub(super) enum Length {
    Few(u8),
    Page(i8),
    Many(u16),
}

impl Length {
    pub(super) fn get(self) -> usize {
        match self {
            Self::Few(len) => usize::from(len),
            Self::Page(by) => PAGE_SIZE.wrapping_add_signed(isize::from(by)),
            Self::Many(len) => usize::from(len) % BYTES,
        }
    }
}

/// A segment of a request.
#[derive(Clone, Copy, Debug, Arbitrary)]
pub(super) enum Segment {
    Good(Length),
    /// Ends to be readable after so many bytes.
    Cut(Length, Length),
    Bad(Length),
    Empty,
    /// From a mapping of the file itself.
    Mapped(Place, Length),
}

/// Where a write goes.
#[derive(Clone, Copy, Debug, Arbitrary)]
pub(super) enum To {
    At(Place),
    Append,
}

/// What happens to a write, by the script of its address space.
#[derive(Clone, Copy, Debug, Arbitrary)]
pub(super) enum Trouble {
    Short {
        when: Moment,
        bytes: u16,
    },
    ShortFaulting {
        when: Moment,
        bytes: u16,
    },
    Steal {
        event: Source,
        when: Moment,
    },
    /// Fault-in says that all is well, and does nothing.
    Lie {
        when: Moment,
    },
    /// Fault-in says that nothing can be reached.
    Refuse {
        when: Moment,
    },
    /// The source is unmapped, as by another thread.
    Unmap {
        event: Source,
        when: Moment,
    },
}

#[derive(Clone, Copy, Debug, Arbitrary)]
pub(super) enum Source {
    Atomic,
    FaultIn,
    Fault,
}

#[derive(Clone, Copy, Debug, Arbitrary)]
pub(super) enum Moment {
    Nth(u8),
    From(u8),
    Every(u8),
}

impl Moment {
    fn when(self) -> When {
        let number = |n: u8| 1 + u64::from(n % 6);
        match self {
            Self::Nth(n) => When::Nth(number(n)),
            Self::From(n) => When::From(number(n)),
            Self::Every(n) => When::Every(number(n)),
        }
    }

    const fn is_once(self) -> bool {
        matches!(self, Self::Nth(_))
    }
}

impl Source {
    const fn event(self) -> Event {
        match self {
            Self::Atomic => Event::AtomicCopy,
            Self::FaultIn => Event::FaultIn,
            Self::Fault => Event::Fault,
        }
    }
}

impl Trouble {
    /// The rule.
    pub(super) fn rule(self) -> (Event, When, Action) {
        let short = |bytes: u16| Action::Short(1 + usize::from(bytes) % PAGE_SIZE);
        match self {
            // Nothing at all, of a source that can be read, stands for a theft.
            Self::Short { when, bytes: 0 } => (Event::AtomicCopy, when.when(), Action::Short(0)),
            Self::Short { when, bytes } => (Event::AtomicCopy, when.when(), short(bytes)),
            Self::ShortFaulting { when, bytes } => (Event::FaultingCopy, when.when(), short(bytes)),
            Self::Steal { event, when } => (event.event(), when.when(), Action::StealAll),
            Self::Lie { when } => (Event::FaultIn, when.when(), Action::Lie),
            Self::Refuse { when } => (Event::FaultIn, when.when(), Action::Refuse),
            Self::Unmap { event, when } => (event.event(), when.when(), Action::Unmap),
        }
    }

    /// Whether a correct kernel survives it with the exact count: nothing is taken away for good.
    pub(super) const fn is_survived(self) -> bool {
        match self {
            Self::Short { .. } | Self::ShortFaulting { .. } | Self::Lie { .. } => true,
            // A theft at every single fault leaves no way to read anything.
            Self::Steal { event: Source::Fault, when } => when.is_once(),
            Self::Steal { .. } => true,
            Self::Refuse { .. } | Self::Unmap { .. } => false,
        }
    }
}

/// A call of the store that fails.
#[derive(Clone, Copy, Debug, Arbitrary)]
pub(super) enum Failing {
    Read,
    WriteBegin,
    Writeback,
    Sync,
}

impl Failing {
    pub(super) const fn call(self) -> Call {
        match self {
            Self::Read => Call::Read,
            Self::WriteBegin => Call::WriteBegin,
            Self::Writeback => Call::Writeback,
            Self::Sync => Call::Sync,
        }
    }
}

/// What is to be durable when a write returns.
#[derive(Clone, Copy, Debug, Arbitrary)]
pub(super) enum Sync {
    No,
    Data,
    All,
}

impl Sync {
    pub(super) const fn kind(self) -> Option<SyncKind> {
        match self {
            Self::No => None,
            Self::Data => Some(SyncKind::Data),
            Self::All => Some(SyncKind::All),
        }
    }
}

/// A write.
#[derive(Clone, Debug, Arbitrary)]
pub(super) struct Write {
    pub(super) to: To,
    pub(super) segments: [Option<Segment>; 4],
    pub(super) sync: Sync,
    pub(super) trouble: [Option<Trouble>; 2],
    /// `RLIMIT_FSIZE`.
    pub(super) limit: Option<Place>,
    /// A fatal signal comes after so many looks.
    pub(super) signal: Option<u8>,
}

/// A `fallocate`.
#[derive(Clone, Copy, Debug, Arbitrary)]
pub(super) struct Blocks {
    pub(super) change: Change,
    pub(super) at: Place,
    pub(super) len: Length,
    /// Nothing is left to the size that the file has: it grows to the end of the range.
    pub(super) grows: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Arbitrary)]
pub(super) enum Change {
    Hole,
    Zeros,
    Room,
}

/// Whether the pages of a read or a write stay in the cache.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Retention {
    Kept,
    /// They are dropped behind it: `RWF_DONTCACHE`.
    Behind,
}

/// A `fallocate` that moves what lies behind a range.
#[derive(Clone, Copy, Debug)]
pub(super) struct Moved {
    pub(super) shift: Shift,
    /// Both are brought to whole blocks.
    pub(super) at: Place,
    pub(super) len: Length,
}

impl<'a> Arbitrary<'a> for Moved {
    fn arbitrary(u: &mut Unstructured<'a>) -> arbitrary::Result<Self> {
        let shift = *u.choose(&[Shift::Collapse, Shift::Insert])?;
        Ok(Self { shift, at: u.arbitrary()?, len: u.arbitrary()? })
    }
}

/// A step that only some inputs have.
#[derive(Clone, Debug, Arbitrary)]
pub(super) enum Later {
    Blocks(Blocks),
    Move(Moved),
    /// A read that leaves nothing behind.
    Read {
        at: Place,
        len: Length,
    },
    /// A write that leaves nothing behind.
    Write(Write),
    /// What was written so is sent and dropped, as at the last close.
    Close,
}

#[derive(Clone, Debug, Arbitrary)]
pub(super) enum Step {
    Write(Write),
    Read {
        at: Place,
        len: Length,
        split: Length,
    },
    Store {
        at: Place,
        len: u8,
    },
    Load {
        page: u8,
    },
    Truncate(Place),
    Fsync,
    Writeback {
        at: Place,
        len: Length,
    },
    /// Pages leave the cache, or the place where they are: in one of four ways, by the length.
    Evict {
        at: Place,
        len: Length,
    },
    /// The program's pages stop being resident.
    StealAll,
    /// Everything that was not synced is lost.
    Crash,
    /// Pages sent arrive in any order from here on.
    Reorder {
        seed: u8,
    },
    FailStore {
        call: Failing,
        nth: u8,
        full: bool,
    },
    FailAllocation {
        nth: u8,
    },
    /// Nothing fails any more.
    Heal,
}

/// The error of a failing store.
pub(super) const fn errno(step: &Step) -> Errno {
    match step {
        Step::FailStore { full: true, .. } => Errno::NoSpace,
        _ => Errno::Io,
    }
}
