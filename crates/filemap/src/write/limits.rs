//! How much of a request may be written at all (W8).
#![forbid(unsafe_code)]

use faultless_page::{Errno, MAX_FILE_SIZE};

use crate::task::Task;

/// The part of `len` bytes at `pos` that lies below the task's limit and `max_size`, the store's. `len` is not 0.
///
/// # Errors
/// [`Errno::FileTooBig`] when not a byte does; the task has then had its signal if the limit is its own.
#[doc(alias = "generic_write_checks")]
#[inline(always)]
pub(crate) fn clip<T: Task>(max_size: u64, pos: u64, len: usize, task: &T) -> Result<usize, Errno> {
    let limit = task.file_size_limit();
    if pos >= limit {
        task.file_size_exceeded();
        return Err(Errno::FileTooBig);
    }
    let max_size = max_size.min(MAX_FILE_SIZE);
    if pos >= max_size {
        return Err(Errno::FileTooBig);
    }
    let room = (limit - pos).min(max_size - pos);
    Ok((len as u64).min(room) as usize)
}
