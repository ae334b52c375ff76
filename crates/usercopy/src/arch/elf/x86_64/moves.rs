//! The block primitives in general registers.
//!
//! An integer store of at most 8 bytes happens as a whole or faults with nothing stored, also
//! across a page border: both pages are looked up before anything is written.

use core::arch::asm;

use super::super::blocks::Blocks;
use crate::arch::FaultPolicy;

/// Moves the first and the last `$width` bytes of `$len` bytes; 0 when done, or 1 + the words
/// stored.
macro_rules! move_ends {
    ($F:ident, $dst:ident, $src:ident, $len:ident, $width:literal, $a:literal, $b:literal) => {{
        let mut failed = 1_usize;
        // SAFETY: both words lie in the caller's regions; a fault leaves to label 99 with `failed`
        // as described.
        unsafe {
            asm!(
                concat!("20: mov ", $a, ", [{src}]"),
                concat!("21: mov ", $b, ", [{src} + {len} - ", $width, "]"),
                concat!("22: mov [{dst}], ", $a),
                "mov {failed:e}, 2",
                concat!("23: mov [{dst} + {len} - ", $width, "], ", $b),
                "xor {failed:e}, {failed:e}",
                on_fault!(20 21 22 23),
                "99:",
                src = in(reg) $src,
                dst = in(reg) $dst,
                len = in(reg) $len,
                failed = inout(reg) failed,
                a = out(reg) _,
                b = out(reg) _,
                kind = const $F::KIND,
                options(nostack),
            );
        }
        failed
    }};
}

/// The primitives of [`Blocks`].
pub(super) struct Moves;

// SAFETY: every load and store below has an exception-table entry that leaves to label 99. There,
// `left` is what is not stored, and `failed` is 0 or 1 + the words stored: a fix-up of its own, or
// the instruction after it, follows every store but the last.
unsafe impl Blocks for Moves {
    /// The fix-up of a store subtracts the words before it: it falls through as many subtractions.
    #[inline(always)]
    unsafe fn blocks<F: FaultPolicy>(dst: *mut u8, src: *const u8, len: usize) -> usize {
        let mut left = len;
        // SAFETY: blocks of the caller's regions; a fault leaves to label 99 with the bytes not
        // stored.
        unsafe {
            asm!(
                "2:",
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
                "add {src}, 64",
                "add {dst}, 64",
                "sub {left}, 64",
                "cmp {left}, 64",
                "jae 2b",
                on_fault!(
                    20 21 22 23 24;
                    25 => 91, 26 => 92, 27 => 93,
                    30 => 94, 31 => 94, 32 => 94, 33 => 94, 34 => 94,
                    35 => 95, 36 => 96, 37 => 97
                ),
                "jmp 99f",
                "97: sub {left}, 8",
                "96: sub {left}, 8",
                "95: sub {left}, 8",
                "94: sub {left}, 8",
                "93: sub {left}, 8",
                "92: sub {left}, 8",
                "91: sub {left}, 8",
                "99:",
                src = inout(reg) src => _,
                dst = inout(reg) dst => _,
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

    /// The fix-up of a store counts itself and the words before it: it falls through as many
    /// additions.
    #[inline(always)]
    unsafe fn ends_32<F: FaultPolicy>(dst: *mut u8, src: *const u8, len: usize) -> usize {
        let mut failed = 0_usize;
        // SAFETY: both ends lie in the caller's regions; a fault leaves to label 99 with `failed`
        // as described.
        unsafe {
            asm!(
                "20: mov {a}, [{src}]",
                "21: mov {b}, [{src} + 8]",
                "22: mov [{dst}], {a}",
                "23: mov [{dst} + 8], {b}",
                "24: mov {a}, [{src} + 16]",
                "25: mov {b}, [{src} + 24]",
                "26: mov [{dst} + 16], {a}",
                "27: mov [{dst} + 24], {b}",
                "30: mov {a}, [{src} + {len} - 32]",
                "31: mov {b}, [{src} + {len} - 24]",
                "32: mov [{dst} + {len} - 32], {a}",
                "33: mov [{dst} + {len} - 24], {b}",
                "34: mov {a}, [{src} + {len} - 16]",
                "35: mov {b}, [{src} + {len} - 8]",
                "36: mov [{dst} + {len} - 16], {a}",
                "37: mov [{dst} + {len} - 8], {b}",
                on_fault!(
                    ;
                    20 => 91, 21 => 91, 22 => 91, 23 => 92,
                    24 => 93, 25 => 93, 26 => 93, 27 => 94,
                    30 => 95, 31 => 95, 32 => 95, 33 => 96,
                    34 => 97, 35 => 97, 36 => 97, 37 => 98
                ),
                "jmp 99f",
                "98: inc {failed}",
                "97: inc {failed}",
                "96: inc {failed}",
                "95: inc {failed}",
                "94: inc {failed}",
                "93: inc {failed}",
                "92: inc {failed}",
                "91: inc {failed}",
                "99:",
                src = in(reg) src,
                dst = in(reg) dst,
                len = in(reg) len,
                failed = inout(reg) failed,
                a = out(reg) _,
                b = out(reg) _,
                kind = const F::KIND,
                options(nostack),
            );
        }
        failed
    }

    #[inline(always)]
    unsafe fn ends_16<F: FaultPolicy>(dst: *mut u8, src: *const u8, len: usize) -> usize {
        let mut failed = 1_usize;
        // SAFETY: both pairs lie in the caller's regions; a fault leaves to label 99 with `failed`
        // as described.
        unsafe {
            asm!(
                "20: mov {a}, [{src}]",
                "21: mov {b}, [{src} + 8]",
                "22: mov [{dst}], {a}",
                "mov {failed:e}, 2",
                "23: mov [{dst} + 8], {b}",
                "mov {failed:e}, 3",
                "24: mov {a}, [{src} + {len} - 16]",
                "25: mov {b}, [{src} + {len} - 8]",
                "26: mov [{dst} + {len} - 16], {a}",
                "mov {failed:e}, 4",
                "27: mov [{dst} + {len} - 8], {b}",
                "xor {failed:e}, {failed:e}",
                on_fault!(20 21 22 23 24 25 26 27),
                "99:",
                src = in(reg) src,
                dst = in(reg) dst,
                len = in(reg) len,
                failed = inout(reg) failed,
                a = out(reg) _,
                b = out(reg) _,
                kind = const F::KIND,
                options(nostack),
            );
        }
        failed
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
        // SAFETY: `len > 0` bytes of the caller's regions; a fault leaves with the bytes not yet
        // stored.
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
}
