//! A sync and a change of the size that do not sleep: what is kept from one call to the next.
//!
//! Both are in steps that are done with for good: pages of a sync that were sent or waited for, and
//! the moment at which the size changes. A call that is refused goes on there when it is repeated.
#![forbid(unsafe_code)]

use core::ops::Range;

use faultless_page::{Errno, Kernel, SyncKind};

use crate::errors::ErrorCursor;
use crate::nonblocking::{NoSleep, NonBlocking, NotYet};
use crate::syncing::Syncing;
use crate::task::Task;
use crate::token::{InodeLocks, PageLocks};

impl<K: Kernel> NonBlocking<'_, K> {
    /// As [`Inode::fsync_range`](crate::Inode::fsync_range), without sleeping: repeated until it is
    /// not refused, it promises what that does for the first call. It owes the pages that were
    /// dirty or under writeback then. A page refuses it for a writeback in the first pass and for
    /// one in the second; for more only if other callers have sent it again before the call was
    /// repeated.
    ///
    /// The store's [`sync`](faultless_page::AddressSpaceOperations::sync) is made as it is, by the
    /// call that finds nothing left to wait for. Dropping `self` before gives the sync up: nothing
    /// is promised, and nothing is lost.
    ///
    /// # Errors
    /// [`NotYet::WouldWait`]; what `fsync_range` returns is in [`NotYet::Failed`], failures since
    /// the first call included. The next call begins anew then.
    #[doc(alias = "fsync")]
    pub fn fsync_range<T: Task>(
        &mut self,
        token: &mut impl PageLocks,
        kind: SyncKind,
        range: Range<u64>,
        task: &T,
    ) -> Result<(), NotYet> {
        let (synced, mark) = self.sync(token, kind, &range, task)?;
        let told = self.inode.told.report(self.inode.mapping(), mark);
        told.and(synced).map_err(NotYet::Failed)
    }

    /// The same for an open file, as [`Inode::fsync_since`](crate::Inode::fsync_since): `cursor`
    /// moves with the last call.
    ///
    /// # Errors
    /// As `fsync_range`, with every failure since `cursor`.
    pub fn fsync_since<T: Task>(
        &mut self,
        token: &mut impl PageLocks,
        kind: SyncKind,
        range: Range<u64>,
        cursor: &mut ErrorCursor,
        task: &T,
    ) -> Result<(), NotYet> {
        let (synced, _) = self.sync(token, kind, &range, task)?;
        cursor.report(self.inode.mapping()).and(synced).map_err(NotYet::Failed)
    }

    /// How a sync has ended, and where the sequence of failures stood when it began.
    fn sync<T: Task>(
        &mut self,
        token: &mut impl PageLocks,
        kind: SyncKind,
        range: &Range<u64>,
        task: &T,
    ) -> Result<(Result<(), Errno>, ErrorCursor), NotYet> {
        let (inode, task) = (self.inode, NoSleep::of(task));
        if inode.is_swapped() {
            return Ok((Ok(()), ErrorCursor::now(inode.mapping())));
        }
        let mut syncing = self.syncing.take().unwrap_or_else(|| Syncing::begin(inode, range));
        let synced = match syncing.go_on(inode, token, &task) {
            Ok(()) => inode.sync_store(kind),
            Err(errno) => match task.refusal(errno) {
                NotYet::Failed(errno) => Err(errno),
                refused => {
                    self.syncing = Some(syncing);
                    return Err(refused);
                }
            },
        };
        Ok((synced, syncing.mark()))
    }

    /// As [`Inode::set_size`](crate::Inode::set_size), without sleeping; repeated until it is not
    /// refused. The size changes once, with the call that has all locks for it. A refusal after
    /// that is for what the cache still holds past the end: the call is to be repeated to have that
    /// freed, and changes no size again, whatever others have done to it. If it is not repeated,
    /// the next change of the size does that.
    ///
    /// # Errors
    /// [`NotYet::WouldWait`]; what `set_size` returns, in [`NotYet::Failed`].
    #[doc(alias = "ftruncate")]
    pub fn set_size<T: Task>(
        &mut self,
        token: &mut impl InodeLocks,
        size: u64,
        task: &T,
    ) -> Result<(), NotYet> {
        let (inode, task) = (self.inode, NoSleep::of(task));
        if !self.has_cut {
            inode.set_size(token, size, &task).map_err(|errno| task.refusal(errno))?;
            self.has_cut = true;
        }
        let finished = inode.finish_cut(token, &task).map_err(|errno| task.refusal(errno));
        if let Err(NotYet::WouldWait(_)) = finished {
            return finished;
        }
        // A task that is to die leaves the rest to the next change of the size.
        self.has_cut = false;
        Ok(())
    }
}
