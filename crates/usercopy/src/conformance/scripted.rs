//! An address space made of a table: no MMU, no signals, and a fault at any byte.
//!
//! The reference implementor of [`UserMemory`], and the example of a [`Layout`].

use core::cell::Cell;
use core::ops::Range;

use super::Layout;
use crate::{MayFault, PROBE_STEP, UserAddr, UserMemory};

/// Where the addresses begin; they have nothing to do with where the bytes are kept.
const BASE: usize = 0x10_0000;

/// Pages of [`Scripted`].
const PAGES: usize = 5;

/// Bytes of [`Scripted`].
const BYTES: usize = PAGES * PROBE_STEP;

/// Five pages of user memory: read-write, inaccessible, read-write, read-write, read-only; of which the inaccessible
/// range can be moved to any bytes.
#[derive(Debug)]
pub struct Scripted {
    bytes: [Cell<u8>; BYTES],
    hole: Cell<(usize, usize)>,
}

/// What an access does.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Access {
    Read,
    Write,
}

impl Default for Scripted {
    fn default() -> Self {
        Self::new()
    }
}

impl Scripted {
    /// The five pages, zeroed.
    #[must_use]
    pub const fn new() -> Self {
        let hole = Cell::new((BASE + PROBE_STEP, BASE + 2 * PROBE_STEP));
        Self { bytes: [const { Cell::new(0) }; BYTES], hole }
    }

    /// Makes exactly the addresses `hole` inaccessible.
    pub fn set_hole(&self, hole: Range<usize>) {
        self.hole.set((hole.start, hole.end));
    }

    /// The byte behind `addr`, whatever its protection.
    fn cell(&self, addr: usize) -> Option<&Cell<u8>> {
        self.bytes.get(addr.checked_sub(BASE)?)
    }

    /// The byte at `addr`, if `access` to it is allowed.
    fn access(&self, addr: usize, access: Access) -> Option<&Cell<u8>> {
        let (start, end) = self.hole.get();
        let in_hole = start <= addr && addr < end;
        let read_only = addr >= BASE + (PAGES - 1) * PROBE_STEP;
        if in_hole || (read_only && access == Access::Write) {
            return None;
        }
        self.cell(addr)
    }

    /// Runs `each(index, byte)` upwards until a byte faults; returns bytes not reached.
    fn walk(
        &self,
        addr: UserAddr,
        len: usize,
        access: Access,
        mut each: impl FnMut(usize, &Cell<u8>),
    ) -> usize {
        for at in 0..len {
            match self.access(addr.get() + at, access) {
                Some(byte) => each(at, byte),
                None => return len - at,
            }
        }
        0
    }
}

// SAFETY: every function goes byte by byte and stops at the first that `access` denies (U1, U2, U7); nothing sleeps
// (U3); nothing is zeroed beyond (U4); the range is constant and holds no kernel memory (U5); the probes are the provided
// ones, single-threaded here (U6).
unsafe impl UserMemory for Scripted {
    fn user_range(&self) -> Range<usize> {
        BASE..BASE + BYTES
    }

    unsafe fn raw_copy_from_user(
        &self,
        _may: &mut MayFault,
        dst: *mut u8,
        src: UserAddr,
        len: usize,
    ) -> usize {
        // SAFETY: the same contract.
        unsafe { self.raw_copy_from_user_atomic(dst, src, len) }
    }

    unsafe fn raw_copy_from_user_atomic(&self, dst: *mut u8, src: UserAddr, len: usize) -> usize {
        self.walk(src, len, Access::Read, |at, byte| {
            // SAFETY: `at < len`, for which the caller vouches.
            unsafe { dst.wrapping_add(at).write(byte.get()) };
        })
    }

    unsafe fn raw_copy_to_user(
        &self,
        _may: &mut MayFault,
        dst: UserAddr,
        src: *const u8,
        len: usize,
    ) -> usize {
        // SAFETY: the same contract.
        unsafe { self.raw_copy_to_user_atomic(dst, src, len) }
    }

    unsafe fn raw_copy_to_user_atomic(&self, dst: UserAddr, src: *const u8, len: usize) -> usize {
        self.walk(dst, len, Access::Write, |at, byte| {
            // SAFETY: `at < len`, for which the caller vouches.
            byte.set(unsafe { src.wrapping_add(at).read() });
        })
    }

    unsafe fn raw_clear_user(&self, _may: &mut MayFault, dst: UserAddr, len: usize) -> usize {
        self.walk(dst, len, Access::Write, |_, byte| byte.set(0))
    }
}

impl Layout for Scripted {
    type User = Self;

    fn user(&self) -> &Self {
        self
    }

    fn page_size(&self) -> usize {
        PROBE_STEP
    }

    fn base(&self) -> UserAddr {
        UserAddr::new(BASE)
    }

    fn peek(&self, addr: UserAddr, bytes: &mut [u8]) {
        for (at, byte) in bytes.iter_mut().enumerate() {
            *byte = self.cell(addr.get() + at).map_or(0, Cell::get);
        }
    }

    fn poke(&self, addr: UserAddr, bytes: &[u8]) {
        for (at, byte) in bytes.iter().enumerate() {
            if let Some(cell) = self.cell(addr.get() + at) {
                cell.set(*byte);
            }
        }
    }
}
