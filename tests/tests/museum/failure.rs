//! What a write path answers, and why one fails.

use faultless::page::Errno;
use faultless_host::Kind;

/// Why a write path failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Failure {
    /// As a system call fails.
    Errno(Errno),
    /// It would have gone on for ever (W6).
    Livelock,
    /// The lock checker stopped it: it could have hung.
    Deadlock(Kind),
}

/// What a write path says.
pub(crate) type Answer = Result<usize, Failure>;

/// `EFAULT`.
pub(crate) const EFAULT: Answer = Err(Failure::Errno(Errno::Fault));

impl From<Errno> for Failure {
    fn from(errno: Errno) -> Self {
        Self::Errno(errno)
    }
}

impl From<faultless_controls::Failure> for Failure {
    fn from(failure: faultless_controls::Failure) -> Self {
        match failure {
            faultless_controls::Failure::Errno(errno) => Self::Errno(errno),
            faultless_controls::Failure::Livelock => Self::Livelock,
        }
    }
}
