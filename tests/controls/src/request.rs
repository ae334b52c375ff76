//! What to write, by which algorithm, and how that fails.

#![forbid(unsafe_code)]

use std::fmt;

use faultless_filemap::WriteOptions;
use faultless_page::Errno;
use faultless_usercopy::UserSlice;

use super::defects::Defects;

/// Which history repeats itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Control {
    /// Before 08291429cf: a faulting copy under the page lock. Its copy zeroes what it could not
    /// fill.
    Linux2623,
    /// 08291429cf itself, with these of its defects; without any it is strategy A as it should have
    /// been.
    Linux2624Rc1(Defects),
    /// illumos, OpenZFS: probes the source, then makes a faulting copy under the page lock.
    PrefaultOnly,
}

/// What to write, and by which algorithm.
#[derive(Clone, Copy, Debug)]
pub struct Request<'s> {
    /// The algorithm.
    pub control: Control,
    /// The source, already checked against the user range.
    pub segments: &'s [UserSlice],
    /// Where to, and what to sync. The strategy in it is not looked at.
    pub options: WriteOptions,
    /// Rounds of the loop after which it is taken for endless.
    pub steps: u64,
}

/// Why a control failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failure {
    /// As a system call fails.
    Errno(Errno),
    /// The budget of steps is used up: it would have gone on for ever (W6).
    Livelock,
}

impl From<Errno> for Failure {
    fn from(errno: Errno) -> Self {
        Self::Errno(errno)
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Errno(errno) => errno.fmt(f),
            Self::Livelock => f.write_str("livelock"),
        }
    }
}

impl std::error::Error for Failure {}
