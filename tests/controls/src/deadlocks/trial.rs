//! What is tried: which deadlock, by which algorithm, on which page, and how that ends.

#![forbid(unsafe_code)]

use std::fmt;

use faultless_host::lockcheck::{Kind, Report};
use faultless_page::Strategy;

use crate::defects::Defects;
use crate::request::Control;

/// A deadlock of `docs/semantics.md`, the problem.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Scenario {
    /// A page is written from a mapping of itself.
    Dl1,
    /// Two pages are written, each from a mapping of the other.
    Dl2,
    /// A page is written; the source faults while another thread populates a mapping of the page.
    Dl3,
    /// As DL3, but the other thread only reads the page, and a third one is queued for `munmap`.
    Dl3Prime,
    /// A page of a store that holds its own lock from `write_begin` to `write_end` is written from
    /// a mapping of a page that another thread is reading in, for which the store takes the same
    /// lock.
    Dl4,
}

/// A write path.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Algorithm {
    /// [`Control::Linux2623`].
    Linux2623,
    /// [`Control::Linux2624Rc1`] with all its defects.
    Linux2624Rc1,
    /// [`Control::PrefaultOnly`].
    PrefaultOnly,
    /// Production, strategy A.
    FaultlessA,
    /// Production, strategy B.
    FaultlessB,
}

/// The state of the written page when the write begins: strategy A treats the two differently.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Destination {
    /// Cached and uptodate.
    Uptodate,
    /// Not in the cache; the store has it.
    Absent,
}

/// How a trial ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Ending {
    /// All threads came to their end, with the right bytes.
    Finishes,
    /// The watchdog had to take threads down.
    Hangs,
}

/// One scenario, played by one algorithm.
#[derive(Clone, Debug)]
pub struct Trial {
    /// What was played.
    pub scenario: Scenario,
    /// The algorithm that played it.
    pub algorithm: Algorithm,
    /// From which beginning.
    pub destination: Destination,
    /// How it ended.
    pub ending: Ending,
    /// All that the lock checker had to say.
    pub reports: Vec<Report>,
    /// What the watchdog said of each thread that it took down.
    pub fires: Vec<String>,
}

impl Scenario {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::Dl1, Self::Dl2, Self::Dl3, Self::Dl3Prime, Self::Dl4];

    /// Its name in the contract.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Dl1 => "DL1",
            Self::Dl2 => "DL2",
            Self::Dl3 => "DL3",
            Self::Dl3Prime => "DL3'",
            Self::Dl4 => "DL4",
        }
    }

    /// What each thread does.
    #[must_use]
    pub const fn story(self) -> &'static str {
        match self {
            Self::Dl1 => "T1 writes a page from a mapping of the same page",
            Self::Dl2 => "T1 writes f from a mapping of g, T2 writes g from a mapping of f",
            Self::Dl3 => "T1 writes f, T2 populates a mapping of f (holds M for writing)",
            Self::Dl3Prime => "T1 writes f, T2 loads from f (holds M for reading), T3 munmaps",
            Self::Dl4 => "T1 writes f from a mapping of g, T2 reads g in; one store lock",
        }
    }

    /// What the lock checker calls it.
    #[must_use]
    pub const fn kind(self) -> Kind {
        match self {
            Self::Dl1 => Kind::Recursive,
            Self::Dl2 => Kind::Abba,
            Self::Dl3 => Kind::PageAgainstSpace,
            Self::Dl3Prime => Kind::ReaderBehindQueuedWriter,
            Self::Dl4 => Kind::ForeignLock,
        }
    }
}

impl Algorithm {
    /// All of them, the oldest first.
    pub const ALL: [Self; 5] = [
        Self::Linux2623,
        Self::Linux2624Rc1,
        Self::PrefaultOnly,
        Self::FaultlessA,
        Self::FaultlessB,
    ];

    /// Its name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Linux2623 => "2.6.23",
            Self::Linux2624Rc1 => "2.6.24-rc1",
            Self::PrefaultOnly => "prefault only",
            Self::FaultlessA => "Faultless A",
            Self::FaultlessB => "Faultless B",
        }
    }

    /// How history, or the proof, says that every scenario ends.
    #[must_use]
    pub const fn expected(self) -> Ending {
        match self {
            Self::Linux2623 | Self::PrefaultOnly => Ending::Hangs,
            Self::Linux2624Rc1 | Self::FaultlessA | Self::FaultlessB => Ending::Finishes,
        }
    }

    pub(super) const fn path(self) -> Path {
        match self {
            Self::Linux2623 => Path::Control(Control::Linux2623),
            Self::Linux2624Rc1 => Path::Control(Control::Linux2624Rc1(Defects::ALL)),
            Self::PrefaultOnly => Path::Control(Control::PrefaultOnly),
            Self::FaultlessA => Path::Production(Strategy::PrepareCommit),
            Self::FaultlessB => Path::Production(Strategy::BeginEnd),
        }
    }
}

/// Which code writes.
#[derive(Clone, Copy, Debug)]
pub(super) enum Path {
    Control(Control),
    Production(Strategy),
}

impl Destination {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Uptodate, Self::Absent];

    /// In a word.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Uptodate => "uptodate",
            Self::Absent => "absent",
        }
    }
}

impl fmt::Display for Scenario {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl fmt::Display for Algorithm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl fmt::Display for Destination {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl fmt::Display for Ending {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Finishes => "finishes",
            Self::Hangs => "hangs",
        })
    }
}

impl Trial {
    /// The cycle of the scenario's kind that the lock checker found.
    #[must_use]
    pub fn cycle(&self) -> Option<&Report> {
        self.reports.iter().find(|report| report.kind == self.scenario.kind())
    }
}

impl fmt::Display for Trial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { scenario, algorithm, destination, ending, .. } = self;
        write!(f, "{scenario} on {algorithm} (page {destination}): {ending}")
    }
}
