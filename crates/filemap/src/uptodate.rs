//! Filling pages from the store.
#![forbid(unsafe_code)]

use faultless_page::{
    AddressSpaceOperations, Count, Errno, FrameBatch, Kernel, LockedRun, PageIndex, PageRun,
};

use crate::inode::Inode;
use crate::task::Task;
use crate::token::PageLocks;

impl<K: Kernel> Inode<K> {
    /// Makes pages of `run` present and uptodate: the first one, and of the others those for which
    /// frames can be had at once. Pages past the end are left alone. May sleep.
    ///
    /// To insist on all of them would not end: an allocator that reclaims may take for the last
    /// pages what the first ones got (L1).
    ///
    /// # Errors
    /// [`Errno::NoMemory`], the store's error for the first page that could not be read (pages
    /// before it are uptodate), or [`Errno::Interrupted`].
    pub(crate) fn make_uptodate<T: Task>(
        &self,
        token: &mut impl PageLocks,
        run: PageRun,
        task: &T,
    ) -> Result<(), Errno> {
        let killed = || task.fatal_signal_pending();
        let mut wanted = 0;
        loop {
            let mut batch = match wanted {
                0 => None,
                pages => Some(self.mapping().cache().allocate(pages)?),
            };
            let locks = token.page_locks();
            let mut locked = self.mapping().lock_or_create_killable(locks, run, &killed)?;
            wanted = self.fill_locked(&mut locked, &mut batch)?;
            if wanted == 0 || locked.uptodate().contains(run.first().bit()) {
                return Ok(());
            }
            if killed() {
                return Err(Errno::Interrupted);
            }
        }
    }

    /// Fills the pages of a locked run that are not uptodate, with frames from `batch` where
    /// absent. How many frames are missing: 0 when all is done.
    ///
    /// # Errors
    /// The store's.
    pub(crate) fn fill_locked(
        &self,
        locked: &mut LockedRun<'_, K>,
        batch: &mut Option<FrameBatch<'_, K>>,
    ) -> Result<u32, Errno> {
        let run = locked.run();
        let size = self.size();
        for number in run.first().get()..run.end().get() {
            let index = PageIndex::new(number);
            let slot = index.bit();
            if index.start() >= size {
                break;
            }
            if locked.uptodate().contains(slot) {
                continue;
            }
            if !locked.present().contains(slot) {
                let Some(frame) = batch.as_mut().and_then(FrameBatch::take_first) else {
                    let absent = locked.mask() - locked.present();
                    return Ok(absent.count_from(index.slot()));
                };
                // The slot is absent and locked by us: the frame cannot be refused.
                let _ = locked.insert(index, frame);
            }
            self.read_page(locked, index)?;
        }
        Ok(0)
    }

    /// Fills a present, locked page from the store and makes it uptodate. What lies past the end
    /// reads as zeros (P2).
    ///
    /// # Errors
    /// The store's, or [`Errno::Io`] if it answered less than the file has of this page (F8); the
    /// page stays not uptodate.
    pub(crate) fn read_page(
        &self,
        locked: &mut LockedRun<'_, K>,
        index: PageIndex,
    ) -> Result<(), Errno> {
        let needed = self.bytes_on_store(index);
        locked.fill(index, 0, |buf| {
            self.mapping().store().read(index, buf)?;
            // The file may have become shorter meanwhile, but not longer again: that takes this
            // page's lock.
            let short = buf.filled() < needed.min(self.bytes_on_store(index));
            if short { Err(Errno::Io) } else { Ok(()) }
        })?;
        let page_end = index.plus(1).start();
        let size = self.size_after_insertion().get().max(index.start());
        if size < page_end {
            locked.zero(size, (page_end - size) as usize);
        }
        locked.set_uptodate(index.bit());
        K::count(Count::Filled, 1);
        Ok(())
    }
}
