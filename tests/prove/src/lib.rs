//! The user copies as plain functions, for `cargo xtask prove` to disassemble.
//!
//! Nothing here runs. Each function is one entry of the proof; `planted_*` are wrong on purpose.

#![no_std]

use core::panic::PanicInfo;

use faultless_usercopy::arch::NoWindow;
use faultless_usercopy::{CurrentUser, MayFault, UserAddr, UserMemory};

#[cfg(target_arch = "x86_64")]
mod planted;

/// The address space whose copies are proven. The raw copies do not look at the range.
fn user() -> CurrentUser<NoWindow> {
    // SAFETY: the empty range holds no address.
    unsafe { CurrentUser::new(0..0) }
}

/// `raw_copy_from_user`.
///
/// # Safety
/// That of [`UserMemory::raw_copy_from_user`].
#[unsafe(no_mangle)]
pub unsafe extern "C" fn copy_from_user(dst: *mut u8, src: usize, len: usize) -> usize {
    // SAFETY: the caller's promise.
    unsafe { user().raw_copy_from_user_atomic(dst, UserAddr::new(src), len) }
}

/// `raw_copy_to_user`.
///
/// # Safety
/// That of [`UserMemory::raw_copy_to_user`].
#[unsafe(no_mangle)]
pub unsafe extern "C" fn copy_to_user(dst: usize, src: *const u8, len: usize) -> usize {
    // SAFETY: the caller's promise.
    unsafe { user().raw_copy_to_user_atomic(UserAddr::new(dst), src, len) }
}

/// `raw_clear_user`.
///
/// # Safety
/// That of [`UserMemory::raw_clear_user`].
#[unsafe(no_mangle)]
pub unsafe extern "C" fn clear_user(dst: usize, len: usize) -> usize {
    // SAFETY: nothing runs, so no lock is held.
    let mut token = unsafe { MayFault::assert() };
    // SAFETY: the caller's promise.
    unsafe { user().raw_clear_user(&mut token, UserAddr::new(dst), len) }
}

#[panic_handler]
fn panic(_: &PanicInfo<'_>) -> ! {
    loop {}
}
