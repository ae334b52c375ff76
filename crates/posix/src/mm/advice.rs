//! What a program asks of mappings beside their rights: that they stay in memory (`mlock`), and
//! what becomes of them by `fork` (`madvise`).
#![forbid(unsafe_code)]

use core::ops::Deref;

use alloc::vec::Vec;

use faultless::page::Spin;
use faultless::prelude::PAGE_SIZE;

use crate::errno::Errno;
use crate::mm::area::{Advised, Area};
use crate::mm::space::{AddressSpace, mapped_pages_of};
use crate::system::System;

impl<S: System<Space: Deref<Target = Self>>> AddressSpace<S> {
    /// Sets and clears what is asked of the mappings in a range. That pages of a locked mapping
    /// stay is up to the kernel: [`populate`](Self::populate) brings them in. Takes M for writing.
    ///
    /// # Errors
    /// `EINTR`: the thread is to die. `EINVAL` for an address that is not the start of a page;
    /// `ENOMEM` for a range that does not end, and, after the others were changed, if a page of the
    /// range has no mapping.
    pub fn advise(
        space: &S::Space,
        address: usize,
        len: usize,
        set: Advised,
        clear: Advised,
    ) -> Result<(), Errno> {
        let pages = mapped_pages_of(address, len)?;
        let _areas = space.write_areas()?;
        let mut state = space.state.lock();
        let covered = state.covers(&pages);
        let mut cut = Vec::new();
        state.cut(&pages, &mut cut);
        for area in cut {
            let advised = area.advised.difference(clear) | set;
            state.insert(Area { advised, ..area });
        }
        if covered { Ok(()) } else { Err(Errno::NOMEM) }
    }

    /// Bytes of the mappings of which something is asked (`VmLck`, for
    /// [`LOCKED`](Advised::LOCKED)). Takes the short lock.
    #[must_use]
    pub fn advised_bytes(&self, asked: Advised) -> usize {
        let state = self.state.lock();
        let areas = state.all_areas().filter(|area| area.advised.contains(asked));
        areas.map(|area| area.pages.len() * PAGE_SIZE).sum()
    }
}
