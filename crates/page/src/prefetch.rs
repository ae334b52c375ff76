//! Memory that is brought near before it is used.
//!
//! The unsafe part is an instruction that is a hint and no access. Neighbour:
//! [`pool`](crate::pool), which has the next free node fetched.

use core::ptr::NonNull;

/// Bytes that one [`fetch`] is about: eight lines of a cache.
const PIECE: usize = 8 * 64;

/// Lets the caches of this CPU fetch `bytes` from `first` on that it is about to write to, while it
/// goes on; rounded up to 512. A hint: it changes nothing, whatever is there, and cannot fail.
/// Never sleeps.
#[doc(alias = "prefetchw")]
#[inline]
pub fn fetch_for_write(first: NonNull<u8>, bytes: usize) {
    for offset in (0..bytes).step_by(PIECE) {
        fetch(first.as_ptr().wrapping_add(offset));
    }
}

#[cfg(all(target_arch = "x86_64", not(miri)))]
#[inline(always)]
fn fetch(at: *const u8) {
    // SAFETY: hints that access no memory as the program sees it, and fault nowhere. A CPU that
    // does not know them does nothing.
    unsafe {
        core::arch::asm!(
            "prefetchw [{at}]",
            "prefetchw [{at} + 64]",
            "prefetchw [{at} + 128]",
            "prefetchw [{at} + 192]",
            "prefetchw [{at} + 256]",
            "prefetchw [{at} + 320]",
            "prefetchw [{at} + 384]",
            "prefetchw [{at} + 448]",
            at = in(reg) at,
            options(nostack, preserves_flags, readonly),
        );
    }
}

#[cfg(all(target_arch = "aarch64", not(miri)))]
#[inline(always)]
fn fetch(at: *const u8) {
    // SAFETY: hints that access no memory as the program sees it, and fault nowhere.
    unsafe {
        core::arch::asm!(
            "prfm pstl1keep, [{at}]",
            "prfm pstl1keep, [{at}, #64]",
            "prfm pstl1keep, [{at}, #128]",
            "prfm pstl1keep, [{at}, #192]",
            "prfm pstl1keep, [{at}, #256]",
            "prfm pstl1keep, [{at}, #320]",
            "prfm pstl1keep, [{at}, #384]",
            "prfm pstl1keep, [{at}, #448]",
            at = in(reg) at,
            options(nostack, preserves_flags, readonly),
        );
    }
}

#[cfg(any(miri, not(any(target_arch = "x86_64", target_arch = "aarch64"))))]
#[inline(always)]
const fn fetch(_at: *const u8) {}
