//! Kernel memory: a page that user space may see, reached through the kernel's own mapping, and
//! buffers of the kernel in the place of user memory.
//!
//! No fault is expected in either; but the bytes of a page may change under the copy, so it is no
//! `memcpy`.

use core::fmt;
use core::marker::PhantomData;
use core::ops::Range;

use crate::arch::native;
use crate::{UserAddr, UserMemory, UserSlice};

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

/// A buffer of the kernel as the memory of a request: for `exec`, which reads headers, and other
/// code of the kernel that reads and writes files for itself.
///
/// Its addresses are those of the buffer, and nothing else can be reached through it (U5). No
/// access faults or sleeps, so the accesses that might elsewhere ask for no [`MayFault`] but for a
/// `T` that the caller of the request chooses: what the request itself needs, such as the right to
/// lock pages.
///
/// ```
/// # use faultless_usercopy::{IovIter, KernelMemory};
/// let mut header = [0; 64];
/// let memory = KernelMemory::<()>::writable(&mut header);
/// let slice = memory.slice();
/// let to = IovIter::from_slice(&memory, &slice);
/// assert_eq!(to.count(), 64);
/// ```
///
/// [`MayFault`]: crate::MayFault
pub struct KernelMemory<'b, T> {
    start: *mut u8,
    len: usize,
    access: Access,
    buffer: PhantomData<&'b mut [u8]>,
    token: PhantomData<fn(&mut T)>,
}

/// What the buffer may be used for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Access {
    Read,
    Write,
}

impl<'b, T> KernelMemory<'b, T> {
    /// A buffer to be read from. Copies to it bring nothing, as to a read-only page.
    #[must_use]
    pub const fn readable(buffer: &'b [u8]) -> Self {
        Self::new(buffer.as_ptr().cast_mut(), buffer.len(), Access::Read)
    }

    /// A buffer to be read from and written to.
    #[must_use]
    pub const fn writable(buffer: &'b mut [u8]) -> Self {
        Self::new(buffer.as_mut_ptr(), buffer.len(), Access::Write)
    }

    const fn new(start: *mut u8, len: usize, access: Access) -> Self {
        Self { start, len, access, buffer: PhantomData, token: PhantomData }
    }

    /// All of the buffer.
    #[must_use]
    pub fn slice(&self) -> UserSlice {
        let all = UserSlice::new(self, UserAddr::new(self.start.addr()), self.len);
        all.unwrap_or(UserSlice::EMPTY)
    }

    /// The byte at `addr`, an address of the buffer.
    fn at(&self, addr: UserAddr) -> *mut u8 {
        self.start.wrapping_add(addr.get().wrapping_sub(self.start.addr()))
    }
}

impl<T> fmt::Debug for KernelMemory<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KernelMemory")
            .field("range", &self.user_range())
            .field("access", &self.access)
            .finish()
    }
}

// SAFETY: U1, U2, U4, U7: a copy is made whole, or, to a buffer that is only read, not at all. U3:
// no access faults or sleeps. U5: the range is that of a buffer that is borrowed as long as `self`
// lives, and does not change. U6: every byte can be reached, of a buffer that is only read by
// loads; the provided probes copy one byte.
unsafe impl<T> UserMemory for KernelMemory<'_, T> {
    type Token = T;

    #[inline]
    fn user_range(&self) -> Range<usize> {
        // A buffer does not wrap.
        self.start.addr()..self.start.addr() + self.len
    }

    #[inline]
    unsafe fn raw_copy_from_user(
        &self,
        _token: &mut T,
        dst: *mut u8,
        src: UserAddr,
        len: usize,
    ) -> usize {
        // SAFETY: the same contract.
        unsafe { self.raw_copy_from_user_atomic(dst, src, len) }
    }

    #[inline]
    unsafe fn raw_copy_from_user_atomic(&self, dst: *mut u8, src: UserAddr, len: usize) -> usize {
        // SAFETY: `dst` by the caller; `src..src+len` lies in the buffer, which no Rust reference
        // writes to while it is borrowed.
        unsafe { copy_kernel(dst, self.at(src), len) };
        0
    }

    #[inline]
    unsafe fn raw_copy_to_user(
        &self,
        _token: &mut T,
        dst: UserAddr,
        src: *const u8,
        len: usize,
    ) -> usize {
        // SAFETY: the same contract.
        unsafe { self.raw_copy_to_user_atomic(dst, src, len) }
    }

    #[inline]
    unsafe fn raw_copy_to_user_atomic(&self, dst: UserAddr, src: *const u8, len: usize) -> usize {
        if self.access == Access::Read {
            return len;
        }
        // SAFETY: `src` by the caller; `dst..dst+len` lies in the buffer, which is borrowed
        // mutably, so that no Rust reference to it is used while `self` lives.
        unsafe { copy_kernel(self.at(dst), src, len) };
        0
    }

    #[inline]
    unsafe fn raw_clear_user(&self, _token: &mut T, dst: UserAddr, len: usize) -> usize {
        if self.access == Access::Read {
            return len;
        }
        // SAFETY: as in `raw_copy_to_user_atomic`.
        unsafe { clear_kernel(self.at(dst), len) };
        0
    }
}

#[cfg(test)]
mod tests {
    use super::KernelMemory;
    use crate::{Efault, IovIter, UserAddr, UserSlice, copy_from_user, copy_to_user};

    #[test]
    fn u5_the_buffer_is_all_that_can_be_reached() {
        let buffer = [7; 100];
        let memory = KernelMemory::<()>::readable(&buffer);
        let start = memory.slice().addr();
        assert_eq!(memory.slice().len(), 100);
        assert!(UserSlice::new(&memory, start, 101).is_err());
        assert!(UserSlice::new(&memory, UserAddr::new(start.get() - 1), 1).is_err());
        let other = [0; 10];
        let other = KernelMemory::<()>::readable(&other);
        let mut bytes = [1; 10];
        let foreign = copy_from_user(&memory, &mut (), &mut bytes, other.slice());
        assert_eq!((foreign, bytes), (Err(Efault { expected: 10, completed: 0 }), [1; 10]));
    }

    #[test]
    fn u1_copies_are_made_whole_in_both_directions() {
        let mut buffer = *b"0123456789";
        let memory = KernelMemory::<()>::writable(&mut buffer);
        let all = memory.slice();
        assert_eq!(copy_to_user(&memory, &mut (), all.skip(4), b"abc"), Ok(()));
        let mut seen = [0; 10];
        assert_eq!(copy_from_user(&memory, &mut (), &mut seen, all), Ok(()));
        assert_eq!(&seen, b"0123abc789");
        let mut to = IovIter::from_slice(&memory, &all);
        assert_eq!(to.fault_in_writeable(&mut (), 10), 0);
        assert_eq!(to.clear(&mut (), 3), 3);
        assert_eq!(&buffer, b"\0\0\x003abc789");
    }

    #[test]
    fn u2_nothing_is_copied_to_a_buffer_that_is_only_read() {
        let buffer = *b"abc";
        let memory = KernelMemory::<()>::readable(&buffer);
        let slice = memory.slice();
        let mut to = IovIter::from_slice(&memory, &slice);
        assert_eq!(to.fault_in_writeable(&mut (), 3), 3);
        assert_eq!((to.clear(&mut (), 3), to.count()), (0, 3));
        // SAFETY: three bytes.
        assert_eq!(unsafe { to.copy_to_atomic(b"xyz".as_ptr(), 3) }, 0);
        assert_eq!(&buffer, b"abc");
    }

    #[test]
    fn u7_an_empty_buffer_is_a_request_of_nothing() {
        let memory = KernelMemory::<()>::readable(&[]);
        let slice = memory.slice();
        assert!(IovIter::from_slice(&memory, &slice).is_empty());
    }
}
