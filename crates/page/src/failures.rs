//! Failed writebacks of a mapping, as a number: how many, the latest error, and whether a caller
//! was told of it.
//!
//! A failure is recorded *before* its pages stop being under writeback (F2). So a caller that waits
//! for a page, or finds it neither dirty nor under writeback, then finds the failure. Which
//! caller is told is filemap's.
#![forbid(unsafe_code)]

use crate::Errno;

/// Bits of the errno.
const CODE: u64 = 0x7fff;
/// A caller has been told of the latest failure.
const SEEN: u64 = 0x8000;
/// The count of failures starts here.
const COUNT_SHIFT: u32 = 16;

/// What [`Mapping::failures`](crate::Mapping::failures) says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[doc(alias = "errseq_t")]
pub struct Failures(u64);

impl Failures {
    /// No failure. Its [`raw`](Self::raw) is 0.
    pub const NONE: Self = Self(0);

    /// What [`raw`](Self::raw) gave: for a sequence that is kept in an atomic word.
    #[must_use]
    pub const fn from_raw(raw: u64) -> Self {
        Self(raw)
    }

    /// As a number.
    #[must_use]
    pub const fn raw(self) -> u64 {
        self.0
    }

    /// One more, which no caller was told of.
    #[must_use]
    pub const fn and(self, errno: Errno) -> Self {
        let code = errno.code().unsigned_abs() as u64 & CODE;
        Self(((self.0 >> COUNT_SHIFT) + 1) << COUNT_SHIFT | code)
    }

    /// The same, of which a caller was told.
    #[must_use]
    pub const fn seen(self) -> Self {
        Self(self.0 | SEEN)
    }

    /// How many writebacks have failed since the mapping was made.
    #[must_use]
    pub const fn count(self) -> u64 {
        self.0 >> COUNT_SHIFT
    }

    /// Whether a caller was told of the latest failure, or there was none.
    #[must_use]
    pub const fn is_seen(self) -> bool {
        self.0 == 0 || self.0 & SEEN != 0
    }

    /// The error of the latest failure; [`Errno::Io`] if there was none.
    #[must_use]
    pub fn latest(self) -> Errno {
        Errno::from_code(self.0 & CODE)
    }
}
