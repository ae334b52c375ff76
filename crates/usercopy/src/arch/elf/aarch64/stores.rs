//! Stores to user memory: single bytes up to an aligned address, aligned words, single bytes.
//!
//! Each such store happens as a whole or not at all, whatever becomes of the mappings (U1).

use core::arch::asm;

use super::super::blocks::BLOCK;
use crate::arch::FaultPolicy;

/// Bytes of a word.
const WORD: usize = 8;

/// Bytes of `len` to store singly before `dst` is aligned.
#[inline(always)]
fn head(dst: *mut u8, len: usize) -> usize {
    (dst.addr().wrapping_neg() % WORD).min(len)
}

/// Copies `len` bytes; returns bytes left.
///
/// # Safety
/// As for [`copy_to`](super::copy_to), with the window open.
#[inline(never)]
pub(super) unsafe fn copy<F: FaultPolicy>(dst: *mut u8, src: *const u8, len: usize) -> usize {
    let head = head(dst, len);
    // SAFETY: a prefix of the caller's region.
    let left = unsafe { copy_bytes::<F>(dst, src, head) };
    if left > 0 {
        return len - head + left;
    }
    let (dst, src, len) = (dst.wrapping_add(head), src.wrapping_add(head), len - head);
    // SAFETY: the rest of the caller's region; `dst` is aligned.
    let left = unsafe { copy_words::<F>(dst, src, len) };
    let (done, block) = (len - left, left.min(BLOCK));
    // SAFETY: a tail of less than a word, or the block in which the fault is.
    left - block + unsafe { copy_bytes::<F>(dst.wrapping_add(done), src.wrapping_add(done), block) }
}

/// Copies bytes one by one; returns how many are left.
///
/// # Safety
/// As for [`copy`].
#[inline(always)]
unsafe fn copy_bytes<F: FaultPolicy>(dst: *mut u8, src: *const u8, len: usize) -> usize {
    let mut left = len;
    // SAFETY: the caller's regions; a fault leaves with the bytes not yet stored.
    unsafe {
        asm!(
            "cbz {left}, 99f",
            "2:",
            "ldrb {a:w}, [{src}]",
            "20: strb {a:w}, [{dst}]",
            "add {src}, {src}, #1",
            "add {dst}, {dst}, #1",
            "sub {left}, {left}, #1",
            "cbnz {left}, 2b",
            on_fault!(20),
            "99:",
            src = inout(reg) src => _,
            dst = inout(reg) dst => _,
            left = inout(reg) left,
            a = out(reg) _,
            kind = const F::KIND,
            options(nostack, preserves_flags),
        );
    }
    left
}

/// Copies words, eight at a time and then singly; returns the bytes left: fewer than a word unless
/// a fault came.
///
/// The fix-up of a store subtracts the words before it: it falls through as many subtractions.
///
/// # Safety
/// As for [`copy`]; `dst` is aligned to words.
#[inline(always)]
unsafe fn copy_words<F: FaultPolicy>(dst: *mut u8, src: *const u8, len: usize) -> usize {
    let mut left = len;
    // SAFETY: the caller's regions, by words inside; a fault leaves with the bytes not stored.
    unsafe {
        asm!(
            "b 3f",
            "2:",
            "ldp {a}, {b}, [{src}]",
            "ldp {c}, {d}, [{src}, #16]",
            "ldp {e}, {f}, [{src}, #32]",
            "ldp {g}, {h}, [{src}, #48]",
            "20: str {a}, [{dst}]",
            "21: str {b}, [{dst}, #8]",
            "22: str {c}, [{dst}, #16]",
            "23: str {d}, [{dst}, #24]",
            "24: str {e}, [{dst}, #32]",
            "25: str {f}, [{dst}, #40]",
            "26: str {g}, [{dst}, #48]",
            "27: str {h}, [{dst}, #56]",
            "add {src}, {src}, #64",
            "add {dst}, {dst}, #64",
            "sub {left}, {left}, #64",
            "3:",
            "cmp {left}, #64",
            "b.hs 2b",
            "b 5f",
            "4:",
            "ldr {a}, [{src}]",
            "30: str {a}, [{dst}]",
            "add {src}, {src}, #8",
            "add {dst}, {dst}, #8",
            "sub {left}, {left}, #8",
            "5:",
            "cmp {left}, #8",
            "b.hs 4b",
            on_fault!(20 30; 21 => 91, 22 => 92, 23 => 93, 24 => 94, 25 => 95, 26 => 96, 27 => 97),
            "b 99f",
            "97: sub {left}, {left}, #8",
            "96: sub {left}, {left}, #8",
            "95: sub {left}, {left}, #8",
            "94: sub {left}, {left}, #8",
            "93: sub {left}, {left}, #8",
            "92: sub {left}, {left}, #8",
            "91: sub {left}, {left}, #8",
            "99:",
            src = inout(reg) src => _,
            dst = inout(reg) dst => _,
            left = inout(reg) left,
            a = out(reg) _,
            b = out(reg) _,
            c = out(reg) _,
            d = out(reg) _,
            e = out(reg) _,
            f = out(reg) _,
            g = out(reg) _,
            h = out(reg) _,
            kind = const F::KIND,
            options(nostack),
        );
    }
    left
}

/// Zeroes `len` bytes; returns bytes left.
///
/// # Safety
/// As for [`clear`](super::clear), with the window open.
pub(super) unsafe fn clear<F: FaultPolicy>(dst: *mut u8, len: usize) -> usize {
    let head = head(dst, len);
    // SAFETY: a prefix of the caller's region.
    let left = unsafe { clear_bytes::<F>(dst, head) };
    if left > 0 {
        return len - head + left;
    }
    let (dst, len) = (dst.wrapping_add(head), len - head);
    // SAFETY: the rest of the caller's region, aligned.
    let left = unsafe { clear_words::<F>(dst, len) };
    let block = left.min(BLOCK);
    // SAFETY: a tail of less than a word, or the block in which the fault is.
    left - block + unsafe { clear_bytes::<F>(dst.wrapping_add(len - left), block) }
}

/// Zeroes bytes one by one; returns how many are left.
///
/// # Safety
/// As for [`clear`].
#[inline(always)]
unsafe fn clear_bytes<F: FaultPolicy>(dst: *mut u8, len: usize) -> usize {
    let mut left = len;
    // SAFETY: the caller's region; a fault leaves with the bytes not yet stored.
    unsafe {
        asm!(
            "cbz {left}, 99f",
            "20: strb wzr, [{dst}]",
            "add {dst}, {dst}, #1",
            "sub {left}, {left}, #1",
            "cbnz {left}, 20b",
            on_fault!(20),
            "99:",
            dst = inout(reg) dst => _,
            left = inout(reg) left,
            kind = const F::KIND,
            options(nostack, preserves_flags),
        );
    }
    left
}

/// Zeroes words, eight at a time and then singly; returns the bytes left: fewer than a word unless
/// a fault came.
///
/// The fix-up of a store subtracts the words before it: it falls through as many subtractions.
///
/// # Safety
/// As for [`clear`]; `dst` is aligned to words.
#[inline(always)]
unsafe fn clear_words<F: FaultPolicy>(dst: *mut u8, len: usize) -> usize {
    let mut left = len;
    // SAFETY: the caller's region, by words inside; a fault leaves with the bytes not stored.
    unsafe {
        asm!(
            "b 3f",
            "2:",
            "20: str xzr, [{dst}]",
            "21: str xzr, [{dst}, #8]",
            "22: str xzr, [{dst}, #16]",
            "23: str xzr, [{dst}, #24]",
            "24: str xzr, [{dst}, #32]",
            "25: str xzr, [{dst}, #40]",
            "26: str xzr, [{dst}, #48]",
            "27: str xzr, [{dst}, #56]",
            "add {dst}, {dst}, #64",
            "sub {left}, {left}, #64",
            "3:",
            "cmp {left}, #64",
            "b.hs 2b",
            "b 5f",
            "4:",
            "30: str xzr, [{dst}]",
            "add {dst}, {dst}, #8",
            "sub {left}, {left}, #8",
            "5:",
            "cmp {left}, #8",
            "b.hs 4b",
            on_fault!(20 30; 21 => 91, 22 => 92, 23 => 93, 24 => 94, 25 => 95, 26 => 96, 27 => 97),
            "b 99f",
            "97: sub {left}, {left}, #8",
            "96: sub {left}, {left}, #8",
            "95: sub {left}, {left}, #8",
            "94: sub {left}, {left}, #8",
            "93: sub {left}, {left}, #8",
            "92: sub {left}, {left}, #8",
            "91: sub {left}, {left}, #8",
            "99:",
            dst = inout(reg) dst => _,
            left = inout(reg) left,
            kind = const F::KIND,
            options(nostack),
        );
    }
    left
}
