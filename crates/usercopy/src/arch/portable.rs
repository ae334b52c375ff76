//! The fallback in plain Rust: volatile word and byte copies, and no way to fix a fault up.
//!
//! For kernels whose user memory is always mapped, for simulators, and for kernel memory that user space may see
//! (`copy_mapped`), which other back ends take from here. Compiles everywhere.

use crate::arch::{AccessWindow, FaultPolicy};
use crate::extable::Entry;

/// Whether a fault ends a copy with an exact count. Here it ends the kernel.
pub const EXACT_FAULTS: bool = false;

type Word = usize;
const WORD: usize = size_of::<Word>();

/// Copies `len` bytes; returns bytes not copied, which is always 0.
///
/// # Safety
/// `src` is valid for reads and `dst` for writes of `len` bytes, without a fault.
#[inline]
pub unsafe fn copy<W: AccessWindow, F: FaultPolicy>(
    dst: *mut u8,
    src: *const u8,
    len: usize,
) -> usize {
    // SAFETY: closed below.
    unsafe { W::open() };
    // SAFETY: the caller's promise.
    unsafe { copy_mapped(dst, src, len) };
    // SAFETY: opened above.
    unsafe { W::close() };
    0
}

/// Zeroes `len` bytes; returns bytes not zeroed, which is always 0.
///
/// # Safety
/// `dst` is valid for writes of `len` bytes, without a fault.
#[inline]
pub unsafe fn clear<W: AccessWindow, F: FaultPolicy>(dst: *mut u8, len: usize) -> usize {
    // SAFETY: closed below.
    unsafe { W::open() };
    // SAFETY: the caller's promise.
    unsafe { clear_mapped(dst, len) };
    // SAFETY: opened above.
    unsafe { W::close() };
    0
}

/// Reads the byte at `addr`; returns bytes not reached, which is always 0.
///
/// # Safety
/// `addr` is valid for reads, without a fault.
#[inline]
pub unsafe fn probe_read<W: AccessWindow>(addr: *const u8) -> usize {
    // SAFETY: closed below.
    unsafe { W::open() };
    // SAFETY: the caller's promise.
    unsafe { addr.read_volatile() };
    // SAFETY: opened above.
    unsafe { W::close() };
    0
}

/// Reads the byte at `addr` and writes it back, which can undo a concurrent change: this architecture's
/// atomics are unknown here. Returns bytes not reached, which is always 0.
///
/// # Safety
/// `addr` is valid for reads and writes, without a fault.
#[inline]
pub unsafe fn probe_write<W: AccessWindow>(addr: *mut u8) -> usize {
    // SAFETY: closed below.
    unsafe { W::open() };
    // SAFETY: the caller's promise.
    let byte = unsafe { addr.read_volatile() };
    // SAFETY: the caller's promise.
    unsafe { addr.write_volatile(byte) };
    // SAFETY: opened above.
    unsafe { W::close() };
    0
}

/// Bytes of `len` to copy singly before `addr` is aligned for words.
#[inline]
fn unaligned_head(addr: usize, len: usize) -> usize {
    (addr.wrapping_neg() % WORD).min(len)
}

/// Copies `len` mapped bytes with volatile accesses: words where both sides agree on alignment.
///
/// # Safety
/// As for [`copy_kernel`](crate::copy_kernel).
pub unsafe fn copy_mapped(dst: *mut u8, src: *const u8, len: usize) {
    let agree = dst.addr().wrapping_sub(src.addr()).is_multiple_of(WORD);
    let head = if agree { unaligned_head(dst.addr(), len) } else { len };
    // SAFETY: `head <= len`.
    unsafe { copy_bytes(dst, src, head) };
    let words = (len - head) / WORD;
    let (to, from) = (dst.wrapping_add(head).cast::<Word>(), src.wrapping_add(head).cast::<Word>());
    for at in 0..words {
        // SAFETY: inside the region, and aligned since `head` bytes were skipped.
        let word = unsafe { from.wrapping_add(at).read_volatile() };
        // SAFETY: inside the region; `dst` has the same alignment as `src`.
        unsafe { to.wrapping_add(at).write_volatile(word) };
    }
    let done = head + words * WORD;
    // SAFETY: `done <= len`.
    unsafe { copy_bytes(dst.wrapping_add(done), src.wrapping_add(done), len - done) };
}

/// Copies bytes singly.
///
/// # Safety
/// As for [`copy_mapped`].
unsafe fn copy_bytes(dst: *mut u8, src: *const u8, len: usize) {
    for at in 0..len {
        // SAFETY: `at < len`.
        let byte = unsafe { src.wrapping_add(at).read_volatile() };
        // SAFETY: `at < len`.
        unsafe { dst.wrapping_add(at).write_volatile(byte) };
    }
}

/// Zeroes `len` mapped bytes with volatile stores.
///
/// # Safety
/// As for [`clear_kernel`](crate::clear_kernel).
pub unsafe fn clear_mapped(dst: *mut u8, len: usize) {
    let head = unaligned_head(dst.addr(), len);
    // SAFETY: `head <= len`.
    unsafe { clear_bytes(dst, head) };
    let words = (len - head) / WORD;
    let to = dst.wrapping_add(head).cast::<Word>();
    for at in 0..words {
        // SAFETY: inside the region, and aligned since `head` bytes were skipped.
        unsafe { to.wrapping_add(at).write_volatile(0) };
    }
    let done = head + words * WORD;
    // SAFETY: `done <= len`.
    unsafe { clear_bytes(dst.wrapping_add(done), len - done) };
}

/// Zeroes bytes singly.
///
/// # Safety
/// As for [`clear_mapped`].
unsafe fn clear_bytes(dst: *mut u8, len: usize) {
    for at in 0..len {
        // SAFETY: `at < len`.
        unsafe { dst.wrapping_add(at).write_volatile(0) };
    }
}

/// No entries: nothing is fixed up.
#[must_use]
pub fn table() -> &'static [Entry] {
    &[]
}
