//! Filling a page front to back, so that what was not filled is known.

use core::marker::PhantomData;
use core::ptr::{self, NonNull};

use crate::{Errno, PAGE_SIZE};

/// A page that a store reads into, forward only. How far it got is what the store had: "short" and
/// "hole" are different words (F8). A hole is declared by [`skip_zero`](Self::skip_zero) or
/// [`fill_hole`](Self::fill_hole); what is neither filled nor declared is missing, and an error for
/// every reader if the file's size says that it should be there.
///
/// # Invariants
/// `page` is valid for writes of `len` bytes for `'a`, and nothing else uses them;
/// `hole <= filled <= len`, and the first `filled` bytes were written.
#[derive(Debug)]
pub struct FillBuf<'a> {
    page: NonNull<u8>,
    len: usize,
    filled: usize,
    /// Of those, zeros of [`fill_hole`](Self::fill_hole).
    hole: usize,
    /// Invariant, so that a buffer for a shorter time can't be put in this one's place.
    borrow: PhantomData<*mut &'a mut [u8]>,
}

impl<'a> FillBuf<'a> {
    /// A buffer over `bytes`: for tests of stores, and for stores that wrap another.
    #[must_use]
    pub fn new(bytes: &'a mut [u8]) -> Self {
        let len = bytes.len();
        // INVARIANT: a unique borrow of `len` bytes.
        Self { page: NonNull::from(bytes).cast(), len, filled: 0, hole: 0, borrow: PhantomData }
    }

    /// A buffer over the page at `page`, as far as `read` has filled it: the first `needed` bytes,
    /// clipped to the page, at least.
    ///
    /// # Errors
    /// What `read` says; [`Errno::Io`] if it filled less (F8), or has swapped the buffer for
    /// another one that lives as long.
    ///
    /// # Safety
    /// Valid for writes of [`PAGE_SIZE`] bytes for `'a`, and nothing else reads or writes them
    /// meanwhile.
    pub(crate) unsafe fn filled_by(
        page: NonNull<u8>,
        needed: usize,
        read: impl FnOnce(&mut FillBuf<'_>) -> Result<(), Errno>,
    ) -> Result<Self, Errno> {
        // INVARIANT: the caller's promise.
        let mut buf = Self { page, len: PAGE_SIZE, filled: 0, hole: 0, borrow: PhantomData };
        read(&mut buf)?;
        let is_over_page = buf.page == page && buf.len == PAGE_SIZE;
        if is_over_page && buf.filled >= needed.min(PAGE_SIZE) { Ok(buf) } else { Err(Errno::Io) }
    }

    /// How many zeros [`fill_hole`](Self::fill_hole) wrote.
    pub(crate) fn hole(&self) -> usize {
        self.hole
    }

    /// Bytes filled so far, from the front.
    #[must_use]
    pub fn filled(&self) -> usize {
        self.filled
    }

    /// Bytes still to fill.
    #[must_use]
    pub fn remaining(&self) -> usize {
        self.len - self.filled
    }

    /// Appends as much of `bytes` as fits; returns how much.
    pub fn write(&mut self, bytes: &[u8]) -> usize {
        let len = bytes.len().min(self.remaining());
        let to = self.unfilled();
        // SAFETY: `len` bytes from there lie in the buffer, by the invariant; a unique borrow
        // doesn't overlap `bytes`.
        unsafe { ptr::copy_nonoverlapping(bytes.as_ptr(), to, len) };
        self.filled += len;
        len
    }

    /// Appends up to `len` zeros, for a hole; returns how many.
    pub fn skip_zero(&mut self, len: usize) -> usize {
        let len = len.min(self.remaining());
        let to = self.unfilled();
        // SAFETY: `len` bytes from there lie in the buffer, by the invariant.
        unsafe { ptr::write_bytes(to, 0, len) };
        self.filled += len;
        len
    }

    /// Declares that the rest of the buffer is a hole, or lies past the end of the store: it reads
    /// as zeros.
    pub fn fill_hole(&mut self) {
        self.hole += self.skip_zero(self.remaining());
    }

    /// Where the unfilled part begins: [`remaining`](Self::remaining) bytes, for a device to write.
    /// Say so by [`advance`](Self::advance).
    #[must_use]
    pub fn unfilled(&mut self) -> *mut u8 {
        // SAFETY: `filled <= len`, so this is at most one past the end of the page.
        unsafe { self.page.add(self.filled) }.as_ptr()
    }

    /// Declares the next `len` bytes filled (clipped).
    ///
    /// # Safety
    /// They were written through [`unfilled`](Self::unfilled). Otherwise recycled memory would be
    /// shown to users (W5).
    pub unsafe fn advance(&mut self, len: usize) {
        self.filled += len.min(self.remaining());
    }
}

#[cfg(test)]
mod tests {
    use super::FillBuf;

    #[test]
    fn what_does_not_fit_is_clipped_and_counted() {
        let mut bytes = [0xff; 8];
        let mut buf = FillBuf::new(&mut bytes);
        assert_eq!(buf.write(b"abc"), 3);
        let device = buf.unfilled();
        // SAFETY: 5 bytes are left.
        unsafe { device.write(b'D') };
        // SAFETY: this byte was just written.
        unsafe { buf.advance(1) };
        assert_eq!((buf.filled(), buf.remaining()), (4, 4));
        assert_eq!(buf.skip_zero(2), 2);
        assert_eq!(buf.write(b"too long"), 2);
        assert_eq!((buf.write(b"x"), buf.skip_zero(9), buf.remaining()), (0, 0, 0));
        assert_eq!(&bytes, b"abcD\0\0to");
    }

    #[test]
    fn a_hole_ends_the_buffer_and_is_told_from_what_is_missing() {
        let mut bytes = [0xff; 8];
        let mut buf = FillBuf::new(&mut bytes);
        buf.write(b"abc");
        assert_eq!((buf.filled(), buf.hole()), (3, 0));
        buf.fill_hole();
        assert_eq!((buf.filled(), buf.remaining(), buf.hole()), (8, 0, 5));
        buf.fill_hole();
        assert_eq!((buf.write(b"x"), buf.hole()), (0, 5));
        assert_eq!(&bytes, b"abc\0\0\0\0\0");
    }
}
