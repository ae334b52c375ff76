//! AArch64: pairs of general registers, upwards.
//!
//! A store pair that faults may have written its accessible half; those bytes are right, and the byte loop that
//! follows a fault counts them again. (`ldp`/`stp` with any alignment need normal memory, as user memory is.)

use core::arch::asm;

pub use super::linked::table;

use super::blocks::{self, Blocks};
use crate::arch::{AccessWindow, FaultPolicy, Faulting, portable};
use crate::extable::Kind;

/// Whether a fault ends a copy with an exact count.
pub const EXACT_FAULTS: bool = true;

/// Privileged access never: clears `PSTATE.PAN` for the access. Only for a kernel on a CPU that has PAN (ARMv8.1);
/// the instruction is undefined elsewhere.
#[derive(Debug)]
pub struct Pan;

// SAFETY: PSTATE.PAN opens user memory to privileged accesses, and does nothing else.
unsafe impl AccessWindow for Pan {
    #[inline(always)]
    unsafe fn open() {
        // `msr pan, #0`, spelt for assemblers that are not told of ARMv8.1.
        // SAFETY: the implementor of a kernel with PAN chose this window; memory accesses stay inside.
        unsafe { asm!(".inst 0xd500409f", options(nostack, preserves_flags)) }
    }

    #[inline(always)]
    unsafe fn close() {
        // `msr pan, #1`.
        // SAFETY: as above.
        unsafe { asm!(".inst 0xd500419f", options(nostack, preserves_flags)) }
    }
}

/// Moves the first and the last `$width` bytes of `$len` bytes by one register each; 0 when done.
macro_rules! move_ends {
    ($F:ident, $dst:ident, $src:ident, $len:ident, $width:literal, $op:literal, $reg:literal) => {{
        let mut left = $len;
        let from_end = $src.wrapping_add($len).wrapping_sub($width);
        let to_end = $dst.wrapping_add($len).wrapping_sub($width);
        // SAFETY: both words lie in the caller's regions; a fault leaves to label 99 with `left` not 0.
        unsafe {
            asm!(
                concat!("20: ldr", $op, " {a:", $reg, "}, [{src}]"),
                concat!("21: ldr", $op, " {b:", $reg, "}, [{from_end}]"),
                concat!("22: str", $op, " {a:", $reg, "}, [{dst}]"),
                concat!("23: str", $op, " {b:", $reg, "}, [{to_end}]"),
                "mov {left}, #0",
                on_fault!(20 21 22 23),
                "99:",
                src = in(reg) $src,
                dst = in(reg) $dst,
                from_end = in(reg) from_end,
                to_end = in(reg) to_end,
                left = inout(reg) left,
                a = out(reg) _,
                b = out(reg) _,
                kind = const $F::KIND,
                options(nostack, preserves_flags),
            );
        }
        left
    }};
}

/// The primitives of [`Blocks`].
struct Moves;

// SAFETY: every load and store below has an exception-table entry that leaves with `left` not 0, which only the
// instruction before label 99 clears; in the byte loops `left` is what was not stored.
unsafe impl Blocks for Moves {
    #[inline(always)]
    unsafe fn block<F: FaultPolicy>(dst: *mut u8, src: *const u8) -> usize {
        let mut left = 1_usize;
        // SAFETY: 64 bytes of the caller's regions; a fault leaves to label 99 with `left` not 0.
        unsafe {
            asm!(
                "20: ldp {a}, {b}, [{src}]",
                "21: ldp {c}, {d}, [{src}, #16]",
                "22: ldp {e}, {f}, [{src}, #32]",
                "23: ldp {g}, {h}, [{src}, #48]",
                "24: stp {a}, {b}, [{dst}]",
                "25: stp {c}, {d}, [{dst}, #16]",
                "26: stp {e}, {f}, [{dst}, #32]",
                "27: stp {g}, {h}, [{dst}, #48]",
                "mov {left}, #0",
                on_fault!(20 21 22 23 24 25 26 27),
                "99:",
                src = in(reg) src,
                dst = in(reg) dst,
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
                options(nostack, preserves_flags),
            );
        }
        left
    }

    #[inline(always)]
    unsafe fn ends_16<F: FaultPolicy>(dst: *mut u8, src: *const u8, len: usize) -> usize {
        let mut left = len;
        let from_end = src.wrapping_add(len).wrapping_sub(16);
        let to_end = dst.wrapping_add(len).wrapping_sub(16);
        // SAFETY: both pairs lie in the caller's regions; a fault leaves to label 99 with `left` not 0.
        unsafe {
            asm!(
                "20: ldp {a}, {b}, [{src}]",
                "21: ldp {c}, {d}, [{from_end}]",
                "22: stp {a}, {b}, [{dst}]",
                "23: stp {c}, {d}, [{to_end}]",
                "mov {left}, #0",
                on_fault!(20 21 22 23),
                "99:",
                src = in(reg) src,
                dst = in(reg) dst,
                from_end = in(reg) from_end,
                to_end = in(reg) to_end,
                left = inout(reg) left,
                a = out(reg) _,
                b = out(reg) _,
                c = out(reg) _,
                d = out(reg) _,
                kind = const F::KIND,
                options(nostack, preserves_flags),
            );
        }
        left
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
                "21: strb {a:w}, [{dst}]",
                "mov {left}, #0",
                on_fault!(20 21),
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
        // SAFETY: `len > 0` bytes of the caller's regions; a fault leaves with the bytes not yet stored.
        unsafe {
            asm!(
                "20: ldrb {a:w}, [{src}]",
                "21: strb {a:w}, [{dst}]",
                "add {src}, {src}, #1",
                "add {dst}, {dst}, #1",
                "sub {left}, {left}, #1",
                "cbnz {left}, 20b",
                on_fault!(20 21),
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

    #[inline(always)]
    unsafe fn zero_block<F: FaultPolicy>(dst: *mut u8) -> usize {
        let mut left = 1_usize;
        // SAFETY: 64 bytes of the caller's region; a fault leaves to label 99 with `left` not 0.
        unsafe {
            asm!(
                "20: stp xzr, xzr, [{dst}]",
                "21: stp xzr, xzr, [{dst}, #16]",
                "22: stp xzr, xzr, [{dst}, #32]",
                "23: stp xzr, xzr, [{dst}, #48]",
                "mov {left}, #0",
                on_fault!(20 21 22 23),
                "99:",
                dst = in(reg) dst,
                left = inout(reg) left,
                kind = const F::KIND,
                options(nostack, preserves_flags),
            );
        }
        left
    }

    #[inline(always)]
    unsafe fn zero_ends_8<F: FaultPolicy>(dst: *mut u8, len: usize) -> usize {
        let mut left = len;
        let to_end = dst.wrapping_add(len).wrapping_sub(8);
        // SAFETY: both words lie in the caller's region; a fault leaves to label 99 with `left` not 0.
        unsafe {
            asm!(
                "20: str xzr, [{dst}]",
                "21: str xzr, [{to_end}]",
                "mov {left}, #0",
                on_fault!(20 21),
                "99:",
                dst = in(reg) dst,
                to_end = in(reg) to_end,
                left = inout(reg) left,
                kind = const F::KIND,
                options(nostack, preserves_flags),
            );
        }
        left
    }

    #[inline(always)]
    unsafe fn zero_bytes<F: FaultPolicy>(dst: *mut u8, len: usize) -> usize {
        let mut left = len;
        // SAFETY: `len > 0` bytes of the caller's region; a fault leaves with the bytes not yet stored.
        unsafe {
            asm!(
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
}

/// Copies `len` bytes between kernel and user memory, in either direction; returns bytes **not** copied, exact to
/// the byte that faults (U1, U2).
///
/// # Safety
/// Each side is either a user address that never belongs to Rust, or valid for `len` bytes and shared only with code that
/// tolerates races. The trap handler serves the exception table.
#[inline(always)]
pub unsafe fn copy<W: AccessWindow, F: FaultPolicy>(
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

/// Copies more than 16 bytes.
///
/// # Safety
/// As for [`copy`].
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

/// Zeroes `len` bytes of user memory; returns bytes **not** zeroed.
///
/// # Safety
/// As for [`copy`] with respect to `dst`.
pub unsafe fn clear<W: AccessWindow, F: FaultPolicy>(dst: *mut u8, len: usize) -> usize {
    // SAFETY: closed below; only the stores lie between.
    unsafe { W::open() };
    // SAFETY: the caller's promise.
    let left = unsafe { blocks::clear_blocks::<Moves, F>(dst, len) };
    // SAFETY: opened above.
    unsafe { W::close() };
    left
}

/// Loads the byte at `addr` of user memory; may fault and sleep. Returns bytes not reached: 0 or 1.
///
/// # Safety
/// As for [`copy`] with respect to `addr`.
pub unsafe fn probe_read<W: AccessWindow>(addr: *const u8) -> usize {
    let mut byte = 0_u8;
    // SAFETY: `byte` is ours; `addr` is the caller's.
    unsafe { copy::<W, Faulting>(&raw mut byte, addr, 1) }
}

/// Stores to the byte at `addr` of user memory without changing it: an exclusive pair, so that no concurrent
/// change is undone. May fault and sleep. Returns bytes not reached: 0 or 1.
///
/// # Safety
/// As for [`copy`] with respect to `addr`.
pub unsafe fn probe_write<W: AccessWindow>(addr: *mut u8) -> usize {
    let mut left = 1_usize;
    // SAFETY: closed below; only the probe lies between.
    unsafe { W::open() };
    // SAFETY: the caller's byte; a fault leaves to label 99 with `left` still 1. A failed exclusive store is repeated.
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
