//! What of an open file is in the cache.
#![forbid(unsafe_code)]

use faultless::filemap::CacheStat;

use crate::errno::Errno;
use crate::file::description::Description;
use crate::system::System;

impl<S: System> Description<S> {
    /// `cachestat`: counts the pages that hold bytes of the range, all to the end for a length of
    /// 0. A range that wraps has none, as on Linux. Of pages that were evicted nothing is known.
    /// Does not sleep.
    ///
    /// # Errors
    /// `EINVAL` for flags: there are none.
    pub fn cache_stat(&self, offset: u64, len: u64, flags: u32) -> Result<CacheStat, Errno> {
        if flags != 0 {
            return Err(Errno::INVAL);
        }
        let last = if len == 0 { u64::MAX } else { offset.wrapping_add(len - 1) };
        Ok(self.inode().residency(offset..last.saturating_add(1)))
    }
}
