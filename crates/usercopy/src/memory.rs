//! The seam to an address space: [`UserMemory`], whose `# Safety` section is the contract U1–U7.
//!
//! Below it: [`arch`](crate::arch) or an embedder's own primitives. Above it: the safe forms, which
//! alone other crates should need.

use core::ops::Range;

use crate::fault_in;
use crate::{Efault, UserAddr, UserSlice};

/// The user address space of the current task.
///
/// The `raw_*` functions return the number of bytes that were **not** accessed, counted from the
/// end: 0 is success. They are for this crate and for implementors; all others call the safe forms.
///
/// # Safety
/// An implementor promises, and [`conformance`](crate::conformance) checks as far as a test can,
/// with mappings that stand still and with mappings that change:
///
/// - **U1** If `n` of `len` is returned, `n ≤ len`, exactly `len - n` leading bytes of the
///   destination equal the source (or are zero, for the clearing form) and **every byte past them
///   is unmodified**. This holds although another thread unmaps or maps any part of the user's side
///   at any instant of the access, the handling of a fault included: what is stored is counted, and
///   what was accessible once need not be so again. A copy that stores before it has loaded all of
///   a block, or begins a block again after a fault, miscounts then.
/// - **U2** Less than possible may be copied; *nothing* only if the first byte could not be.
/// - **U3** A faulting variant resolves page faults and may sleep. An atomic variant takes no fault
///   that is resolved, takes no lock that the fault handler may take and never sleeps: an absent
///   byte ends it.
/// - **U4** No function of this trait zeroes an uncopied tail.
/// - **U5** [`user_range`](Self::user_range) never changes during the life of `self`, and no access
///   inside it through the `raw_*` functions can reach kernel memory.
/// - **U6** The fault-in forms report truthfully: the prefix that they do not count as unreachable
///   was reachable, byte by page, in every page. They never change a byte of user memory, nor undo
///   a concurrent change of one where the machine allows.
/// - **U7** Length 0 returns 0 and touches nothing.
///
/// Memory that the functions write on the kernel's side is only that which the caller passed. The
/// memory of the user's side may change at any time; implementors never make a reference to it.
pub unsafe trait UserMemory {
    /// What a caller shows to make an access that resolves faults: [`MayFault`](crate::MayFault)
    /// for user memory. Memory whose accesses never fault, as
    /// [`KernelMemory`](crate::KernelMemory), asks for less.
    type Token;

    /// The addresses that user space may have (U5). Not all of them need be mapped.
    fn user_range(&self) -> Range<usize>;

    /// Copies from user memory; resolves faults, may sleep (U3). Returns bytes not copied (U1, U2).
    ///
    /// # Safety
    /// `dst` is valid for writes of `len` bytes and shared only with code that tolerates racing
    /// stores (user space, asm copies); `src..src+len` lies in [`user_range`](Self::user_range).
    unsafe fn raw_copy_from_user(
        &self,
        token: &mut Self::Token,
        dst: *mut u8,
        src: UserAddr,
        len: usize,
    ) -> usize;

    /// Copies from user memory without resolving faults or sleeping (U3). Returns bytes not copied
    /// (U1, U2).
    ///
    /// # Safety
    /// As for [`raw_copy_from_user`](Self::raw_copy_from_user).
    unsafe fn raw_copy_from_user_atomic(&self, dst: *mut u8, src: UserAddr, len: usize) -> usize;

    /// Copies to user memory; resolves faults, may sleep (U3). Returns bytes not copied (U1, U2).
    ///
    /// # Safety
    /// `src` is valid for reads of `len` bytes, which may change meanwhile only by user space or by
    /// asm copies; `dst..dst+len` lies in [`user_range`](Self::user_range).
    unsafe fn raw_copy_to_user(
        &self,
        token: &mut Self::Token,
        dst: UserAddr,
        src: *const u8,
        len: usize,
    ) -> usize;

    /// Copies to user memory without resolving faults or sleeping (U3). Returns bytes not copied
    /// (U1, U2).
    ///
    /// # Safety
    /// As for [`raw_copy_to_user`](Self::raw_copy_to_user).
    unsafe fn raw_copy_to_user_atomic(&self, dst: UserAddr, src: *const u8, len: usize) -> usize;

    /// Zeroes user memory; resolves faults, may sleep (U3). Returns bytes not zeroed (U1, U2).
    ///
    /// # Safety
    /// `dst..dst+len` lies in [`user_range`](Self::user_range).
    unsafe fn raw_clear_user(&self, token: &mut Self::Token, dst: UserAddr, len: usize) -> usize;

    /// Makes the byte at `addr` readable, as by reading it; resolves faults, may sleep. Returns
    /// bytes not reached: 0 or 1. Provided by a copy of one byte.
    ///
    /// # Safety
    /// `addr` lies in [`user_range`](Self::user_range).
    unsafe fn raw_probe_readable(&self, token: &mut Self::Token, addr: UserAddr) -> usize {
        let mut byte = 0_u8;
        // SAFETY: `byte` is ours and one byte long; the caller vouches for `addr`.
        unsafe { self.raw_copy_from_user(token, &raw mut byte, addr, 1) }
    }

    /// Makes the byte at `addr` writeable without changing it; resolves faults, may sleep. Returns
    /// bytes not reached: 0 or 1.
    ///
    /// Provided by reading the byte and writing it back, which can undo a change that another
    /// thread of user space makes in between. An implementor that has an atomic no-op (`lock or`,
    /// an exclusive pair, `amoor`) should use it, as [`CurrentUser`](crate::CurrentUser) does.
    ///
    /// # Safety
    /// `addr` lies in [`user_range`](Self::user_range).
    unsafe fn raw_probe_writeable(&self, token: &mut Self::Token, addr: UserAddr) -> usize {
        let mut byte = 0_u8;
        // SAFETY: `byte` is ours and one byte long; the caller vouches for `addr`.
        if unsafe { self.raw_copy_from_user(token, &raw mut byte, addr, 1) } != 0 {
            return 1;
        }
        // SAFETY: as above, in the other direction.
        unsafe { self.raw_copy_to_user(token, addr, &raw const byte, 1) }
    }

    /// Makes every page of `slice` readable, by reading a byte of each (U6); resolves faults, may
    /// sleep, so no lock reachable from the fault handler may be held, which `token` proves.
    /// Returns how many bytes at the end of `slice` could **not** be reached: all of them if
    /// `slice` is not in range (U5).
    fn fault_in_readable(&self, token: &mut Self::Token, slice: UserSlice) -> usize {
        if !slice.lies_in(self) {
            return slice.len();
        }
        fault_in::unreached(slice, |addr| {
            // SAFETY: only addresses inside `slice` are probed, and it lies in the user range.
            unsafe { self.raw_probe_readable(token, addr) == 0 }
        })
    }

    /// Makes every page of `slice` writeable without changing it (U6). Otherwise as
    /// [`fault_in_readable`](Self::fault_in_readable).
    fn fault_in_writeable(&self, token: &mut Self::Token, slice: UserSlice) -> usize {
        if !slice.lies_in(self) {
            return slice.len();
        }
        fault_in::unreached(slice, |addr| {
            // SAFETY: as for `fault_in_readable`.
            unsafe { self.raw_probe_writeable(token, addr) == 0 }
        })
    }
}

/// The trait is dyn-compatible.
const _: Option<&dyn UserMemory<Token = crate::MayFault>> = None;

/// Checks against an address space.
impl UserSlice {
    /// `len` bytes at `addr`, if they lie in the user range (U5). An empty range is always fine
    /// (U7). Accesses nothing.
    ///
    /// # Errors
    /// [`Efault`] with nothing completed if a byte lies outside `user`'s range or `addr + len`
    /// wraps.
    #[inline]
    pub fn new<U: UserMemory + ?Sized>(
        user: &U,
        addr: UserAddr,
        len: usize,
    ) -> Result<Self, Efault> {
        Self::within(&user.user_range(), addr, len)
    }

    /// Whether every byte lies in `user`'s range. The copies ask again, since a slice may have been
    /// checked against another address space.
    #[must_use]
    #[inline]
    pub fn lies_in<U: UserMemory + ?Sized>(&self, user: &U) -> bool {
        self.is_within(&user.user_range())
    }
}
