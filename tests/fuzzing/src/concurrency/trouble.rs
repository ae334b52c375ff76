//! What goes wrong inside the calls of the stores, and how long they take: the [`Pace`] of a
//! script's stores.

#![forbid(unsafe_code)]

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use arbitrary::{Arbitrary, Unstructured};
use faultless_page::Errno;

use super::scheduler;
use faultless_host::stores::{Call, Pace};

/// Most troubles of a script that is read from an input.
const MOST: usize = 3;
/// Calls that can fail among which an input chooses.
const CALLS: u32 = 16;

/// Trouble with one call, or with all from one on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Trouble {
    /// Which of the calls that can fail, counted from 0 over both stores since the threads began.
    pub(super) calls: Range<u32>,
    /// Whether they take as long as they can.
    pub(super) speed: Speed,
    /// What they fail with.
    pub(super) errno: Option<Errno>,
}

/// How long a call takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Arbitrary)]
pub(super) enum Speed {
    /// It goes on when it is its thread's turn.
    Quick,
    /// The other threads run as far as they can.
    Stalls,
}

/// What the stores of a script do.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) enum Stores {
    /// Calls are single steps, and none of them fails.
    #[default]
    Prompt,
    /// Other threads may run inside the calls, and these go wrong.
    Phased(Vec<Trouble>),
    /// The same, and requests end later, on a thread of the stores.
    Late(Vec<Trouble>),
}

impl Stores {
    /// The same stores with other troubles.
    pub(super) fn with(&self, troubles: Vec<Trouble>) -> Self {
        match self {
            Self::Late(_) => Self::Late(troubles),
            Self::Prompt | Self::Phased(_) => Self::Phased(troubles),
        }
    }

    /// Whether requests end later.
    pub(super) const fn are_late(&self) -> bool {
        matches!(self, Self::Late(_))
    }
}

impl Trouble {
    /// Trouble by the bytes of an input.
    pub(super) fn read(input: &mut Unstructured<'_>) -> arbitrary::Result<Vec<Self>> {
        let one = |input: &mut Unstructured<'_>| {
            let errno = match input.int_in_range(0..=3)? {
                0 => None,
                1 => Some(Errno::NoSpace),
                _ => Some(Errno::Io),
            };
            let first = input.int_in_range(0..=CALLS - 1)?;
            let end = if input.ratio(1, 8)? { u32::MAX } else { first + 1 };
            Ok(Self { calls: first..end, speed: input.arbitrary()?, errno })
        };
        (0..input.int_in_range(1..=MOST)?).map(|_| one(input)).collect()
    }
}

/// The troubles of a run, as they come.
#[derive(Clone, Debug)]
pub(super) struct Troubles(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    stores: Stores,
    calls: AtomicU32,
    failed: AtomicU32,
}

impl Troubles {
    pub(super) fn new(stores: Stores) -> Self {
        let (calls, failed) = (AtomicU32::new(0), AtomicU32::new(0));
        Self(Arc::new(Inner { stores, calls, failed }))
    }

    /// Calls so far that could have failed.
    pub(super) fn calls(&self) -> u32 {
        self.0.calls.load(Ordering::Relaxed)
    }

    /// Whether a call has failed.
    pub(super) fn came(&self) -> bool {
        self.0.failed.load(Ordering::Relaxed) > 0
    }
}

/// There is no point and no trouble while no thread runs: before they begin, after they end, and
/// while they are looked at.
impl Pace for Troubles {
    fn point(&self) {
        if self.0.stores != Stores::Prompt {
            scheduler::point();
        }
    }

    fn answer(&self, _call: Call) -> Result<(), Errno> {
        let (Stores::Phased(troubles) | Stores::Late(troubles)) = &self.0.stores else {
            return Ok(());
        };
        if !scheduler::running() {
            return Ok(());
        }
        let number = self.0.calls.fetch_add(1, Ordering::Relaxed);
        scheduler::point();
        let mut answer = Ok(());
        for trouble in troubles.iter().filter(|trouble| trouble.calls.contains(&number)) {
            if trouble.speed == Speed::Stalls {
                scheduler::idle();
            }
            answer = trouble.errno.map_or(answer, Err);
        }
        if answer.is_err() {
            self.0.failed.fetch_add(1, Ordering::Relaxed);
        }
        scheduler::point();
        answer
    }

    fn waiting(&self) -> u64 {
        scheduler::waiting()
    }
}
