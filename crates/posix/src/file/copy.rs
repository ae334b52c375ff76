//! Copies from one file to another inside the kernel: `copy_file_range`, and `sendfile` to a file.
#![forbid(unsafe_code)]

use alloc::vec;

use faultless::prelude::{IovIter, KernelMemory, MayFault, Task};
use faultless::usercopy::MAX_RW_COUNT;

use crate::errno::Errno;
use crate::file::description::{AccessMode, Description};
use crate::file::transfer::{RwFlags, signed};
use crate::system::System;

/// Bytes that are copied at a time.
const PIECE: usize = 16 * 4096;

impl<S: System> Description<S> {
    /// Copies up to `len` bytes from `from` at `from_at` to this file at `at`; how many. It is not
    /// one step: what other threads write meanwhile may be seen in part. Positions stay. May sleep.
    ///
    /// # Errors
    /// `EBADF` for a file that is not open for it, or that appends; `EOVERFLOW` for a range that
    /// wraps; `EINVAL` for positions that are negative as signed numbers, and for ranges of one
    /// file that overlap before its end. If a part was copied, its length is returned in place of a
    /// later error.
    pub fn copy_from<T: Task>(
        &self,
        token: &mut MayFault,
        from: &Self,
        from_at: u64,
        at: u64,
        len: usize,
        task: &T,
    ) -> Result<usize, Errno> {
        from.need(AccessMode::READ)?;
        self.need(AccessMode::WRITE)?;
        if self.flags() & linux_raw_sys::general::O_APPEND != 0 {
            return Err(Errno::BADF);
        }
        for start in [from_at, at] {
            start.checked_add(len as u64).ok_or(Errno::OVERFLOW)?;
        }
        [from_at, at].into_iter().try_for_each(signed)?;
        let rest = from.inode().size().saturating_sub(from_at);
        let len = len.min(MAX_RW_COUNT).min(usize::try_from(rest).unwrap_or(usize::MAX));
        let distance = from_at.abs_diff(at);
        if core::ptr::eq(self.inode(), from.inode()) && distance < len as u64 {
            return Err(Errno::INVAL);
        }
        let mut buffer = vec![0; PIECE.min(len)];
        let mut copied = 0;
        while copied < len {
            let piece = PIECE.min(len - copied);
            let step = self.copy_piece(
                token,
                &mut buffer[..piece],
                (from, from_at + copied as u64),
                at + copied as u64,
                task,
            );
            match step {
                Ok(0) => break,
                Ok(bytes) => copied += bytes,
                Err(errno) if copied == 0 => return Err(errno),
                Err(_) => break,
            }
        }
        Ok(copied)
    }

    /// Copies what fits into `buffer`.
    fn copy_piece<T: Task>(
        &self,
        token: &mut MayFault,
        buffer: &mut [u8],
        (from, from_at): (&Self, u64),
        at: u64,
        task: &T,
    ) -> Result<usize, Errno> {
        let read = {
            let memory = KernelMemory::<MayFault>::writable(buffer);
            let slice = memory.slice();
            let mut to = IovIter::from_slice(&memory, &slice);
            from.read_at(token, &mut to, from_at, task)?
        };
        let memory = KernelMemory::<MayFault>::readable(&buffer[..read]);
        let slice = memory.slice();
        let mut source = IovIter::from_slice(&memory, &slice);
        self.write_at(token, &mut source, at, RwFlags::empty(), task)
    }
}
