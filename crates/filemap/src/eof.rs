//! The size of a file has three faces: visible, told to the store, durable. This module moves the
//! first two.
//!
//! *Visible* is [`Inode::size`]. A write that grows the file moves it with the page locked that
//! grows (P7), truncation before it looks for pages. *Told* is the argument of the last
//! [`set_size`](AddressSpaceOperations::set_size): every truncation ends with it, and every
//! writeback and sync begins with it, so that what was visible when a sync began becomes durable by
//! it (F3). A write does not tell: what it has grown the file by is dirty, so a writeback follows.
//! *Durable* is the store's.
//!
//! Neighbours: [`truncate`](crate::truncate) changes the size, `write` grows it, `read` asks what
//! was cut off.
#![forbid(unsafe_code)]

use core::sync::atomic::Ordering;

use faultless_page::{AddressSpaceOperations, Kernel, LockedRun, PageIndex, SyncFamily};

use crate::inode::Inode;
use crate::pos::FilePos;

/// Zeroes the page of byte `pos`, which is locked, from there on.
pub(crate) fn zero_to_page_end<K: Kernel>(locked: &mut LockedRun<'_, K>, pos: FilePos) {
    locked.zero(pos.get(), pos.room_in_page());
}

impl<K: Kernel> Inode<K> {
    /// Sets a smaller size and counts that. I is held. Zeros that are stored from here on are seen
    /// together with the count; see `SizeChanges::lowest_cut_since`. A page that is inserted and
    /// not found from here on is inserted by a caller that sees the new size; see
    /// [`size_after_insertion`](Self::size_after_insertion).
    pub(crate) fn shrink_size(&self, size: FilePos) {
        self.size_changes.record_cut(size, || self.mapping().truncate_size(size.get()));
    }

    /// The size, for a caller that has inserted pages, or entries for them, and holds their locks.
    /// Truncation sets the size and then looks for pages; the caller inserts a page and then looks
    /// at the size. With a fence in each, at least one of them sees the other.
    pub(crate) fn size_after_insertion(&self) -> FilePos {
        <K::Sync as SyncFamily>::fence(Ordering::SeqCst);
        self.eof()
    }

    /// The same, and where the first page begins that [moves](crate::moving): a shift does with
    /// what moves as truncation does with the size.
    pub(crate) fn size_and_moving_after_insertion(&self) -> (FilePos, FilePos) {
        <K::Sync as SyncFamily>::fence(Ordering::SeqCst);
        let moving = self.moving.first();
        (self.eof(), moving)
    }

    /// Tells the store the visible size. No page lock is held. The visible size is read inside the
    /// lock, so that of two callers the later one tells the later size.
    pub(crate) fn tell_size(&self) {
        let wait = self.mapping().cache().wait();
        let tell = |size| self.mapping().store().set_size(size);
        self.size_changes.tell(wait, || self.size(), tell);
    }

    /// Makes sure that the store has been told a size that was visible during this call (F3). No
    /// page lock is held.
    ///
    /// The size is read first: if the store was told that one last, it knew it at a later moment.
    /// In the other order a truncation and a growth in between could make an old answer look right.
    pub(crate) fn tell_size_if_new(&self) {
        let size = self.size();
        if !self.size_changes.was_told(size) {
            let wait = self.mapping().cache().wait();
            let tell = |size| self.mapping().store().set_size(size);
            self.size_changes.tell_if_new(wait, || self.size(), tell);
        }
    }

    /// How many bytes of page `index`, which is locked, the store has to have: those of the file
    /// that it was told of (F8). What the file has grown by since is in the cache, or a hole.
    pub(crate) fn bytes_on_store(&self, index: PageIndex) -> usize {
        index.bytes_before(self.size().min(self.size_changes.known()))
    }

    /// Before the end moves up from `size`, in the lock hold that moves it: bytes that a mapping
    /// wrote past the end become zeros (P2), and the page is write-protected, so that the next CPU
    /// store through a mapping faults and asks the store for room again; it may have some up to the
    /// old end only. I is held. Does nothing unless the page of the end is in `locked` and was
    /// mapped writable.
    #[doc(alias = "pagecache_isize_extended")]
    pub(crate) fn write_protect_eof_page(&self, locked: &mut LockedRun<'_, K>, size: FilePos) {
        let end_page = size.page();
        if size.offset_in_page() == 0 || !locked.run().contains(end_page) {
            return;
        }
        let slot = end_page.bit();
        if !locked.wrote_past_eof().contains(slot) {
            return;
        }
        self.write_protect(end_page, end_page.plus(1));
        zero_to_page_end(locked, size);
        locked.clear_wrote_past_eof(slot);
    }
}
