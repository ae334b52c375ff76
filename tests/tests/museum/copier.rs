//! User memory that lies: copies and probes with the bugs that real ones had.

use std::ops::Range;

use faultless::usercopy::{MayFault, UserAddr, UserMemory, UserSlice};

/// What is wrong with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Lie {
    /// B2: the block in which the fault is counts as copied.
    OverReports,
    /// B1, B3: what could not be copied is zeroed.
    ZeroesTheTail,
    /// A8: the first load is 8 bytes wide, and if it faults nothing is copied.
    LoadsWide,
    /// A6: of a range only the first and the last byte are probed.
    ProbesTheEnds,
}

/// The rig's memory, behind a liar.
#[derive(Debug)]
pub(crate) struct Liar<'u, U> {
    inner: &'u U,
    lie: Lie,
}

impl<'u, U: UserMemory<Token = MayFault>> Liar<'u, U> {
    pub(crate) const fn new(inner: &'u U, lie: Lie) -> Self {
        Self { inner, lie }
    }

    /// What becomes of a copy to `dst` that left `left` of `len` bytes. `dst` is valid for writes
    /// of `len` bytes.
    unsafe fn falsify(&self, dst: *mut u8, len: usize, left: usize) -> usize {
        match self.lie {
            Lie::OverReports => left / 8 * 8,
            Lie::ZeroesTheTail => {
                // SAFETY: the rest of the caller's region.
                unsafe { dst.wrapping_add(len - left).write_bytes(0, left) };
                left
            }
            Lie::LoadsWide if left > 0 && len - left < 8 => len,
            Lie::LoadsWide | Lie::ProbesTheEnds => left,
        }
    }
}

// SAFETY: bytes are reached only through the inner memory, whose promises on where it writes hold.
// The promises on counts and tails (U1, U2, U6) are broken on purpose: a kernel that believes them
// has wrong bytes, but touches only its own.
unsafe impl<U: UserMemory<Token = MayFault>> UserMemory for Liar<'_, U> {
    type Token = MayFault;

    fn user_range(&self) -> Range<usize> {
        self.inner.user_range()
    }

    unsafe fn raw_copy_from_user(
        &self,
        token: &mut MayFault,
        dst: *mut u8,
        src: UserAddr,
        len: usize,
    ) -> usize {
        // SAFETY: the same contract.
        let left = unsafe { self.inner.raw_copy_from_user(token, dst, src, len) };
        // SAFETY: the caller's region.
        unsafe { self.falsify(dst, len, left) }
    }

    unsafe fn raw_copy_from_user_atomic(&self, dst: *mut u8, src: UserAddr, len: usize) -> usize {
        // SAFETY: the same contract.
        let left = unsafe { self.inner.raw_copy_from_user_atomic(dst, src, len) };
        // SAFETY: the caller's region.
        unsafe { self.falsify(dst, len, left) }
    }

    unsafe fn raw_copy_to_user(
        &self,
        token: &mut MayFault,
        dst: UserAddr,
        src: *const u8,
        len: usize,
    ) -> usize {
        // SAFETY: the same contract.
        unsafe { self.inner.raw_copy_to_user(token, dst, src, len) }
    }

    unsafe fn raw_copy_to_user_atomic(&self, dst: UserAddr, src: *const u8, len: usize) -> usize {
        // SAFETY: the same contract.
        unsafe { self.inner.raw_copy_to_user_atomic(dst, src, len) }
    }

    unsafe fn raw_clear_user(&self, token: &mut MayFault, dst: UserAddr, len: usize) -> usize {
        // SAFETY: the same contract.
        unsafe { self.inner.raw_clear_user(token, dst, len) }
    }

    fn fault_in_readable(&self, token: &mut MayFault, slice: UserSlice) -> usize {
        let ends = [slice.prefix(1), slice.skip(slice.len().saturating_sub(1))];
        let mut reached = |end: &UserSlice| self.inner.fault_in_readable(token, *end) == 0;
        if self.lie == Lie::ProbesTheEnds && ends.iter().all(&mut reached) {
            return 0;
        }
        self.inner.fault_in_readable(token, slice)
    }

    fn fault_in_writeable(&self, token: &mut MayFault, slice: UserSlice) -> usize {
        self.inner.fault_in_writeable(token, slice)
    }
}
