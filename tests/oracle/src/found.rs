//! What the cases did so far, and where they differ.

#![forbid(unsafe_code)]

use std::fmt;

/// What the cases did so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Cases.
    pub cases: u64,
    /// Operations.
    pub ops: u64,
    /// Reads and writes among them.
    pub transfers: u64,
    /// Reads and writes that returned less than was asked, but something.
    pub short: u64,
    /// Operations that failed, with whatever error.
    pub errors: u64,
    /// Failures because of the limit on the size, with a signal.
    pub over_limit: u64,
    /// Loads and stores that ended in a signal.
    pub signals: u64,
    /// Operations left out because they would have looked at junk past the end of the file through
    /// a mapping.
    pub left_out: u64,
    /// Operations whose source and destination overlapped in one page.
    pub overlaps: u64,
    /// Those of them after which the overlapping bytes differed.
    pub overlaps_differed: u64,
    /// Times that tmpfs showed junk that the case had stored past the end.
    pub junk_shown: u64,
    /// Times that a write that failed made Linux's file grow.
    pub grown_by_failure: u64,
}

/// Where Faultless and Linux disagree.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    /// The number of the operation in the case; the number of operations if it showed at the end.
    pub step: usize,
    /// The operation, in words.
    pub op: String,
    /// What differs.
    pub what: String,
    /// What Faultless says.
    pub faultless: String,
    /// Which Linux.
    pub system: String,
    /// What it says.
    pub linux: String,
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{} differs at step {}: {}", self.what, self.step, self.op)?;
        writeln!(f, "  Faultless: {}", self.faultless)?;
        write!(f, "  {}: {}", self.system, self.linux)
    }
}

impl std::error::Error for Difference {}
