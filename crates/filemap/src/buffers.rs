//! Where the bytes of a read or a write are in user memory: behind a cursor, or in one buffer.
//!
//! One buffer that is done with at once needs no cursor: neither is it made, nor moved. The hot
//! paths work on a [`WholeRequest`], and everything else on a cursor.
#![forbid(unsafe_code)]

use faultless_usercopy::{IovIter, UserMemory, UserSlice, WholeRequest};

/// The user memory of a request.
pub(crate) trait Buffers<U: UserMemory + ?Sized>: Sized {
    /// All of the request, if it is one piece in the user range.
    fn whole(&self) -> Option<WholeRequest<'_, U>>;

    /// All of the request was transferred, which is one piece.
    fn finish_whole(self);

    /// Goes on with a cursor at its beginning, which stands behind what was transferred in the end.
    fn with_cursor<R>(self, go_on: impl FnOnce(&mut IovIter<'_, U>) -> R) -> R;
}

impl<U: UserMemory + ?Sized> Buffers<U> for &mut IovIter<'_, U> {
    #[inline(always)]
    fn whole(&self) -> Option<WholeRequest<'_, U>> {
        IovIter::whole(self)
    }

    #[inline(always)]
    fn finish_whole(self) {
        IovIter::finish_whole(self);
    }

    #[inline(always)]
    fn with_cursor<R>(self, go_on: impl FnOnce(&mut IovIter<'_, U>) -> R) -> R {
        go_on(self)
    }
}

/// One buffer.
pub(crate) struct Single<'a, U: UserMemory + ?Sized> {
    pub(crate) user: &'a U,
    pub(crate) slice: UserSlice,
}

impl<U: UserMemory + ?Sized> Buffers<U> for Single<'_, U> {
    #[inline(always)]
    fn whole(&self) -> Option<WholeRequest<'_, U>> {
        WholeRequest::new(self.user, self.slice)
    }

    #[inline(always)]
    fn finish_whole(self) {}

    #[cold]
    #[inline(never)]
    fn with_cursor<R>(self, go_on: impl FnOnce(&mut IovIter<'_, U>) -> R) -> R {
        go_on(&mut IovIter::from_slice(self.user, &self.slice))
    }
}
