//! The two kinds of write.
#![forbid(unsafe_code)]

/// Whether the size may change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mode {
    /// All bytes lie inside the size; I is not held.
    Overwrite,
    /// I is held.
    Grow,
}
