//! Moving pages to other frames: compaction, and memory that is to go offline.
#![forbid(unsafe_code)]

use faultless_page::{Errno, Kernel, OwnedFrame, PageIndex, PageRun};

use crate::inode::Inode;
use crate::task::{Caller, Task};
use crate::token::PageLocks;

/// A page that has stayed where it is.
#[derive(Debug)]
pub struct NotMigrated<'f, K: Kernel> {
    /// Why: see [`Inode::migrate`].
    pub errno: Errno,
    /// The frame that it was to move to.
    pub frame: OwnedFrame<'f, K>,
}

impl<K: Kernel> Inode<K> {
    /// Moves page `index` to `frame`, with all its marks: a dirty page stays dirty. The old frame
    /// is released after the last reader. User mappings of the page are removed, and come back by
    /// faults, which wait until it has moved; private copies stay.
    ///
    /// Which frame is free is for the caller to find, before the call: nothing is allocated here.
    ///
    /// Sleeps for the page's lock, and so for a read of the store that is under way; then for
    /// readers, with nothing locked. No page lock is held; I need not be. A caller that must not
    /// wait for a lock passes a task that is to die: a free page is locked all the same.
    ///
    /// # Errors
    /// Nothing has changed, but for mappings that may have been removed:
    /// - [`Errno::Invalid`]: the page is not in the cache or not valid, or the frame is another
    ///   cache's;
    /// - [`Errno::Busy`]: the page is under writeback, or pinned: its frame is counted by something
    ///   else than the mapping and page tables (F5);
    /// - [`Errno::Interrupted`]: a fatal signal while waiting for the lock (L3).
    #[doc(alias = "migrate_pages")]
    pub fn migrate<'f, T: Task>(
        &self,
        token: &mut impl PageLocks,
        index: PageIndex,
        frame: OwnedFrame<'f, K>,
        task: &T,
    ) -> Result<(), NotMigrated<'f, K>> {
        let (run, slot) = (PageRun::single(index), index.bit());
        let killed = Caller(task);
        let mut locked = match self.mapping().lock_killable(token.page_locks(), run, &killed) {
            Ok(Some(locked)) if locked.uptodate().contains(slot) => locked,
            Ok(_) => return Err(NotMigrated { errno: Errno::Invalid, frame }),
            Err(errno) => return Err(NotMigrated { errno, frame }),
        };
        let is_idle = locked.writeback().is_empty();
        // A store through a mapping goes to the old frame up to here, and nowhere until the unlock.
        if !is_idle || self.unmap_unpinned(&locked, slot).is_empty() {
            return Err(NotMigrated { errno: Errno::Busy, frame });
        }
        let replaced = locked.replace(index, frame);
        drop(locked);
        // The old frame waits for readers, with nothing locked.
        replaced.map(drop).map_err(|frame| NotMigrated { errno: Errno::Invalid, frame })
    }
}
