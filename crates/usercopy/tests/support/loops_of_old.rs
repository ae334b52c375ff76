//! The loops that x86-64 had until they were found to miscount when mappings change during a copy:
//! blocks of two halves, and after a fault single bytes from the block's beginning.

use std::arch::asm;
use std::ops::Range;

use faultless_usercopy::conformance::Operation;
use faultless_usercopy::{MayFault, UserAddr, UserMemory};

/// Entries of the exception table, of the atomic kind, that go on at label 99.
macro_rules! on_fault {
    ($($insn:literal)+) => {
        concat!(
            ".pushsection __ex_table,\"aR\",@progbits\n.balign 4\n",
            $(".long ", $insn, "b - .\n.long 99f - .\n.long 1\n",)+
            ".popsection"
        )
    };
}

const BLOCK: usize = 64;

/// Moves a block; 0 when done.
///
/// # Safety
/// One side is user memory; the other is valid for a block.
unsafe fn block(dst: *mut u8, src: *const u8) -> usize {
    let mut left = 1_usize;
    // SAFETY: the caller's promise; a fault leaves to label 99.
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
            options(nostack),
        );
    }
    left
}

/// Moves bytes one by one; returns how many are left.
///
/// # Safety
/// One side is user memory; the other is valid for `len` bytes.
unsafe fn bytes(dst: *mut u8, src: *const u8, len: usize) -> usize {
    let mut left = len;
    // SAFETY: the caller's promise; a fault leaves to label 99.
    unsafe {
        asm!(
            "test {left}, {left}",
            "jz 99f",
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
            options(nostack),
        );
    }
    left
}

/// Zeroes a block; 0 when done.
///
/// # Safety
/// `dst` is user memory.
unsafe fn zero_block(dst: *mut u8) -> usize {
    let mut left = 1_usize;
    // SAFETY: the caller's promise; a fault leaves to label 99.
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
            options(nostack),
        );
    }
    left
}

/// Copies; returns bytes left.
///
/// # Safety
/// As for [`bytes`].
unsafe fn copy(mut dst: *mut u8, mut src: *const u8, len: usize) -> usize {
    let mut left = len;
    // SAFETY: a whole block is left.
    while left >= BLOCK && unsafe { block(dst, src) } == 0 {
        (dst, src, left) = (dst.wrapping_add(BLOCK), src.wrapping_add(BLOCK), left - BLOCK);
    }
    let block = left.min(BLOCK);
    // SAFETY: the rest, or a block of it.
    left - block + unsafe { bytes(dst, src, block) }
}

/// What is wrong with them, in the words of the suite.
pub(crate) const WRONG: [(Operation, &str); 4] = [
    (Operation::CopyFromUser, TOO_FEW),
    (Operation::CopyFromUserAtomic, TOO_FEW),
    (Operation::CopyToUserAtomic, TOO_FEW),
    (Operation::ClearUser, TOO_FEW),
];
const TOO_FEW: &str = "a byte past the reported ones was changed";

/// User memory over the old loops. All its copies are of the atomic kind.
pub(crate) struct LoopsOfOld(pub(crate) Range<usize>);

fn user(addr: UserAddr) -> *mut u8 {
    std::ptr::with_exposed_provenance_mut(addr.get())
}

// SAFETY: bytes are reached inside what was asked for; the counts are wrong when mappings change,
// which only the suite sees.
unsafe impl UserMemory for LoopsOfOld {
    type Token = MayFault;

    fn user_range(&self) -> Range<usize> {
        self.0.clone()
    }

    unsafe fn raw_copy_from_user(
        &self,
        _may: &mut MayFault,
        dst: *mut u8,
        src: UserAddr,
        len: usize,
    ) -> usize {
        // SAFETY: the caller's promise.
        unsafe { copy(dst, user(src), len) }
    }

    unsafe fn raw_copy_from_user_atomic(&self, dst: *mut u8, src: UserAddr, len: usize) -> usize {
        // SAFETY: the caller's promise.
        unsafe { copy(dst, user(src), len) }
    }

    unsafe fn raw_copy_to_user(
        &self,
        _may: &mut MayFault,
        dst: UserAddr,
        src: *const u8,
        len: usize,
    ) -> usize {
        // SAFETY: the caller's promise.
        unsafe { copy(user(dst), src, len) }
    }

    unsafe fn raw_copy_to_user_atomic(&self, dst: UserAddr, src: *const u8, len: usize) -> usize {
        // SAFETY: the caller's promise.
        unsafe { copy(user(dst), src, len) }
    }

    unsafe fn raw_clear_user(&self, _may: &mut MayFault, dst: UserAddr, len: usize) -> usize {
        let (mut dst, mut left) = (user(dst), len);
        // SAFETY: a whole block is left.
        while left >= BLOCK && unsafe { zero_block(dst) } == 0 {
            (dst, left) = (dst.wrapping_add(BLOCK), left - BLOCK);
        }
        let zeroes = [0; BLOCK];
        let block = left.min(BLOCK);
        // SAFETY: the rest, or a block of it.
        left - block + unsafe { bytes(dst, zeroes.as_ptr(), block) }
    }
}
