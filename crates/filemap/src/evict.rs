//! Dropping clean pages: what reclaim and `POSIX_FADV_DONTNEED` ask for.
#![forbid(unsafe_code)]

use core::ops::Range;

use faultless_page::{AddressSpaceOperations, Kernel, Mark, Unmap, UserMappings};

use crate::inode::Inode;
use crate::token::PageLocks;
use crate::writeback::pages;

impl<K: Kernel> Inode<K> {
    /// Drops the clean pages that hold bytes of `range` from the cache, mapped or not; how many. Pages that are
    /// locked, dirty or under writeback stay, and so do all pages of a store that keeps no data elsewhere.
    ///
    /// Waits for no lock. No page lock is held; I need not be.
    #[doc(alias = "invalidate_mapping_pages")]
    pub fn evict(&self, may: &mut impl PageLocks, range: Range<u64>) -> u64 {
        let mapping = self.mapping();
        if !mapping.store().keeps_data() {
            return 0;
        }
        let (mut from, end) = pages(&range);
        let (first, mut evicted) = (from, 0);
        while let Some(run) = mapping.find(from, end, Mark::Present) {
            from = run.end();
            let Some(mut locked) = mapping.try_lock(may.page_locks(), run) else { continue };
            // A page that is mapped writable is dirty: what is clean can be unmapped without loss.
            let clean = locked.clean();
            if clean == 0 {
                continue;
            }
            let (start, stop) = (run.first(), run.end());
            mapping.user_mappings().unmap(mapping.id(), start, stop, Unmap::Evict);
            let removed = locked.remove(clean);
            evicted += u64::from(clean.count_ones());
            drop(locked);
            drop(removed);
        }
        mapping.prune(first, end);
        evicted
    }
}
