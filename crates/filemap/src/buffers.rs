//! Where the bytes of a read or a write are in user memory: behind a cursor, or in one buffer.
//!
//! One buffer that is done with at once needs no cursor: neither is it made, nor moved. The hot
//! paths work on a [`WholeRequest`], and everything else on a cursor.
#![forbid(unsafe_code)]

use faultless_usercopy::{IovIter, UserMemory, UserSlice, WholeRequest};

/// The user memory of a request.
pub(crate) trait Buffers<'a, U: UserMemory + ?Sized>: Sized {
    /// All of it, if it is one piece in the user range.
    fn whole(&self) -> Option<WholeRequest<'a, U>>;

    /// All of the piece was transferred.
    fn finish_whole(&mut self);

    /// Goes on with a cursor at its beginning, which stands behind what was transferred in the end.
    fn with_cursor<R>(self, go_on: impl FnOnce(&mut IovIter<'a, U>) -> R) -> R;
}

impl<'a, U: UserMemory + ?Sized> Buffers<'a, U> for &mut IovIter<'a, U> {
    #[inline(always)]
    fn whole(&self) -> Option<WholeRequest<'a, U>> {
        IovIter::whole(self)
    }

    #[inline(always)]
    fn finish_whole(&mut self) {
        IovIter::finish_whole(self);
    }

    #[inline(always)]
    fn with_cursor<R>(self, go_on: impl FnOnce(&mut IovIter<'a, U>) -> R) -> R {
        go_on(self)
    }
}

/// One buffer.
pub(crate) struct Single<'a, U: UserMemory + ?Sized> {
    pub(crate) user: &'a U,
    pub(crate) slice: &'a UserSlice,
}

impl<'a, U: UserMemory + ?Sized> Buffers<'a, U> for Single<'a, U> {
    #[inline(always)]
    fn whole(&self) -> Option<WholeRequest<'a, U>> {
        WholeRequest::new(self.user, *self.slice)
    }

    #[inline(always)]
    fn finish_whole(&mut self) {}

    #[cold]
    #[inline(never)]
    fn with_cursor<R>(self, go_on: impl FnOnce(&mut IovIter<'a, U>) -> R) -> R {
        go_on(&mut IovIter::from_slice(self.user, self.slice))
    }
}
