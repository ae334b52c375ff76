//! Filling pages from the store.
#![forbid(unsafe_code)]

use faultless_page::{
    AddressSpaceOperations, Errno, FrameBatch, Kernel, LockedRun, PAGE_SIZE, PageIndex, PageRun,
};

use crate::inode::Inode;
use crate::token::PageLocks;

impl<K: Kernel> Inode<K> {
    /// Makes the pages of `run` present and uptodate; those past the end are left alone. May sleep.
    ///
    /// # Errors
    /// [`Errno::NoMemory`], or the store's error for the first page that could not be read; pages before it are uptodate.
    pub(crate) fn make_uptodate(
        &self,
        may: &mut impl PageLocks,
        run: PageRun,
    ) -> Result<(), Errno> {
        let mut wanted = 0;
        loop {
            let mut batch = match wanted {
                0 => None,
                pages => Some(self.mapping().cache().allocate(pages)?),
            };
            let mut locked = self.mapping().lock_or_create(may.page_locks(), run)?;
            wanted = self.fill_locked(&mut locked, &mut batch)?;
            if wanted == 0 {
                return Ok(());
            }
        }
    }

    /// Fills the pages of a locked run that are not uptodate, with frames from `batch` where absent. How many
    /// frames are missing: 0 when all is done.
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
            let slot = 1 << index.slot();
            if index.start() >= size {
                break;
            }
            if locked.uptodate() & slot != 0 {
                continue;
            }
            if locked.present() & slot == 0 {
                let Some(frame) = batch.as_mut().and_then(FrameBatch::take_first) else {
                    let absent = locked.mask() & !locked.present();
                    return Ok((absent >> index.slot()).count_ones());
                };
                // The slot is absent and locked by us: the frame cannot be refused.
                let _ = locked.insert(index, frame);
            }
            self.read_page(locked, index)?;
        }
        Ok(0)
    }

    /// Fills a present, locked page from the store and makes it uptodate. What lies past the end reads as zeros (P2).
    ///
    /// # Errors
    /// The store's; the page stays not uptodate.
    pub(crate) fn read_page(
        &self,
        locked: &mut LockedRun<'_, K>,
        index: PageIndex,
    ) -> Result<(), Errno> {
        locked.fill(index, 0, |buf| self.mapping().store().read(index, buf))?;
        let size = self.size_after_insertion().clamp(index.start(), index.plus(1).start());
        let past_end = index.plus(1).start() - size;
        debug_assert!(past_end <= PAGE_SIZE as u64, "clamped to the page");
        locked.zero(size, past_end as usize);
        locked.set_uptodate(1 << index.slot());
        Ok(())
    }
}
