//! The defects of 08291429cf, one by one.

#![forbid(unsafe_code)]

/// A defect of the first cure. See `docs/semantics.md`, the cure.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Defect {
    /// S1: an empty first segment is probed in place of the next one: with a page that is uptodate,
    /// and a second segment that is not resident, or bad, the loop never ends.
    EmptySegmentLoop,
    /// S2: the size grows by what was asked, not by what was copied.
    GrowsByAsked,
    /// S3: a source that crosses into a bad page is refused as a whole chunk.
    WholeChunkRefused,
    /// S4: a fatal signal is not looked for.
    NoSignalCheck,
    /// S5: an error of `O_SYNC` is lost when bytes were written.
    SyncErrorLost,
}

impl Defect {
    /// All of them, S1 first.
    pub const ALL: [Self; 5] = [
        Self::EmptySegmentLoop,
        Self::GrowsByAsked,
        Self::WholeChunkRefused,
        Self::NoSignalCheck,
        Self::SyncErrorLost,
    ];

    /// Its name in the contract.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::EmptySegmentLoop => "S1",
            Self::GrowsByAsked => "S2",
            Self::WholeChunkRefused => "S3",
            Self::NoSignalCheck => "S4",
            Self::SyncErrorLost => "S5",
        }
    }
}

/// A set of [`Defect`]s.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Defects(u8);

impl Defects {
    /// None: strategy A as it should have been.
    pub const NONE: Self = Self(0);
    /// All: what was released.
    pub const ALL: Self = Self::NONE
        .and(Defect::EmptySegmentLoop)
        .and(Defect::GrowsByAsked)
        .and(Defect::WholeChunkRefused)
        .and(Defect::NoSignalCheck)
        .and(Defect::SyncErrorLost);

    /// This one alone.
    #[must_use]
    pub const fn only(defect: Defect) -> Self {
        Self::NONE.and(defect)
    }

    /// This one too.
    #[must_use]
    pub const fn and(self, defect: Defect) -> Self {
        Self(self.0 | 1 << defect as u8)
    }

    /// All but this one.
    #[must_use]
    pub const fn without(self, defect: Defect) -> Self {
        Self(self.0 & !(1 << defect as u8))
    }

    /// Whether it is one of them.
    #[must_use]
    pub const fn has(self, defect: Defect) -> bool {
        self.0 & 1 << defect as u8 != 0
    }
}
