//! Calls that change the address space, by those of [`AddressSpace`].

use core::ops::Range;
use core::sync::atomic::Ordering::Relaxed;

use alloc::vec::Vec;

use faultless::prelude::{InFault, PAGE_SIZE};
use faultless_posix::{AccessMode, Advised, Area, Errno, MapRequest, PageTable, Rights, Sharing};
use linux_raw_sys::general as linux;

use crate::calls::call::{Call, Outcome};
use crate::calls::lock_limit::{has_lock_room, may_lock};
use crate::files::{APPEND, NO_WRITES, OpenFile};
use crate::memory::{
    AddressSpace, Machine, Space, USER_END, anonymous_request, is_anonymous, put, shared_anonymous,
};
use crate::process::{Layout, checked};
use crate::task::Running;

/// The flags of `mmap` that are known; others are refused for `MAP_SHARED_VALIDATE` alone.
const KNOWN: u32 = linux::MAP_TYPE
    | linux::MAP_FIXED
    | linux::MAP_FIXED_NOREPLACE
    | linux::MAP_ANONYMOUS
    | linux::MAP_GROWSDOWN
    | linux::MAP_DENYWRITE
    | linux::MAP_EXECUTABLE
    | linux::MAP_LOCKED
    | linux::MAP_NORESERVE
    | linux::MAP_POPULATE
    | linux::MAP_NONBLOCK
    | linux::MAP_STACK
    | linux::MAP_HUGETLB
    | NEWER
    | SIZES;

/// `MAP_32BIT` and `MAP_ABOVE4G`; the sizes of large pages.
const NEWER: u32 = 0xc0;
const SIZES: u32 = 0x1f << 26;

/// The bits of rights that `mprotect` knows.
const RIGHTS: u32 = linux::PROT_READ
    | linux::PROT_WRITE
    | linux::PROT_EXEC
    | linux::PROT_SEM
    | linux::PROT_GROWSDOWN
    | linux::PROT_GROWSUP;

/// A file with these seals that shared memory is mapped from, or none.
fn request(
    call: &Call<'_>,
    file: Option<&OpenFile>,
    seals: u32,
    len: usize,
    rights: Rights,
) -> Result<Option<MapRequest<Machine>>, Errno> {
    let [_, _, _, flags, _, offset] = call.args;
    let flags = flags as u32;
    let grows = flags & linux::MAP_GROWSDOWN != 0;
    let sharing = match flags & linux::MAP_TYPE {
        linux::MAP_SHARED_VALIDATE if file.is_none() => return Err(Errno::INVAL),
        linux::MAP_SHARED_VALIDATE if flags & !KNOWN != 0 => return Err(Errno::OPNOTSUPP),
        linux::MAP_SHARED | linux::MAP_SHARED_VALIDATE if grows => return Err(Errno::INVAL),
        linux::MAP_SHARED | linux::MAP_SHARED_VALIDATE => Sharing::Shared,
        linux::MAP_PRIVATE => Sharing::Private,
        _ => return Err(Errno::INVAL),
    };
    let Some(file) = file else {
        return match sharing {
            Sharing::Shared => shared_anonymous(len, rights).map(Some),
            Sharing::Private => Ok(None),
        };
    };
    let Some(file) = file.regular() else {
        let mode = AccessMode::from_open_flags(file.flags());
        let stores = sharing == Sharing::Shared && rights.contains(Rights::WRITE);
        if !mode.contains(AccessMode::READ) || (stores && !mode.contains(AccessMode::WRITE)) {
            return Err(Errno::ACCES);
        }
        // A device of zeros is memory without a file; others cannot be mapped.
        if file.attributes()?.status.special != crate::files::ZERO {
            return Err(Errno::NODEV);
        }
        return match sharing {
            Sharing::Shared => shared_anonymous(len, rights).map(Some),
            Sharing::Private => Ok(None),
        };
    };
    if grows {
        return Err(Errno::INVAL);
    }
    let may_store = file.description().mode().contains(AccessMode::WRITE);
    if sharing == Sharing::Shared && may_store && file.node().flags()? & APPEND != 0 {
        return Err(Errno::ACCES);
    }
    let is_sealed = sharing == Sharing::Shared && seals & NO_WRITES != 0;
    if is_sealed && rights.contains(Rights::WRITE) {
        return Err(Errno::PERM);
    }
    // One that cannot be made writable later.
    let description = match is_sealed {
        true => file.node().open(linux::O_RDONLY)?,
        false => file.description().clone(),
    };
    Ok(Some(MapRequest { description, offset: offset as u64, len, rights, sharing }))
}

/// Mappings that a process may have (`max_map_count`).
const MOST: usize = 65_530;

/// Checks that a process may have more mappings: a call makes one, or cuts one at both ends.
///
/// # Errors
/// `ENOMEM`.
pub(super) fn need_areas(space: &Space) -> Result<(), Errno> {
    if space.area_count() + 2 > MOST { Err(Errno::NOMEM) } else { Ok(()) }
}

/// Checks that a process may map more bytes (`RLIMIT_AS`).
///
/// # Errors
/// `ENOMEM`.
fn need_room(call: &Call<'_>, space: &Space, more: usize) -> Result<(), Errno> {
    let [limit, _] = call.process.life.limits.get(linux::RLIMIT_AS as usize)?;
    if limit == u64::MAX {
        return Ok(());
    }
    let mapped: usize = space.areas().iter().map(|area| area.pages.len() * PAGE_SIZE).sum();
    if mapped.saturating_add(more) as u64 > limit { Err(Errno::NOMEM) } else { Ok(()) }
}

pub(super) fn mmap(call: &mut Call<'_>) -> Outcome {
    let [address, len, rights, flags, descriptor, offset] = call.args;
    let (flags, rights) = (flags as u32, Rights::from_bits_truncate(rights as u32));
    if !offset.is_multiple_of(PAGE_SIZE) {
        return Err(Errno::INVAL);
    }
    let is_memory = flags & linux::MAP_ANONYMOUS != 0;
    let file = if is_memory { None } else { Some(call.process.file(descriptor)?) };
    if len == 0 {
        return Err(Errno::INVAL);
    }
    if flags & linux::MAP_HUGETLB != 0 {
        // There are no large pages.
        return Err(if is_memory { Errno::NOMEM } else { Errno::INVAL });
    }
    let len = len.checked_next_multiple_of(PAGE_SIZE).ok_or(Errno::NOMEM)?;
    let memfd = file.as_ref().and_then(|file| file.regular()?.memfd());
    // None is added until it is mapped.
    let seals = memfd.map(|memfd| memfd.seals.lock());
    let sealed = seals.as_ref().map_or(0, |seals| **seals);
    let request = request(call, file.as_ref(), sealed, len, rights)?;
    if let Some(request) = &request {
        request.check()?;
    }
    let at = |at| request.unwrap_or_else(|| anonymous_request(at, len, rights));
    let memory = call.process.memory()?;
    let space = memory.space();
    let layout = memory.layout.lock();
    need_areas(space)?;
    need_room(call, space, len)?;
    let is_locked = flags & linux::MAP_LOCKED != 0;
    if is_locked {
        may_lock(call)?;
    }
    let is_lazily_locked = memory.locks_new_lazily.load(Relaxed);
    let comes_in = is_locked || memory.locks_new.load(Relaxed) || flags & linux::MAP_POPULATE != 0;
    let is_locked = is_locked || memory.locks_new.load(Relaxed) || is_lazily_locked;
    if is_locked && !has_lock_room(call, space, len)? {
        return Err(Errno::AGAIN);
    }
    let address = if flags & (linux::MAP_FIXED | linux::MAP_FIXED_NOREPLACE) != 0 {
        if !address.is_multiple_of(PAGE_SIZE) {
            return Err(Errno::INVAL);
        }
        let range = checked(address, len)?;
        if address == 0 {
            return Err(Errno::PERM);
        }
        if flags & linux::MAP_FIXED_NOREPLACE != 0 && space.has_mapping_in(range) {
            return Err(Errno::EXIST);
        }
        AddressSpace::map(space, address, at(address))?;
        address
    } else {
        layout.map(space, address, len, |address| Ok(at(address)))?
    };
    drop(layout);
    drop(seals);
    if is_memory && flags & linux::MAP_GROWSDOWN != 0 {
        AddressSpace::advise(space, address, len, Advised::GROWS_DOWN, Advised::empty())?;
    }
    if is_locked {
        AddressSpace::advise(space, address, len, Advised::LOCKED, Advised::empty())?;
    }
    if comes_in {
        // Linux does not tell of pages that it could not bring in.
        let _not_reported = populate(space, address, len);
    }
    Ok(address)
}

pub(super) fn populate(space: &Space, address: usize, len: usize) -> Result<(), Errno> {
    // SAFETY: in a system call no page lock is held.
    let mut token = unsafe { InFault::enter() };
    AddressSpace::populate(space, &mut token, address, len, &Running)
}

pub(super) fn munmap(call: &mut Call<'_>) -> Outcome {
    let [address, len, ..] = call.args;
    checked(address, len).map_err(|_| Errno::INVAL)?;
    let memory = call.process.memory()?;
    let space = memory.space();
    let _layout = memory.layout.lock();
    let is_hole = space.area_at(address).is_some_and(|area| {
        area.pages.start * PAGE_SIZE < address && address + len < area.pages.end * PAGE_SIZE
    });
    if is_hole {
        need_areas(space)?;
    }
    AddressSpace::unmap(space, address, len)?;
    Ok(0)
}

pub(super) fn mprotect(call: &mut Call<'_>) -> Outcome {
    let [address, len, rights, ..] = call.args;
    if len == 0 {
        return if address.is_multiple_of(PAGE_SIZE) { Ok(0) } else { Err(Errno::INVAL) };
    }
    const GROWS: u32 = linux::PROT_GROWSDOWN | linux::PROT_GROWSUP;
    if rights as u32 & !RIGHTS != 0 || rights as u32 & GROWS == GROWS {
        return Err(Errno::INVAL);
    }
    let mut range = checked(address, len)?;
    let memory = call.process.memory()?;
    let space = memory.space();
    match rights as u32 & GROWS {
        0 => {}
        // All of it below is meant.
        linux::PROT_GROWSDOWN => {
            let area = space.area_at(address).ok_or(Errno::NOMEM)?;
            if !Layout::is_stack(address) && !area.advised.contains(Advised::GROWS_DOWN) {
                return Err(Errno::INVAL);
            }
            range.start = area.pages.start * PAGE_SIZE;
        }
        _ => return Err(Errno::INVAL),
    }
    need_areas(space)?;
    let end = range.end.next_multiple_of(PAGE_SIZE);
    let rights = Rights::from_bits_truncate(rights as u32);
    if space.area_count() >= MOST {
        return Err(Errno::NOMEM);
    }
    // As far as it is mapped.
    let mapped = space.mapped_end(range.start..end);
    if mapped > range.start {
        AddressSpace::protect(space, range.start, mapped - range.start, rights)?;
    }
    if mapped == end { Ok(0) } else { Err(Errno::NOMEM) }
}

pub(super) fn mremap(call: &mut Call<'_>) -> Outcome {
    let [address, old, new, flags, to, _] = call.args;
    let memory = call.process.memory()?;
    let space = memory.space();
    let _layout = memory.layout.lock();
    let flags = flags as u32;
    let may_move = flags & linux::MREMAP_MAYMOVE != 0;
    let fixed = flags & linux::MREMAP_FIXED != 0;
    let stays = flags & linux::MREMAP_DONTUNMAP != 0;
    let known = linux::MREMAP_MAYMOVE | linux::MREMAP_FIXED | linux::MREMAP_DONTUNMAP;
    let aligned =
        address.is_multiple_of(PAGE_SIZE) && (!(fixed || stays) || to.is_multiple_of(PAGE_SIZE));
    if flags & !known != 0 || ((fixed || stays) && !may_move) || !aligned || new == 0 {
        return Err(Errno::INVAL);
    }
    let pages = |len: usize| len.checked_next_multiple_of(PAGE_SIZE).ok_or(Errno::INVAL);
    let (old, new) = (pages(old)?, pages(new)?);
    if new > USER_END || (stays && old != new) {
        return Err(Errno::INVAL);
    }
    checked(address, old).map_err(|_| Errno::FAULT)?;
    if fixed {
        let target = checked(to, new).map_err(|_| Errno::INVAL)?;
        if target.start < address + old && address < target.end {
            return Err(Errno::INVAL);
        }
    }
    let area = space.area_at(address).ok_or(Errno::FAULT)?;
    need_areas(space)?;
    if old == 0 {
        // Of private memory there is nothing to map again.
        return match (area.sharing, may_move) {
            (Sharing::Private, _) => Err(Errno::INVAL),
            (Sharing::Shared, false) => Err(Errno::NOMEM),
            (Sharing::Shared, true) => map_again(space, area, address, new, fixed.then_some(to)),
        };
    }
    // What grows or moves is one mapping.
    if (new > old || fixed || stays) && area.pages.end * PAGE_SIZE < address + old.min(new) {
        return Err(Errno::FAULT);
    }
    need_room(call, space, if stays { new } else { new.saturating_sub(old) })?;
    if stays {
        return move_to(
            space,
            address,
            old,
            new,
            fixed.then_some(to),
            AddressSpace::relocate_and_keep,
        );
    }
    if new < old {
        AddressSpace::unmap(space, address + new, old - new)?;
    }
    if !fixed && new <= old {
        return Ok(address);
    }
    let end = address + old;
    let has_room =
        !fixed && checked(end, new - old).is_ok_and(|behind| !space.has_mapping_in(behind));
    let is_locked = area.advised.contains(Advised::LOCKED);
    let at = if has_room && AddressSpace::extend(space, end, new - old).is_ok() {
        address
    } else if may_move {
        let (kept, to) = (old.min(new), fixed.then_some(to));
        move_to(space, address, kept, new, to, AddressSpace::relocate)?
    } else {
        return Err(Errno::NOMEM);
    };
    if is_locked && new > old {
        // Linux does not tell of pages that it could not bring in.
        let _not_reported = populate(space, at + old, new - old);
    }
    Ok(at)
}

/// `remap_file_pages`: has pages of a shared mapping show others of its file.
pub(super) fn remap_file_pages(call: &mut Call<'_>) -> Outcome {
    let [address, len, rights, page, ..] = call.args;
    let (address, len) = (address / PAGE_SIZE * PAGE_SIZE, len / PAGE_SIZE * PAGE_SIZE);
    let range = checked(address, len).map_err(|_| Errno::INVAL)?;
    let last = page.checked_add(len / PAGE_SIZE).ok_or(Errno::INVAL)?;
    if rights != 0 || range.is_empty() || last > usize::MAX / PAGE_SIZE {
        return Err(Errno::INVAL);
    }
    let memory = call.process.memory()?;
    let space = memory.space();
    let _layout = memory.layout.lock();
    let area = space.area_at(address).ok_or(Errno::INVAL)?;
    need_areas(space)?;
    if area.sharing != Sharing::Shared || area.pages.end * PAGE_SIZE < range.end {
        return Err(Errno::INVAL);
    }
    let Area { description, rights, sharing, .. } = area;
    let offset = (page * PAGE_SIZE) as u64;
    AddressSpace::map(space, address, MapRequest { description, offset, len, rights, sharing })?;
    Ok(0)
}

/// Maps what a shared mapping shows at another place, too: `mremap` of a length of 0.
fn map_again(
    space: &Space,
    area: Area<Machine>,
    address: usize,
    len: usize,
    to: Option<usize>,
) -> Outcome {
    let to = to.map_or_else(|| Layout::room(space, 0, len), Ok)?;
    let offset = area.index(address / PAGE_SIZE).start();
    let Area { description, rights, sharing, .. } = area;
    AddressSpace::map(space, to, MapRequest { description, offset, len, rights, sharing })?;
    Ok(to)
}

/// Moves `kept` bytes to a place for `new`, which is found if it is not given.
fn move_to(
    space: &Space,
    address: usize,
    kept: usize,
    new: usize,
    to: Option<usize>,
    relocate: impl FnOnce(&Space, usize, usize, usize) -> Result<(), Errno>,
) -> Outcome {
    let to = match to {
        Some(to) => {
            let overlaps = to < address + kept && address < to + new;
            if overlaps {
                return Err(Errno::INVAL);
            }
            AddressSpace::unmap(space, to, new)?;
            to
        }
        None => Layout::room(space, 0, new)?,
    };
    // The tables of the new place first: private copies must not be lost on the way.
    let is_short = space.with_table(|table| {
        (to..to + kept).step_by(PAGE_SIZE).for_each(|at| table.prepare(at / PAGE_SIZE));
        table.was_short(None)
    });
    if is_short {
        return Err(Errno::NOMEM);
    }
    relocate(space, address, to, kept)?;
    if new > kept {
        AddressSpace::extend(space, to + kept, new - kept)?;
    }
    Ok(to)
}

pub(super) fn msync(call: &mut Call<'_>) -> Outcome {
    let [address, len, flags, ..] = call.args;
    let memory = call.process.memory()?;
    AddressSpace::sync(memory.space(), &mut call.token, address, len, flags as u32, &Running)?;
    Ok(0)
}

pub(super) fn mincore(call: &mut Call<'_>) -> Outcome {
    const PIECE: usize = 4096 * PAGE_SIZE;
    let [address, len, mut target, ..] = call.args;
    let memory = call.process.memory()?;
    if !address.is_multiple_of(PAGE_SIZE) {
        return Err(Errno::INVAL);
    }
    let range = checked(address, len)?;
    for start in range.clone().step_by(PIECE) {
        let space = memory.space();
        let len = PIECE.min(range.end - start);
        let mut pages = AddressSpace::resident(space, start, len)?;
        untouched(space, start, &mut pages);
        let bytes: Vec<u8> = pages.into_iter().map(u8::from).collect();
        put(&mut call.token, target, &bytes)?;
        target = target.wrapping_add(bytes.len());
    }
    Ok(0)
}

/// Takes pages of memory without a file out of those that are resident, if the program has not
/// touched them: the page of zeros that they show is always there.
fn untouched(space: &Space, start: usize, resident: &mut [bool]) {
    let first = start / PAGE_SIZE;
    let areas = space.areas().into_iter().filter(|area| is_anonymous(&area.description));
    let shown = areas.map(|area| {
        let Range { start, end } = area.pages;
        start.max(first)..end.min(first + resident.len())
    });
    let shown: Vec<Range<usize>> = shown.collect();
    space.with_table(|table| {
        for page in shown.into_iter().flatten() {
            resident[page - first] &= table.get(page).is_some();
        }
    });
}

pub(super) fn brk(call: &mut Call<'_>) -> Outcome {
    let memory = call.process.memory()?;
    let mut layout = memory.layout.lock();
    let data = layout.data();
    let [limit, _] = call.process.life.limits.get(linux::RLIMIT_DATA as usize)?;
    let wanted = call.args[0].saturating_sub(data.start);
    let more = call.args[0].saturating_sub(data.end);
    if more > 0 && (wanted as u64 > limit || need_room(call, memory.space(), more).is_err()) {
        return Ok(data.end);
    }
    Ok(layout.set_break(memory.space(), call.args[0]))
}
