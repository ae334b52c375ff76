//! What a program asks of its mappings beside their rights: `madvise`, `mlock` and their kin.

use core::ops::Range;
use core::sync::atomic::Ordering::Relaxed;

use faultless::prelude::{Access, InFault, PAGE_SIZE};
use faultless_posix::{AccessMode, Advised, Area, Errno, Sharing};
use linux_raw_sys::general as linux;

use crate::calls::call::{Call, Outcome};
use crate::calls::lock_limit::{has_lock_room, lock_limit, may_lock};
use crate::calls::mappings::{need_areas, populate};
use crate::calls::names::known;
use crate::memory::{AddressSpace, Machine, Space, USER_END, is_anonymous};
use crate::process::checked;
use crate::task::Running;

pub(super) fn madvise(call: &mut Call<'_>) -> Outcome {
    let [address, len, advice, ..] = call.args;
    if !address.is_multiple_of(PAGE_SIZE) {
        return Err(Errno::INVAL);
    }
    let len = checked(address, len).map_err(|_| Errno::INVAL)?.len();
    let memory = call.process.memory()?;
    let space = memory.space();
    let change = |set, clear| {
        need_areas(space)?;
        AddressSpace::advise(space, address, len, set, clear)
    };
    let none = Advised::empty();
    match advice as u32 {
        linux::MADV_DONTNEED => AddressSpace::discard(space, address, len)?,
        linux::MADV_DONTNEED_LOCKED => AddressSpace::discard_locked(space, address, len)?,
        // What may be lost is kept, and what is not needed soon stays.
        advice @ (linux::MADV_FREE | linux::MADV_COLD | linux::MADV_PAGEOUT) => {
            let range = address / PAGE_SIZE..(address + len).div_ceil(PAGE_SIZE);
            let is_inside = |area: &&Area<Machine>| {
                area.pages.start < range.end && range.start < area.pages.end
            };
            let is_refused = |area: &Area<Machine>| {
                let is_file = advice == linux::MADV_FREE && !is_anonymous(&area.description);
                is_file || area.advised.contains(Advised::LOCKED)
            };
            if space.areas().iter().filter(is_inside).any(is_refused) {
                return Err(Errno::INVAL);
            }
        }
        linux::MADV_REMOVE => return remove(call, address, len),
        linux::MADV_DONTFORK => change(Advised::NOT_FORKED, none)?,
        linux::MADV_DOFORK => change(none, Advised::NOT_FORKED)?,
        linux::MADV_WIPEONFORK => {
            let is_private = |at| {
                let area = space.area_at(at);
                area.is_none_or(|area| is_anonymous(&area.description))
            };
            if !(address..address + len).step_by(PAGE_SIZE).all(is_private) {
                return Err(Errno::INVAL);
            }
            change(Advised::WIPED_BY_FORK, none)?;
        }
        linux::MADV_KEEPONFORK => change(none, Advised::WIPED_BY_FORK)?,
        linux::MADV_POPULATE_READ => bring_in(space, address, len, Access::Read)?,
        linux::MADV_POPULATE_WRITE => bring_in(space, address, len, Access::Write)?,
        linux::MADV_NORMAL
        | linux::MADV_RANDOM
        | linux::MADV_SEQUENTIAL
        | linux::MADV_WILLNEED
        | linux::MADV_MERGEABLE
        | linux::MADV_UNMERGEABLE
        | linux::MADV_HUGEPAGE
        | linux::MADV_NOHUGEPAGE
        | linux::MADV_DONTDUMP
        | linux::MADV_DODUMP => {}
        _ => return Err(Errno::INVAL),
    }
    if space.is_covered(address..address + len) { Ok(0) } else { Err(Errno::NOMEM) }
}

/// Brings pages in for loads, or for stores. A mapping that does not allow these is a mistake of
/// the call, and not an access that fails.
fn bring_in(space: &Space, address: usize, len: usize, access: Access) -> Result<(), Errno> {
    // SAFETY: in a system call no page lock is held.
    let mut token = unsafe { InFault::enter() };
    let brought = AddressSpace::populate_for(space, &mut token, address, len, access, &Running);
    brought.map_err(|why| if why == Errno::ACCES { Errno::INVAL } else { why })
}

/// `MADV_REMOVE`: a hole in the file that a shared mapping shows.
fn remove(call: &mut Call<'_>, address: usize, len: usize) -> Outcome {
    let memory = call.process.memory()?;
    let page = address / PAGE_SIZE;
    let end = (address + len).div_ceil(PAGE_SIZE);
    let area = memory.space().area_at(address).ok_or(Errno::NOMEM)?;
    let is_locked = area.advised.contains(Advised::LOCKED);
    if is_locked || area.sharing != Sharing::Shared {
        return Err(Errno::INVAL);
    }
    if !area.description.mode().contains(AccessMode::WRITE) {
        return Err(Errno::ACCES);
    }
    if area.pages.end < end {
        return Err(Errno::NOMEM);
    }
    let mode = linux::FALLOC_FL_PUNCH_HOLE | linux::FALLOC_FL_KEEP_SIZE;
    let (start, end) = (area.index(page).start(), area.index(end).start());
    let (offset, len) = (start as i64, (end - start) as i64);
    area.description.allocate(&mut call.token, mode, offset, len, &Running)?;
    Ok(0)
}

/// The pages that a range of addresses touches, as a range of addresses. A length that wraps when
/// it is rounded up is 0, as on Linux.
///
/// # Errors
/// `EINVAL` for a range that wraps; `ENOMEM` for one that cannot be mapped.
fn touched(address: usize, len: usize) -> Result<Range<usize>, Errno> {
    let start = address / PAGE_SIZE * PAGE_SIZE;
    let len = len.wrapping_add(address - start).checked_next_multiple_of(PAGE_SIZE).unwrap_or(0);
    start.checked_add(len).ok_or(Errno::INVAL)?;
    checked(start, len)
}

/// Bytes of a range that are not locked yet.
fn unlocked(space: &Space, range: &Range<usize>) -> usize {
    let areas = space.areas();
    let locked = areas.iter().filter(|area| area.advised.contains(Advised::LOCKED));
    let inside = locked.map(|area| {
        let start = range.start.max(area.pages.start * PAGE_SIZE);
        range.end.min(area.pages.end * PAGE_SIZE).saturating_sub(start)
    });
    range.len() - inside.sum::<usize>()
}

/// Nothing is swapped out: what is brought in stays, but for pages of files.
pub(super) fn mlock(call: &mut Call<'_>) -> Outcome {
    call.args[2] = 0;
    mlock2(call)
}

pub(super) fn mlock2(call: &mut Call<'_>) -> Outcome {
    /// Pages are not brought in.
    const ON_FAULT: u32 = 1;
    let [address, len, flags, ..] = call.args;
    known(flags, ON_FAULT)?;
    let range = touched(address, len)?;
    let memory = call.process.memory()?;
    let space = memory.space();
    may_lock(call)?;
    need_areas(space)?;
    if !has_lock_room(call, space, unlocked(space, &range))? {
        return Err(Errno::NOMEM);
    }
    AddressSpace::advise(space, range.start, range.len(), Advised::LOCKED, Advised::empty())?;
    if flags as u32 & ON_FAULT == 0 {
        populate(space, range.start, range.len())?;
    }
    Ok(0)
}

pub(super) fn munlock(call: &mut Call<'_>) -> Outcome {
    let [address, len, ..] = call.args;
    let range = touched(address, len)?;
    let memory = call.process.memory()?;
    let (none, locked) = (Advised::empty(), Advised::LOCKED);
    AddressSpace::advise(memory.space(), range.start, range.len(), none, locked)?;
    Ok(0)
}

pub(super) fn mlockall(call: &mut Call<'_>) -> Outcome {
    const NOW: u32 = 1;
    const NEW: u32 = 2;
    const ON_FAULT: u32 = 4;
    let flags = call.args[0] as u32;
    if flags & !(NOW | NEW | ON_FAULT) != 0 || flags & (NOW | NEW) == 0 {
        return Err(Errno::INVAL);
    }
    let memory = call.process.memory()?;
    let space = memory.space();
    let areas = space.areas();
    may_lock(call)?;
    let all: usize = areas.iter().map(|area| area.pages.len() * PAGE_SIZE).sum();
    if flags & NOW != 0 && all as u64 > lock_limit(call)? {
        return Err(Errno::NOMEM);
    }
    let is_lazy = flags & ON_FAULT != 0;
    memory.locks_new.store(flags & NEW != 0 && !is_lazy, Relaxed);
    memory.locks_new_lazily.store(flags & NEW != 0 && is_lazy, Relaxed);
    if flags & NOW != 0 {
        for area in areas {
            let (start, len) = (area.pages.start * PAGE_SIZE, area.pages.len() * PAGE_SIZE);
            // A mapping that is gone by now needs nothing, and what cannot be brought in stays out.
            let _gone = AddressSpace::advise(space, start, len, Advised::LOCKED, Advised::empty());
            if !is_lazy && !area.rights.is_empty() && len <= MOST_LOCKED {
                let _not_reported = populate(space, start, len);
            }
        }
    }
    Ok(0)
}

/// Bytes of a mapping that `mlockall` brings in, at most.
const MOST_LOCKED: usize = 64 << 20;

pub(super) fn munlockall(call: &mut Call<'_>) -> Outcome {
    let memory = call.process.memory()?;
    memory.locks_new.store(false, Relaxed);
    memory.locks_new_lazily.store(false, Relaxed);
    let (none, locked) = (Advised::empty(), Advised::LOCKED);
    // Not all of it is mapped.
    let _holes = AddressSpace::advise(memory.space(), 0, USER_END, none, locked);
    Ok(0)
}
