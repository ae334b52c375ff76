//! Linux's error numbers: those of the page cache, and those that only system calls return.
#![forbid(unsafe_code)]

use core::fmt;

use faultless::prelude::{Efault, Errno as CacheErrno, IovecError};
use linux_raw_sys::errno as linux;

/// Why a system call failed: a number of Linux's `errno.h`.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Errno(u32);

macro_rules! numbers {
    ($($(#[$doc:meta])* $name:ident = $number:ident;)*) => {
        impl Errno {
            $($(#[$doc])* pub const $name: Self = Self(linux::$number);)*

            /// The name in `errno.h`, or `E?` for one that this crate does not use.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self.0 {
                    $(linux::$number => stringify!($number),)*
                    _ => "E?",
                }
            }
        }
    };
}

numbers! {
    /// The operation is not permitted.
    PERM = EPERM;
    /// No such name, or a directory that was removed.
    NOENT = ENOENT;
    /// No such process or thread.
    SRCH = ESRCH;
    /// A signal came first.
    INTR = EINTR;
    /// The store failed.
    IO = EIO;
    /// Arguments that are too long.
    TOOBIG = E2BIG;
    /// Not a program.
    NOEXEC = ENOEXEC;
    /// Not an open file descriptor, or not open for this.
    BADF = EBADF;
    /// No child to wait for.
    CHILD = ECHILD;
    /// The call would have to wait.
    AGAIN = EAGAIN;
    /// No memory, or no mapping at an address.
    NOMEM = ENOMEM;
    /// The file is not open for what is asked.
    ACCES = EACCES;
    /// An address that the program may not access.
    FAULT = EFAULT;
    /// In use by the system: the root, or a page.
    BUSY = EBUSY;
    /// No extended attribute of that name.
    NODATA = ENODATA;
    /// A request with flags that are not known.
    BADR = EBADR;
    /// As many names as there may be.
    MLINK = EMLINK;
    /// The name is taken.
    EXIST = EEXIST;
    /// Not in the same tree.
    XDEV = EXDEV;
    /// No such device, or not for this kind of file.
    NODEV = ENODEV;
    /// Not a directory.
    NOTDIR = ENOTDIR;
    /// A directory.
    ISDIR = EISDIR;
    /// An argument that means nothing.
    INVAL = EINVAL;
    /// Too many open files.
    MFILE = EMFILE;
    /// Not a terminal, or a request that the file does not know.
    NOTTY = ENOTTY;
    /// A running program is to be written, or a file that is open for writing to be run.
    TXTBSY = ETXTBSY;
    /// Past a limit of size.
    FBIG = EFBIG;
    /// The store is full.
    NOSPC = ENOSPC;
    /// A file without positions: a pipe, a terminal.
    SPIPE = ESPIPE;
    /// A pipe that nothing reads.
    PIPE = EPIPE;
    /// A number out of its range.
    DOM = EDOM;
    /// A result that the buffer is too small for.
    RANGE = ERANGE;
    /// A wait that would never end.
    DEADLK = EDEADLK;
    /// No message that is meant.
    NOMSG = ENOMSG;
    /// An object that was removed meanwhile.
    IDRM = EIDRM;
    /// Not a socket.
    NOTSOCK = ENOTSOCK;
    /// No such system call.
    NOSYS = ENOSYS;
    /// The time is over.
    TIMEDOUT = ETIMEDOUT;
    /// The store refuses changes.
    ROFS = EROFS;
    /// No data there: `SEEK_DATA` or `SEEK_HOLE` at or past the end; nothing behind a name.
    NXIO = ENXIO;
    /// A name or a path that is too long.
    NAMETOOLONG = ENAMETOOLONG;
    /// A directory with names in it.
    NOTEMPTY = ENOTEMPTY;
    /// Too many symbolic links, or one that must not be followed.
    LOOP = ELOOP;
    /// A result that its type cannot hold.
    OVERFLOW = EOVERFLOW;
    /// Not on this kind of file.
    OPNOTSUPP = EOPNOTSUPP;
    /// Too much for one message.
    MSGSIZE = EMSGSIZE;
    /// A socket of another type.
    PROTOTYPE = EPROTOTYPE;
    /// Too much at a time.
    NOBUFS = ENOBUFS;
    /// The other side was closed before it had received everything.
    CONNRESET = ECONNRESET;
    /// No such option of a socket.
    NOPROTOOPT = ENOPROTOOPT;
    /// No such protocol.
    PROTONOSUPPORT = EPROTONOSUPPORT;
    /// No such type of a socket.
    SOCKTNOSUPPORT = ESOCKTNOSUPPORT;
    /// No such family of addresses.
    AFNOSUPPORT = EAFNOSUPPORT;
    /// The address is in use.
    ADDRINUSE = EADDRINUSE;
    /// The socket is connected.
    ISCONN = EISCONN;
    /// The socket is not connected.
    NOTCONN = ENOTCONN;
    /// Nothing listens there.
    CONNREFUSED = ECONNREFUSED;
}

impl Errno {
    /// The positive number.
    #[must_use]
    pub const fn code(self) -> i32 {
        self.0 as i32
    }

    /// The error with this positive number, whether this crate uses it or not.
    #[must_use]
    pub const fn from_code(code: i32) -> Self {
        Self(code.unsigned_abs())
    }

    /// What a system call returns for `result`: the value, or the negative number.
    #[must_use]
    pub const fn to_raw(result: Result<usize, Self>) -> isize {
        match result {
            Ok(value) => value as isize,
            Err(errno) => -(errno.0 as isize),
        }
    }
}

impl From<CacheErrno> for Errno {
    fn from(errno: CacheErrno) -> Self {
        Self::from_code(errno.code())
    }
}

impl From<Efault> for Errno {
    fn from(_: Efault) -> Self {
        Self::FAULT
    }
}

impl From<IovecError> for Errno {
    fn from(error: IovecError) -> Self {
        match error {
            IovecError::Invalid => Self::INVAL,
            IovecError::Fault => Self::FAULT,
        }
    }
}

impl fmt::Debug for Errno {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}({})", self.name(), self.0)
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
    use super::*;

    #[test]
    fn numbers_of_the_cache_and_of_linux_agree() {
        let pairs = [
            (CacheErrno::Interrupted, Errno::INTR),
            (CacheErrno::Io, Errno::IO),
            (CacheErrno::WouldBlock, Errno::AGAIN),
            (CacheErrno::NoMemory, Errno::NOMEM),
            (CacheErrno::Fault, Errno::FAULT),
            (CacheErrno::Busy, Errno::BUSY),
            (CacheErrno::Invalid, Errno::INVAL),
            (CacheErrno::FileTooBig, Errno::FBIG),
            (CacheErrno::NoSpace, Errno::NOSPC),
            (CacheErrno::ReadOnly, Errno::ROFS),
            (CacheErrno::NotSupported, Errno::OPNOTSUPP),
        ];
        for (cache, system) in pairs {
            assert_eq!((Errno::from(cache), cache.name()), (system, system.name()));
        }
        assert_eq!(Errno::to_raw(Err(Errno::BADF)), -9);
    }
}
