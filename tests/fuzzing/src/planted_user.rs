//! User memory with a bug: passes everything on to correct memory, and then does what the plant
//! says.

use std::ops::Range;

use faultless_usercopy::{MayFault, UserAddr, UserMemory, UserSlice};

use super::Plant;

/// Block in which a planted copy reports.
const BLOCK: usize = 8;
/// Block that a planted copy moves whole or not at all.
const WIDE: usize = 16;

/// Correct user memory with a planted bug, or none.
#[derive(Debug)]
pub(super) struct PlantedUser<'u, U> {
    inner: &'u U,
    plant: Plant,
}

impl<'u, U: UserMemory<Token = MayFault>> PlantedUser<'u, U> {
    /// `inner` with this bug.
    pub(super) const fn new(inner: &'u U, plant: Plant) -> Self {
        Self { inner, plant }
    }

    /// What a copy that left `left` of `len` bytes says it left.
    fn reported(&self, len: usize, left: usize) -> usize {
        let done = len - left;
        match self.plant {
            Plant::CopyOverReports | Plant::TailCopyOverReports if left > 0 && done > 0 => {
                len - done.next_multiple_of(BLOCK).min(len)
            }
            _ => left,
        }
    }

    /// Whether nothing must come of a copy that could bring `reach` of `len` bytes.
    fn gives_up(&self, len: usize, reach: usize) -> bool {
        self.plant == Plant::CopyAllOrNothing && reach < WIDE && reach < len
    }

    /// Does to the kernel's side what the plant does after a copy to `dst`.
    ///
    /// # Safety
    /// `dst` is valid for writes of `len` bytes.
    unsafe fn spoil(&self, dst: *mut u8, len: usize, left: usize) {
        if self.plant == Plant::CopyZeroesTail {
            // SAFETY: the tail lies in what the caller vouches for.
            let tail = unsafe { dst.add(len - left) };
            // SAFETY: as above.
            unsafe { tail.write_bytes(0, left) };
        }
    }

    /// How many of `len` bytes at `src` an atomic copy brings.
    fn reach(&self, src: UserAddr, len: usize) -> usize {
        let mut byte = 0_u8;
        let at = |at| src.wrapping_add(at);
        // SAFETY: one byte of ours, from an address that the caller of the copy vouches for.
        let ok = |i: &usize| unsafe {
            self.inner.raw_copy_from_user_atomic(&raw mut byte, at(*i), 1) == 0
        };
        (0..len.min(WIDE)).take_while(ok).count()
    }
}

// SAFETY: with no plant everything is passed on unchanged, so the contract is the inner memory's.
// With one it is broken on purpose, but never outside the kernel memory that the caller passed and
// never outside the user range.
unsafe impl<U: UserMemory<Token = MayFault>> UserMemory for PlantedUser<'_, U> {
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
        // SAFETY: the same promise.
        let left = unsafe { self.inner.raw_copy_from_user(token, dst, src, len) };
        // SAFETY: the same promise.
        unsafe { self.spoil(dst, len, left) };
        self.reported(len, left)
    }

    unsafe fn raw_copy_from_user_atomic(&self, dst: *mut u8, src: UserAddr, len: usize) -> usize {
        if self.plant == Plant::CopyAllOrNothing && self.gives_up(len, self.reach(src, len)) {
            return len;
        }
        if self.plant == Plant::AtomicFaults {
            // SAFETY: for deadlocks only, which is what is planted here.
            let mut token = unsafe { MayFault::assert() };
            // SAFETY: the same promise.
            return unsafe { self.inner.raw_copy_from_user(&mut token, dst, src, len) };
        }
        // SAFETY: the same promise.
        let left = unsafe { self.inner.raw_copy_from_user_atomic(dst, src, len) };
        // SAFETY: the same promise.
        unsafe { self.spoil(dst, len, left) };
        self.reported(len, left)
    }

    unsafe fn raw_copy_to_user(
        &self,
        token: &mut MayFault,
        dst: UserAddr,
        src: *const u8,
        len: usize,
    ) -> usize {
        // SAFETY: the same promise.
        let left = unsafe { self.inner.raw_copy_to_user(token, dst, src, len) };
        self.reported(len, left)
    }

    unsafe fn raw_copy_to_user_atomic(&self, dst: UserAddr, src: *const u8, len: usize) -> usize {
        // SAFETY: the same promise.
        let left = unsafe { self.inner.raw_copy_to_user_atomic(dst, src, len) };
        self.reported(len, left)
    }

    unsafe fn raw_clear_user(&self, token: &mut MayFault, dst: UserAddr, len: usize) -> usize {
        // SAFETY: the same promise.
        unsafe { self.inner.raw_clear_user(token, dst, len) }
    }

    unsafe fn raw_probe_readable(&self, token: &mut MayFault, addr: UserAddr) -> usize {
        // SAFETY: the same promise.
        unsafe { self.inner.raw_probe_readable(token, addr) }
    }

    unsafe fn raw_probe_writeable(&self, token: &mut MayFault, addr: UserAddr) -> usize {
        // SAFETY: the same promise.
        unsafe { self.inner.raw_probe_writeable(token, addr) }
    }

    fn fault_in_readable(&self, token: &mut MayFault, slice: UserSlice) -> usize {
        if self.plant == Plant::ProbeFirstPage && !slice.is_empty() {
            return match self.inner.fault_in_readable(token, slice.prefix(1)) {
                0 => 0,
                _ => slice.len(),
            };
        }
        self.inner.fault_in_readable(token, slice)
    }

    fn fault_in_writeable(&self, token: &mut MayFault, slice: UserSlice) -> usize {
        self.inner.fault_in_writeable(token, slice)
    }
}
