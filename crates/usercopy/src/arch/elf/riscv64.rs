//! RISC-V 64: aligned words only, since a misaligned access may trap or be emulated at great cost.
//!
//! When source and destination disagree on alignment, words are loaded aligned and shifted
//! together. An aligned word that holds at least one wanted byte never reaches into a page without
//! one. And an aligned store happens as a whole or not at all.

use core::arch::asm;

pub use super::linked::{sort_extable, table};

use crate::arch::{AccessWindow, FaultPolicy, Faulting, portable};
use crate::extable::Kind;

/// Whether a fault ends a copy with an exact count.
pub const EXACT_FAULTS: bool = true;

/// Bytes of a word.
const WORD: usize = 8;

/// Bytes that are found one by one after a fault: the longest block below.
const BLOCK: usize = 4 * WORD;

/// Shorter copies go byte by byte.
const SHORT: usize = 2 * WORD;

/// Permit supervisor user memory access: sets `sstatus.SUM` for the access. Only for a kernel in
/// S-mode.
#[derive(Debug)]
pub struct Sum;

/// The bit SUM of `sstatus`.
const SSTATUS_SUM: usize = 1 << 18;

// SAFETY: SUM opens user memory to supervisor accesses, and does nothing else.
unsafe impl AccessWindow for Sum {
    #[inline(always)]
    unsafe fn open() {
        // SAFETY: the implementor of a kernel in S-mode chose this window; memory accesses stay
        // inside.
        unsafe { asm!("csrs sstatus, {sum}", sum = in(reg) SSTATUS_SUM, options(nostack)) }
    }

    #[inline(always)]
    unsafe fn close() {
        // SAFETY: as above.
        unsafe { asm!("csrc sstatus, {sum}", sum = in(reg) SSTATUS_SUM, options(nostack)) }
    }
}

/// Copies `len` bytes from user memory; returns bytes **not** copied, exact to the byte that faults
/// (U1, U2).
///
/// # Safety
/// `src` is a user address that never belongs to Rust; `dst` is valid for writes of `len` bytes and
/// shared only with code that tolerates races. The trap handler serves the exception table.
#[inline]
pub unsafe fn copy_from<W: AccessWindow, F: FaultPolicy>(
    dst: *mut u8,
    src: *const u8,
    len: usize,
) -> usize {
    // SAFETY: the caller's promise.
    unsafe { copy::<W, F>(dst, src, len) }
}

/// Copies `len` bytes to user memory; returns bytes **not** copied, exact to the byte that faults
/// (U1, U2).
///
/// # Safety
/// `dst` is a user address that never belongs to Rust; `src` is valid for reads of `len` bytes and
/// shared only with code that tolerates races. The trap handler serves the exception table.
#[inline]
pub unsafe fn copy_to<W: AccessWindow, F: FaultPolicy>(
    dst: *mut u8,
    src: *const u8,
    len: usize,
) -> usize {
    // SAFETY: the caller's promise.
    unsafe { copy::<W, F>(dst, src, len) }
}

/// Either direction.
///
/// # Safety
/// As for [`copy_from`] or [`copy_to`].
#[inline]
unsafe fn copy<W: AccessWindow, F: FaultPolicy>(dst: *mut u8, src: *const u8, len: usize) -> usize {
    if len == 0 {
        return 0;
    }
    // SAFETY: closed below; only the copy lies between.
    unsafe { W::open() };
    let left = if len < SHORT {
        // SAFETY: the caller's promise; `len > 0`.
        unsafe { copy_bytes::<F>(dst, src, len) }
    } else {
        // SAFETY: the caller's promise.
        unsafe { copy_long::<F>(dst, src, len) }
    };
    // SAFETY: opened above.
    unsafe { W::close() };
    left
}

/// Copies at least [`SHORT`] bytes: bytes up to an aligned destination, then words, then what is
/// left.
///
/// # Safety
/// As for [`copy`], with the window open.
#[inline(never)]
unsafe fn copy_long<F: FaultPolicy>(dst: *mut u8, src: *const u8, len: usize) -> usize {
    let head = dst.addr().wrapping_neg() % WORD;
    if head > 0 {
        // SAFETY: a prefix of the caller's region.
        let left = unsafe { copy_bytes::<F>(dst, src, head) };
        if left > 0 {
            return len - head + left;
        }
    }
    let (dst, src, len) = (dst.wrapping_add(head), src.wrapping_add(head), len - head);
    let left = if src.addr().is_multiple_of(WORD) {
        // SAFETY: the rest of the caller's region; both sides aligned.
        unsafe { copy_words::<F>(dst, src, len) }
    } else {
        // SAFETY: the rest of the caller's region; `dst` aligned, `src` not.
        unsafe { copy_shifted::<F>(dst, src, len) }
    };
    if left == 0 {
        return 0;
    }
    // A tail of less than a block, or a fault in the next block.
    let done = len - left;
    let block = left.min(BLOCK);
    // SAFETY: a part of the caller's region; `left > 0`.
    let rest = unsafe { copy_bytes::<F>(dst.wrapping_add(done), src.wrapping_add(done), block) };
    left - block + rest
}

/// Copies bytes one by one; returns how many are left.
///
/// # Safety
/// As for [`copy`], with the window open; `len > 0`.
#[inline(always)]
unsafe fn copy_bytes<F: FaultPolicy>(dst: *mut u8, src: *const u8, len: usize) -> usize {
    let mut left = len;
    // SAFETY: `len > 0` bytes of the caller's regions; a fault leaves with the bytes not yet
    // stored.
    unsafe {
        asm!(
            "20: lbu {a}, 0({src})",
            "21: sb {a}, 0({dst})",
            "addi {src}, {src}, 1",
            "addi {dst}, {dst}, 1",
            "addi {left}, {left}, -1",
            "bnez {left}, 20b",
            on_fault!(20 21),
            "99:",
            src = inout(reg) src => _,
            dst = inout(reg) dst => _,
            left = inout(reg) left,
            a = out(reg) _,
            kind = const F::KIND,
            options(nostack),
        );
    }
    left
}

/// Copies aligned words, four at a time and then singly; returns the bytes left: fewer than a word
/// unless a fault came.
///
/// The fix-up of a store in a block subtracts the words before it: it falls through as many
/// subtractions.
///
/// # Safety
/// As for [`copy`], with the window open; both sides are aligned to words.
#[inline(always)]
unsafe fn copy_words<F: FaultPolicy>(dst: *mut u8, src: *const u8, len: usize) -> usize {
    let mut left = len;
    // SAFETY: the caller's regions, by aligned words inside; a fault leaves with the bytes not
    // stored.
    unsafe {
        asm!(
            "j 3f",
            "2:",
            "20: ld {a}, 0({src})",
            "21: ld {b}, 8({src})",
            "22: ld {c}, 16({src})",
            "23: ld {d}, 24({src})",
            "24: sd {a}, 0({dst})",
            "25: sd {b}, 8({dst})",
            "26: sd {c}, 16({dst})",
            "27: sd {d}, 24({dst})",
            "addi {src}, {src}, 32",
            "addi {dst}, {dst}, 32",
            "addi {left}, {left}, -32",
            "3:",
            "bgeu {left}, {block}, 2b",
            "j 5f",
            "4:",
            "30: ld {a}, 0({src})",
            "31: sd {a}, 0({dst})",
            "addi {src}, {src}, 8",
            "addi {dst}, {dst}, 8",
            "addi {left}, {left}, -8",
            "5:",
            "bgeu {left}, {word}, 4b",
            on_fault!(20 21 22 23 24 30 31; 25 => 91, 26 => 92, 27 => 93),
            "j 99f",
            "93: addi {left}, {left}, -8",
            "92: addi {left}, {left}, -8",
            "91: addi {left}, {left}, -8",
            "99:",
            src = inout(reg) src => _,
            dst = inout(reg) dst => _,
            left = inout(reg) left,
            block = in(reg) BLOCK,
            word = in(reg) WORD,
            a = out(reg) _,
            b = out(reg) _,
            c = out(reg) _,
            d = out(reg) _,
            kind = const F::KIND,
            options(nostack),
        );
    }
    left
}

/// Copies words to an aligned destination from a source that is not: aligned loads, shifted
/// together. Returns the bytes left: fewer than a word unless a fault came.
///
/// # Safety
/// As for [`copy`], with the window open; `dst` is aligned to words, `src` is not.
#[inline(always)]
unsafe fn copy_shifted<F: FaultPolicy>(dst: *mut u8, src: *const u8, len: usize) -> usize {
    let mut left = len;
    let skew = src.addr() % WORD;
    let aligned = src.wrapping_sub(skew);
    // SAFETY: every word loaded holds at least one byte of the caller's region, so it lies in the
    // same page; a fault leaves with the bytes of whole words stored subtracted.
    unsafe {
        asm!(
            "bltu {left}, {word}, 99f",
            "20: ld {a}, 0({src})",
            "2:",
            "21: ld {b}, 8({src})",
            "srl {a}, {a}, {right}",
            "sll {c}, {b}, {up}",
            "or {a}, {a}, {c}",
            "22: sd {a}, 0({dst})",
            "mv {a}, {b}",
            "addi {src}, {src}, 8",
            "addi {dst}, {dst}, 8",
            "addi {left}, {left}, -8",
            "bgeu {left}, {word}, 2b",
            on_fault!(20 21 22),
            "99:",
            src = inout(reg) aligned => _,
            dst = inout(reg) dst => _,
            left = inout(reg) left,
            right = in(reg) 8 * skew,
            up = in(reg) 64 - 8 * skew,
            word = in(reg) WORD,
            a = out(reg) _,
            b = out(reg) _,
            c = out(reg) _,
            kind = const F::KIND,
            options(nostack),
        );
    }
    left
}

/// Zeroes `len` bytes of user memory; returns bytes **not** zeroed.
///
/// # Safety
/// As for [`copy_to`] with respect to `dst`.
pub unsafe fn clear<W: AccessWindow, F: FaultPolicy>(dst: *mut u8, len: usize) -> usize {
    // SAFETY: closed below; only the stores lie between.
    unsafe { W::open() };
    // SAFETY: the caller's promise.
    let left = unsafe { clear_open::<F>(dst, len) };
    // SAFETY: opened above.
    unsafe { W::close() };
    left
}

/// [`clear`] with the window open.
///
/// # Safety
/// As for [`clear`].
#[inline(always)]
unsafe fn clear_open<F: FaultPolicy>(dst: *mut u8, len: usize) -> usize {
    let head = (dst.addr().wrapping_neg() % WORD).min(len);
    // SAFETY: a prefix of the caller's region.
    let left = unsafe { clear_bytes::<F>(dst, head) };
    if left > 0 {
        return len - head + left;
    }
    let (dst, len) = (dst.wrapping_add(head), len - head);
    // SAFETY: the rest of the caller's region, aligned.
    let left = unsafe { clear_words::<F>(dst, len) };
    let block = left.min(WORD);
    // SAFETY: a tail of less than a word, or the word in which the fault is.
    left - block + unsafe { clear_bytes::<F>(dst.wrapping_add(len - left), block) }
}

/// Zeroes bytes one by one; returns how many are left.
///
/// # Safety
/// As for [`clear_open`].
#[inline(always)]
unsafe fn clear_bytes<F: FaultPolicy>(dst: *mut u8, len: usize) -> usize {
    let mut left = len;
    // SAFETY: the caller's region; a fault leaves with the bytes not yet stored.
    unsafe {
        asm!(
            "beqz {left}, 99f",
            "20: sb zero, 0({dst})",
            "addi {dst}, {dst}, 1",
            "addi {left}, {left}, -1",
            "bnez {left}, 20b",
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

/// Zeroes aligned words; returns the bytes left: fewer than a word unless a fault came.
///
/// # Safety
/// As for [`clear_open`]; `dst` is aligned to words.
#[inline(always)]
unsafe fn clear_words<F: FaultPolicy>(dst: *mut u8, len: usize) -> usize {
    let mut left = len;
    // SAFETY: the caller's region, by aligned words inside; a fault leaves with the bytes not yet
    // stored.
    unsafe {
        asm!(
            "j 3f",
            "20: sd zero, 0({dst})",
            "addi {dst}, {dst}, 8",
            "addi {left}, {left}, -8",
            "3:",
            "bgeu {left}, {word}, 20b",
            on_fault!(20),
            "99:",
            dst = inout(reg) dst => _,
            left = inout(reg) left,
            word = in(reg) WORD,
            kind = const F::KIND,
            options(nostack),
        );
    }
    left
}

/// Loads the byte at `addr` of user memory; may fault and sleep. Returns bytes not reached: 0 or 1.
///
/// # Safety
/// As for [`copy_from`] with respect to `addr`.
pub unsafe fn probe_read<W: AccessWindow>(addr: *const u8) -> usize {
    let mut byte = 0_u8;
    // SAFETY: `byte` is ours; `addr` is the caller's.
    unsafe { copy_from::<W, Faulting>(&raw mut byte, addr, 1) }
}

/// Stores to the aligned 32-bit word that holds the byte at `addr` of user memory without changing
/// it: `amoor.w` with 0, so that no concurrent change is undone. May fault and sleep. Returns bytes
/// not reached: 0 or 1.
///
/// # Safety
/// As for [`copy_from`] with respect to `addr`, and to the aligned word around it.
pub unsafe fn probe_write<W: AccessWindow>(addr: *mut u8) -> usize {
    let mut left = 1_usize;
    let aligned = addr.wrapping_sub(addr.addr() % size_of::<u32>());
    // SAFETY: closed below; only the probe lies between.
    unsafe { W::open() };
    // SAFETY: a word in the caller's page, not changed; a fault leaves to label 99 with `left`
    // still 1.
    unsafe {
        asm!(
            "20: amoor.w {old}, zero, ({addr})",
            "li {left}, 0",
            on_fault!(20),
            "99:",
            addr = in(reg) aligned,
            old = out(reg) _,
            left = inout(reg) left,
            kind = const Kind::FAULTING,
            options(nostack),
        );
    }
    // SAFETY: opened above.
    unsafe { W::close() };
    left
}

/// Copies mapped kernel memory; no fault is expected or fixed up.
///
/// # Safety
/// As for [`copy_kernel`](crate::copy_kernel).
#[inline]
pub unsafe fn copy_mapped(dst: *mut u8, src: *const u8, len: usize) {
    // SAFETY: the same contract.
    unsafe { portable::copy_mapped(dst, src, len) }
}

/// Zeroes mapped kernel memory; no fault is expected or fixed up.
///
/// # Safety
/// As for [`clear_kernel`](crate::clear_kernel).
#[inline]
pub unsafe fn clear_mapped(dst: *mut u8, len: usize) {
    // SAFETY: the same contract.
    unsafe { portable::clear_mapped(dst, len) }
}
