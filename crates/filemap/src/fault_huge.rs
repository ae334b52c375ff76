//! One entry of a page table for 2 MiB of a file.
//!
//! Neighbour: [`fault`](crate::fault) resolves a fault for one page, or a few around it; here
//! nothing is read, and pages that are not all there are left to it.
#![forbid(unsafe_code)]

use core::fmt;

use faultless_page::{FrameNumber, Kernel, LockedRun, PAGES_PER_LEAF, PageIndex, Unmap};

use crate::inode::Inode;
use crate::token::{InFault, PageLocks};

/// Leaves of a huge page.
const LEAVES: usize = 8;
/// Pages of one entry that maps 2 MiB.
pub const HUGE_PAGES: u64 = (LEAVES * PAGES_PER_LEAF) as u64;

/// [`HUGE_PAGES`] pages of a file, locked and valid, whose frames follow each other.
pub struct HugeFrames<'f, 't, K: Kernel> {
    locked: &'f [LockedRun<'t, K>; LEAVES],
    first: FrameNumber,
}

impl<K: Kernel> HugeFrames<'_, '_, K> {
    /// The first frame. The others follow it. Whether its address is a multiple of 2 MiB is for
    /// the embedder to look.
    #[must_use]
    pub fn first(&self) -> FrameNumber {
        self.first
    }

    /// The first frame, for an entry that is set: it owns a count of each frame now.
    #[must_use]
    pub fn into_number(self) -> FrameNumber {
        for locked in self.locked {
            let run = locked.run();
            let pages = (run.first().get()..run.end().get()).map(PageIndex::new);
            // All are there: they are valid and locked.
            for frame in pages.filter_map(|page| locked.share_frame(page)) {
                let _owned_by_the_entry = frame.into_number();
            }
        }
        self.first
    }
}

impl<K: Kernel> fmt::Debug for HugeFrames<'_, '_, K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HugeFrames").field("first", &self.first).finish_non_exhaustive()
    }
}

impl<K: Kernel> Inode<K> {
    /// Offers the [`HUGE_PAGES`] pages around page `index` of a shared mapping of this file for one
    /// entry of a page table: `install` is called, with all of them locked, if they lie wholly
    /// inside the file, are all valid, and have frames that follow each other. Its result is
    /// returned; `None` if it was not called, and the fault is for [`fault`](Self::fault).
    ///
    /// The first page is a multiple of [`HUGE_PAGES`]; the embedder calls this if its area maps all
    /// of them, at a user address that is a multiple, too.
    ///
    /// The entry allows loads only: a store to it faults, and dirties its page by itself, so the
    /// embedder splits the entry into entries of pages first. It does the same, or takes the whole
    /// entry away, when [`UserMappings`](faultless_page::UserMappings) is asked to unmap or to
    /// protect one of the pages. `install` is otherwise as for [`fault`](Self::fault): it looks at
    /// the entry again, and sets it only if there is none.
    ///
    /// Does not sleep, and waits for no page. M may be held for reading; no page lock is.
    #[doc(alias = "do_set_pmd")]
    #[doc(alias = "thp")]
    pub fn install_huge<R>(
        &self,
        fault: &mut InFault,
        index: PageIndex,
        install: impl FnOnce(PageIndex, HugeFrames<'_, '_, K>) -> R,
    ) -> Option<R> {
        let first = PageIndex::new(index.get() - index.get() % HUGE_PAGES);
        let end = first.plus(HUGE_PAGES);
        if self.eof().page() < end {
            return None;
        }
        let locked = self.mapping().try_lock_leaves::<LEAVES>(fault.page_locks(), first)?;
        let frame = follow_each_other(&locked)?;
        self.note_user_mapping();
        let installed = install(first, HugeFrames { locked: &locked, first: frame });
        // As after a fault: a truncation sets the size and then unmaps.
        if self.size_after_insertion().page() < end {
            self.unmap(first, end, Unmap::Truncate);
        }
        Some(installed)
    }
}

/// The first frame of these pages, if all of them are valid and each frame follows the one before.
fn follow_each_other<K: Kernel>(locked: &[LockedRun<'_, K>; LEAVES]) -> Option<FrameNumber> {
    let frame = locked.first()?.frame(locked.first()?.run().first())?;
    let mut next = frame;
    for leaf in locked {
        let (run, pages) = (leaf.run(), PAGES_PER_LEAF as u32);
        let is_whole = leaf.uptodate() == run.mask()
            && leaf.frame(run.first()) == Some(next)
            && leaf.contiguous(run.first(), pages) == pages;
        if !is_whole {
            return None;
        }
        next = next.checked_add(pages)?;
    }
    Some(frame)
}
