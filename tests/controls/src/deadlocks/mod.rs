//! The deadlocks DL1 to DL4, set up on the real MMU, with real threads, for each write path there
//! is.
//!
//! A [`Trial`] is one [`Scenario`] with one [`Algorithm`] on a machine of its own. The same setup
//! serves all: threads meet at gates that open when a thread is where it has to be (it holds its
//! page; it is about to wait for a page with M held) or is done, so that a path which cannot get
//! there does not wait for ever. Nothing sleeps to synchronise. The source is stolen just before
//! the first copy, which is what makes "prefault only" fail and what Faultless has to survive.
//!
//! A scenario that hangs is found twice: by the lock checker, as a cycle, before a thread waits;
//! and by the watchdog of the machine, which panics in the threads that wait. They unwind, give
//! their locks back, and the trial goes on to check that the machine is as good as new: Faultless
//! writes the same file, and every frame comes back.
//!
//! Key types: [`Scenario`], [`Algorithm`], [`Destination`], [`Trial`]; [`play`], [`play_all`].
//! `setup` owns machine and threads, `scenarios` what the threads do, `flavor` the hooks, `gate`
//! the meeting points, `store` DL4's store.

#![forbid(unsafe_code)]

mod flavor;
mod gate;
mod scenarios;
mod setup;
mod store;

use std::fmt;
use std::time::Duration;

use faultless_page::Strategy;

use super::{Control, Defects};
use faultless_host::lockcheck::{Kind, Report};

use self::setup::Setup;

/// How long a wait for a lock may last before it counts as a hang. A scenario that does not hang
/// waits for microseconds.
pub const LIMIT: Duration = Duration::from_secs(8);

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

    const fn path(self) -> Path {
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
enum Path {
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

/// Plays one scenario. A wait for a lock that lasts longer than `limit` counts as a hang. Blocks
/// until all threads have ended.
///
/// # Panics
/// If the trial ends with wrong bytes, an error, or anything left behind.
#[must_use]
pub fn play(
    scenario: Scenario,
    algorithm: Algorithm,
    destination: Destination,
    limit: Duration,
) -> Trial {
    let setup = Setup::new(algorithm.path(), destination, limit);
    let expecting = setup.machine().check().expect();
    let fires = match scenario {
        Scenario::Dl1 => scenarios::dl1(&setup),
        Scenario::Dl2 => scenarios::dl2(&setup),
        Scenario::Dl3 => scenarios::dl3(&setup),
        Scenario::Dl3Prime => scenarios::dl3_prime(&setup),
        Scenario::Dl4 => scenarios::dl4(&setup),
    };
    let reports = expecting.reports();
    setup.finish();
    let ending = if fires.is_empty() { Ending::Finishes } else { Ending::Hangs };
    Trial { scenario, algorithm, destination, ending, reports, fires }
}

/// Plays every scenario with every algorithm from both beginnings, at the same time, so that the
/// hangs are waited for together. In the order of the enums.
///
/// # Panics
/// As [`play`].
#[must_use]
pub fn play_all(limit: Duration) -> Vec<Trial> {
    std::thread::scope(|scope| {
        let mut trials = Vec::new();
        for scenario in Scenario::ALL {
            for algorithm in Algorithm::ALL {
                for destination in Destination::ALL {
                    trials.push(scope.spawn(move || play(scenario, algorithm, destination, limit)));
                }
            }
        }
        trials
            .into_iter()
            .map(|trial| trial.join().unwrap_or_else(|p| std::panic::resume_unwind(p)))
            .collect()
    })
}
