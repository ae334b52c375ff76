//! Where in an address space there is room: the program's data segment, and mappings.
#![forbid(unsafe_code)]

use core::ops::Range;

use faultless::prelude::PAGE_SIZE;
use faultless_posix::{Advised, Area, Errno, MapRequest, Rights};

use crate::limits::STACK;
use crate::memory::{AddressSpace, Machine, Space, USER_END, anonymous_request};

/// The lowest address that is mapped.
const LOWEST: usize = 0x1_0000;

/// Where it ends. Behind it is a gap, so that strings that run off its end fault.
pub(crate) const STACK_END: usize = USER_END - 16 * PAGE_SIZE;

/// Mappings lie below it, the first one highest.
const MAPPINGS_END: usize = STACK_END - STACK - (1 << 20);

/// What an address space knows of its places. Changed, and looked for room, with its lock held.
#[derive(Clone, Debug, Default)]
pub(crate) struct Layout {
    /// The data segment behind the program (`brk`).
    data: Range<usize>,
}

impl Layout {
    /// The data segment begins at `start`, and is empty.
    pub(super) const fn new(start: usize) -> Self {
        let start = start.next_multiple_of(PAGE_SIZE);
        Self { data: start..start }
    }

    /// The hint for a mapping that may lie anywhere.
    pub(crate) const ANYWHERE: usize = 0;

    /// The data segment.
    pub(crate) fn data(&self) -> Range<usize> {
        self.data.clone()
    }

    /// Whether an address lies in the first thread's stack.
    pub(crate) fn is_stack(address: usize) -> bool {
        (STACK_END - STACK..STACK_END).contains(&address)
    }

    /// `brk`: moves the end of the data segment; where it is then. A move that is not possible
    /// leaves it.
    pub(crate) fn set_break(&mut self, space: &Space, end: usize) -> usize {
        let page = |at: usize| at.next_multiple_of(PAGE_SIZE);
        let possible = self.data.start <= end && end < MAPPINGS_END;
        if possible && self.resize(space, page(self.data.end), page(end)).is_ok() {
            self.data.end = end;
        }
        self.data.end
    }

    fn resize(&self, space: &Space, old: usize, new: usize) -> Result<(), Errno> {
        if new < old {
            return AddressSpace::unmap(space, new, old - new);
        }
        if new == old {
            return Ok(());
        }
        if space.has_mapping_in(old..new) {
            return Err(Errno::NOMEM);
        }
        if old > self.data.start && AddressSpace::extend(space, old, new - old).is_ok() {
            return Ok(());
        }
        let rights = Rights::READ | Rights::WRITE;
        AddressSpace::map(space, old, anonymous_request(old, new - old, rights))
    }

    /// Maps where there is room, at `hint` if there is; where that is.
    ///
    /// # Errors
    /// `ENOMEM`; those of `mmap`.
    pub(crate) fn map(
        &self,
        space: &Space,
        hint: usize,
        len: usize,
        request: impl FnOnce(usize) -> Result<MapRequest<Machine>, Errno>,
    ) -> Result<usize, Errno> {
        let address = Self::room(space, hint, len)?;
        AddressSpace::map(space, address, request(address)?)?;
        Ok(address)
    }

    /// Has a mapping that grows (`MAP_GROWSDOWN`) reach down to an address below it, as far as
    /// `limit` bytes and a gap above the next mapping allow.
    ///
    /// # Errors
    /// `ENOMEM`: it may not; `EINTR`.
    pub(crate) fn grow_down(&self, space: &Space, address: usize, limit: u64) -> Result<(), Errno> {
        /// Pages between it and another mapping that a program can access.
        const GAP: usize = 256;
        let page = address / PAGE_SIZE;
        if space.area_at(address).is_some() {
            // Another thread was here before.
            return Ok(());
        }
        let areas = space.areas();
        let at = areas.partition_point(|area| area.pages.start <= page);
        let grows = |area: &&Area<Machine>| area.advised.contains(Advised::GROWS_DOWN);
        let first = areas.get(at).filter(grows).ok_or(Errno::NOMEM)?;
        let parts = areas[at..].iter().take_while(grows);
        let end = parts.fold(first.pages.start, |end, area| {
            if area.pages.start == end { area.pages.end } else { end }
        });
        let below = areas[..at].last().filter(|area| !area.rights.is_empty());
        let has_gap = below.is_none_or(|below| page >= below.pages.end + GAP);
        let fits = ((end - page) * PAGE_SIZE) as u64 <= limit && page >= LOWEST / PAGE_SIZE;
        if !has_gap || !fits {
            return Err(Errno::NOMEM);
        }
        let (start, len) = (page * PAGE_SIZE, (first.pages.start - page) * PAGE_SIZE);
        AddressSpace::map(space, start, anonymous_request(start, len, first.rights))?;
        AddressSpace::advise(space, start, len, first.advised, Advised::empty())
    }

    /// The start of `len` free bytes.
    ///
    /// # Errors
    /// `ENOMEM`.
    pub(crate) fn room(space: &Space, hint: usize, len: usize) -> Result<usize, Errno> {
        let len = len.checked_next_multiple_of(PAGE_SIZE).ok_or(Errno::NOMEM)?;
        let hint = hint / PAGE_SIZE * PAGE_SIZE;
        if hint >= LOWEST
            && let Ok(range) = checked(hint, len)
            && !space.has_mapping_in(range)
        {
            return Ok(hint);
        }
        let mut end = MAPPINGS_END;
        for area in space.areas().iter().rev() {
            let start = area.pages.start * PAGE_SIZE;
            let behind = area.pages.end * PAGE_SIZE;
            if behind <= end && end - behind >= len {
                break;
            }
            end = end.min(start);
        }
        let address = end.checked_sub(len).ok_or(Errno::NOMEM)?;
        if address < LOWEST { Err(Errno::NOMEM) } else { Ok(address) }
    }
}

/// Checks a range of addresses that a program names.
///
/// # Errors
/// `ENOMEM`: not all of it can be mapped.
pub(crate) fn checked(address: usize, len: usize) -> Result<Range<usize>, Errno> {
    let end = address.checked_add(len).filter(|end| *end <= USER_END).ok_or(Errno::NOMEM)?;
    Ok(address..end)
}
