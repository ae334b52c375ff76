//! Bytes in motion between user memory and pages. Short: the copies are `faultless-usercopy`'s.

use faultless_page::{Kernel, OwnedFrame, PAGE_SIZE, Trace};
use faultless_usercopy::{MayFault, UserMemory, UserSlice, copy_kernel};

use super::prepared::Prepared;

/// Copies `piece` to the prepared bytes, with faults allowed *and the page locked*; how many
/// arrived.
pub(super) fn copy_in_faulting<K: Kernel, U: UserMemory<Token = MayFault>>(
    page: &Prepared<'_, K>,
    user: &U,
    token: &mut MayFault,
    piece: UserSlice,
) -> usize {
    K::trace(Trace::MayFault);
    let Some((memory, room)) = page.span(0) else { return 0 };
    let piece = piece.prefix(room);
    if !piece.lies_in(user) {
        return 0;
    }
    // SAFETY: the piece lies in the user range; `span` gave `room` bytes of a page that stays
    // locked, to which there is no Rust reference.
    let left =
        unsafe { user.raw_copy_from_user(token, memory.as_ptr(), piece.addr(), piece.len()) };
    let copied = piece.len() - left.min(piece.len());
    K::trace(Trace::Copied(copied));
    copied
}

/// Copies `pieces` to the prepared bytes without faulting; how many arrived.
pub(super) fn copy_in_atomic<K: Kernel, U: UserMemory<Token = MayFault>>(
    page: &Prepared<'_, K>,
    user: &U,
    pieces: impl Iterator<Item = UserSlice>,
) -> usize {
    let mut copied = 0;
    for piece in pieces {
        let Some((memory, room)) = page.span(copied) else { break };
        let (addr, len) = (piece.addr(), piece.len().min(room));
        if !piece.lies_in(user) {
            break;
        }
        // SAFETY: as for the faulting copy; at most `room` bytes.
        let left = unsafe { user.raw_copy_from_user_atomic(memory.as_ptr(), addr, len) };
        copied += len - left.min(len);
        if left > 0 {
            K::trace(Trace::ShortCopy);
            break;
        }
    }
    K::trace(Trace::Copied(copied));
    copied
}

/// Copies `pieces`, at most a page, to a temporary page, with faults allowed; how many bytes
/// arrived.
pub(super) fn fill_temporary<K: Kernel, U: UserMemory<Token = MayFault>>(
    temporary: &mut OwnedFrame<'_, K>,
    user: &U,
    token: &mut MayFault,
    pieces: impl Iterator<Item = UserSlice>,
) -> usize {
    K::trace(Trace::MayFault);
    let mut copied = 0;
    for piece in pieces {
        let (addr, len) = (piece.addr(), piece.len().min(PAGE_SIZE - copied));
        if !piece.lies_in(user) {
            break;
        }
        let memory = temporary.as_ptr().as_ptr().wrapping_add(copied);
        // SAFETY: the frame is a page long and used here only; `copied + len` is at most that.
        let left = unsafe { user.raw_copy_from_user(token, memory, addr, len) };
        copied += len - left.min(len);
        if left > 0 {
            break;
        }
    }
    K::trace(Trace::Bounced(copied));
    copied
}

/// Copies the first `len` bytes of a temporary page, which were filled, to the prepared bytes.
pub(super) fn carry<K: Kernel>(page: &Prepared<'_, K>, temporary: &OwnedFrame<'_, K>, len: usize) {
    let Some((memory, room)) = page.span(0) else { return };
    let len = len.min(room).min(PAGE_SIZE);
    // SAFETY: both are valid for `len` bytes: a locked page, and a frame that belongs to no file.
    unsafe { copy_kernel(memory.as_ptr(), temporary.as_ptr().as_ptr(), len) };
    K::trace(Trace::Copied(len));
}
