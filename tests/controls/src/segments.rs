//! Where a vectored request of the controls stands: a cursor that stops at an empty segment, as
//! 2.6.24-rc1's did (S1).
//!
//! Production uses [`IovIter`](faultless_usercopy::IovIter), which cannot.

#![forbid(unsafe_code)]

use faultless_usercopy::UserSlice;

/// The cursor.
#[derive(Clone, Debug)]
pub(super) struct Segments<'s> {
    /// The rest of the segment that the cursor is in; empty if the segment is, or if nothing
    /// remains.
    current: UserSlice,
    rest: &'s [UserSlice],
    count: usize,
}

impl<'s> Segments<'s> {
    /// A cursor in the first segment, be it empty.
    pub(super) fn new(segments: &'s [UserSlice]) -> Self {
        let count = segments.iter().map(UserSlice::len).sum();
        match segments.split_first() {
            Some((first, rest)) => Self { current: *first, rest, count },
            None => Self { current: UserSlice::EMPTY, rest: &[], count },
        }
    }

    /// Bytes that remain.
    pub(super) fn count(&self) -> usize {
        self.count
    }

    /// What remains of the segment that the cursor is in.
    pub(super) fn current(&self) -> UserSlice {
        self.current
    }

    /// Goes on to the next segment that is not empty, if the cursor is in one that is.
    pub(super) fn skip_empty(&mut self) {
        while self.current.is_empty()
            && let Some((next, rest)) = self.rest.split_first()
        {
            (self.current, self.rest) = (*next, rest);
        }
    }

    /// Moves on by `bytes`, and past empty segments only if that is any (S1).
    pub(super) fn advance(&mut self, bytes: usize) {
        let mut bytes = bytes.min(self.count);
        self.count -= bytes;
        while bytes > 0 {
            self.skip_empty();
            let step = bytes.min(self.current.len());
            self.current = self.current.skip(step);
            bytes -= step;
            self.skip_empty();
        }
    }

    /// The next `len` bytes, a piece for each segment.
    pub(super) fn pieces(&self, len: usize) -> impl Iterator<Item = UserSlice> + use<'s> {
        let mut ahead = self.clone();
        let mut left = len.min(self.count);
        std::iter::from_fn(move || {
            ahead.skip_empty();
            let piece = ahead.current.prefix(left);
            left -= piece.len();
            ahead.advance(piece.len());
            (!piece.is_empty()).then_some(piece)
        })
    }
}
