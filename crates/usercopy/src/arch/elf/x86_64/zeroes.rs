//! Clearing in general registers: blocks, then pairs of words of which the second may overlap the
//! first, then bytes. Each step goes on right behind what is stored (U1), also after a fault.

use core::arch::asm;

use super::super::blocks::BLOCK;
use crate::arch::FaultPolicy;

/// Zeroes `len` bytes; returns bytes left.
///
/// # Safety
/// As for [`clear`](super::clear), with the access window open.
pub(super) unsafe fn clear_blocks<F: FaultPolicy>(mut dst: *mut u8, len: usize) -> usize {
    let mut left = len;
    if len >= BLOCK {
        // SAFETY: the caller's promise; at least a block.
        left = unsafe { zero_blocks::<F>(dst, len) };
        dst = dst.wrapping_add(len - left);
    }
    // With a block left, there was a fault.
    while (8..BLOCK).contains(&left) {
        let piece = left.min(16);
        // SAFETY: 8 to 16 bytes are left.
        let failed = unsafe { zero_ends_8::<F>(dst, piece) };
        if failed != 0 {
            let stored = 8 * (failed - 1);
            (dst, left) = (dst.wrapping_add(stored), left - stored);
            break;
        }
        (dst, left) = (dst.wrapping_add(piece), left - piece);
    }
    if left == 0 {
        return 0;
    }
    // A tail of less than a word, or the block in which the fault is.
    let block = left.min(BLOCK);
    // SAFETY: the rest of the caller's region, or a block of it.
    left - block + unsafe { zero_bytes::<F>(dst, block) }
}

/// Zeroes [`BLOCK`] bytes at a time until fewer are left; returns how many are. After a fault,
/// those not stored.
///
/// The fix-up of a store subtracts the words before it: it falls through as many subtractions.
///
/// # Safety
/// As for [`clear_blocks`]; `len` is at least a block.
#[inline(always)]
unsafe fn zero_blocks<F: FaultPolicy>(dst: *mut u8, len: usize) -> usize {
    let mut left = len;
    // SAFETY: blocks of the caller's region; a fault leaves to label 99 with the bytes not stored.
    unsafe {
        asm!(
            "2:",
            "20: mov [{dst}], {zero}",
            "21: mov [{dst} + 8], {zero}",
            "22: mov [{dst} + 16], {zero}",
            "23: mov [{dst} + 24], {zero}",
            "24: mov [{dst} + 32], {zero}",
            "25: mov [{dst} + 40], {zero}",
            "26: mov [{dst} + 48], {zero}",
            "27: mov [{dst} + 56], {zero}",
            "add {dst}, 64",
            "sub {left}, 64",
            "cmp {left}, 64",
            "jae 2b",
            on_fault!(20; 21 => 91, 22 => 92, 23 => 93, 24 => 94, 25 => 95, 26 => 96, 27 => 97),
            "jmp 99f",
            "97: sub {left}, 8",
            "96: sub {left}, 8",
            "95: sub {left}, 8",
            "94: sub {left}, 8",
            "93: sub {left}, 8",
            "92: sub {left}, 8",
            "91: sub {left}, 8",
            "99:",
            dst = inout(reg) dst => _,
            zero = in(reg) 0_usize,
            left = inout(reg) left,
            kind = const F::KIND,
            options(nostack),
        );
    }
    left
}

/// Zeroes the first and the last 8 of 8 to 16 bytes; returns 0 when done, or 1 + the words stored.
///
/// # Safety
/// As for [`clear_blocks`].
#[inline(always)]
unsafe fn zero_ends_8<F: FaultPolicy>(dst: *mut u8, len: usize) -> usize {
    let mut failed = 1_usize;
    // SAFETY: both words lie in the caller's region; a fault leaves to label 99 with `failed` as
    // described.
    unsafe {
        asm!(
            "20: mov [{dst}], {zero}",
            "mov {failed:e}, 2",
            "21: mov [{dst} + {len} - 8], {zero}",
            "xor {failed:e}, {failed:e}",
            on_fault!(20 21),
            "99:",
            dst = in(reg) dst,
            len = in(reg) len,
            zero = in(reg) 0_usize,
            failed = inout(reg) failed,
            kind = const F::KIND,
            options(nostack),
        );
    }
    failed
}

/// Zeroes `len > 0` bytes one by one; returns how many are left.
///
/// # Safety
/// As for [`clear_blocks`].
#[inline(always)]
unsafe fn zero_bytes<F: FaultPolicy>(dst: *mut u8, len: usize) -> usize {
    let mut left = len;
    // SAFETY: `len > 0` bytes of the caller's region; a fault leaves with the bytes not yet stored.
    unsafe {
        asm!(
            "20: mov byte ptr [{dst}], 0",
            "inc {dst}",
            "dec {left}",
            "jnz 20b",
            on_fault!(20),
            "99:",
            dst = inout(reg) dst => _,
            left = inout(reg) left,
            kind = const F::KIND,
            options(nostack),
        );
    }
    left
}
