//! The permission to lock pages.

use core::marker::PhantomData;

use static_assertions::{assert_not_impl_any, const_assert_eq};

/// Permission to hold page locks, or to sit in a lock-free read section, for the lifetime `'t`.
///
/// `faultless-filemap` makes one by *borrowing* the token without which nothing that may fault can
/// be called, so for as long as a page is locked a faulting copy does not compile. Zero-sized,
/// neither `Copy` nor `Clone`: one lock at a time per token.
#[derive(Debug)]
pub struct LockContext<'t>(PhantomData<&'t mut ()>);

impl LockContext<'_> {
    /// Two contexts of one: for a caller that takes its locks in ascending order (P4).
    pub(crate) const fn split(self) -> (Self, Self) {
        (Self(PhantomData), Self(PhantomData))
    }

    /// Asserts that pages may be locked for the lifetime.
    ///
    /// # Safety
    /// While the value or anything made from it lives, this thread makes no access that may enter a
    /// fault handler which locks pages, and it holds no other page lock or read section. (Breaking
    /// this cannot corrupt memory; it can deadlock, which this crate treats as no less a bug.)
    #[must_use]
    pub const unsafe fn new() -> Self {
        Self(PhantomData)
    }

    /// A context for a shorter time.
    pub const fn reborrow(&mut self) -> LockContext<'_> {
        LockContext(PhantomData)
    }
}

const_assert_eq!(size_of::<LockContext<'_>>(), 0);
assert_not_impl_any!(LockContext<'_>: Copy, Clone);
