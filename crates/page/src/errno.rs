//! The error numbers that the page cache returns, with Linux's values.
#![forbid(unsafe_code)]

use core::fmt;

/// Why an operation failed. The numbers are Linux's, so that a system call can return `-errno`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(i32)]
#[non_exhaustive]
pub enum Errno {
    /// A fatal signal arrived before the first byte landed (W10).
    Interrupted = 4,
    /// The backing store failed.
    Io = 5,
    /// A non-blocking operation would have to block.
    WouldBlock = 11,
    /// No frame, or no room for an index node, could be allocated (P8).
    NoMemory = 12,
    /// An address that the user may not access in that way (U5, W1).
    Fault = 14,
    /// Pages are in use: dirty and to be kept, or pinned (F5).
    Busy = 16,
    /// An argument out of range: too many segments, a negative or overflowing length (W7).
    Invalid = 22,
    /// The write begins at or beyond a limit of size (W8).
    FileTooBig = 27,
    /// The backing store is full.
    NoSpace = 28,
    /// The backing store refuses modification.
    ReadOnly = 30,
    /// The backing store cannot do what is asked for; nothing has changed.
    NotSupported = 95,
}

impl Errno {
    /// The positive error number.
    #[must_use]
    pub const fn code(self) -> i32 {
        self as i32
    }

    /// The error of a store with this number; [`Errno::Io`] for a number that is none of its.
    pub(crate) fn from_code(code: u64) -> Self {
        let known = [
            Self::Interrupted,
            Self::WouldBlock,
            Self::NoMemory,
            Self::Fault,
            Self::Busy,
            Self::Invalid,
            Self::FileTooBig,
            Self::NoSpace,
            Self::ReadOnly,
            Self::NotSupported,
        ];
        let is_it = |errno: &Self| u64::from(errno.code().unsigned_abs()) == code;
        known.into_iter().find(is_it).unwrap_or(Self::Io)
    }

    /// What a system call of Linux returns for `result`: the number of bytes, or the negative error
    /// number. A count above `isize::MAX`, which no call of this crate returns, becomes that.
    ///
    /// ```
    /// use faultless_page::Errno;
    ///
    /// assert_eq!(Errno::to_raw(Ok(4096)), 4096);
    /// assert_eq!(Errno::to_raw(Err(Errno::Fault)), -14);
    /// ```
    #[must_use]
    pub const fn to_raw(result: Result<usize, Self>) -> isize {
        match result {
            Ok(bytes) if bytes > isize::MAX as usize => isize::MAX,
            Ok(bytes) => bytes as isize,
            Err(errno) => -(errno.code() as isize),
        }
    }

    /// The name in `errno.h`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Interrupted => "EINTR",
            Self::Io => "EIO",
            Self::WouldBlock => "EAGAIN",
            Self::NoMemory => "ENOMEM",
            Self::Fault => "EFAULT",
            Self::Busy => "EBUSY",
            Self::Invalid => "EINVAL",
            Self::FileTooBig => "EFBIG",
            Self::NoSpace => "ENOSPC",
            Self::ReadOnly => "EROFS",
            Self::NotSupported => "EOPNOTSUPP",
        }
    }
}

impl fmt::Display for Errno {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl core::error::Error for Errno {}

#[cfg(test)]
mod tests {
    use super::Errno;

    #[test]
    fn a_raw_result_is_a_count_or_a_small_negative_number() {
        assert_eq!(Errno::to_raw(Ok(0)), 0);
        assert_eq!(Errno::to_raw(Ok(0x7fff_f000)), 0x7fff_f000);
        assert_eq!(Errno::to_raw(Ok(usize::MAX)), isize::MAX);
        let all = [Errno::Interrupted, Errno::Io, Errno::WouldBlock, Errno::NoMemory, Errno::Fault];
        assert_eq!(all.map(|errno| Errno::to_raw(Err(errno))), [-4, -5, -11, -12, -14]);
    }
}
