//! How much of a request may be written at all (W8).
#![forbid(unsafe_code)]

use faultless_page::Errno;

use crate::task::Task;

/// What a task without a limit says (`RLIM_INFINITY`).
const NO_LIMIT: u64 = u64::MAX;

/// The part of `len` bytes at `pos` that lies below the task's limit and `max_size`, the inode's.
/// `len` is not 0. A limit of `u64::MAX` is none.
///
/// # Errors
/// [`Errno::FileTooBig`] when not a byte does; the task has then had its signal if the limit is its
/// own.
#[doc(alias = "generic_write_checks")]
#[inline(always)]
pub(crate) fn clip<T: Task>(max_size: u64, pos: u64, len: usize, task: &T) -> Result<usize, Errno> {
    let limit = task.file_size_limit();
    if pos >= limit && limit != NO_LIMIT {
        task.file_size_exceeded();
        return Err(Errno::FileTooBig);
    }
    if pos >= max_size {
        return Err(Errno::FileTooBig);
    }
    let room = (limit - pos).min(max_size - pos);
    Ok((len as u64).min(room) as usize)
}

/// Where the largest write of the task ends: at its limit, or at `max_size`, the inode's.
#[inline(always)]
pub(crate) fn end<T: Task>(max_size: u64, task: &T) -> u64 {
    task.file_size_limit().min(max_size)
}
