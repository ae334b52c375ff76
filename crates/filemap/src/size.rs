//! What has to happen around the end of the file when it moves, or was to move.
#![forbid(unsafe_code)]

use core::sync::atomic::Ordering;

use faultless_page::{
    AddressSpaceOperations, Kernel, PAGE_SIZE, PageIndex, PageRun, Unmap, UserMappings, Word,
};

use crate::inode::Inode;
use crate::token::PageLocks;

impl<K: Kernel> Inode<K> {
    /// Before the end moves up from `size`: what a mapping stored past it becomes zeros (P2), and the next store through a mapping
    /// of that page asks the store for room again, since it may have some up to the old end only. I is held, no page lock.
    #[doc(alias = "pagecache_isize_extended")]
    pub(crate) fn seal_end(&self, may: &mut impl PageLocks, size: u64) {
        if size.is_multiple_of(PAGE_SIZE as u64) || !self.was_mapped_writable() {
            return;
        }
        let run = PageRun::single(PageIndex::containing(size));
        let mapping = self.mapping();
        let Some(mut locked) = mapping.lock(may.page_locks(), run) else { return };
        let scribbled = locked.present() & locked.scribbled() != 0;
        mapping.user_mappings().unmap(mapping.id(), run.first(), run.end(), Unmap::WriteProtect);
        if scribbled {
            // Zeroing stops at the end of the run.
            locked.zero(size, PAGE_SIZE);
        }
    }

    /// How far a page has to have room before it is mapped writable, so that no store ever lands in the file without: up to the end
    /// of the file, or of the page if somebody may be about to move the end up. The page is locked, and
    /// [`note_writable_mapping`](Self::note_writable_mapping) has been called.
    pub(crate) fn room_for_stores(&self, index: PageIndex) -> u64 {
        let page_end = index.plus(1).start();
        if self.size() >= page_end {
            return page_end;
        }
        if self.lock.is_locked() {
            self.spare_room.store(1, Ordering::Relaxed);
            return page_end.min(self.max_size());
        }
        // Whoever takes I from now on waits for this page in `seal_end`.
        self.size().min(page_end)
    }

    /// At the end of a change of the size: gives back the room past the end that faults asked for meanwhile. A fault that asks after we
    /// have looked, while I is still held, leaves its room to the next change. I is held, no page lock.
    pub(crate) fn give_back_spare_room(&self, may: &mut impl PageLocks) {
        if self.spare_room.load(Ordering::Relaxed) == 0 {
            return;
        }
        self.spare_room.store(0, Ordering::Relaxed);
        let run = PageRun::single(PageIndex::containing(self.size()));
        // The fault that said so holds the page until it has what it asked for.
        drop(self.mapping().lock(may.page_locks(), run));
        self.give_back(may);
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
