//! Which pages of an address space are in memory.
#![forbid(unsafe_code)]

use core::ops::Deref;

use alloc::vec::Vec;

use faultless::page::{PageRun, Spin};

use crate::errno::Errno;
use crate::mm::space::{AddressSpace, mapped_pages_of};
use crate::mm::table::PageTable;
use crate::system::System;

impl<S: System<Space: Deref<Target = Self>>> AddressSpace<S> {
    /// `mincore`: for each page of the range, whether an access to it waits for no store: it has an
    /// entry, or the page of the file is in the cache and valid. Takes the short lock, for as long
    /// as it looks: ask for a long range in pieces.
    ///
    /// # Errors
    /// `EINVAL` for an address that is not the start of a page; `ENOMEM` if the range does not end,
    /// or a page of it has no mapping.
    pub fn resident(space: &S::Space, address: usize, len: usize) -> Result<Vec<bool>, Errno> {
        let pages = mapped_pages_of(address, len)?;
        let state = space.state.lock();
        if !state.covers(&pages) {
            return Err(Errno::NOMEM);
        }
        let has_entry = |page| state.table.get(page).is_some();
        let mut resident: Vec<bool> = pages.clone().map(has_entry).collect();
        for area in state.areas(&pages) {
            let shown = area.pages.start.max(pages.start)..area.pages.end.min(pages.end);
            let (mut from, end) = (area.index(shown.start), area.index(shown.end));
            let mut at = shown.start - pages.start;
            while from < end {
                let run = PageRun::new(from, end.get() - from.get());
                for slot in area.inode().resident(run).iter() {
                    resident[at + (slot - from.slot()) as usize] = true;
                }
                at += run.pages() as usize;
                from = run.end();
            }
        }
        Ok(resident)
    }
}
