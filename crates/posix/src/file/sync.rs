//! What makes an open file durable, and what gives its pages up.
#![forbid(unsafe_code)]

use core::ops::Range;

use faultless::filemap::Advice;
use faultless::page::Spin;
use faultless::prelude::{PAGE_SIZE, PageLocks, SyncKind, Task};
use linux_raw_sys::general as linux;

use crate::errno::Errno;
use crate::file::description::Description;
use crate::file::transfer::signed;
use crate::system::System;

const ALL_OF_SYNC_FILE_RANGE: u32 = linux::SYNC_FILE_RANGE_WAIT_BEFORE
    | linux::SYNC_FILE_RANGE_WRITE
    | linux::SYNC_FILE_RANGE_WAIT_AFTER;

impl<S: System> Description<S> {
    /// `fsync` and `fdatasync`. What calls with `RWF_DONTCACHE` have left in the cache is dropped.
    /// May sleep. No page lock and no inode lock is held.
    ///
    /// # Errors
    /// As [`Inode::fsync_since`](faultless::filemap::Inode::fsync_since): each failed writeback of
    /// the file is reported to each open file once, or to all of its syncs that ran at that time
    /// (F2).
    pub fn sync<T: Task>(
        &self,
        token: &mut impl PageLocks,
        kind: SyncKind,
        task: &T,
    ) -> Result<(), Errno> {
        self.sync_range_of(token, kind, 0..u64::MAX, task)?;
        self.behind.finish(self.inode(), token, task);
        Ok(())
    }

    /// As [`sync`](Self::sync), for the pages that hold bytes of `range`.
    ///
    /// # Errors
    /// As `sync`.
    pub fn sync_range_of<T: Task>(
        &self,
        token: &mut impl PageLocks,
        kind: SyncKind,
        range: Range<u64>,
        task: &T,
    ) -> Result<(), Errno> {
        let before = *self.errors.lock();
        let mut cursor = before;
        let synced = self.inode().fsync_since(token, kind, range, &mut cursor, task);
        let mut errors = self.errors.lock();
        // Another thread may have reported meanwhile. What it has not is reported once more.
        if *errors == before {
            *errors = cursor;
        }
        drop(errors);
        Ok(synced?)
    }

    /// `sync_file_range` (all to the end for a length of 0). `SYNC_FILE_RANGE_WAIT_BEFORE` waits
    /// for pages that are under writeback, `WRITE` sends those that are dirty and are not, and
    /// `WAIT_AFTER` waits for them. `WRITE` and `WAIT_AFTER` together send and wait for every page
    /// that was dirty when the call began, those under writeback included. Nothing is synced. A
    /// failure that it returns is reported by the next sync too, for which Linux counts it as
    /// reported. May sleep; with `WRITE` alone not for the end of a writeback.
    ///
    /// # Errors
    /// `EINVAL` for a range that is negative or does not end, and for unknown flags; those of
    /// writebacks if the call waits for them; `EINTR` for a fatal signal.
    pub fn write_back_range<T: Task>(
        &self,
        token: &mut impl PageLocks,
        offset: u64,
        len: u64,
        flags: u32,
        task: &T,
    ) -> Result<(), Errno> {
        let before = flags & linux::SYNC_FILE_RANGE_WAIT_BEFORE != 0;
        let write = flags & linux::SYNC_FILE_RANGE_WRITE != 0;
        let after = flags & linux::SYNC_FILE_RANGE_WAIT_AFTER != 0;
        let end = offset.checked_add(len).ok_or(Errno::INVAL)?;
        [offset, len, end].into_iter().try_for_each(signed)?;
        if flags & !ALL_OF_SYNC_FILE_RANGE != 0 {
            return Err(Errno::INVAL);
        }
        let (inode, end) = (self.inode(), if len == 0 { u64::MAX } else { end });
        if write && after {
            return Ok(inode.writeback(token, offset..end, task)?);
        }
        if before || after {
            inode.wait_writeback(token, offset..end, task)?;
        }
        if write {
            inode.start_writeback(token, offset..end, task)?;
        }
        Ok(())
    }

    /// `posix_fadvise`. `POSIX_FADV_NORMAL`, `RANDOM` and `SEQUENTIAL` are for the whole open file,
    /// and say what is read ahead; `POSIX_FADV_WILLNEED` has the store read the range and does not
    /// wait for that; `POSIX_FADV_DONTNEED` writes the range back and drops its whole pages;
    /// `POSIX_FADV_NOREUSE` has no effect. May sleep.
    ///
    /// # Errors
    /// `EINVAL` for an advice that means nothing, and for a length that is negative as a signed
    /// number.
    pub fn advise<T: Task>(
        &self,
        token: &mut impl PageLocks,
        offset: u64,
        len: u64,
        advice: u32,
        task: &T,
    ) -> Result<(), Errno> {
        signed(len)?;
        match advice {
            linux::POSIX_FADV_NORMAL => self.ahead.advise(Advice::Normal),
            linux::POSIX_FADV_RANDOM => self.ahead.advise(Advice::Random),
            linux::POSIX_FADV_SEQUENTIAL => self.ahead.advise(Advice::Sequential),
            linux::POSIX_FADV_NOREUSE => {}
            linux::POSIX_FADV_WILLNEED => {
                let len = if len == 0 { u64::MAX } else { len };
                self.inode().will_need(token, offset, len, &S::read_ahead_limits());
            }
            linux::POSIX_FADV_DONTNEED => {
                let page = PAGE_SIZE as u64;
                let end = if len == 0 { u64::MAX } else { offset.saturating_add(len) };
                // A failure is in the file's sequence of errors: the next sync reports it.
                let _reported_later = self.inode().writeback(token, offset..end, task);
                // A page that is only partly in the range is still needed, but for the last one of
                // the file.
                let is_all = end >= self.inode().size();
                let end = if is_all { u64::MAX } else { end - end % page };
                let start = offset.div_ceil(page).saturating_mul(page);
                if start < end {
                    self.inode().evict(token, start..end);
                }
            }
            _ => return Err(Errno::INVAL),
        }
        Ok(())
    }
}
