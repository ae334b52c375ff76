//! User memory in system calls: the address space that the CPU is in.

use alloc::vec;
use alloc::vec::Vec;

use faultless::prelude::{
    CurrentUser, IovIter, MayFault, UserAddr, UserSlice, copy_from_user, copy_to_user, import_iovec,
};
use faultless::usercopy::arch::native::Smap;
use faultless::usercopy::{MAX_RW_COUNT, MAX_SEGMENTS};
use faultless_posix::Errno;

use crate::memory::map::USER_END;

/// The memory of the program that makes a system call.
pub(crate) type User = CurrentUser<Smap>;

/// Bytes of a program that a call moves.
pub(crate) type UserBytes<'u> = IovIter<'u, User>;

static USER: User = {
    // SAFETY: the lower half of the canonical addresses, of which none is the kernel's; the trap
    // handler serves the exception table (`arch::faults`), and SMAP is on.
    unsafe { CurrentUser::new(0..USER_END) }
};

/// The user memory.
pub(crate) fn user_memory() -> &'static User {
    &USER
}

/// Bytes of the program's memory.
///
/// # Errors
/// `EFAULT`: not all of them can be read.
pub(crate) fn get(token: &mut MayFault, at: usize, bytes: &mut [u8]) -> Result<(), Errno> {
    let slice = UserSlice::new(&USER, UserAddr::new(at), bytes.len())?;
    Ok(copy_from_user(&USER, token, bytes, slice)?)
}

/// Changes bytes of the program's memory.
///
/// # Errors
/// `EFAULT`: not all of them could be written.
pub(crate) fn put(token: &mut MayFault, at: usize, bytes: &[u8]) -> Result<(), Errno> {
    let slice = UserSlice::new(&USER, UserAddr::new(at), bytes.len())?;
    Ok(copy_to_user(&USER, token, slice, bytes)?)
}

/// Words of the program's memory.
///
/// # Errors
/// As [`get`].
pub(crate) fn get_words<const N: usize>(
    token: &mut MayFault,
    at: usize,
) -> Result<[u64; N], Errno> {
    let mut words = [[0; 8]; N];
    get(token, at, words.as_flattened_mut())?;
    Ok(words.map(u64::from_ne_bytes))
}

/// Changes words of the program's memory.
///
/// # Errors
/// As [`put`].
pub(crate) fn put_words<const N: usize>(
    token: &mut MayFault,
    at: usize,
    words: [u64; N],
) -> Result<(), Errno> {
    put(token, at, words.map(u64::to_ne_bytes).as_flattened())
}

/// A text of the program's, without the 0 at its end.
///
/// # Errors
/// `EFAULT`; `ENAMETOOLONG` for one that is longer than `most`.
pub(crate) fn get_string(token: &mut MayFault, at: usize, most: usize) -> Result<Vec<u8>, Errno> {
    let mut text = Vec::new();
    let mut at = at;
    while text.len() <= most {
        // Up to the end of a piece that lies in one page: what follows may not be there.
        let mut piece = [0; 256];
        let len = piece.len() - at % piece.len();
        let piece = &mut piece[..len];
        get(token, at, piece)?;
        at = at.wrapping_add(len);
        if let Some(end) = piece.iter().position(|byte| *byte == 0) {
            text.extend_from_slice(&piece[..end]);
            return if text.len() <= most { Ok(text) } else { Err(Errno::NAMETOOLONG) };
        }
        text.extend_from_slice(piece);
    }
    Err(Errno::NAMETOOLONG)
}

/// Calls `body` with a buffer of the program's. Lengths are clipped as Linux clips them.
///
/// # Errors
/// `EFAULT`, and those of `body`.
pub(crate) fn with_buffer<R>(
    token: &mut MayFault,
    buffer: usize,
    len: usize,
    body: impl FnOnce(&mut UserBytes<'_>, &mut MayFault) -> Result<R, Errno>,
) -> Result<R, Errno> {
    // As on Linux: it is no length of user memory, which is looked at first.
    if isize::try_from(len).is_err() {
        return Err(Errno::FAULT);
    }
    let slice = UserSlice::new(&USER, UserAddr::new(buffer), len.min(MAX_RW_COUNT))?;
    body(&mut IovIter::from_slice(&USER, &slice), token)
}

/// Calls `body` with the segments of a vector of the program's.
///
/// # Errors
/// As [`with_buffer`].
pub(crate) fn with_vector<R>(
    token: &mut MayFault,
    vector: usize,
    count: usize,
    body: impl FnOnce(&mut UserBytes<'_>, &mut MayFault) -> Result<R, Errno>,
) -> Result<R, Errno> {
    let mut segments = vec![UserSlice::EMPTY; count.min(MAX_SEGMENTS)];
    let mut bytes = import_iovec(&USER, token, UserAddr::new(vector), count, &mut segments)?;
    body(&mut bytes, token)
}

/// Copies bytes to the program; how many arrived.
pub(crate) fn copy_out(to: &mut UserBytes<'_>, token: &mut MayFault, bytes: &[u8]) -> usize {
    // SAFETY: the bytes are borrowed.
    unsafe { to.copy_to(token, bytes.as_ptr(), bytes.len()) }
}

/// Copies bytes from the program; how many arrived.
pub(crate) fn copy_in(from: &mut UserBytes<'_>, token: &mut MayFault, bytes: &mut [u8]) -> usize {
    // SAFETY: the bytes are borrowed mutably.
    unsafe { from.copy_from(token, bytes.as_mut_ptr(), bytes.len()) }
}
