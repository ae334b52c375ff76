//! User addresses and checked ranges of them: numbers that safe code can compare and cut, never
//! follow.
//!
//! [`UserSlice`] is the only way into the copies, and [`UserSlice::new`] the only way to a
//! non-empty one.
#![forbid(unsafe_code)]

use core::fmt;
use core::ops::Range;

use crate::Efault;

/// An address in a user address space. A number: nothing here dereferences it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
#[repr(transparent)]
pub struct UserAddr(usize);

impl UserAddr {
    /// The address `value`, not checked against anything.
    #[must_use]
    #[inline]
    pub const fn new(value: usize) -> Self {
        Self(value)
    }

    /// The address as a number.
    #[must_use]
    #[inline]
    pub const fn get(self) -> usize {
        self.0
    }

    /// The address `bytes` further on, with wrap-around: a [`UserSlice`] never wraps.
    #[must_use]
    #[inline]
    pub const fn wrapping_add(self, bytes: usize) -> Self {
        Self(self.0.wrapping_add(bytes))
    }
}

impl fmt::Debug for UserAddr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "user:{:#x}", self.0)
    }
}

/// A range of user addresses.
///
/// # Invariants
/// Empty, or inside the [`user_range`](crate::UserMemory::user_range) of the memory it was checked
/// against; so `addr + len` never wraps.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct UserSlice {
    addr: UserAddr,
    len: usize,
}

impl UserSlice {
    /// No bytes, nowhere.
    pub const EMPTY: Self = Self { addr: UserAddr(0), len: 0 };

    /// `len` bytes at `addr`, if they lie in `range`. An empty range is always fine (U7).
    ///
    /// # Errors
    /// [`Efault`] with nothing completed if a byte lies outside `range` or `addr + len` wraps.
    #[inline]
    pub(crate) fn within(range: &Range<usize>, addr: UserAddr, len: usize) -> Result<Self, Efault> {
        let slice = Self { addr, len };
        let wraps = addr.0.checked_add(len).is_none();
        if wraps && len > 0 || !slice.is_within(range) {
            return Err(Efault { expected: len, completed: 0 });
        }
        Ok(slice)
    }

    /// Where the range begins.
    #[must_use]
    #[inline]
    pub const fn addr(&self) -> UserAddr {
        self.addr
    }

    /// Length in bytes.
    #[must_use]
    #[inline]
    pub const fn len(&self) -> usize {
        self.len
    }

    /// Whether there are no bytes.
    #[must_use]
    #[inline]
    pub const fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The first `len` bytes, or all if there are fewer.
    #[must_use]
    #[inline]
    pub const fn prefix(&self, len: usize) -> Self {
        Self { addr: self.addr, len: if len < self.len { len } else { self.len } }
    }

    /// What follows the first `bytes` bytes; empty if there are no more.
    #[must_use]
    #[inline]
    pub const fn skip(&self, bytes: usize) -> Self {
        let bytes = if bytes < self.len { bytes } else { self.len };
        Self { addr: self.addr.wrapping_add(bytes), len: self.len - bytes }
    }

    /// [`skip`](Self::skip) of bytes that are there.
    #[inline(always)]
    pub(crate) const fn after(&self, bytes: usize) -> Self {
        debug_assert!(bytes <= self.len, "inside the slice");
        Self { addr: self.addr.wrapping_add(bytes), len: self.len - bytes }
    }

    /// [`lies_in`](Self::lies_in) for the range of a [`UserMemory`](crate::UserMemory), relying on
    /// the invariant that nothing wraps.
    #[inline]
    pub(crate) fn is_within(&self, range: &Range<usize>) -> bool {
        self.is_empty() || self.is_between(range)
    }

    /// [`is_within`](Self::is_within) that does not let an empty slice lie anywhere.
    #[inline(always)]
    pub(crate) const fn is_between(&self, range: &Range<usize>) -> bool {
        range.start <= self.addr.0 && self.addr.0.wrapping_add(self.len) <= range.end
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::UserMemory;
    use crate::conformance::scripted::Scripted;

    #[test]
    fn a_range_outside_or_wrapping_is_refused_before_any_access() {
        let user = Scripted::new();
        let range = user.user_range();
        let refused = |addr, len| UserSlice::new(&user, UserAddr::new(addr), len).is_err();
        assert!(!refused(range.start, range.len()));
        assert!(refused(range.start, range.len() + 1));
        assert!(refused(range.start - 1, 1));
        assert!(refused(range.end, 1));
        assert!(refused(usize::MAX, 2));
        assert!(refused(range.start, usize::MAX));
        assert!(!refused(usize::MAX, 0), "an empty range touches nothing (U7)");
    }

    #[test]
    fn pieces_of_a_slice_stay_inside_it() {
        let user = Scripted::new();
        let at = UserAddr::new(user.user_range().start);
        let slice = UserSlice::new(&user, at, 10).unwrap();
        assert_eq!((slice.skip(4).addr(), slice.skip(4).len()), (at.wrapping_add(4), 6));
        assert_eq!(slice.skip(11).len(), 0);
        assert_eq!(slice.prefix(11), slice);
        assert_eq!(slice.prefix(3).len(), 3);
    }
}
