//! What a program needs that is linked with nothing: an entry, an end, a panic handler, and the
//! four memory functions that compiled code may call.

use core::arch::{asm, global_asm};

#[cfg(target_arch = "x86_64")]
global_asm!(
    ".globl _start",
    "_start:",
    "xor ebp, ebp",
    "and rsp, -16",
    "call {main}",
    "mov edi, eax",
    "mov eax, 231", // exit_group
    "syscall",
    "ud2",
    main = sym crate::probe_main,
);

#[cfg(target_arch = "aarch64")]
global_asm!(
    ".globl _start",
    "_start:",
    "mov x29, xzr",
    "bl {main}",
    "mov x8, #94", // exit_group
    "svc #0",
    "brk #1",
    main = sym crate::probe_main,
);

#[panic_handler]
fn panic(_info: &core::panic::PanicInfo<'_>) -> ! {
    loop {
        // SAFETY: the instruction ends the program with a signal and touches nothing.
        unsafe {
            #[cfg(target_arch = "x86_64")]
            asm!("ud2");
            #[cfg(target_arch = "aarch64")]
            asm!("brk #1");
        }
    }
}

/// Named by the unwinding tables of the precompiled `core`; nothing ever unwinds here.
#[unsafe(no_mangle)]
extern "C" fn rust_eh_personality() {}

/// Copies forward, a byte at a time and volatile, so that no compiler makes a call to `memcpy` of
/// it.
///
/// # Safety
/// As `memcpy`, but the ranges may overlap if `to` is not above `from`.
unsafe fn copy_forward(to: *mut u8, from: *const u8, len: usize) {
    for at in 0..len {
        // SAFETY: the caller vouches for `len` bytes from `from`.
        let byte = unsafe { from.wrapping_add(at).read_volatile() };
        // SAFETY: the caller vouches for `len` bytes from `to`.
        unsafe { to.wrapping_add(at).write_volatile(byte) };
    }
}

/// The C function.
///
/// # Safety
/// As in C.
#[unsafe(no_mangle)]
unsafe extern "C" fn memcpy(to: *mut u8, from: *const u8, len: usize) -> *mut u8 {
    // SAFETY: the same contract.
    unsafe { copy_forward(to, from, len) };
    to
}

/// The C function.
///
/// # Safety
/// As in C.
#[unsafe(no_mangle)]
unsafe extern "C" fn memmove(to: *mut u8, from: *const u8, len: usize) -> *mut u8 {
    if to.addr() <= from.addr() {
        // SAFETY: the same contract, and `to` is not above `from`.
        unsafe { copy_forward(to, from, len) };
        return to;
    }
    for at in (0..len).rev() {
        // SAFETY: the caller vouches for `len` bytes from `from`.
        let byte = unsafe { from.wrapping_add(at).read_volatile() };
        // SAFETY: the caller vouches for `len` bytes from `to`.
        unsafe { to.wrapping_add(at).write_volatile(byte) };
    }
    to
}

/// The C function.
///
/// # Safety
/// As in C.
#[unsafe(no_mangle)]
unsafe extern "C" fn memset(to: *mut u8, byte: i32, len: usize) -> *mut u8 {
    for at in 0..len {
        // SAFETY: the caller vouches for `len` bytes from `to`.
        unsafe { to.wrapping_add(at).write_volatile(byte as u8) };
    }
    to
}

/// The C function.
///
/// # Safety
/// As in C.
#[unsafe(no_mangle)]
unsafe extern "C" fn memcmp(a: *const u8, b: *const u8, len: usize) -> i32 {
    for at in 0..len {
        // SAFETY: the caller vouches for `len` bytes from `a`.
        let x = unsafe { a.wrapping_add(at).read_volatile() };
        // SAFETY: the caller vouches for `len` bytes from `b`.
        let y = unsafe { b.wrapping_add(at).read_volatile() };
        if x != y {
            return i32::from(x) - i32::from(y);
        }
    }
    0
}

/// The BSD function, which compilers make of a `memcmp` whose sign does not matter.
///
/// # Safety
/// As in C.
#[unsafe(no_mangle)]
unsafe extern "C" fn bcmp(a: *const u8, b: *const u8, len: usize) -> i32 {
    // SAFETY: the same contract.
    unsafe { memcmp(a, b, len) }
}
