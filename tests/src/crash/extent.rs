//! How much of the file a script works on.
#![forbid(unsafe_code)]

/// Pages that a script works on.
pub const PAGES: usize = 5;

/// Bytes that a script works on.
pub const BYTES: usize = PAGES * crate::PAGE;
