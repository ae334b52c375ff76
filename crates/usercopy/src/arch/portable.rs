//! The fallback in plain Rust: volatile word and byte copies, and no way to fix a fault up.
//!
//! For kernels whose user memory is always mapped, for simulators, and for kernel memory that user
//! space may see (`copy_mapped`), which other back ends take from here. Compiles everywhere.

use crate::arch::{AccessWindow, FaultPolicy};
use crate::extable::{Entry, TooFar};

/// Whether a fault ends a copy with an exact count. Here it ends the kernel.
pub const EXACT_FAULTS: bool = false;

type Word = usize;
const WORD: usize = size_of::<Word>();

/// Copies `len` bytes from user memory; returns bytes not copied, which is always 0.
///
/// # Safety
/// `src` is valid for reads and `dst` for writes of `len` bytes, without a fault.
#[inline]
pub unsafe fn copy_from<W: AccessWindow, F: FaultPolicy>(
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

/// Copies `len` bytes to user memory; returns bytes not copied, which is always 0.
///
/// # Safety
/// As for [`copy_from`].
#[inline]
pub unsafe fn copy_to<W: AccessWindow, F: FaultPolicy>(
    dst: *mut u8,
    src: *const u8,
    len: usize,
) -> usize {
    // SAFETY: the same contract.
    unsafe { copy_from::<W, F>(dst, src, len) }
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

/// Reads the byte at `addr` and writes it back, which can undo a concurrent change: this
/// architecture's atomics are unknown here. Returns bytes not reached, which is always 0.
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

/// There is nothing to sort.
///
/// # Errors
/// None.
///
/// # Safety
/// None is needed here; the ELF back ends need some.
pub unsafe fn sort_extable() -> Result<(), TooFar> {
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;
    use crate::arch::Atomic;

    std::thread_local! {
        /// Windows opened, and how many of them are open.
        static WINDOW: Cell<(u32, u32)> = const { Cell::new((0, 0)) };
    }

    struct Counted;

    // SAFETY: memory of this process is always accessible.
    unsafe impl AccessWindow for Counted {
        unsafe fn open() {
            WINDOW.with(|window| window.set((window.get().0 + 1, window.get().1 + 1)));
        }

        unsafe fn close() {
            WINDOW.with(|window| window.set((window.get().0, window.get().1 - 1)));
        }
    }

    #[test]
    fn what_follows_the_head_is_aligned_and_the_head_shorter_than_a_word() {
        for addr in 0x1000..0x1000 + 2 * WORD {
            for len in 0..3 * WORD {
                let head = unaligned_head(addr, len);
                assert!(head < WORD && head <= len, "{addr:#x}: {head} of {len}");
                assert!(head == len || (addr + head).is_multiple_of(WORD), "{addr:#x}: {head}");
            }
        }
    }

    #[test]
    fn every_access_goes_through_the_window_and_reaches_all_bytes() {
        let source: [u8; 40] = core::array::from_fn(|at| at as u8 + 1);
        let mut target = [0xff_u8; 40];
        for (from, to, len) in [(0, 0, 40), (1, 3, 30), (8, 8, 17), (5, 5, 0)] {
            target.fill(0xff);
            let (src, dst) = (&raw const source[from], &raw mut target[to]);
            // SAFETY: both have `len` bytes from there on, and they are different arrays.
            let left = unsafe { copy_from::<Counted, Atomic>(dst, src, len) };
            assert_eq!(left, 0);
            assert_eq!(target[to..to + len], source[from..from + len]);
            assert!(target[..to].iter().chain(&target[to + len..]).all(|&byte| byte == 0xff));
            // SAFETY: as above.
            let left = unsafe { clear::<Counted, Atomic>(&raw mut target[to], len) };
            assert_eq!(left, 0);
            assert!(target[to..to + len].iter().all(|&byte| byte == 0));
        }
        // SAFETY: a byte of ours.
        assert_eq!(unsafe { probe_read::<Counted>(&raw const source[7]) }, 0);
        target[7] = 0x5a;
        // SAFETY: a byte of ours.
        assert_eq!(unsafe { probe_write::<Counted>(&raw mut target[7]) }, 0);
        assert_eq!(target[7], 0x5a, "the probe changed the byte (U6)");
        assert_eq!(WINDOW.get(), (10, 0), "opened, and still open");
        assert!(table().is_empty(), "nothing is fixed up");
    }
}
