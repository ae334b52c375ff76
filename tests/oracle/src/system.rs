//! What the oracle asks of a system that is to run a case: Faultless, or Linux on some file system.

#![forbid(unsafe_code)]

use std::fmt;

use super::op::{Bytes, Case, Op};

/// What an operation gave its program to see.
#[derive(Clone, PartialEq, Eq)]
pub enum Answer {
    /// It is done.
    Done,
    /// So many bytes.
    Count(usize),
    /// This error number.
    Errno(i32),
    /// These bytes.
    Loaded(Vec<u8>),
    /// The program was stopped by a signal.
    Stopped(Signal),
    /// It did not end. Only a planted bug can have that.
    Endless,
}

/// Why the program was stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signal {
    /// Nothing mapped there, or not for this.
    Segv,
    /// A page past the end of the file.
    Bus,
}

/// A system that runs cases, one after the other.
pub(super) trait System {
    /// A new, empty file and an empty window, as the case wants them.
    fn begin(&mut self, case: &Case);

    /// One operation of the program.
    fn apply(&mut self, op: &Op) -> Answer;

    /// How often the program got `SIGXFSZ` since this was last asked.
    fn over_limit(&mut self) -> u32;

    /// Size of the file.
    fn size(&self) -> u64;

    /// The file's position.
    fn position(&self) -> u64;

    /// `len` bytes of the file at `pos`, or fewer at its end. Nothing that the case can see
    /// changes.
    fn peek(&mut self, pos: u64, len: usize) -> Vec<u8>;

    /// Writes to the file at `pos`, whatever its mode, past the limit. The size may change, the
    /// position does not.
    fn poke(&mut self, pos: u64, bytes: &[u8]);

    /// Loads from the window.
    fn load(&mut self, at: Bytes) -> Answer {
        self.apply(&Op::Load(at))
    }
}

impl fmt::Display for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Done => f.write_str("done"),
            Self::Count(bytes) => write!(f, "{bytes} bytes"),
            Self::Errno(errno) => {
                write!(f, "{}", std::io::Error::from_raw_os_error(*errno))
            }
            Self::Loaded(bytes) => write!(f, "{} bytes loaded", bytes.len()),
            Self::Stopped(signal) => signal.fmt(f),
            Self::Endless => f.write_str("it did not end"),
        }
    }
}

impl fmt::Debug for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl fmt::Display for Signal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Segv => "SIGSEGV",
            Self::Bus => "SIGBUS",
        })
    }
}
