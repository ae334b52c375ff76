//! What has to happen around the end of the file when it moves, or was to move.
#![forbid(unsafe_code)]

use core::sync::atomic::Ordering;

use faultless_page::{
    AddressSpaceOperations, Kernel, PAGE_SIZE, PageIndex, PageRun, SyncFamily, Unmap, UserMappings,
};

use crate::inode::Inode;
use crate::token::PageLocks;

impl<K: Kernel> Inode<K> {
    /// Zeroes what a mapping stored past the end `size`, before the end moves up (P2). I is held, no page lock.
    pub(crate) fn hide_scribbles(&self, may: &mut impl PageLocks, size: u64) {
        let in_page = (size % PAGE_SIZE as u64) as usize;
        if in_page == 0 || !self.was_mapped_writable() {
            return;
        }
        let run = PageRun::single(PageIndex::containing(size));
        if let Some(mut locked) = self.mapping().lock(may.page_locks(), run)
            && locked.present() & locked.scribbled() != 0
        {
            locked.zero(size, PAGE_SIZE - in_page);
        }
    }

    /// The end has moved up from `old`: the page in which the file ended may have been made writable for the bytes
    /// before `old` only, so the next store through a mapping has to ask the store again. I is held, no page lock.
    #[doc(alias = "pagecache_isize_extended")]
    pub(crate) fn end_moved(&self, may: &mut impl PageLocks, old: u64) {
        if old.is_multiple_of(PAGE_SIZE as u64) {
            return;
        }
        // A fault says that it maps writable, and then looks at the size; with a fence in each, one of the two sees the other.
        <K::Sync as SyncFamily>::fence(Ordering::SeqCst);
        if !self.was_mapped_writable() {
            return;
        }
        let run = PageRun::single(PageIndex::containing(old));
        let mapping = self.mapping();
        // A fault that still goes by the old size sets its entry before it lets the page go.
        let _locked = mapping.lock(may.page_locks(), run);
        mapping.user_mappings().unmap(mapping.id(), run.first(), run.end(), Unmap::WriteProtect);
    }

    /// Returns every block past the size to the store, and forgets that the last page was wholly backed: the cached
    /// knowledge goes with the blocks (W9, Linux b9a4207d). I is held, no page lock.
    pub(crate) fn give_back(&self, may: &mut impl PageLocks) {
        let size = self.size();
        self.mapping().store().trim(size);
        // Afterwards: a page that came in meanwhile may have found blocks that are gone now. Until here nobody
        // relies on them: only a write that grows the file would, and it needs I.
        let run = PageRun::single(PageIndex::containing(size));
        if let Some(mut locked) = self.mapping().lock(may.page_locks(), run) {
            locked.clear_backed(locked.mask());
        }
    }
}
