//! [`IovIter`]: where a vectored request stands.
//!
//! A cursor over checked segments that moves forward by what really landed and back by exactly
//! that. It owns no memory and no policy: the write loop decides when to fault in and when to give
//! up. Below it: [`transfer`], the copies that move it.

use core::fmt;

use crate::{IovecError, MAX_RW_COUNT, UserMemory, UserSlice, WholeRequest};

mod transfer;

/// The most segments that one request may have (W7).
#[doc(alias = "UIO_MAXIOV")]
pub const MAX_SEGMENTS: usize = 1024;

/// A cursor over the segments of a request, with the memory that they lie in.
///
/// # Invariants
/// `count > 0` implies that `current` is not empty: empty segments are stepped over as soon as
/// the cursor comes to them (A1, A3), and never looked for when nothing remains (A2).
/// `current` is the rest of `segments[next - 1]`; all segments before it are consumed.
pub struct IovIter<'a, U: UserMemory + ?Sized> {
    user: &'a U,
    /// The rest of the segment that the cursor is in.
    current: UserSlice,
    /// Bytes that remain in the request.
    count: usize,
    segments: &'a [UserSlice],
    /// Index of the segment after `current`.
    next: usize,
    /// Bytes that `truncate` cut off: how far `reexpand` can go.
    hidden: usize,
}

impl<U: UserMemory + ?Sized> Clone for IovIter<'_, U> {
    fn clone(&self) -> Self {
        Self { ..*self }
    }
}

impl<U: UserMemory + ?Sized> fmt::Debug for IovIter<'_, U> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("IovIter")
            .field("segment", &self.segment())
            .field("count", &self.count)
            .field("segments", &self.segments.len())
            .field("hidden", &self.hidden)
            .finish_non_exhaustive()
    }
}

impl<'a, U: UserMemory + ?Sized> IovIter<'a, U> {
    /// A cursor at the beginning of `segments`, which lie in `user`. A total beyond
    /// [`MAX_RW_COUNT`] is clipped to it; the segments are not touched for that. A segment that
    /// was checked against other memory, and does not lie in `user`'s range, ends a copy like an
    /// address that is not mapped (U5).
    ///
    /// # Errors
    /// [`IovecError::Invalid`] for more than [`MAX_SEGMENTS`] segments or a total beyond
    /// `isize::MAX` (W7).
    pub fn new(user: &'a U, segments: &'a [UserSlice]) -> Result<Self, IovecError> {
        if segments.len() > MAX_SEGMENTS {
            return Err(IovecError::Invalid);
        }
        match total_len(segments) {
            Some(total) if isize::try_from(total).is_ok() => Ok(Self::begin(user, segments, total)),
            _ => Err(IovecError::Invalid),
        }
    }

    /// As [`new`](Self::new), over one segment, clipped to [`MAX_RW_COUNT`].
    #[must_use]
    #[inline]
    pub fn from_slice(user: &'a U, slice: &'a UserSlice) -> Self {
        Self {
            user,
            current: *slice,
            count: slice.len().min(MAX_RW_COUNT),
            segments: core::slice::from_ref(slice),
            next: 1,
            hidden: 0,
        }
    }

    fn begin(user: &'a U, segments: &'a [UserSlice], total: usize) -> Self {
        let count = total.min(MAX_RW_COUNT);
        let current = UserSlice::EMPTY;
        let mut iter = Self { user, current, count, segments, next: 0, hidden: 0 };
        iter.skip_empty();
        iter
    }

    /// Bytes that remain.
    #[must_use]
    #[inline]
    pub const fn count(&self) -> usize {
        self.count
    }

    /// Whether nothing remains.
    #[must_use]
    #[inline]
    pub const fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// What remains of the segment that the cursor is in, clipped to the request. Empty only when
    /// nothing remains: empty segments are skipped.
    #[must_use]
    #[inline]
    pub const fn segment(&self) -> UserSlice {
        self.current.prefix(self.count)
    }

    /// What remains, if that is not nothing, the segment that the cursor is in has all of it and it
    /// lies in the user range: most requests are like that.
    #[must_use]
    #[inline(always)]
    pub fn whole(&self) -> Option<WholeRequest<'a, U>> {
        if self.is_empty() {
            return None;
        }
        let piece = self.whole_piece(self.count)?;
        Some(WholeRequest::of_piece(self.user, piece))
    }

    /// Whether the segment that the cursor is in does not have all of what remains.
    #[must_use]
    #[inline(always)]
    pub const fn has_further_segments(&self) -> bool {
        self.count > self.current.len()
    }

    /// Moves forward by `bytes`, or to the end if fewer remain.
    #[inline]
    pub fn advance(&mut self, bytes: usize) {
        let bytes = bytes.min(self.count);
        if bytes <= self.current.len() {
            self.consume(bytes);
        } else {
            self.advance_across(bytes);
        }
    }

    /// Moves to the end of the request, whose rest is [whole](Self::whole).
    #[inline(always)]
    pub fn finish_whole(&mut self) {
        // What is behind the end of the request stays in the segment.
        self.current = self.current.after(self.count);
        self.count = 0;
    }

    /// [`advance`](Self::advance) past the end of a segment.
    #[inline(never)]
    fn advance_across(&mut self, mut bytes: usize) {
        self.count -= bytes;
        loop {
            let step = bytes.min(self.current.len());
            self.current = self.current.skip(step);
            bytes -= step;
            if bytes == 0 {
                break;
            }
            self.enter_next();
        }
        self.skip_empty();
    }

    /// Moves back by `bytes`, or to the beginning if fewer were consumed: exactly where the cursor
    /// was then (C8).
    #[doc(alias = "iov_iter_revert")]
    pub fn revert(&mut self, bytes: usize) {
        let mut left = bytes;
        while left > 0
            && let Some(segment) = self.next.checked_sub(1).and_then(|at| self.segments.get(at))
        {
            let used = segment.len() - self.current.len();
            let step = left.min(used);
            self.current = segment.skip(used - step);
            left -= step;
            if left > 0 {
                self.next -= 1;
                self.current = UserSlice::EMPTY;
            }
        }
        self.count += bytes - left;
        self.skip_empty();
    }

    /// Cuts the request to at most `count` remaining bytes; [`reexpand`](Self::reexpand) takes it
    /// back.
    pub fn truncate(&mut self, count: usize) {
        let cut = self.count.saturating_sub(count);
        self.count -= cut;
        self.hidden += cut;
    }

    /// Takes a [`truncate`](Self::truncate) back: `count` bytes remain then, or all that were cut
    /// off if that is fewer. To take it back entirely, add what was cut to what remains now (C9).
    pub fn reexpand(&mut self, count: usize) {
        let grow = count.saturating_sub(self.count).min(self.hidden);
        self.count += grow;
        self.hidden -= grow;
        self.skip_empty();
    }

    /// Restores the invariant: if bytes remain, the cursor is in a segment that has some.
    fn skip_empty(&mut self) {
        // There is a next one: bytes remain (A2).
        while self.count > 0 && self.current.is_empty() {
            self.enter_next();
        }
    }

    #[inline]
    fn enter_next(&mut self) {
        self.current = self.segments.get(self.next).copied().unwrap_or(UserSlice::EMPTY);
        self.next += 1;
    }

    /// The next `len` bytes, if the segment that the cursor is in has them all, in the user
    /// range: what most requests are, and need no loop for.
    #[inline(always)]
    fn whole_piece(&self, len: usize) -> Option<UserSlice> {
        if len > self.current.len() || len > self.count {
            return None;
        }
        let piece = self.current.prefix(len);
        piece.is_within(&self.user.user_range()).then_some(piece)
    }

    /// Moves forward inside the segment that the cursor is in, and out of it if that was all.
    #[inline(always)]
    fn consume(&mut self, bytes: usize) -> usize {
        self.count -= bytes;
        self.current = self.current.skip(bytes);
        if self.current.is_empty() {
            self.skip_empty();
        }
        bytes
    }
}

/// The length of at most [`MAX_SEGMENTS`] segments together, if it is no more than a `usize`.
#[inline]
fn total_len(segments: &[UserSlice]) -> Option<usize> {
    /// As many segments of this length as there may be are together no longer than a `usize`.
    const SHORT: usize = usize::MAX / MAX_SEGMENTS;
    // One test of all of them: if none has a high bit, no sum has wrapped.
    let (sum, bits) = segments.iter().fold((0_usize, 0), |(sum, bits), segment| {
        (sum.wrapping_add(segment.len()), bits | segment.len())
    });
    if bits <= SHORT {
        return Some(sum);
    }
    segments.iter().try_fold(0_usize, |sum, segment| sum.checked_add(segment.len()))
}
