//! An address space made of a table: no MMU, no signals, and a fault at any byte.
//!
//! The reference implementor of [`UserMemory`], and the example of a [`Layout`].

use core::cell::Cell;
use core::ops::Range;

use super::{Layout, MovingLayout, Present};
use crate::{MayFault, PROBE_STEP, UserAddr, UserMemory};

/// Where the addresses begin; they have nothing to do with where the bytes are kept.
const BASE: usize = 0x10_0000;

/// Pages of [`Scripted`].
const PAGES: usize = 5;

/// Bytes of [`Scripted`].
const BYTES: usize = PAGES * PROBE_STEP;

/// Five pages of user memory: read-write, inaccessible, read-write, read-write, read-only; of which
/// the inaccessible range can be moved to any bytes, and of which the third and fourth can be
/// unmapped ([`MovingLayout`]): a point comes before the access to each byte.
#[derive(Debug)]
pub struct Scripted {
    bytes: [Cell<u8>; BYTES],
    hole: Cell<(usize, usize)>,
    present: Cell<Present>,
    /// Points until the change, and what it brings.
    armed: Cell<Option<(usize, Present)>>,
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
        let (present, armed) = (Cell::new(Present::Both), Cell::new(None));
        Self { bytes: [const { Cell::new(0) }; BYTES], hole, present, armed }
    }

    /// Makes exactly the addresses `hole` inaccessible.
    pub fn set_hole(&self, hole: Range<usize>) {
        self.hole.set((hole.start, hole.end));
    }

    /// The `len` bytes behind `addr`, or as many as there are, whatever their protection.
    fn cells(&self, addr: usize, len: usize) -> &[Cell<u8>] {
        let start = addr.saturating_sub(BASE).min(BYTES);
        &self.bytes[start..(start + len).min(BYTES)]
    }

    /// The byte at `addr`, unless the access faults. This is a point.
    fn access(&self, addr: usize, access: Access) -> Option<&Cell<u8>> {
        if let Some((points, after)) = self.armed.get() {
            self.armed.set(points.checked_sub(1).map(|points| (points, after)));
            if points == 0 {
                self.present.set(after);
            }
        }
        let (hole, hole_end) = self.hole.get();
        let at = addr.wrapping_sub(BASE);
        let there = match at / PROBE_STEP {
            2 => self.present.get().first(),
            3 => self.present.get().second(),
            4 => access == Access::Read,
            _ => true,
        };
        let cell = self.bytes.get(at)?;
        (there && !(hole..hole_end).contains(&addr)).then_some(cell)
    }

    /// Runs `each(offset, byte)` up to the byte that faults; returns bytes left.
    fn for_each(
        &self,
        addr: UserAddr,
        len: usize,
        access: Access,
        each: impl Fn(usize, &Cell<u8>),
    ) -> usize {
        for at in 0..len {
            let Some(byte) = self.access(addr.get() + at, access) else { return len - at };
            each(at, byte);
        }
        0
    }
}

// SAFETY: every function touches exactly the bytes before the first that faults (U1, U2, U7);
// nothing sleeps (U3); nothing is zeroed beyond (U4); the range is constant and holds no kernel
// memory (U5); the probes are the provided ones, single-threaded here (U6).
unsafe impl UserMemory for Scripted {
    type Token = MayFault;

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
        self.for_each(src, len, Access::Read, |at, byte| {
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
        self.for_each(dst, len, Access::Write, |at, byte| {
            // SAFETY: `at < len`, for which the caller vouches.
            byte.set(unsafe { src.wrapping_add(at).read() });
        })
    }

    unsafe fn raw_clear_user(&self, _may: &mut MayFault, dst: UserAddr, len: usize) -> usize {
        self.for_each(dst, len, Access::Write, |_, byte| byte.set(0))
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
        for (byte, cell) in bytes.iter_mut().zip(self.cells(addr.get(), usize::MAX / 2)) {
            *byte = cell.get();
        }
    }

    fn poke(&self, addr: UserAddr, bytes: &[u8]) {
        for (byte, cell) in bytes.iter().zip(self.cells(addr.get(), usize::MAX / 2)) {
            cell.set(*byte);
        }
    }
}

impl MovingLayout for Scripted {
    fn set(&self, pages: Present) {
        self.present.set(pages);
    }

    fn arm(&self, point: usize, after: Present) {
        self.armed.set(Some((point, after)));
    }

    fn disarm(&self) -> bool {
        self.armed.take().is_none()
    }
}
