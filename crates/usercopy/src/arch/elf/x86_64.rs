//! x86-64: general registers only (a kernel keeps no vector state), `rep movsb` and `rep stosb` for
//! long lengths.
//!
//! `rep` instructions are precise: after a fault `rcx` is the exact number of bytes left.

use core::arch::asm;

pub use super::linked::{sort_extable, table};

use super::blocks;
use crate::arch::{AccessWindow, FaultPolicy, Faulting, portable};
use crate::extable::Kind;
use moves::Moves;

mod moves;
mod zeroes;

/// Whether a fault ends a copy with an exact count.
pub const EXACT_FAULTS: bool = true;

/// From how many bytes on mapped memory is copied by `rep movsb`.
const MAPPED_STRING_MOVE_MIN: usize = 64;

/// Supervisor-mode access prevention: `stac` … `clac`. Only for a kernel on a CPU that has it and
/// runs with `CR4.SMAP`; both are invalid instructions elsewhere.
#[derive(Debug)]
pub struct Smap;

// SAFETY: RFLAGS.AC opens user memory to supervisor accesses, and at privilege level 0 does nothing
// else.
unsafe impl AccessWindow for Smap {
    #[inline(always)]
    unsafe fn open() {
        // SAFETY: the implementor of a kernel with SMAP chose this window; memory accesses stay
        // inside.
        unsafe { asm!("stac", options(nostack)) }
    }

    #[inline(always)]
    unsafe fn close() {
        // SAFETY: as above.
        unsafe { asm!("clac", options(nostack)) }
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
    // SAFETY: the caller's promise.
    unsafe { copy::<W, F>(dst, src, len) }
}

/// Copies `len` bytes to user memory; returns bytes **not** copied, exact to the byte that faults
/// (U1, U2).
///
/// # Safety
/// `dst` is a user address that never belongs to Rust; `src` is valid for reads of `len` bytes and
/// shared only with code that tolerates races. The trap handler serves the exception table.
#[inline(always)]
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
#[inline(always)]
unsafe fn copy<W: AccessWindow, F: FaultPolicy>(dst: *mut u8, src: *const u8, len: usize) -> usize {
    if len > blocks::BLOCK {
        // SAFETY: the caller's promise.
        return unsafe { copy_long::<W, F>(dst, src, len) };
    }
    // SAFETY: closed below; only the copy lies between.
    unsafe { W::open() };
    let left = if len > 16 {
        // SAFETY: the caller's promise; 17 to 64 bytes.
        unsafe { blocks::copy_rest::<Moves, F>(dst, src, len) }
    } else {
        // SAFETY: the caller's promise; at most 16 bytes.
        unsafe { blocks::copy_small::<Moves, F>(dst, src, len) }
    };
    // SAFETY: opened above.
    unsafe { W::close() };
    left
}

/// Copies more than 64 bytes.
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
    let left = if len >= W::STRING_MOVE_MIN {
        // SAFETY: the caller's promise.
        unsafe { string_move::<F>(dst, src, len) }
    } else {
        // SAFETY: the caller's promise; more than a block.
        unsafe { blocks::copy_blocks::<Moves, F>(dst, src, len) }
    };
    // SAFETY: opened above.
    unsafe { W::close() };
    left
}

/// Copies `len` bytes by `rep movsb`; returns bytes left.
#[inline(always)]
unsafe fn string_move<F: FaultPolicy>(dst: *mut u8, src: *const u8, len: usize) -> usize {
    let mut left = len;
    // SAFETY: the caller's regions; a fault leaves with `rcx` bytes not stored. The direction flag
    // is clear by the ABI.
    unsafe {
        asm!(
            "20: rep movsb",
            on_fault!(20),
            "99:",
            inout("rcx") left,
            inout("rdi") dst => _,
            inout("rsi") src => _,
            kind = const F::KIND,
            options(nostack, preserves_flags),
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
    let left = if len >= W::STRING_MOVE_MIN {
        // SAFETY: the caller's promise.
        unsafe { string_store::<F>(dst, len) }
    } else {
        // SAFETY: the caller's promise.
        unsafe { zeroes::clear_blocks::<F>(dst, len) }
    };
    // SAFETY: opened above.
    unsafe { W::close() };
    left
}

/// Zeroes `len` bytes by `rep stosb`; returns bytes left.
#[inline(always)]
unsafe fn string_store<F: FaultPolicy>(dst: *mut u8, len: usize) -> usize {
    let mut left = len;
    // SAFETY: the caller's region; a fault leaves with `rcx` bytes not stored. The direction flag
    // is clear by the ABI.
    unsafe {
        asm!(
            "20: rep stosb",
            on_fault!(20),
            "99:",
            inout("rcx") left,
            inout("rdi") dst => _,
            in("al") 0_u8,
            kind = const F::KIND,
            options(nostack, preserves_flags),
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

/// Stores to the byte at `addr` of user memory without changing it: a locked `or` with 0, so that
/// no concurrent change is undone. May fault and sleep. Returns bytes not reached: 0 or 1.
///
/// # Safety
/// As for [`copy_from`] with respect to `addr`.
pub unsafe fn probe_write<W: AccessWindow>(addr: *mut u8) -> usize {
    let mut left = 1_usize;
    // SAFETY: closed below; only the probe lies between.
    unsafe { W::open() };
    // SAFETY: the caller's byte; a fault leaves to label 99 with `left` still 1.
    unsafe {
        asm!(
            "20: lock or byte ptr [{addr}], 0",
            "xor {left:e}, {left:e}",
            on_fault!(20),
            "99:",
            addr = in(reg) addr,
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
    if len < MAPPED_STRING_MOVE_MIN {
        // SAFETY: the same contract.
        return unsafe { portable::copy_mapped(dst, src, len) };
    }
    // SAFETY: the caller's regions. The direction flag is clear by the ABI.
    unsafe {
        asm!(
            "rep movsb",
            inout("rcx") len => _,
            inout("rdi") dst => _,
            inout("rsi") src => _,
            options(nostack, preserves_flags),
        );
    }
}

/// Zeroes mapped kernel memory; no fault is expected or fixed up.
///
/// # Safety
/// As for [`clear_kernel`](crate::clear_kernel).
#[inline]
pub unsafe fn clear_mapped(dst: *mut u8, len: usize) {
    if len < MAPPED_STRING_MOVE_MIN {
        // SAFETY: the same contract.
        return unsafe { portable::clear_mapped(dst, len) };
    }
    // SAFETY: the caller's region. The direction flag is clear by the ABI.
    unsafe {
        asm!(
            "rep stosb",
            inout("rcx") len => _,
            inout("rdi") dst => _,
            in("al") 0_u8,
            options(nostack, preserves_flags),
        );
    }
}
