//! What a sync owes, as it was noted when the sync began. [`ledger`](super::ledger) notes and
//! checks it.

#![forbid(unsafe_code)]

use std::ops::Range;

use super::script::FileNumber;

/// A byte that was visible in a cell when a sync began.
#[derive(Clone, Copy, Debug)]
pub(super) struct Cell {
    pub(super) number: usize,
    pub(super) byte: u8,
}

/// What a sync has promised when it returns.
#[derive(Clone, Debug)]
pub(super) struct Owed {
    pub(super) thread: usize,
    pub(super) file: FileNumber,
    pub(super) what: &'static str,
    /// The bytes of the file that it is about.
    pub(super) range: Range<u64>,
    pub(super) cells: Vec<Cell>,
    pub(super) pages: Vec<u64>,
    pub(super) size: u64,
    /// How many sizes had been seen before.
    pub(super) sizes: usize,
    /// How many writebacks had ended.
    pub(super) completed: usize,
    /// Tags of the operations that had returned.
    pub(super) returned: Vec<u8>,
}
