//! What moves an [`IovIter`]: copies from and to its segments, and looks at what can be reached.
//!
//! A copy whose bytes are all in one segment has no loop. One of several segments goes over whole
//! ones in a loop of its own: requests of many small segments cost what that has.

use super::IovIter;
use crate::{UserMemory, UserSlice};

impl<U: UserMemory + ?Sized> IovIter<'_, U> {
    /// Runs `transfer(bytes done, piece)`, which returns bytes *not* transferred, over the next
    /// `len` bytes piece by piece, and advances by what it did. Stops at the first short piece.
    /// Pieces that are not in the user range are never handed out (U5).
    #[inline]
    fn transfer(
        &mut self,
        len: usize,
        mut transfer: impl FnMut(usize, UserSlice) -> usize,
    ) -> usize {
        let len = len.min(self.count);
        let range = self.user.user_range();
        // On their own, so that they stay in registers.
        let mut current = self.current;
        let mut rest = self.segments.get(self.next..).unwrap_or_default().iter();
        let mut done = 0;
        'pieces: while done < len {
            while current.is_empty() {
                // There is a next one: bytes remain (A2).
                let Some(next) = rest.next() else { break 'pieces };
                current = *next;
            }
            let piece = current.prefix(len - done);
            if !piece.is_within(&range) {
                break;
            }
            let left = transfer(done, piece);
            if left > 0 {
                let moved = piece.len().saturating_sub(left);
                done += moved;
                current = current.after(moved);
                break;
            }
            done += piece.len();
            current = current.after(piece.len());
        }
        self.current = current;
        self.next = self.segments.len() - rest.len();
        self.count -= done;
        self.skip_empty();
        done
    }

    /// [`transfer`](Self::transfer) of whole segments alone, as far as they fit in `len` bytes and
    /// lie in the user range: of none, if a part of the first is consumed. Bytes transferred, and
    /// whether a segment came short.
    ///
    /// For requests of many small segments, each of which costs as many instructions as this loop
    /// has.
    #[inline(always)]
    fn transfer_segments(
        &mut self,
        len: usize,
        mut transfer: impl FnMut(usize, UserSlice) -> usize,
    ) -> (usize, bool) {
        let Some(entered) = self.next.checked_sub(1) else { return (0, false) };
        let mut rest = self.segments.get(entered..).unwrap_or_default();
        if rest.first() != Some(&self.current) {
            return (0, false);
        }
        let range = self.user.user_range();
        let mut left = len.min(self.count);
        let mut done = 0;
        let mut ended = None;
        while let Some((segment, behind)) = rest.split_first()
            && segment.len() <= left
            && segment.is_between(&range)
        {
            rest = behind;
            let short = transfer(done, *segment);
            if short > 0 {
                let moved = segment.len().saturating_sub(short);
                done += moved;
                ended = Some(segment.after(moved));
                break;
            }
            done += segment.len();
            left -= segment.len();
        }
        self.current = ended.unwrap_or(UserSlice::EMPTY);
        self.next = self.segments.len() - rest.len();
        self.count -= done;
        self.skip_empty();
        (done, ended.is_some())
    }

    /// Transfers the next `len` bytes, which are not all in one segment: whole segments by
    /// `segment(bytes done, segment)`, which returns bytes *not* transferred, and parts of one by
    /// `part(self, bytes done, len)`, which returns bytes transferred and advances by them. Bytes
    /// transferred, up to the first that came short.
    #[inline(always)]
    fn transfer_pieces(
        &mut self,
        len: usize,
        mut segment: impl FnMut(usize, UserSlice) -> usize,
        mut part: impl FnMut(&mut Self, usize, usize) -> usize,
    ) -> usize {
        let len = len.min(self.count);
        let mut done = 0;
        while done < len {
            let (moved, ended) =
                self.transfer_segments(len - done, |at, piece| segment(done + at, piece));
            done += moved;
            if ended || done == len {
                break;
            }
            let next = self.current.len().min(len - done);
            let moved = part(self, done, next);
            done += moved;
            if moved < next {
                break;
            }
        }
        done
    }

    /// Copies up to `len` bytes of the request to kernel memory without resolving a fault and
    /// without sleeping (U3): callable under page locks. Returns the bytes copied and advances by
    /// them. `dst` past them is unmodified (U1, U4).
    ///
    /// # Safety
    /// `dst` is valid for writes of `len` bytes and shared only with code that tolerates racing
    /// stores.
    #[doc(alias = "copy_page_from_iter_atomic")]
    #[inline]
    pub unsafe fn copy_from_atomic(&mut self, dst: *mut u8, len: usize) -> usize {
        if let Some(piece) = self.whole_piece(len) {
            // SAFETY: `len` bytes are valid at `dst`; the piece is as long, and lies in range.
            let left = unsafe { self.user.raw_copy_from_user_atomic(dst, piece.addr(), len) };
            return self.consume(len - left.min(len));
        }
        // SAFETY: the same contract.
        unsafe { self.copy_pieces_from_atomic(dst, len) }
    }

    /// [`copy_from_atomic`](Self::copy_from_atomic) for more than one segment, kept out of the path
    /// of one.
    ///
    /// # Safety
    /// As for `copy_from_atomic`.
    #[inline(never)]
    unsafe fn copy_pieces_from_atomic(&mut self, dst: *mut u8, len: usize) -> usize {
        let user = self.user;
        self.transfer_pieces(
            len,
            |done, piece| {
                let dst = dst.wrapping_add(done);
                // SAFETY: `done + piece.len() <= len` bytes are valid at `dst`; the piece lies in
                // range.
                unsafe { user.raw_copy_from_user_atomic(dst, piece.addr(), piece.len()) }
            },
            // SAFETY: `done + len` bytes are valid at `dst`.
            |this, done, len| unsafe { this.copy_piece_from_atomic(dst.wrapping_add(done), len) },
        )
    }

    /// [`copy_from_atomic`](Self::copy_from_atomic) of `len` bytes of the segment that the cursor
    /// is in: none, if they do not lie in the user range.
    ///
    /// # Safety
    /// As for `copy_from_atomic`.
    #[inline(never)]
    unsafe fn copy_piece_from_atomic(&mut self, dst: *mut u8, len: usize) -> usize {
        let Some(piece) = self.whole_piece(len) else { return 0 };
        // SAFETY: `len` bytes are valid at `dst`; the piece is as long, and lies in range.
        let left = unsafe { self.user.raw_copy_from_user_atomic(dst, piece.addr(), len) };
        self.consume(len - left.min(len))
    }

    /// As [`copy_from_atomic`](Self::copy_from_atomic), but resolves faults and may sleep (U3).
    ///
    /// # Safety
    /// As for [`copy_from_atomic`](Self::copy_from_atomic).
    pub unsafe fn copy_from(&mut self, token: &mut U::Token, dst: *mut u8, len: usize) -> usize {
        let user = self.user;
        self.transfer(len, |done, piece| {
            let dst = dst.wrapping_add(done);
            // SAFETY: `done + piece.len() <= len` bytes are valid at `dst`; the piece lies in
            // range.
            unsafe { user.raw_copy_from_user(token, dst, piece.addr(), piece.len()) }
        })
    }

    /// Copies up to `len` bytes of kernel memory to the request's segments without resolving a
    /// fault and without sleeping (U3). Returns the bytes copied and advances by them (U1).
    ///
    /// # Safety
    /// `src` is valid for reads of `len` bytes, which may change meanwhile only by user space or by
    /// asm copies.
    #[doc(alias = "copy_page_to_iter_nofault")]
    #[inline]
    pub unsafe fn copy_to_atomic(&mut self, src: *const u8, len: usize) -> usize {
        if let Some(piece) = self.whole_piece(len) {
            // SAFETY: `len` bytes are valid at `src`; the piece is as long, and lies in range.
            let left = unsafe { self.user.raw_copy_to_user_atomic(piece.addr(), src, len) };
            return self.consume(len - left.min(len));
        }
        // SAFETY: the same contract.
        unsafe { self.copy_pieces_to_atomic(src, len) }
    }

    /// [`copy_to_atomic`](Self::copy_to_atomic) for more than one segment, kept out of the path of
    /// one.
    ///
    /// # Safety
    /// As for `copy_to_atomic`.
    #[inline(never)]
    unsafe fn copy_pieces_to_atomic(&mut self, src: *const u8, len: usize) -> usize {
        let user = self.user;
        self.transfer_pieces(
            len,
            |done, piece| {
                let src = src.wrapping_add(done);
                // SAFETY: `done + piece.len() <= len` bytes are valid at `src`; the piece lies in
                // range.
                unsafe { user.raw_copy_to_user_atomic(piece.addr(), src, piece.len()) }
            },
            // SAFETY: `done + len` bytes are valid at `src`.
            |this, done, len| unsafe { this.copy_piece_to_atomic(src.wrapping_add(done), len) },
        )
    }

    /// [`copy_to_atomic`](Self::copy_to_atomic) of `len` bytes of the segment that the cursor is
    /// in: none, if they do not lie in the user range.
    ///
    /// # Safety
    /// As for `copy_to_atomic`.
    #[inline(never)]
    unsafe fn copy_piece_to_atomic(&mut self, src: *const u8, len: usize) -> usize {
        let Some(piece) = self.whole_piece(len) else { return 0 };
        // SAFETY: `len` bytes are valid at `src`; the piece is as long, and lies in range.
        let left = unsafe { self.user.raw_copy_to_user_atomic(piece.addr(), src, len) };
        self.consume(len - left.min(len))
    }

    /// As [`copy_to_atomic`](Self::copy_to_atomic), but resolves faults and may sleep (U3).
    ///
    /// # Safety
    /// As for [`copy_to_atomic`](Self::copy_to_atomic).
    pub unsafe fn copy_to(&mut self, token: &mut U::Token, src: *const u8, len: usize) -> usize {
        let user = self.user;
        self.transfer(len, |done, piece| {
            let src = src.wrapping_add(done);
            // SAFETY: `done + piece.len() <= len` bytes are valid at `src`; the piece lies in
            // range.
            unsafe { user.raw_copy_to_user(token, piece.addr(), src, piece.len()) }
        })
    }

    /// Zeroes up to `len` bytes of the request's segments; resolves faults, may sleep. Returns the
    /// bytes zeroed and advances by them.
    pub fn clear(&mut self, token: &mut U::Token, len: usize) -> usize {
        let user = self.user;
        self.transfer(len, |_, piece| {
            // SAFETY: `transfer` hands out only pieces that lie in range.
            unsafe { user.raw_clear_user(token, piece.addr(), piece.len()) }
        })
    }

    /// Makes the next `len` bytes readable, every page of every segment (U6, A6); resolves faults,
    /// may sleep. Returns how many of them (of the remaining ones if fewer than `len` remain) could
    /// not be reached. The cursor stays.
    pub fn fault_in_readable(&self, token: &mut U::Token, len: usize) -> usize {
        let user = self.user;
        self.unreached(len, |piece| user.fault_in_readable(token, piece))
    }

    /// Makes the next `len` bytes writeable without changing them. Otherwise as
    /// [`fault_in_readable`](Self::fault_in_readable).
    pub fn fault_in_writeable(&self, token: &mut U::Token, len: usize) -> usize {
        let user = self.user;
        self.unreached(len, |piece| user.fault_in_writeable(token, piece))
    }

    fn unreached(&self, len: usize, probe: impl FnMut(UserSlice) -> usize) -> usize {
        let len = len.min(self.count);
        let mut probe = probe;
        len - self.clone().transfer(len, |_, piece| probe(piece))
    }
}
