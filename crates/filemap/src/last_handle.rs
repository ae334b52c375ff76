//! The end of an inode: what becomes of dirty pages when the last handle goes (F6).
//!
//! [`Inode::close`] sends them, [`Inode::discard`] gives them up. An inode that is just dropped
//! with pages that the store has not got loses them, and the kernel is told: see
//! [`Kernel::dirty_pages_dropped`].
#![forbid(unsafe_code)]

use faultless_page::{AddressSpaceOperations, Errno, Kernel, Mark, PageIndex};

use crate::inode::Inode;
use crate::task::Task;
use crate::token::PageLocks;
use crate::writeback::pages;

impl<K: Kernel> Inode<K> {
    /// Sends every dirty page to the store, and tells it the times, before the last handle goes:
    /// the caller has the inode for itself, so that no page becomes dirty afterwards. Does not sync
    /// the store: that is [`fsync`](Self::fsync), before.
    ///
    /// May sleep. No page lock is held.
    ///
    /// # Errors
    /// As [`writeback`](Self::writeback): the pages are still dirty. The caller tries again, or
    /// [discards](Self::discard) the inode.
    #[doc(alias = "iput_final")]
    #[doc(alias = "write_inode_now")]
    pub fn close<T: Task>(&mut self, token: &mut impl PageLocks, task: &T) -> Result<(), Errno> {
        if self.is_swapped() {
            return Ok(());
        }
        self.writeback(token, 0..u64::MAX, task)?;
        self.tell_times();
        Ok(())
    }

    /// Drops the inode and gives up its dirty pages: for a file that no longer has a name, or whose
    /// store is gone. Does not sleep, but for the ends of read sections.
    #[doc(alias = "truncate_inode_pages_final")]
    pub fn discard(mut self) {
        self.discarded = true;
    }

    /// Pages of the file that are dirty or under writeback. Exact if no other caller uses the
    /// inode. What a truncation that was not completed has left past the end is not in the file.
    fn unclean_pages(&self) -> u64 {
        let (_, end) = pages(&(0..self.size()));
        let mut from = PageIndex::ZERO;
        let mut pages = 0;
        while let Some(run) = self.mapping().find(from, end, Mark::Unclean) {
            pages += u64::from(run.pages());
            from = run.end();
        }
        pages
    }
}

impl<K: Kernel> Drop for Inode<K> {
    fn drop(&mut self) {
        if self.discarded || self.is_swapped() || !self.mapping().store().is_persistent() {
            return;
        }
        let lost = self.unclean_pages();
        if lost > 0 {
            K::dirty_pages_dropped(self.mapping().id(), lost);
        }
    }
}
