//! Kernel memory that user space may see: a page that is mapped somewhere, reached through the
//! kernel's own mapping. No fault is expected; but the bytes may change under the copy, so it is no
//! `memcpy`.

use crate::arch::native;

/// Copies `len` bytes between kernel addresses, of which either may be mapped by user space too.
/// The regions must not overlap for a defined result.
///
/// # Safety
/// `src` is valid for reads and `dst` for writes of `len` bytes, without a fault. No Rust reference
/// to either region is used meanwhile, and threads that access them tolerate races (user space, asm
/// copies, copies of this crate).
#[inline]
pub unsafe fn copy_kernel(dst: *mut u8, src: *const u8, len: usize) {
    // SAFETY: the caller's promise is that of the callee.
    unsafe { native::copy_mapped(dst, src, len) }
}

/// Zeroes `len` bytes at a kernel address that user space may have mapped too.
///
/// # Safety
/// As for [`copy_kernel`] with respect to `dst`.
#[inline]
pub unsafe fn clear_kernel(dst: *mut u8, len: usize) {
    // SAFETY: the caller's promise is that of the callee.
    unsafe { native::clear_mapped(dst, len) }
}
