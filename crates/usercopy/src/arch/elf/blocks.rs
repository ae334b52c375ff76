//! The algorithm of all copies on x86-64 and of those from user memory on AArch64: overlapping
//! words for short lengths, blocks for long ones, single bytes to find the exact end after a fault.
//!
//! Only the primitives differ ([`Blocks`]); they, not this module, know the exception table.
//!
//! Mappings may change while a copy runs, so nothing that was accessible once is expected to be
//! accessible again. A primitive that ends with a fault says how many words it has stored, and the
//! single bytes go on right behind them: no byte that is stored is left out of the count, and none
//! has to be stored again to be counted (U1).

use crate::arch::FaultPolicy;

/// Bytes of a block.
pub(super) const BLOCK: usize = 64;

/// The primitives of an architecture. All go upwards, and store words in the order of their
/// addresses.
///
/// A primitive for the two ends of a region returns 0 when done, or after a fault 1 + the words
/// that it has stored. The words at the end may overlap those at the beginning.
///
/// # Safety
/// No byte is changed outside `dst..dst+len`. A fault at any load or store makes the primitive
/// return. A word is stored as a whole or not at all, and is counted exactly if it is stored.
pub(super) unsafe trait Blocks {
    /// Moves [`BLOCK`] bytes at a time until fewer are left; returns how many are. After a fault,
    /// those not stored. `len` is at least a block.
    unsafe fn blocks<F: FaultPolicy>(dst: *mut u8, src: *const u8, len: usize) -> usize;
    /// Moves 32 to 64 bytes: the first and the last 32, by words of 8.
    #[inline(always)]
    unsafe fn ends_32<F: FaultPolicy>(dst: *mut u8, src: *const u8, len: usize) -> usize {
        // SAFETY: the first 32 bytes of the caller's region.
        let failed = unsafe { Self::ends_16::<F>(dst, src, 32) };
        if failed != 0 {
            return failed;
        }
        let (dst, src) = (dst.wrapping_add(len - 32), src.wrapping_add(len - 32));
        // SAFETY: the last 32 bytes.
        let failed = unsafe { Self::ends_16::<F>(dst, src, 32) };
        if failed == 0 { 0 } else { 4 + failed }
    }
    /// Moves 16 to 32 bytes: the first and the last 16, by words of 8.
    unsafe fn ends_16<F: FaultPolicy>(dst: *mut u8, src: *const u8, len: usize) -> usize;
    /// Moves 8 to 16 bytes: the first and the last 8.
    unsafe fn ends_8<F: FaultPolicy>(dst: *mut u8, src: *const u8, len: usize) -> usize;
    /// Moves 4 to 8 bytes: the first and the last 4.
    unsafe fn ends_4<F: FaultPolicy>(dst: *mut u8, src: *const u8, len: usize) -> usize;
    /// Moves 2 to 4 bytes: the first and the last 2.
    unsafe fn ends_2<F: FaultPolicy>(dst: *mut u8, src: *const u8, len: usize) -> usize;
    /// Moves one byte; returns how many are left.
    unsafe fn byte<F: FaultPolicy>(dst: *mut u8, src: *const u8) -> usize;
    /// Moves `len > 0` bytes one by one; returns how many are left.
    unsafe fn bytes<F: FaultPolicy>(dst: *mut u8, src: *const u8, len: usize) -> usize;
}

/// Leading bytes of `len` (16 to 32) that are stored when [`Blocks::ends_16`] has returned
/// `failed`, not 0.
#[inline]
fn stored_of_ends_16(len: usize, failed: usize) -> usize {
    match failed {
        1 => 0,
        2 => 8,
        3 => 16,
        // The third word may end before the second.
        _ => 16.max(len - 8),
    }
}

/// Leading bytes of `len` (32 to 64) that are stored when [`Blocks::ends_32`] has returned
/// `failed`, not 0.
#[inline]
fn stored_of_ends_32(len: usize, failed: usize) -> usize {
    match failed - 1 {
        first @ ..4 => 8 * first,
        // The words at the end may end before the first 32 bytes.
        words => 32.max(len - 32 + 8 * (words - 4)),
    }
}

/// Copies at most 16 bytes; returns bytes left.
///
/// # Safety
/// As for the back ends' copies, with the access window open.
#[inline(always)]
pub(super) unsafe fn copy_small<B: Blocks, F: FaultPolicy>(
    dst: *mut u8,
    src: *const u8,
    len: usize,
) -> usize {
    let (failed, word) = if len >= 8 {
        // SAFETY: the caller's promise; 8 to 16 bytes.
        (unsafe { B::ends_8::<F>(dst, src, len) }, 8)
    } else {
        match len {
            // SAFETY: the caller's promise for one byte.
            1 => (unsafe { B::byte::<F>(dst, src) }, 1),
            0 => return 0,
            // SAFETY: the caller's promise; 2 to 3 bytes.
            2..=3 => (unsafe { B::ends_2::<F>(dst, src, len) }, 2),
            // SAFETY: the caller's promise; 4 to 7 bytes.
            _ => (unsafe { B::ends_4::<F>(dst, src, len) }, 4),
        }
    };
    if failed == 0 {
        return 0;
    }
    // SAFETY: the caller's promise.
    unsafe { copy_to_the_fault::<B, F>(dst, src, len, (failed - 1) * word) }
}

/// Copies at least 17 bytes; returns bytes left.
///
/// # Safety
/// As for the back ends' copies, with the access window open.
#[inline]
pub(super) unsafe fn copy_blocks<B: Blocks, F: FaultPolicy>(
    mut dst: *mut u8,
    mut src: *const u8,
    len: usize,
) -> usize {
    let mut left = len;
    if len > BLOCK {
        // SAFETY: the caller's promise; at least a block.
        left = unsafe { B::blocks::<F>(dst, src, len) };
        (dst, src) = (dst.wrapping_add(len - left), src.wrapping_add(len - left));
        if left >= BLOCK {
            // SAFETY: the rest of the caller's region.
            return unsafe { copy_to_the_fault::<B, F>(dst, src, left, 0) };
        }
    }
    // SAFETY: the rest of the caller's region; there are as many bytes before it as it needs.
    unsafe { copy_rest::<B, F>(dst, src, left) }
}

/// Copies up to a [`BLOCK`]; returns bytes left. With what comes before them, and was copied to the
/// same place, they are at least 17 bytes.
///
/// # Safety
/// As for the back ends' copies, with the access window open.
#[inline(always)]
pub(super) unsafe fn copy_rest<B: Blocks, F: FaultPolicy>(
    dst: *mut u8,
    src: *const u8,
    left: usize,
) -> usize {
    if left > 32 {
        // SAFETY: at most a block.
        let failed = unsafe { B::ends_32::<F>(dst, src, left) };
        if failed != 0 {
            let stored = stored_of_ends_32(left, failed);
            // SAFETY: the rest of the caller's region.
            return unsafe { copy_to_the_fault::<B, F>(dst, src, left, stored) };
        }
        return 0;
    }
    if left == 0 {
        return 0;
    }
    // Less than 16 bytes: together with some that are done.
    let overlap = 16_usize.saturating_sub(left);
    let (last_dst, last_src) = (dst.wrapping_sub(overlap), src.wrapping_sub(overlap));
    // SAFETY: 16 to 32 bytes up to the end of the region.
    let failed = unsafe { B::ends_16::<F>(last_dst, last_src, left + overlap) };
    if failed != 0 {
        let stored = stored_of_ends_16(left + overlap, failed).saturating_sub(overlap);
        // SAFETY: the rest of the caller's region.
        return unsafe { copy_to_the_fault::<B, F>(dst, src, left, stored) };
    }
    0
}

/// After a fault, with the first `stored` bytes of `len` done: copies byte by byte up to the byte
/// that faults; returns bytes left.
///
/// The faulting byte lies in the next block. If it has become accessible meanwhile, the copy ends
/// after that block nevertheless: less than possible, but not nothing (U2).
///
/// # Safety
/// As for the back ends' copies, with the access window open; `stored <= len`.
#[cold]
#[inline(never)]
unsafe fn copy_to_the_fault<B: Blocks, F: FaultPolicy>(
    dst: *mut u8,
    src: *const u8,
    len: usize,
    stored: usize,
) -> usize {
    let (dst, src, left) = (dst.wrapping_add(stored), src.wrapping_add(stored), len - stored);
    if left == 0 {
        // Words at the end overlap those before: the one that faulted had only bytes that are
        // stored.
        return 0;
    }
    let block = left.min(BLOCK);
    // SAFETY: a part of the caller's region, not empty.
    left - block + unsafe { B::bytes::<F>(dst, src, block) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bytes_counted_after_some_words_are_the_prefix_that_the_words_cover() {
        for len in 16..=32 {
            let words = [0, 8, len - 16, len - 8];
            for stored in 0..words.len() {
                let covered = |at: &usize| words[..stored].iter().any(|w| (*w..w + 8).contains(at));
                let prefix = (0..len).take_while(covered).count();
                assert_eq!(stored_of_ends_16(len, 1 + stored), prefix, "{stored} of {len}");
                assert_eq!((0..len).filter(covered).count(), prefix, "{stored} of {len}: no gap");
            }
        }
    }

    #[test]
    fn the_same_of_eight_words() {
        for len in 32..=64 {
            let words = [0, 8, 16, 24, len - 32, len - 24, len - 16, len - 8];
            for stored in 0..words.len() {
                let covered = |at: &usize| words[..stored].iter().any(|w| (*w..w + 8).contains(at));
                let prefix = (0..len).take_while(covered).count();
                assert_eq!(stored_of_ends_32(len, 1 + stored), prefix, "{stored} of {len}");
                assert_eq!((0..len).filter(covered).count(), prefix, "{stored} of {len}: no gap");
            }
        }
    }
}
