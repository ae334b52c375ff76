//! Reading a segment vector from user memory (W7).
#![forbid(unsafe_code)]

use crate::{IovIter, IovecError, MAX_SEGMENTS, UserAddr, UserMemory, UserSlice, copy_from_user};

/// Size of one `struct iovec` in user memory: a base and a length, a native word each.
pub const USER_IOVEC_BYTES: usize = 2 * WORD;

const WORD: usize = size_of::<usize>();

/// Records read from user memory at a time.
const BATCH: usize = 8;

/// Reads `count` segments at `uvec` into `buf` and returns a cursor over them; resolves faults, may
/// sleep.
///
/// Everything about the vector is decided here, before any side effect of the request: lengths
/// first (EINVAL), then addresses (EFAULT). An empty segment may sit anywhere; its base is still
/// refused if it lies beyond the user range, as in every other segment. A total beyond
/// [`MAX_RW_COUNT`](crate::MAX_RW_COUNT) is clipped to it.
///
/// # Errors
/// [`IovecError::Invalid`] for more than [`MAX_SEGMENTS`] segments (or more than `buf` holds), a
/// negative length or an overflowing total; [`IovecError::Fault`] if the vector cannot be read or a
/// segment, whichever it is, does not lie in the user range.
pub fn import_iovec<'b, U: UserMemory + ?Sized>(
    user: &'b U,
    token: &mut U::Token,
    uvec: UserAddr,
    count: usize,
    buf: &'b mut [UserSlice],
) -> Result<IovIter<'b, U>, IovecError> {
    if count > MAX_SEGMENTS {
        return Err(IovecError::Invalid);
    }
    // `count` is small, so the product cannot overflow.
    let mut vector = UserSlice::new(user, uvec, count * USER_IOVEC_BYTES)?;
    let buf = buf.get_mut(..count).ok_or(IovecError::Invalid)?;
    let mut total = Some(0);
    let mut all_in_range = true;
    for slots in buf.chunks_mut(BATCH) {
        let mut bytes = [0_u8; BATCH * USER_IOVEC_BYTES];
        let bytes = &mut bytes[..slots.len() * USER_IOVEC_BYTES];
        copy_from_user(user, token, bytes, vector)?;
        vector = vector.skip(bytes.len());
        for (slot, record) in slots.iter_mut().zip(bytes.chunks_exact(USER_IOVEC_BYTES)) {
            let (base, len) = (UserAddr::new(word(record, 0)), word(record, WORD));
            total = total.and_then(|sum| add_length(sum, len));
            let segment = UserSlice::new(user, base, len).ok();
            all_in_range &= segment.is_some() && base.get() <= user.user_range().end;
            *slot = segment.unwrap_or(UserSlice::EMPTY);
        }
    }
    if total.is_none() {
        return Err(IovecError::Invalid);
    }
    if !all_in_range {
        return Err(IovecError::Fault);
    }
    IovIter::new(user, buf)
}

/// The native word at offset `at` of `record`.
fn word(record: &[u8], at: usize) -> usize {
    let mut bytes = [0_u8; WORD];
    for (to, from) in bytes.iter_mut().zip(&record[at..]) {
        *to = *from;
    }
    usize::from_ne_bytes(bytes)
}

/// `sum + len`, unless that is negative as an `ssize_t` or overflows one (a negative length does,
/// too).
fn add_length(sum: usize, len: usize) -> Option<usize> {
    sum.checked_add(len).filter(|&total| isize::try_from(total).is_ok())
}
