//! The block primitives in general registers.

use core::arch::asm;

use super::super::blocks::Blocks;
use crate::arch::FaultPolicy;

/// Moves the first and the last `$width` bytes of `$len` bytes; 0 when done.
macro_rules! move_ends {
    ($F:ident, $dst:ident, $src:ident, $len:ident, $width:literal, $a:literal, $b:literal) => {{
        let mut left = $len;
        // SAFETY: both words lie in the caller's regions; a fault leaves to label 99 with `left` not 0.
        unsafe {
            asm!(
                concat!("20: mov ", $a, ", [{src}]"),
                concat!("21: mov ", $b, ", [{src} + {left} - ", $width, "]"),
                concat!("22: mov [{dst}], ", $a),
                concat!("23: mov [{dst} + {left} - ", $width, "], ", $b),
                "xor {left:e}, {left:e}",
                on_fault!(20 21 22 23),
                "99:",
                src = in(reg) $src,
                dst = in(reg) $dst,
                left = inout(reg) left,
                a = out(reg) _,
                b = out(reg) _,
                kind = const $F::KIND,
                options(nostack),
            );
        }
        left
    }};
}

/// The primitives of [`Blocks`].
pub(super) struct Moves;

// SAFETY: every load and store below has an exception-table entry that leaves with `left` not 0, which only the
// instruction before label 99 clears; in the byte loops `left` is what was not stored.
unsafe impl Blocks for Moves {
    #[inline(always)]
    unsafe fn block<F: FaultPolicy>(dst: *mut u8, src: *const u8) -> usize {
        let mut left = 1_usize;
        // SAFETY: 64 bytes of the caller's regions; a fault leaves to label 99 with `left` not 0.
        unsafe {
            asm!(
                "20: mov {a}, [{src}]",
                "21: mov {b}, [{src} + 8]",
                "22: mov {c}, [{src} + 16]",
                "23: mov {d}, [{src} + 24]",
                "24: mov [{dst}], {a}",
                "25: mov [{dst} + 8], {b}",
                "26: mov [{dst} + 16], {c}",
                "27: mov [{dst} + 24], {d}",
                "30: mov {a}, [{src} + 32]",
                "31: mov {b}, [{src} + 40]",
                "32: mov {c}, [{src} + 48]",
                "33: mov {d}, [{src} + 56]",
                "34: mov [{dst} + 32], {a}",
                "35: mov [{dst} + 40], {b}",
                "36: mov [{dst} + 48], {c}",
                "37: mov [{dst} + 56], {d}",
                "xor {left:e}, {left:e}",
                on_fault!(20 21 22 23 24 25 26 27 30 31 32 33 34 35 36 37),
                "99:",
                src = in(reg) src,
                dst = in(reg) dst,
                left = inout(reg) left,
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

    #[inline(always)]
    unsafe fn ends_16<F: FaultPolicy>(dst: *mut u8, src: *const u8, len: usize) -> usize {
        let mut left = len;
        // SAFETY: both pairs lie in the caller's regions; a fault leaves to label 99 with `left` not 0.
        unsafe {
            asm!(
                "20: mov {a}, [{src}]",
                "21: mov {b}, [{src} + 8]",
                "22: mov {c}, [{src} + {left} - 16]",
                "23: mov {d}, [{src} + {left} - 8]",
                "24: mov [{dst}], {a}",
                "25: mov [{dst} + 8], {b}",
                "26: mov [{dst} + {left} - 16], {c}",
                "27: mov [{dst} + {left} - 8], {d}",
                "xor {left:e}, {left:e}",
                on_fault!(20 21 22 23 24 25 26 27),
                "99:",
                src = in(reg) src,
                dst = in(reg) dst,
                left = inout(reg) left,
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

    #[inline(always)]
    unsafe fn ends_8<F: FaultPolicy>(dst: *mut u8, src: *const u8, len: usize) -> usize {
        move_ends!(F, dst, src, len, 8, "{a}", "{b}")
    }

    #[inline(always)]
    unsafe fn ends_4<F: FaultPolicy>(dst: *mut u8, src: *const u8, len: usize) -> usize {
        move_ends!(F, dst, src, len, 4, "{a:e}", "{b:e}")
    }

    #[inline(always)]
    unsafe fn ends_2<F: FaultPolicy>(dst: *mut u8, src: *const u8, len: usize) -> usize {
        move_ends!(F, dst, src, len, 2, "{a:x}", "{b:x}")
    }

    #[inline(always)]
    unsafe fn byte<F: FaultPolicy>(dst: *mut u8, src: *const u8) -> usize {
        let mut left = 1_usize;
        // SAFETY: one byte of the caller's regions; a fault leaves to label 99 with `left` still 1.
        unsafe {
            asm!(
                "20: movzx {a:e}, byte ptr [{src}]",
                "21: mov [{dst}], {a:l}",
                "xor {left:e}, {left:e}",
                on_fault!(20 21),
                "99:",
                src = in(reg) src,
                dst = in(reg) dst,
                left = inout(reg) left,
                a = out(reg) _,
                kind = const F::KIND,
                options(nostack),
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
                "20: movzx {a:e}, byte ptr [{src}]",
                "21: mov [{dst}], {a:l}",
                "inc {src}",
                "inc {dst}",
                "dec {left}",
                "jnz 20b",
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

    #[inline(always)]
    unsafe fn zero_block<F: FaultPolicy>(dst: *mut u8) -> usize {
        let mut left = 1_usize;
        // SAFETY: 64 bytes of the caller's region; a fault leaves to label 99 with `left` not 0.
        unsafe {
            asm!(
                "20: mov [{dst}], {zero}",
                "21: mov [{dst} + 8], {zero}",
                "22: mov [{dst} + 16], {zero}",
                "23: mov [{dst} + 24], {zero}",
                "24: mov [{dst} + 32], {zero}",
                "25: mov [{dst} + 40], {zero}",
                "26: mov [{dst} + 48], {zero}",
                "27: mov [{dst} + 56], {zero}",
                "xor {left:e}, {left:e}",
                on_fault!(20 21 22 23 24 25 26 27),
                "99:",
                dst = in(reg) dst,
                zero = in(reg) 0_usize,
                left = inout(reg) left,
                kind = const F::KIND,
                options(nostack),
            );
        }
        left
    }

    #[inline(always)]
    unsafe fn zero_ends_8<F: FaultPolicy>(dst: *mut u8, len: usize) -> usize {
        let mut left = len;
        // SAFETY: both words lie in the caller's region; a fault leaves to label 99 with `left` not 0.
        unsafe {
            asm!(
                "20: mov [{dst}], {zero}",
                "21: mov [{dst} + {left} - 8], {zero}",
                "xor {left:e}, {left:e}",
                on_fault!(20 21),
                "99:",
                dst = in(reg) dst,
                zero = in(reg) 0_usize,
                left = inout(reg) left,
                kind = const F::KIND,
                options(nostack),
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
}
