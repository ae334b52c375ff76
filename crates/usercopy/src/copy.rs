//! The safe forms: a whole kernel slice to or from user memory, or an [`Efault`] that says how far
//! it got.
//!
//! Kernel memory is a Rust slice here, so these are for objects. Page contents, which user space
//! may see while they change, go through [`IovIter`](crate::IovIter).

use crate::{Efault, UserMemory, UserSlice};

/// `completed` of `expected` as a result.
#[inline]
fn outcome(expected: usize, completed: usize) -> Result<(), Efault> {
    if completed == expected { Ok(()) } else { Err(Efault { expected, completed }) }
}

/// The part of `slice` that a transfer of `len` kernel bytes may touch: nothing if it is out of
/// range (U5).
#[inline]
fn accessible<U: UserMemory + ?Sized>(user: &U, slice: UserSlice, len: usize) -> UserSlice {
    if slice.lies_in(user) { slice.prefix(len) } else { UserSlice::EMPTY }
}

/// Fills `dst` from the beginning of `src`; resolves faults, may sleep. `dst` past what was copied
/// is unmodified (U1, U4).
///
/// # Errors
/// [`Efault`] if not all of `dst` could be filled, also because `src` is shorter.
#[doc(alias = "__copy_from_user")]
pub fn copy_from_user<U: UserMemory + ?Sized>(
    user: &U,
    token: &mut U::Token,
    dst: &mut [u8],
    src: UserSlice,
) -> Result<(), Efault> {
    let from = accessible(user, src, dst.len());
    // SAFETY: `from` lies in the user range and is no longer than `dst`, which is exclusively ours.
    let left = unsafe { user.raw_copy_from_user(token, dst.as_mut_ptr(), from.addr(), from.len()) };
    outcome(dst.len(), from.len() - left.min(from.len()))
}

/// As [`copy_from_user`], and zeroes what could not be copied (U4): for objects that are looked at
/// even after a failure. Never for page contents.
///
/// # Errors
/// [`Efault`] if not all of `dst` came from user memory.
#[doc(alias = "copy_from_user")]
pub fn copy_from_user_zeroing<U: UserMemory + ?Sized>(
    user: &U,
    token: &mut U::Token,
    dst: &mut [u8],
    src: UserSlice,
) -> Result<(), Efault> {
    let result = copy_from_user(user, token, dst, src);
    if let Err(fault) = result {
        dst[fault.completed..].fill(0);
    }
    result
}

/// As [`copy_from_user`] without resolving a fault and without sleeping (U3); may be called under
/// page locks.
///
/// # Errors
/// [`Efault`] if not all of `dst` could be filled: absent memory is indistinguishable from bad
/// memory here.
#[doc(alias = "copy_from_user_inatomic")]
pub fn copy_from_user_atomic<U: UserMemory + ?Sized>(
    user: &U,
    dst: &mut [u8],
    src: UserSlice,
) -> Result<(), Efault> {
    let from = accessible(user, src, dst.len());
    // SAFETY: `from` lies in the user range and is no longer than `dst`, which is exclusively ours.
    let left = unsafe { user.raw_copy_from_user_atomic(dst.as_mut_ptr(), from.addr(), from.len()) };
    outcome(dst.len(), from.len() - left.min(from.len()))
}

/// Copies all of `src` to the beginning of `dst`; resolves faults, may sleep.
///
/// # Errors
/// [`Efault`] if not all of `src` could be delivered, also because `dst` is shorter.
pub fn copy_to_user<U: UserMemory + ?Sized>(
    user: &U,
    token: &mut U::Token,
    dst: UserSlice,
    src: &[u8],
) -> Result<(), Efault> {
    let to = accessible(user, dst, src.len());
    // SAFETY: `to` lies in the user range and is no longer than `src`.
    let left = unsafe { user.raw_copy_to_user(token, to.addr(), src.as_ptr(), to.len()) };
    outcome(src.len(), to.len() - left.min(to.len()))
}

/// As [`copy_to_user`] without resolving a fault and without sleeping (U3).
///
/// # Errors
/// [`Efault`] if not all of `src` could be delivered.
#[doc(alias = "copy_to_user_inatomic")]
pub fn copy_to_user_atomic<U: UserMemory + ?Sized>(
    user: &U,
    dst: UserSlice,
    src: &[u8],
) -> Result<(), Efault> {
    let to = accessible(user, dst, src.len());
    // SAFETY: `to` lies in the user range and is no longer than `src`.
    let left = unsafe { user.raw_copy_to_user_atomic(to.addr(), src.as_ptr(), to.len()) };
    outcome(src.len(), to.len() - left.min(to.len()))
}

/// Zeroes all of `dst`; resolves faults, may sleep.
///
/// # Errors
/// [`Efault`] if not all of it could be zeroed.
pub fn clear_user<U: UserMemory + ?Sized>(
    user: &U,
    token: &mut U::Token,
    dst: UserSlice,
) -> Result<(), Efault> {
    let to = accessible(user, dst, dst.len());
    // SAFETY: `to` lies in the user range.
    let left = unsafe { user.raw_clear_user(token, to.addr(), to.len()) };
    outcome(dst.len(), to.len() - left.min(to.len()))
}
