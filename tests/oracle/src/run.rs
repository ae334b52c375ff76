//! Everything there is while a case runs: the systems, the tally, the expected of the file.

#![forbid(unsafe_code)]

use std::ops::Range;

use faultless_page::PAGE_SIZE;

use super::expected::Expected;
use super::faultless::Faultless;
use super::found::Tally;
use super::linux::Linux;
use super::op::{Bytes, Case};
use super::system::{Answer, System};

/// Everything there is while a case runs.
pub(super) struct Run<'r> {
    pub(super) case: &'r Case,
    pub(super) faultless: &'r mut Faultless,
    pub(super) linux: &'r mut [Linux],
    pub(super) tally: &'r mut Tally,
    pub(super) expected: Expected,
    /// The number of the operation.
    pub(super) step: usize,
}

impl Run<'_> {
    /// All systems, Faultless first.
    pub(super) fn all(&mut self) -> impl Iterator<Item = &mut dyn System> {
        let linux = self.linux.iter_mut().map(|linux| linux as &mut dyn System);
        std::iter::once(&mut *self.faultless as &mut dyn System).chain(linux)
    }
}

/// A part of the window.
pub(super) fn bytes_at(part: &Range<usize>) -> Bytes {
    Bytes { page: part.start / PAGE_SIZE, offset: part.start % PAGE_SIZE, len: part.len() }
}

/// The bytes, if they could be loaded.
pub(super) fn loaded(answer: Answer) -> Vec<u8> {
    match answer {
        Answer::Loaded(bytes) => bytes,
        _ => Vec::new(),
    }
}
