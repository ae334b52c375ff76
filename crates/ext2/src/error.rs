//! What the calls about names return.
#![forbid(unsafe_code)]

use core::fmt;

use faultless::prelude::Errno;

/// Why a call failed. The numbers of [`code`](Self::code) are Linux's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Error {
    /// No such name, or the directory was removed (`ENOENT`).
    NotFound,
    /// The name exists (`EEXIST`).
    Exists,
    /// Not a directory (`ENOTDIR`).
    NotDirectory,
    /// A directory (`EISDIR`).
    IsDirectory,
    /// A directory with names in it (`ENOTEMPTY`).
    NotEmpty,
    /// A name longer than 255 bytes, or a target longer than a block (`ENAMETOOLONG`).
    NameTooLong,
    /// A file with as many names as there may be (`EMLINK`).
    TooManyLinks,
    /// What the device, the cache or the image says: [`Errno::Io`] for an image that contradicts
    /// itself, [`Errno::NoSpace`], [`Errno::ReadOnly`], [`Errno::Invalid`].
    Other(Errno),
}

impl Error {
    /// The positive error number.
    #[must_use]
    pub const fn code(self) -> i32 {
        match self {
            Self::NotFound => 2,
            Self::Exists => 17,
            Self::NotDirectory => 20,
            Self::IsDirectory => 21,
            Self::TooManyLinks => 31,
            Self::NameTooLong => 36,
            Self::NotEmpty => 39,
            Self::Other(errno) => errno.code(),
        }
    }
}

impl From<Errno> for Error {
    fn from(errno: Errno) -> Self {
        Self::Other(errno)
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotFound => f.write_str("ENOENT"),
            Self::Exists => f.write_str("EEXIST"),
            Self::NotDirectory => f.write_str("ENOTDIR"),
            Self::IsDirectory => f.write_str("EISDIR"),
            Self::NotEmpty => f.write_str("ENOTEMPTY"),
            Self::NameTooLong => f.write_str("ENAMETOOLONG"),
            Self::TooManyLinks => f.write_str("EMLINK"),
            Self::Other(errno) => errno.fmt(f),
        }
    }
}

impl core::error::Error for Error {}
