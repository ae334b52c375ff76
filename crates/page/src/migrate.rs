//! Moving a page to another frame, as compaction does.
//!
//! Neighbours: [`leaf`](crate::leaf) swaps the frames so that lock-free readers see either;
//! [`Removed`] keeps the old one for them. User mappings and pins of the old frame
//! are the caller's business.
#![forbid(unsafe_code)]

use crate::{Kernel, LockedRun, OwnedFrame, PageIndex, Removed};

impl<'t, K: Kernel> LockedRun<'t, K> {
    /// Copies a valid page to `frame`, and puts that in place of the page's own, which is returned
    /// to wait for readers. All marks stay as they are. For a moment the page does not look
    /// uptodate to readers without a lock, which then wait for it.
    ///
    /// The caller has removed the user mappings of the page, and made sure that nothing else counts
    /// its frame: what is stored through those would be lost.
    ///
    /// # Errors
    /// The frame, with nothing changed, if the page is absent, not uptodate, under writeback, whose
    /// request reads the old frame, or outside the run; or if the frame is another cache's.
    #[doc(alias = "migrate_folio")]
    pub fn replace<'f>(
        &mut self,
        index: PageIndex,
        mut frame: OwnedFrame<'f, K>,
    ) -> Result<Removed<'t, K>, OwnedFrame<'f, K>> {
        let bit = index.bit();
        let is_idle = self.run().contains(index) && self.removable(bit) == bit;
        if !is_idle
            || !frame.is_of(self.mapping.cache())
            || self.copy_page(index, &mut frame).is_err()
        {
            return Err(frame);
        }
        let mut replaced = Removed::new(self.mapping.cache(), bit);
        if let Some(old) = self.leaf.replace(index.slot(), frame.into_number()) {
            replaced.push(old);
        }
        Ok(replaced)
    }
}
