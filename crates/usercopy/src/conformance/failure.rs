//! What the suite reports.
#![forbid(unsafe_code)]

use core::fmt;

use super::change::Change;

/// The function of [`UserMemory`](crate::UserMemory) that broke its promise.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)] // named after the functions
pub enum Operation {
    CopyFromUser,
    CopyFromUserAtomic,
    CopyToUser,
    CopyToUserAtomic,
    ClearUser,
    FaultInReadable,
    FaultInWriteable,
    UserRange,
}

impl Operation {
    /// Whether user memory is the destination.
    pub(super) fn writes_user(self) -> bool {
        matches!(self, Self::CopyToUser | Self::CopyToUserAtomic | Self::ClearUser)
    }
}

/// A broken promise, and the smallest set of numbers that shows it again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Failure {
    /// The function.
    pub operation: Operation,
    /// The rule, as it is numbered at [`UserMemory`](crate::UserMemory).
    pub rule: &'static str,
    /// What was seen.
    pub seen: &'static str,
    /// Length of the access in bytes.
    pub len: usize,
    /// Leading bytes of it that were accessible.
    pub accessible: usize,
    /// Leading bytes that the function said it had accessed; more than `len` if it returned more
    /// than that as left.
    pub reported: usize,
    /// Offset of the first wrong byte from the beginning of the access, if bytes are what is wrong;
    /// one before the access wraps.
    pub at: Option<usize>,
    /// How the mappings changed during the access, if they were to; `accessible` is 1 then if the
    /// first byte always was.
    pub change: Option<Change>,
}

impl Failure {
    pub(super) const fn new(operation: Operation, rule: &'static str, seen: &'static str) -> Self {
        Self { operation, rule, seen, len: 0, accessible: 0, reported: 0, at: None, change: None }
    }

    pub(super) const fn with_counts(self, len: usize, accessible: usize, reported: usize) -> Self {
        Self { len, accessible, reported, ..self }
    }

    pub(super) const fn with_byte(self, at: usize) -> Self {
        Self { at: Some(at), ..self }
    }

    pub(super) const fn with_change(self, change: Option<Change>) -> Self {
        Self { change, ..self }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{:?} breaks {}: {} (length {}, {} accessible, {} reported",
            self.operation, self.rule, self.seen, self.len, self.accessible, self.reported
        )?;
        if let Some(at) = self.at {
            write!(f, ", byte {}", at.cast_signed())?;
        }
        if let Some(change) = self.change {
            write!(f, ", {change}")?;
        }
        f.write_str(")")
    }
}

impl core::error::Error for Failure {}
