//! AArch64: pairs of general registers, upwards.
//!
//! Only the user's side has entries in the exception table: kernel memory does not fault. Copies
//! from user memory load in any alignment (which needs normal memory, as user memory is) and store
//! what was loaded as a whole. A store that faults may have written a part of its bytes if it is a
//! pair or not aligned; so stores to user memory are aligned words (`stores`), which happen as a
//! whole or not at all.

use core::arch::asm;

pub use super::linked::{sort_extable, table};

use super::blocks::{self, Blocks};
use crate::arch::{AccessWindow, FaultPolicy, Faulting, portable};
use crate::extable::Kind;

mod stores;

/// Whether a fault ends a copy with an exact count.
pub const EXACT_FAULTS: bool = true;

/// Privileged access never: clears `PSTATE.PAN` for the access. Only for a kernel on a CPU that has
/// PAN (ARMv8.1); the instruction is undefined elsewhere.
#[derive(Debug)]
pub struct Pan;

// SAFETY: PSTATE.PAN opens user memory to privileged accesses, and does nothing else.
unsafe impl AccessWindow for Pan {
    #[inline(always)]
    unsafe fn open() {
        // `msr pan, #0`, spelt for assemblers that are not told of ARMv8.1. SAFETY: the implementor
        // of a kernel with PAN chose this window; memory accesses stay inside.
        unsafe { asm!(".inst 0xd500409f", options(nostack, preserves_flags)) }
    }

    #[inline(always)]
    unsafe fn close() {
        // `msr pan, #1`.
        // SAFETY: as above.
        unsafe { asm!(".inst 0xd500419f", options(nostack, preserves_flags)) }
    }
}

/// Moves the first and the last `$width` bytes of `$len` bytes by one register each; 0 when done, 1
/// after a fault.
macro_rules! move_ends {
    ($F:ident, $dst:ident, $src:ident, $len:ident, $width:literal, $op:literal, $reg:literal) => {{
        let mut failed = 1_usize;
        let from_end = $src.wrapping_add($len).wrapping_sub($width);
        let to_end = $dst.wrapping_add($len).wrapping_sub($width);
        // SAFETY: both words lie in the caller's regions; a fault leaves to label 99 with `failed`
        // 1.
        unsafe {
            asm!(
                concat!("20: ldr", $op, " {a:", $reg, "}, [{src}]"),
                concat!("21: ldr", $op, " {b:", $reg, "}, [{from_end}]"),
                concat!("str", $op, " {a:", $reg, "}, [{dst}]"),
                concat!("str", $op, " {b:", $reg, "}, [{to_end}]"),
                "mov {failed}, #0",
                on_fault!(20 21),
                "99:",
                src = in(reg) $src,
                dst = in(reg) $dst,
                from_end = in(reg) from_end,
                to_end = in(reg) to_end,
                failed = inout(reg) failed,
                a = out(reg) _,
                b = out(reg) _,
                kind = const $F::KIND,
                options(nostack, preserves_flags),
            );
        }
        failed
    }};
}

/// The primitives of [`Blocks`].
struct Moves;

// SAFETY: every load below has an exception-table entry that leaves to label 99. Stores follow the
// last load of their words, so after a fault no word of a block or of two ends is stored: `failed`
// is 1, and `left` is what is not stored.
unsafe impl Blocks for Moves {
    #[inline(always)]
    unsafe fn blocks<F: FaultPolicy>(dst: *mut u8, src: *const u8, len: usize) -> usize {
        let mut left = len;
        // SAFETY: blocks of the caller's regions; a fault leaves to label 99 with the bytes not
        // stored.
        unsafe {
            asm!(
                "2:",
                "20: ldp {a}, {b}, [{src}]",
                "21: ldp {c}, {d}, [{src}, #16]",
                "22: ldp {e}, {f}, [{src}, #32]",
                "23: ldp {g}, {h}, [{src}, #48]",
                "stp {a}, {b}, [{dst}]",
                "stp {c}, {d}, [{dst}, #16]",
                "stp {e}, {f}, [{dst}, #32]",
                "stp {g}, {h}, [{dst}, #48]",
                "add {src}, {src}, #64",
                "add {dst}, {dst}, #64",
                "sub {left}, {left}, #64",
                "cmp {left}, #64",
                "b.hs 2b",
                on_fault!(20 21 22 23),
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

    #[inline(always)]
    unsafe fn ends_16<F: FaultPolicy>(dst: *mut u8, src: *const u8, len: usize) -> usize {
        let mut failed = 1_usize;
        let from_end = src.wrapping_add(len).wrapping_sub(16);
        let to_end = dst.wrapping_add(len).wrapping_sub(16);
        // SAFETY: both pairs lie in the caller's regions; a fault leaves to label 99 with `failed`
        // 1.
        unsafe {
            asm!(
                "20: ldp {a}, {b}, [{src}]",
                "21: ldp {c}, {d}, [{from_end}]",
                "stp {a}, {b}, [{dst}]",
                "stp {c}, {d}, [{to_end}]",
                "mov {failed}, #0",
                on_fault!(20 21),
                "99:",
                src = in(reg) src,
                dst = in(reg) dst,
                from_end = in(reg) from_end,
                to_end = in(reg) to_end,
                failed = inout(reg) failed,
                a = out(reg) _,
                b = out(reg) _,
                c = out(reg) _,
                d = out(reg) _,
                kind = const F::KIND,
                options(nostack, preserves_flags),
            );
        }
        failed
    }

    #[inline(always)]
    unsafe fn ends_8<F: FaultPolicy>(dst: *mut u8, src: *const u8, len: usize) -> usize {
        move_ends!(F, dst, src, len, 8, "", "x")
    }

    #[inline(always)]
    unsafe fn ends_4<F: FaultPolicy>(dst: *mut u8, src: *const u8, len: usize) -> usize {
        move_ends!(F, dst, src, len, 4, "", "w")
    }

    #[inline(always)]
    unsafe fn ends_2<F: FaultPolicy>(dst: *mut u8, src: *const u8, len: usize) -> usize {
        move_ends!(F, dst, src, len, 2, "h", "w")
    }

    #[inline(always)]
    unsafe fn byte<F: FaultPolicy>(dst: *mut u8, src: *const u8) -> usize {
        let mut left = 1_usize;
        // SAFETY: one byte of the caller's regions; a fault leaves to label 99 with `left` still 1.
        unsafe {
            asm!(
                "20: ldrb {a:w}, [{src}]",
                "strb {a:w}, [{dst}]",
                "mov {left}, #0",
                on_fault!(20),
                "99:",
                src = in(reg) src,
                dst = in(reg) dst,
                left = inout(reg) left,
                a = out(reg) _,
                kind = const F::KIND,
                options(nostack, preserves_flags),
            );
        }
        left
    }

    #[inline(always)]
    unsafe fn bytes<F: FaultPolicy>(dst: *mut u8, src: *const u8, len: usize) -> usize {
        let mut left = len;
        // SAFETY: `len > 0` bytes of the caller's regions; a fault leaves with the bytes not yet
        // stored.
        unsafe {
            asm!(
                "20: ldrb {a:w}, [{src}]",
                "strb {a:w}, [{dst}]",
                "add {src}, {src}, #1",
                "add {dst}, {dst}, #1",
                "sub {left}, {left}, #1",
                "cbnz {left}, 20b",
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
}

/// Copies `len` bytes from user memory; returns bytes **not** copied, exact to the byte that faults
/// (U1, U2).
///
/// # Safety
/// `src` is a user address that never belongs to Rust; `dst` is valid for writes of `len` bytes and
/// shared only with code that tolerates races. The trap handler serves the exception table.
#[inline(always)]
pub unsafe fn copy_from<W: AccessWindow, F: FaultPolicy>(
    dst: *mut u8,
    src: *const u8,
    len: usize,
) -> usize {
    if len > 16 {
        // SAFETY: the caller's promise.
        return unsafe { copy_long::<W, F>(dst, src, len) };
    }
    // SAFETY: closed below; only the copy lies between.
    unsafe { W::open() };
    // SAFETY: the caller's promise; at most 16 bytes.
    let left = unsafe { blocks::copy_small::<Moves, F>(dst, src, len) };
    // SAFETY: opened above.
    unsafe { W::close() };
    left
}

/// Copies more than 16 bytes from user memory.
///
/// # Safety
/// As for [`copy_from`].
#[inline(never)]
unsafe fn copy_long<W: AccessWindow, F: FaultPolicy>(
    dst: *mut u8,
    src: *const u8,
    len: usize,
) -> usize {
    // SAFETY: closed below; only the copy lies between.
    unsafe { W::open() };
    // SAFETY: the caller's promise; at least 17 bytes.
    let left = unsafe { blocks::copy_blocks::<Moves, F>(dst, src, len) };
    // SAFETY: opened above.
    unsafe { W::close() };
    left
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
    // SAFETY: closed below; only the copy lies between.
    unsafe { W::open() };
    // SAFETY: the caller's promise.
    let left = unsafe { stores::copy::<F>(dst, src, len) };
    // SAFETY: opened above.
    unsafe { W::close() };
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
    let left = unsafe { stores::clear::<F>(dst, len) };
    // SAFETY: opened above.
    unsafe { W::close() };
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

/// Stores to the byte at `addr` of user memory without changing it: an exclusive pair, so that no
/// concurrent change is undone. May fault and sleep. Returns bytes not reached: 0 or 1.
///
/// # Safety
/// As for [`copy_from`] with respect to `addr`.
pub unsafe fn probe_write<W: AccessWindow>(addr: *mut u8) -> usize {
    let mut left = 1_usize;
    // SAFETY: closed below; only the probe lies between.
    unsafe { W::open() };
    // SAFETY: the caller's byte; a fault leaves to label 99 with `left` still 1. A failed exclusive
    // store is repeated.
    unsafe {
        asm!(
            "20: ldxrb {byte:w}, [{addr}]",
            "21: stxrb {failed:w}, {byte:w}, [{addr}]",
            "cbnz {failed:w}, 20b",
            "mov {left}, #0",
            on_fault!(20 21),
            "99:",
            addr = in(reg) addr,
            left = inout(reg) left,
            byte = out(reg) _,
            failed = out(reg) _,
            kind = const Kind::FAULTING,
            options(nostack, preserves_flags),
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
