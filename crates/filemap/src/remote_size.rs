//! A size that has changed on the store: another client has made the file longer or shorter.
//!
//! The store is right, and knows: it is told neither the size nor that blocks are gone, and no size
//! that was visible before is told to it once this has begun; see
//! [`Learning`].
//!
//! Shrinking is a truncation without its last step. Growing has one page that is more than a
//! number: that of the old end, whose bytes past the end are zeros in the cache and may be data on
//! the store. It leaves the cache in the lock hold in which the end moves up, before it moves: a
//! reader that sees the new size does not find the old page.
#![forbid(unsafe_code)]

use core::cmp::Ordering::{Equal, Greater, Less};
use core::pin::pin;

use faultless_page::{
    AddressSpaceOperations, Errno, Kernel, LockedRun, Mark, PageRun, Removed, SlotMask,
};

use crate::inode::Inode;
use crate::invalidate::Dirty;
use crate::pos::FilePos;
use crate::ranges::ByteRange;
use crate::size_changes::Learning;
use crate::task::{Caller, Task};
use crate::token::{InodeLocks, PageLocks};

impl<K: Kernel> Inode<K> {
    /// The file has `size` bytes on the store, since another client has cut it off or extended it.
    ///
    /// *Shorter:* pages past the new end leave the cache and all mappings, private copies included;
    /// the bytes of the last page past the end become zeros. *Longer:* what lies past the old end
    /// is read from the store. The page of the old end has zeros there, and so is dropped and read
    /// again, unless it is dirty and stays. Other pages stay as they are: if they have changed,
    /// too, [`invalidate`](Self::invalidate) them afterwards. Times are the caller's to set.
    ///
    /// `dirty` says what wins if the cache has pages that are newer than the store, each as a
    /// whole:
    /// - *longer*, and the page of the old end is dirty: with [`Dirty::Keep`] it stays as it is,
    ///   and its zeros past the old end replace what the other client has written there;
    ///   [`Dirty::WriteBack`] sends it first, up to the old end (of the block, if the store
    ///   writes whole ones); [`Dirty::Discard`] drops it.
    /// - *shorter*, and pages past the new end are dirty or under writeback: only
    ///   [`Dirty::Discard`] drops them. Otherwise the call fails: once they are sent, the store has
    ///   them and a size to match.
    ///
    /// Reads beside the call see each byte before or after it. A read of bytes that the store no
    /// longer has may fail until the call is made.
    ///
    /// May sleep; takes I and a range. No page lock is held. Not to be called from a call of the
    /// file's own store. A fatal signal that arrives once the file has become shorter does not undo
    /// that; what the cache still holds past the end is then removed by the next change of the
    /// size.
    ///
    /// # Errors
    /// Nothing has changed:
    /// - [`Errno::Busy`]: *shorter*, and pages past the new end are dirty, and not to be discarded;
    ///   *longer*, and the page of the old end cannot go, because it was made dirty again behind
    ///   [`Dirty::WriteBack`], or is pinned, which a reader may have done for a moment;
    /// - [`Errno::FileTooBig`] above the store's maximum;
    /// - [`Errno::Interrupted`]: a fatal signal while waiting (L3);
    /// - [`Errno::NoMemory`]: an index node for the page of the old end (P8);
    /// - with [`Dirty::WriteBack`], as [`writeback`](Self::writeback).
    #[doc(alias = "truncate_pagecache")]
    #[doc(alias = "i_size_write")]
    pub fn size_changed_remotely<T: Task>(
        &self,
        token: &mut impl InodeLocks,
        size: u64,
        dirty: Dirty,
        task: &T,
    ) -> Result<(), Errno> {
        let size = FilePos::at_most(size, self.max_size()).ok_or(Errno::FileTooBig)?;
        let wait = self.mapping().cache().wait();
        let _size_lock = self.lock.lock_killable(wait, &Caller(task))?;
        self.complete_cut(token, task)?;
        match size.cmp(&self.eof()) {
            Equal => Ok(()),
            Less => self.cut_by_store(token, size, dirty, task),
            Greater => self.grown_by_store(token, size, dirty, task),
        }
    }

    fn cut_by_store<T: Task>(
        &self,
        token: &mut impl PageLocks,
        size: FilePos,
        dirty: Dirty,
        task: &T,
    ) -> Result<(), Errno> {
        let learning = self.size_changes.learn(self.mapping().cache().wait());
        self.shrink(token, size, task, || {
            let end = FilePos::MAX.page().plus(1);
            let unclean = self.mapping().find(size.page_from(), end, Mark::Unclean);
            if dirty != Dirty::Discard && unclean.is_some() {
                return Err(Errno::Busy);
            }
            self.size_changes.store_cut_begins(size);
            learning.show(size, || self.shrink_size(size));
            Ok(())
        })
    }

    fn grown_by_store<T: Task>(
        &self,
        token: &mut impl PageLocks,
        size: FilePos,
        dirty: Dirty,
        task: &T,
    ) -> Result<(), Errno> {
        let mapping = self.mapping();
        let (old, wait) = (self.eof(), mapping.cache().wait());
        let learning = self.size_changes.learn(wait);
        if old.offset_in_page() == 0 {
            learning.show(size, || mapping.truncate_size(size.get()));
            return Ok(());
        }
        let run = PageRun::single(old.page());
        if dirty == Dirty::WriteBack {
            self.writeback(token, run.start()..old.get(), task)?;
        }
        let tail = ByteRange { start: run.start(), end: u64::MAX };
        let request = pin!(self.ranges.request());
        let claim = self.ranges.acquire(request.as_ref(), wait, tail, task)?;
        let killed = Caller(task);
        loop {
            let locks = token.page_locks();
            let mut locked = mapping.lock_or_create_killable(locks, run, &killed)?;
            if self.ranges.conflicts(tail, Some(&claim)) {
                drop(locked);
                self.ranges.wait_for(tail, &claim, task)?;
                continue;
            }
            locked.wait_writeback(locked.mask(), &killed)?;
            let moved = self.move_end_up(&mut locked, old, size, dirty, learning);
            drop(locked);
            // What was removed waits for readers, with nothing locked.
            return moved.map(drop);
        }
    }

    /// Takes the page of the old end, which is locked, out of the cache, unless it is dirty and to
    /// be kept; then makes the new size visible.
    ///
    /// # Errors
    /// [`Errno::Busy`]: the page cannot go, and nothing has changed.
    fn move_end_up<'t>(
        &self,
        locked: &mut LockedRun<'t, K>,
        old: FilePos,
        size: FilePos,
        dirty: Dirty,
        learning: Learning<'_, K>,
    ) -> Result<Removed<'t, K>, Errno> {
        let mapping = self.mapping();
        let leaves = match dirty {
            Dirty::Keep if !mapping.store().is_persistent() => SlotMask::EMPTY,
            Dirty::Keep => locked.clean(),
            Dirty::Discard | Dirty::WriteBack => locked.present(),
        };
        let is_free = self.unmap_unpinned(locked, leaves) == leaves;
        if !is_free || (dirty == Dirty::WriteBack && locked.clean() != leaves) {
            return Err(Errno::Busy);
        }
        let removed = locked.remove(leaves);
        // A page that stays is sealed, as before any growth (P2).
        self.write_protect_eof_page(locked, old);
        learning.show(size, || mapping.truncate_size(size.get()));
        Ok(removed)
    }
}
