//! I/O that passes by the cache (`O_DIRECT`), and what the cache does about it.
//!
//! The transfer is the embedder's: a closure, between the steps here. A read needs the store to
//! have what is dirty. A write also needs that no page of its range is in the cache afterwards.
//! While it runs, it holds the range of its whole pages, so that no buffered write touches them;
//! but reads and faults bring pages in meanwhile, which may be older than what is written. So pages
//! are dropped twice.
//!
//! Neighbours: [`invalidate`](crate::invalidate) drops pages.
#![forbid(unsafe_code)]

use core::ops::Range;
use core::pin::pin;

use faultless_page::{AddressSpaceOperations, Errno, Kernel, PageIndex, PageRun};

use crate::inode::Inode;
use crate::invalidate::Dirty;
use crate::ranges::{ByteRange, RangeGuard};
use crate::task::{Caller, Task};
use crate::token::InodeLocks;
use crate::writeback::pages;

/// How a direct write ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub struct DirectWrite<R> {
    /// What the transfer returned.
    pub result: R,
    /// Pages of the range may be in the cache that are older than what was written: they are
    /// pinned, or were stored to through a mapping meanwhile, in which case they go over what was
    /// written with their next writeback; or a fatal signal ended the wait for them. The embedder
    /// [invalidates](Inode::invalidate) the range once more, from a task that is not to die. Linux
    /// logs that and goes on.
    pub stale: bool,
}

impl<K: Kernel> Inode<K> {
    /// Runs `io`, which reads the bytes of `range` from the store and passes by the cache: the
    /// store has everything by then that was dirty when the call began. Pages stay in the cache.
    ///
    /// May sleep. No page lock is held; nothing is held while `io` runs.
    ///
    /// # Errors
    /// As [`writeback`](Self::writeback); `io` was not called.
    #[doc(alias = "O_DIRECT")]
    pub fn direct_read<L: InodeLocks, T: Task, R>(
        &self,
        token: &mut L,
        range: Range<u64>,
        task: &T,
        io: impl FnOnce(&mut L) -> R,
    ) -> Result<R, Errno> {
        self.writeback(token, range, task)?;
        Ok(io(token))
    }

    /// Runs `io`, which writes the bytes of `range` to the store and passes by the cache: sends
    /// what is dirty of their pages, drops them, and drops once more what came in meanwhile.
    ///
    /// The range lies inside the file: to extend it, set the size first. It stays there: a
    /// truncation waits, as buffered writes to its pages do. Times are stamped and set-id goes
    /// before `io` (W12); the store syncs as for any other write.
    ///
    /// May sleep. No page lock, no range and no I is held. While `io` runs the range is: it may
    /// fault in user memory with `token`, and calls no operation of this file that writes, or that
    /// changes its size.
    ///
    /// # Errors
    /// `io` was not called:
    /// - [`Errno::Invalid`]: the range is empty, or ends past the file, or the store keeps no data
    ///   beside the cache;
    /// - [`Errno::Busy`]: a page of the range is pinned, or gets dirty through a mapping again and
    ///   again. A buffered write is what is left, as on Linux;
    /// - as [`writeback`](Self::writeback); [`Errno::Interrupted`] (L3); [`Errno::NoMemory`] for an
    ///   index node.
    #[doc(alias = "O_DIRECT")]
    #[doc(alias = "generic_file_direct_write")]
    pub fn direct_write<L: InodeLocks, T: Task, R>(
        &self,
        token: &mut L,
        range: Range<u64>,
        task: &T,
        io: impl FnOnce(&mut L) -> R,
    ) -> Result<DirectWrite<R>, Errno> {
        let (first, end) = pages(&range);
        if range.is_empty() || !self.mapping().store().is_persistent() {
            return Err(Errno::Invalid);
        }
        // Whole pages: a buffered write beside the range would read a page that `io` changes, and
        // later send what it has read.
        let whole = ByteRange { start: first.start(), end: end.start() };
        let request = pin!(self.ranges.request());
        let wait = self.mapping().cache().wait();
        let claim = self.ranges.acquire(request.as_ref(), wait, whole, task)?;
        // No truncation cuts into the range from here on.
        if range.end > self.size() {
            return Err(Errno::Invalid);
        }
        self.writeback(token, range, task)?;
        if self.drop_all_slots(token, first..end, &claim, task)? > 0 {
            return Err(Errno::Busy);
        }
        self.file_modified(task);
        let result = io(token);
        let kept = self.drop_pages(token, first..end, Dirty::Keep, Some(&claim), task);
        // Leaves that were made for their locks.
        self.mapping().prune(first, end);
        Ok(DirectWrite { result, stale: kept != Ok(0) })
    }

    /// Drops pages, with every slot of the range locked once, absent ones included: a buffered
    /// write that had locked one before the range was held is over then, or has claimed the rest,
    /// and is waited for. A later one sees the claim. How many pages have stayed.
    ///
    /// # Errors
    /// [`Errno::Interrupted`], [`Errno::NoMemory`].
    fn drop_all_slots<T: Task>(
        &self,
        token: &mut impl InodeLocks,
        all: Range<PageIndex>,
        claim: &RangeGuard<'_, K>,
        task: &T,
    ) -> Result<u64, Errno> {
        let (mapping, killed) = (self.mapping(), Caller(task));
        let mut removals = mapping.removals();
        let (mut from, mut kept) = (all.start, 0);
        while from < all.end {
            let run = PageRun::new(from, all.end.get() - from.get());
            let locks = token.page_locks();
            let mut locked = mapping.lock_or_create_killable(locks, run, &killed)?;
            let bytes = ByteRange { start: run.start(), end: run.end().start() };
            if self.ranges.conflicts(bytes, Some(claim)) {
                drop(locked);
                self.ranges.wait_for(bytes, claim, task)?;
                continue;
            }
            let stay = self.drop_locked(&mut locked, Dirty::Keep, &mut removals, task)?;
            kept += u64::from(stay);
            from = run.end();
        }
        Ok(kept)
    }
}
