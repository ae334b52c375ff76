//! The algorithm that x86-64 and AArch64 share: overlapping words for short lengths, blocks for long ones, single
//! bytes to find the exact end after a fault.
//!
//! Only the primitives differ ([`Blocks`]); they, not this module, know the exception table.

use crate::arch::FaultPolicy;

/// Bytes of a block.
pub(super) const BLOCK: usize = 64;

/// The primitives of an architecture. All load before they store, go upwards, and return 0 when done.
///
/// # Safety
/// A fault at any load or store makes the primitive return, not 0, with no byte changed outside
/// `dst..dst+len` (for [`bytes`](Self::bytes) and [`zero_bytes`](Self::zero_bytes): the exact rest).
pub(super) unsafe trait Blocks {
    /// Moves [`BLOCK`] bytes.
    unsafe fn block<F: FaultPolicy>(dst: *mut u8, src: *const u8) -> usize;
    /// Moves 16 to 32 bytes: the first and the last 16.
    unsafe fn ends_16<F: FaultPolicy>(dst: *mut u8, src: *const u8, len: usize) -> usize;
    /// Moves 8 to 16 bytes: the first and the last 8.
    unsafe fn ends_8<F: FaultPolicy>(dst: *mut u8, src: *const u8, len: usize) -> usize;
    /// Moves 4 to 8 bytes.
    unsafe fn ends_4<F: FaultPolicy>(dst: *mut u8, src: *const u8, len: usize) -> usize;
    /// Moves 2 to 4 bytes.
    unsafe fn ends_2<F: FaultPolicy>(dst: *mut u8, src: *const u8, len: usize) -> usize;
    /// Moves one byte.
    unsafe fn byte<F: FaultPolicy>(dst: *mut u8, src: *const u8) -> usize;
    /// Moves `len > 0` bytes one by one; returns how many are left.
    unsafe fn bytes<F: FaultPolicy>(dst: *mut u8, src: *const u8, len: usize) -> usize;

    /// Zeroes [`BLOCK`] bytes.
    unsafe fn zero_block<F: FaultPolicy>(dst: *mut u8) -> usize;
    /// Zeroes 8 to 16 bytes.
    unsafe fn zero_ends_8<F: FaultPolicy>(dst: *mut u8, len: usize) -> usize;
    /// Zeroes `len > 0` bytes one by one; returns how many are left.
    unsafe fn zero_bytes<F: FaultPolicy>(dst: *mut u8, len: usize) -> usize;
}

/// Copies at most 16 bytes; returns bytes left.
///
/// # Safety
/// As for the back ends' `copy`, with the access window open.
#[inline(always)]
pub(super) unsafe fn copy_small<B: Blocks, F: FaultPolicy>(
    dst: *mut u8,
    src: *const u8,
    len: usize,
) -> usize {
    let failed = match len {
        // SAFETY: the caller's promise for one byte.
        1 => unsafe { B::byte::<F>(dst, src) },
        0 => return 0,
        // SAFETY: the caller's promise; 2 to 3 bytes.
        2..=3 => unsafe { B::ends_2::<F>(dst, src, len) },
        // SAFETY: the caller's promise; 4 to 7 bytes.
        4..=7 => unsafe { B::ends_4::<F>(dst, src, len) },
        // SAFETY: the caller's promise; 8 to 16 bytes.
        _ => unsafe { B::ends_8::<F>(dst, src, len) },
    };
    if failed == 0 {
        return 0;
    }
    // SAFETY: the caller's promise.
    unsafe { copy_to_the_fault::<B, F>(dst, src, len) }
}

/// Copies at least 17 bytes; returns bytes left.
///
/// # Safety
/// As for the back ends' `copy`, with the access window open.
#[inline]
pub(super) unsafe fn copy_blocks<B: Blocks, F: FaultPolicy>(
    mut dst: *mut u8,
    mut src: *const u8,
    len: usize,
) -> usize {
    let mut left = len;
    while left >= BLOCK {
        // SAFETY: a whole block is left.
        if unsafe { B::block::<F>(dst, src) } != 0 {
            // SAFETY: the rest of the caller's region.
            return unsafe { copy_to_the_fault::<B, F>(dst, src, left) };
        }
        (dst, src, left) = (dst.wrapping_add(BLOCK), src.wrapping_add(BLOCK), left - BLOCK);
    }
    if left > 32 {
        // SAFETY: 32 bytes are left.
        if unsafe { B::ends_16::<F>(dst, src, 32) } != 0 {
            // SAFETY: the rest of the caller's region.
            return unsafe { copy_to_the_fault::<B, F>(dst, src, left) };
        }
        (dst, src, left) = (dst.wrapping_add(32), src.wrapping_add(32), left - 32);
    }
    if left == 0 {
        return 0;
    }
    // Less than 16 bytes: together with some that are done, of which there are enough since `len >= 17`.
    let overlap = 16_usize.saturating_sub(left);
    let (last_dst, last_src) = (dst.wrapping_sub(overlap), src.wrapping_sub(overlap));
    // SAFETY: 16 to 32 bytes up to the end of the region.
    if unsafe { B::ends_16::<F>(last_dst, last_src, left + overlap) } != 0 {
        // SAFETY: the rest of the caller's region.
        return unsafe { copy_to_the_fault::<B, F>(dst, src, left) };
    }
    0
}

/// After a fault: copies byte by byte up to the byte that faults; returns bytes left.
///
/// The faulting byte lies in the next block. If it has become accessible meanwhile, the copy ends after that block
/// nevertheless: less than possible, but not nothing (U2).
///
/// # Safety
/// As for the back ends' `copy`, with the access window open; `len > 0`.
#[cold]
#[inline(never)]
unsafe fn copy_to_the_fault<B: Blocks, F: FaultPolicy>(
    dst: *mut u8,
    src: *const u8,
    len: usize,
) -> usize {
    let block = len.min(BLOCK);
    // SAFETY: a prefix of the caller's region.
    len - block + unsafe { B::bytes::<F>(dst, src, block) }
}

/// Zeroes `len` bytes; returns bytes left.
///
/// # Safety
/// As for the back ends' `clear`, with the access window open.
pub(super) unsafe fn clear_blocks<B: Blocks, F: FaultPolicy>(
    mut dst: *mut u8,
    len: usize,
) -> usize {
    let mut left = len;
    // SAFETY: a whole block is left.
    while left >= BLOCK && unsafe { B::zero_block::<F>(dst) } == 0 {
        (dst, left) = (dst.wrapping_add(BLOCK), left - BLOCK);
    }
    while left >= 8 {
        let piece = left.min(16);
        // SAFETY: 8 to 16 bytes are left.
        if unsafe { B::zero_ends_8::<F>(dst, piece) } != 0 {
            break;
        }
        (dst, left) = (dst.wrapping_add(piece), left - piece);
    }
    if left == 0 {
        return 0;
    }
    // A tail of less than a word, or the word in which the fault is.
    let block = left.min(BLOCK);
    // SAFETY: the rest of the caller's region, or a block of it.
    left - block + unsafe { B::zero_bytes::<F>(dst, block) }
}
