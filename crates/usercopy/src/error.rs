//! What can go wrong: a user access that stopped early, and a vector that cannot be a request.
#![forbid(unsafe_code)]

use core::fmt;

/// A user access that did not go all the way (EFAULT). The count travels with the error, so that no
/// caller has to choose between progress and failure (W4).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Efault {
    /// Bytes that were asked for.
    pub expected: usize,
    /// Leading bytes that were accessed: all the others are untouched (U1), or zero where the
    /// operation's name says so (U4). Always less than `expected`, except that an address range
    /// which is refused before any access (U5) has 0 here.
    pub completed: usize,
}

impl fmt::Display for Efault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "EFAULT after {} of {} bytes", self.completed, self.expected)
    }
}

impl core::error::Error for Efault {}

/// Why a segment vector was refused (W7).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum IovecError {
    /// Too many segments, a negative length, or a total that overflows (EINVAL).
    Invalid,
    /// The vector cannot be read, or a segment lies outside the user range (EFAULT).
    Fault,
}

impl fmt::Display for IovecError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Invalid => "EINVAL",
            Self::Fault => "EFAULT",
        })
    }
}

impl core::error::Error for IovecError {}

impl From<Efault> for IovecError {
    fn from(_: Efault) -> Self {
        Self::Fault
    }
}
