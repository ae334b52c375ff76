//! Memory that others access at the same time: zeroing it, and copying out of it.
//!
//! Pages that are uptodate are read by lock-free readers ([`ReadSection`](crate::ReadSection), then
//! the atomic copy of `faultless-usercopy`), and read and written through user mappings; pages
//! under writeback are read by the store while writers that hold the page lock, and user mappings,
//! write them. Two such accesses race. A plain Rust access in a race is undefined behaviour, and
//! the compiler may read a byte twice or split a store. The functions here are opaque to the
//! compiler (inline assembly on x86-64) or made of relaxed atomics (elsewhere, and under Miri).
//! Each byte is accessed exactly once. Bytes are not ordered among each other.
//!
//! Not for memory with a single owner: plain copies are as good there, and checked by the compiler.

/// Sets `len` bytes from `to` on to zero, each once.
///
/// # Safety
/// Valid for writes of `len` bytes. Accesses at the same time are racing-safe ones too, or those of
/// user mappings.
#[inline]
pub(crate) unsafe fn zero(to: *mut u8, len: usize) {
    #[cfg(all(target_arch = "x86_64", not(miri)))]
    // SAFETY: `rep stosb` writes the `len` bytes from `to` on, which is valid by the caller's
    // promise; the direction flag is clear in Rust code.
    unsafe {
        core::arch::asm!(
            "rep stosb",
            inout("rcx") len => _,
            inout("rdi") to => _,
            in("al") 0_u8,
            options(nostack, preserves_flags),
        );
    };
    #[cfg(not(all(target_arch = "x86_64", not(miri))))]
    // SAFETY: the caller's promise.
    unsafe {
        words::zero(to, len);
    };
}

/// Copies `len` bytes from `from` to `to`, looking at each byte of `from` once. What is written
/// meanwhile is seen or not, byte by byte.
///
/// # Safety
/// `from` is valid for reads and `to` for writes of `len` bytes; they don't overlap. Writes to
/// `from` at the same time are racing-safe ones or those of user mappings; `to` has no other user.
#[inline]
pub(crate) unsafe fn copy_out(from: *const u8, to: *mut u8, len: usize) {
    #[cfg(all(target_arch = "x86_64", not(miri)))]
    // SAFETY: `rep movsb` reads `len` bytes from `from` on and writes as many from `to` on; both
    // are valid by the caller's promise; the direction flag is clear in Rust code.
    unsafe {
        core::arch::asm!(
            "rep movsb",
            inout("rcx") len => _,
            inout("rsi") from => _,
            inout("rdi") to => _,
            options(nostack, preserves_flags),
        );
    };
    #[cfg(not(all(target_arch = "x86_64", not(miri))))]
    // SAFETY: the caller's promise.
    unsafe {
        words::copy_out(from, to, len);
    };
}

/// The same by relaxed atomics: words where they are aligned, bytes before and after.
#[cfg(any(test, miri, not(target_arch = "x86_64")))]
mod words {
    use core::sync::atomic::Ordering::Relaxed;
    use core::sync::atomic::{AtomicU8, AtomicUsize};

    const WORD: usize = size_of::<usize>();

    /// How `len` bytes at an address split: single bytes, whole words, single bytes.
    fn split(addr: usize, len: usize) -> (usize, usize, usize) {
        let head = (addr.wrapping_neg() % WORD).min(len);
        let words = (len - head) / WORD;
        (head, words, len - head - words * WORD)
    }

    /// # Safety
    /// As for [`super::zero`].
    pub(super) unsafe fn zero(to: *mut u8, len: usize) {
        let (head, words, tail) = split(to.addr(), len);
        // SAFETY: `head <= len`.
        unsafe { zero_bytes(to, head) };
        let middle = to.wrapping_add(head);
        for at in 0..words {
            // SAFETY: inside the region, aligned since `head` bytes were skipped; the accesses that
            // race are atomic.
            let word = unsafe { AtomicUsize::from_ptr(middle.cast::<usize>().wrapping_add(at)) };
            word.store(0, Relaxed);
        }
        // SAFETY: the three parts are `len` bytes.
        unsafe { zero_bytes(middle.wrapping_add(words * WORD), tail) };
    }

    /// # Safety
    /// As for [`super::zero`].
    unsafe fn zero_bytes(to: *mut u8, len: usize) {
        for at in 0..len {
            // SAFETY: inside the region; the accesses that race are atomic.
            let byte = unsafe { AtomicU8::from_ptr(to.wrapping_add(at)) };
            byte.store(0, Relaxed);
        }
    }

    /// # Safety
    /// As for [`super::copy_out`].
    pub(super) unsafe fn copy_out(from: *const u8, to: *mut u8, len: usize) {
        let (head, words, tail) = split(from.addr(), len);
        // SAFETY: `head <= len`.
        unsafe { copy_bytes(from, to, head) };
        let (middle, to) = (from.wrapping_add(head), to.wrapping_add(head));
        for at in 0..words {
            let word = middle.cast::<usize>().wrapping_add(at).cast_mut();
            // SAFETY: inside the region, aligned since `head` bytes were skipped; only loaded from;
            // the stores that race are atomic.
            let word = unsafe { AtomicUsize::from_ptr(word) }.load(Relaxed);
            let target = to.cast::<usize>().wrapping_add(at);
            // SAFETY: inside the caller's buffer; need not be aligned.
            unsafe { target.write_unaligned(word) };
        }
        let done = words * WORD;
        // SAFETY: the three parts are `len` bytes.
        unsafe { copy_bytes(middle.wrapping_add(done), to.wrapping_add(done), tail) };
    }

    /// # Safety
    /// As for [`super::copy_out`].
    unsafe fn copy_bytes(from: *const u8, to: *mut u8, len: usize) {
        for at in 0..len {
            // SAFETY: inside the region; only loaded from; the stores that race are atomic.
            let byte = unsafe { AtomicU8::from_ptr(from.wrapping_add(at).cast_mut()) };
            // SAFETY: inside the caller's buffer.
            unsafe { to.wrapping_add(at).write(byte.load(Relaxed)) };
        }
    }
}

#[cfg(test)]
mod tests {
    use std::vec::Vec;

    type Zero = unsafe fn(*mut u8, usize);
    type CopyOut = unsafe fn(*const u8, *mut u8, usize);

    const ROOM: usize = 64;

    fn pattern() -> [u8; ROOM] {
        core::array::from_fn(|at| at as u8 + 1)
    }

    #[test]
    fn zeroing_touches_its_bytes_and_no_other_at_any_offset_and_length() {
        for zero in [super::zero as Zero, super::words::zero] {
            for start in 0..17 {
                for len in 0..=ROOM - start {
                    let mut bytes = pattern();
                    let to = bytes[start..].as_mut_ptr();
                    // SAFETY: `len` bytes from `start` on are in the array.
                    unsafe { zero(to, len) };
                    let mut expected = pattern();
                    expected[start..start + len].fill(0);
                    assert_eq!(bytes, expected, "{start}+{len}");
                }
            }
        }
    }

    #[test]
    fn a_copy_moves_its_bytes_and_no_other_at_any_offset_and_length() {
        for copy in [super::copy_out as CopyOut, super::words::copy_out] {
            for (start, shift) in (0..9).flat_map(|start| (0..9).map(move |shift| (start, shift))) {
                for len in 0..=ROOM - 9 {
                    let from = pattern();
                    let mut to = Vec::from([0xee; ROOM]);
                    let (source, target) = (from[start..].as_ptr(), to[shift..].as_mut_ptr());
                    // SAFETY: both arrays have `len` bytes from there on.
                    unsafe { copy(source, target, len) };
                    let mut expected = Vec::from([0xee; ROOM]);
                    expected[shift..shift + len].copy_from_slice(&from[start..start + len]);
                    assert_eq!(to, expected, "{start}+{len} to {shift}");
                }
            }
        }
    }
}
