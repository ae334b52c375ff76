//! Changing the size: pages past the new end leave the cache, the last page's tail becomes zeros (P2).
//!
//! Order, under I: set the size; remove user mappings; take pages out under their locks; zero the partial page
//! under its lock; remove user mappings once more, where a fault came in between; tell the store. Writers
//! and fault handlers look at the size again after they have locked a page, so whoever comes later sees the new end.
#![forbid(unsafe_code)]

use faultless_page::{
    AddressSpaceOperations, Errno, Kernel, MAX_FILE_SIZE, Mark, PAGE_SIZE, PageIndex, PageRun,
    Unmap, UserMappings,
};
use faultless_usercopy::MayFault;

use crate::inode::Inode;
use crate::ranges::ByteRange;
use crate::task::Task;
use crate::token::PageLocks;
use crate::write::limits;

impl<K: Kernel> Inode<K> {
    /// Sets the size to `size` bytes: cuts the file off, or extends it with a hole.
    ///
    /// May sleep; takes I. No page lock is held. Readers and mappings of the pages that go lose them: an access through a
    /// mapping past the new end is `SIGBUS`.
    ///
    /// # Errors
    /// [`Errno::FileTooBig`] above the store's maximum, or, when extending, above the task's limit, with
    /// its signal (W8). Nothing has changed.
    #[doc(alias = "truncate_setsize")]
    #[doc(alias = "ftruncate")]
    pub fn set_size<T: Task>(&self, may: &mut MayFault, size: u64, task: &T) -> Result<(), Errno> {
        if size > self.max_size().min(MAX_FILE_SIZE) {
            return Err(Errno::FileTooBig);
        }
        let _size_lock = self.lock.lock(self.mapping().cache().wait());
        let old = self.size();
        if size > old && size > task.file_size_limit() {
            // The byte that would be the last one is checked as a write would be.
            limits::clip(self.max_size(), size - 1, 1, task)?;
        }
        self.touch(task);
        if size < old {
            self.shrink(may, size);
        } else if size > old {
            self.extend(may, old, size);
        }
        self.give_back_spare_room(may);
        self.mapping().store().set_size(size);
        Ok(())
    }

    fn extend(&self, may: &mut MayFault, old: u64, size: u64) {
        self.seal_end(may, old);
        let run = PageRun::single(PageIndex::containing(old));
        // The size changes under the lock of the page in which the file ended, if there is one (P7).
        let locked = self.mapping().lock(may.page_locks(), run);
        self.mapping().truncate_size(size);
        drop(locked);
    }

    fn shrink(&self, may: &mut MayFault, size: u64) {
        let mapping = self.mapping();
        let first_gone = PageIndex::new(size.div_ceil(PAGE_SIZE as u64));
        let end = PageIndex::new(u64::MAX >> faultless_page::PAGE_SHIFT);
        let maps = mapping.user_mappings();
        // A write that is under way in steps comes before the truncation as a whole, or after it.
        let gone = ByteRange { start: size, end: u64::MAX };
        let _range = self.ranges.acquire(mapping.cache().wait(), gone);
        self.shrink_size(size);
        maps.unmap(mapping.id(), first_gone, end, Unmap::Truncate);
        self.remove_pages(may, first_gone, end);
        self.zero_tail(may, size);
        maps.unmap(mapping.id(), first_gone, end, Unmap::Truncate);
        mapping.prune(first_gone, end);
        self.give_back(may);
    }

    /// Takes every page in `first..end` out of the cache, once its writeback is over.
    fn remove_pages(&self, may: &mut MayFault, first: PageIndex, end: PageIndex) {
        let mapping = self.mapping();
        let mut from = first;
        while let Some(run) = mapping.find(from, end, Mark::Present) {
            let Some(mut locked) = mapping.lock(may.page_locks(), run) else {
                from = run.end();
                continue;
            };
            if locked.writeback() != 0 {
                drop(locked);
                mapping.wait_writeback(run);
                continue;
            }
            let present = locked.present();
            let removed = locked.remove(present);
            drop(locked);
            drop(removed);
            from = run.end();
        }
    }

    /// Zeroes the last page from `size` on, and waits for its writeback, so that blocks can go. The store does the same
    /// with its own copy in [`trim`](AddressSpaceOperations::trim): the page need not be read in or become dirty.
    fn zero_tail(&self, may: &mut MayFault, size: u64) {
        if size.is_multiple_of(PAGE_SIZE as u64) {
            return;
        }
        let run = PageRun::single(PageIndex::containing(size));
        if let Some(mut locked) = self.mapping().lock(may.page_locks(), run)
            && locked.uptodate() != 0
        {
            // Zeroing stops at the end of the run.
            locked.zero(size, PAGE_SIZE);
        }
        self.mapping().wait_writeback(run);
    }
}
