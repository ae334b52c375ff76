//! The right to take a page fault, as a value.
//!
//! Owns [`MayFault`] and the compile-time rule made of it; knows nothing about locks, which borrow
//! the token without this crate's help.
#![deny(unsafe_code)]

use core::marker::PhantomData;

/// Permission to enter the page-fault handler: to read or write user memory that may be absent, to
/// sleep until it is there.
///
/// # The rule that the compiler enforces
/// A buffered write deadlocks when it faults while it holds a lock that the fault handler may take
/// (08291429cf). So everything here that may fault asks for `&mut MayFault`, and locking a page
/// *borrows* the token for as long as the guard lives. While a guard is alive only the atomic
/// copies can be called; a faulting copy under a page lock is a borrow error, not a deadlock:
///
/// ```compile_fail,E0499
/// # use faultless_usercopy::MayFault;
/// struct Locked<'t>(&'t mut MayFault);
/// fn lock_page(token: &mut MayFault) -> Locked<'_> { Locked(token) }
/// fn copy_that_may_fault(_: &mut MayFault) {}
///
/// fn write(token: &mut MayFault) {
///     let page = lock_page(token);
///     copy_that_may_fault(token); // the page still borrows the token
///     drop(page);
/// }
/// ```
///
/// Zero-sized; neither `Clone` nor `Send`: it speaks about the locks of the thread that made it.
#[derive(Debug)]
pub struct MayFault(PhantomData<*mut ()>);

impl MayFault {
    /// Asserts that this thread may take page faults. Called once per system call, at its entry.
    ///
    /// # Safety
    /// This thread holds no lock that is reachable from the fault handler, and will hold none
    /// across a use of the token by `&mut` (locks that borrow the token keep this promise by
    /// themselves). No second token of this thread is used meanwhile. (A broken promise corrupts no
    /// memory; it can deadlock, which this crate treats as no less a bug.)
    #[must_use]
    #[inline]
    #[allow(unsafe_code)] // declares the assertion; performs no unsafe operation
    pub const unsafe fn assert() -> Self {
        Self(PhantomData)
    }
}

static_assertions::assert_eq_size!(MayFault, ());
static_assertions::assert_not_impl_any!(MayFault: Clone, Copy, Send, Sync);
