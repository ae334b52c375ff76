//! [`WholeRequest`]: a request that lies in one segment.
//!
//! Neighbour: [`iov`](crate::iov) has the cursor over many. This one has none: it is copied as it
//! is.

use core::fmt;

use crate::{UserMemory, UserSlice};

/// The most bytes that one request moves; a longer one is clipped to this (W7).
pub const MAX_RW_COUNT: usize = 0x7fff_f000;

/// The rest of a request that lies in one segment. A copy of it does not look at the cursor, which
/// the caller [moves](crate::IovIter::advance) once it is known how much came.
///
/// # Invariants
/// The piece lies in the user range, and is not empty.
pub struct WholeRequest<'a, U: UserMemory + ?Sized> {
    user: &'a U,
    piece: UserSlice,
}

impl<U: UserMemory + ?Sized> Clone for WholeRequest<'_, U> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<U: UserMemory + ?Sized> Copy for WholeRequest<'_, U> {}

impl<U: UserMemory + ?Sized> fmt::Debug for WholeRequest<'_, U> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("WholeRequest").field(&self.piece).finish()
    }
}

impl<'a, U: UserMemory + ?Sized> WholeRequest<'a, U> {
    /// The request for a piece that lies in the range of `user`.
    #[inline(always)]
    pub(crate) const fn of_piece(user: &'a U, piece: UserSlice) -> Self {
        // INVARIANT: the caller's promise.
        Self { user, piece }
    }

    /// All of `piece`, if it lies in the range of `user`, is not empty, and no longer than
    /// [`MAX_RW_COUNT`].
    #[must_use]
    #[inline(always)]
    pub fn new(user: &'a U, piece: UserSlice) -> Option<Self> {
        let fits = !piece.is_empty() && piece.len() <= MAX_RW_COUNT;
        (fits && piece.is_within(&user.user_range())).then_some(Self::of_piece(user, piece))
    }

    /// Its length in bytes, not 0.
    #[must_use]
    #[inline(always)]
    #[expect(clippy::len_without_is_empty, reason = "it never is")]
    pub const fn len(&self) -> usize {
        self.piece.len()
    }

    /// Copies `len` bytes from `skip` on to kernel memory, as [`IovIter::copy_from_atomic`] does;
    /// how many came.
    ///
    /// # Safety
    /// As for [`IovIter::copy_from_atomic`]; and `skip + len` is at most [`len()`](Self::len).
    ///
    /// [`IovIter::copy_from_atomic`]: crate::IovIter::copy_from_atomic
    #[inline(always)]
    pub unsafe fn copy_from_atomic(&self, skip: usize, dst: *mut u8, len: usize) -> usize {
        debug_assert!(skip + len <= self.len(), "inside the request");
        let src = self.piece.addr().wrapping_add(skip);
        // SAFETY: `len` bytes are valid at `dst`; those at `src` are part of the piece, in range.
        let left = unsafe { self.user.raw_copy_from_user_atomic(dst, src, len) };
        len - left.min(len)
    }

    /// Copies all of it to kernel memory, as [`IovIter::copy_from_atomic`] does; how many bytes did
    /// *not* come.
    ///
    /// # Safety
    /// As for [`IovIter::copy_from_atomic`], with `len` being [`len()`](Self::len).
    ///
    /// [`IovIter::copy_from_atomic`]: crate::IovIter::copy_from_atomic
    #[inline(always)]
    pub unsafe fn copy_all_from_atomic(&self, dst: *mut u8) -> usize {
        let (src, len) = (self.piece.addr(), self.piece.len());
        // SAFETY: `len` bytes are valid at `dst`; the piece lies in range.
        unsafe { self.user.raw_copy_from_user_atomic(dst, src, len) }
    }

    /// Copies kernel memory to all of it, as [`IovIter::copy_to_atomic`] does; how many bytes did
    /// *not* arrive.
    ///
    /// # Safety
    /// As for [`IovIter::copy_to_atomic`], with `len` being [`len()`](Self::len).
    ///
    /// [`IovIter::copy_to_atomic`]: crate::IovIter::copy_to_atomic
    #[inline(always)]
    pub unsafe fn copy_all_to_atomic(&self, src: *const u8) -> usize {
        let (dst, len) = (self.piece.addr(), self.piece.len());
        // SAFETY: `len` bytes are valid at `src`; the piece lies in range.
        unsafe { self.user.raw_copy_to_user_atomic(dst, src, len) }
    }
}
