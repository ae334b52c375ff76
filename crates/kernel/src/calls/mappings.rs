//! Calls that change the address space, by those of [`AddressSpace`].

use faultless::prelude::{InFault, PAGE_SIZE};
use faultless_posix::{Errno, MapRequest, PageTable, Rights, Sharing};
use linux_raw_sys::general as linux;

use crate::calls::call::{Call, Outcome};
use crate::memory::{AddressSpace, Machine, Space, anonymous_request, put, shared_anonymous};
use crate::process::{Layout, Memory, checked};
use crate::task::Running;

/// A file that shared memory is mapped from, or none.
fn request(
    call: &Call<'_>,
    len: usize,
    rights: Rights,
) -> Result<Option<MapRequest<Machine>>, Errno> {
    let [_, _, _, flags, descriptor, offset] = call.args;
    let sharing = match flags as u32 & linux::MAP_TYPE {
        linux::MAP_SHARED | linux::MAP_SHARED_VALIDATE => Sharing::Shared,
        linux::MAP_PRIVATE => Sharing::Private,
        _ => return Err(Errno::INVAL),
    };
    if flags as u32 & linux::MAP_ANONYMOUS != 0 {
        return match sharing {
            Sharing::Shared => shared_anonymous(len, rights).map(Some),
            Sharing::Private => Ok(None),
        };
    }
    let file = call.process.file(descriptor)?;
    let Some(file) = file.regular() else {
        // A device of zeros is memory without a file; others cannot be mapped.
        return if file.attributes()?.status.special == crate::files::ZERO {
            Ok(None)
        } else {
            Err(Errno::NODEV)
        };
    };
    let description = file.description().clone();
    Ok(Some(MapRequest { description, offset: offset as u64, len, rights, sharing }))
}

pub(super) fn mmap(call: &mut Call<'_>) -> Outcome {
    let [address, len, rights, flags, ..] = call.args;
    let (flags, rights) = (flags as u32, Rights::from_bits_truncate(rights as u32));
    if len == 0 {
        return Err(Errno::INVAL);
    }
    let len = len.checked_next_multiple_of(PAGE_SIZE).ok_or(Errno::NOMEM)?;
    let request = request(call, len, rights)?;
    if let Some(request) = &request {
        request.check()?;
    }
    let at = |at| request.unwrap_or_else(|| anonymous_request(at, len, rights));
    let memory = call.process.memory()?;
    let space = memory.space();
    let layout = memory.layout.lock();
    let address = if flags & (linux::MAP_FIXED | linux::MAP_FIXED_NOREPLACE) != 0 {
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
    if flags & (linux::MAP_POPULATE | linux::MAP_LOCKED) != 0 {
        // Linux does not tell of pages that it could not bring in.
        let _not_reported = populate(space, address, len);
    }
    Ok(address)
}

fn populate(space: &Space, address: usize, len: usize) -> Result<(), Errno> {
    // SAFETY: in a system call no page lock is held.
    let mut token = unsafe { InFault::enter() };
    AddressSpace::populate(space, &mut token, address, len, &Running)
}

pub(super) fn munmap(call: &mut Call<'_>) -> Outcome {
    let [address, len, ..] = call.args;
    checked(address, len).map_err(|_| Errno::INVAL)?;
    let memory = call.process.memory()?;
    let _layout = memory.layout.lock();
    AddressSpace::unmap(memory.space(), address, len)?;
    Ok(0)
}

pub(super) fn mprotect(call: &mut Call<'_>) -> Outcome {
    let [address, len, rights, ..] = call.args;
    if len == 0 {
        return if address.is_multiple_of(PAGE_SIZE) { Ok(0) } else { Err(Errno::INVAL) };
    }
    checked(address, len)?;
    let memory = call.process.memory()?;
    let rights = Rights::from_bits_truncate(rights as u32);
    AddressSpace::protect(memory.space(), address, len, rights)?;
    if memory.space().is_covered(address..address + len) { Ok(0) } else { Err(Errno::NOMEM) }
}

pub(super) fn mremap(call: &mut Call<'_>) -> Outcome {
    let [address, old, new, flags, to, _] = call.args;
    let memory = call.process.memory()?;
    let space = memory.space();
    let _layout = memory.layout.lock();
    let flags = flags as u32;
    let may_move = flags & linux::MREMAP_MAYMOVE != 0;
    let fixed = flags & linux::MREMAP_FIXED != 0;
    let known = linux::MREMAP_MAYMOVE | linux::MREMAP_FIXED;
    let aligned = address.is_multiple_of(PAGE_SIZE) && to.is_multiple_of(PAGE_SIZE);
    if flags & !known != 0 || (fixed && !may_move) || !aligned || old == 0 || new == 0 {
        return Err(Errno::INVAL);
    }
    let pages = |len: usize| len.checked_next_multiple_of(PAGE_SIZE).ok_or(Errno::NOMEM);
    let (old, new) = (pages(old)?, pages(new)?);
    checked(address, old).map_err(|_| Errno::FAULT)?;
    if !space.has_mapping_in(address..address + PAGE_SIZE) {
        return Err(Errno::FAULT);
    }
    if fixed {
        checked(to, new)?;
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
    if has_room && AddressSpace::extend(space, end, new - old).is_ok() {
        return Ok(address);
    }
    if !may_move {
        return Err(Errno::NOMEM);
    }
    move_to(space, address, old.min(new), new, fixed.then_some(to))
}

/// Moves `kept` bytes to a place for `new`, which is found if it is not given.
fn move_to(space: &Space, address: usize, kept: usize, new: usize, to: Option<usize>) -> Outcome {
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
    AddressSpace::relocate(space, address, to, kept)?;
    if new > kept {
        AddressSpace::extend(space, to + kept, new - kept)?;
    }
    Ok(to)
}

pub(super) fn madvise(call: &mut Call<'_>) -> Outcome {
    let [address, len, advice, ..] = call.args;
    if !address.is_multiple_of(PAGE_SIZE) {
        return Err(Errno::INVAL);
    }
    let len = checked(address, len).map_err(|_| Errno::INVAL)?.len();
    let memory = call.process.memory()?;
    let space = memory.space();
    match advice as u32 {
        linux::MADV_DONTNEED => AddressSpace::discard(space, address, len)?,
        linux::MADV_POPULATE_READ | linux::MADV_POPULATE_WRITE => populate(space, address, len)?,
        linux::MADV_NORMAL
        | linux::MADV_RANDOM
        | linux::MADV_SEQUENTIAL
        | linux::MADV_WILLNEED
        | linux::MADV_HUGEPAGE
        | linux::MADV_NOHUGEPAGE
        | linux::MADV_DONTDUMP
        | linux::MADV_DODUMP
        | linux::MADV_COLD
        | linux::MADV_PAGEOUT => {}
        _ => return Err(Errno::INVAL),
    }
    if space.is_covered(address..address + len) { Ok(0) } else { Err(Errno::NOMEM) }
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
        let pages = AddressSpace::resident(memory.space(), start, PIECE.min(range.end - start))?;
        let bytes: alloc::vec::Vec<u8> = pages.into_iter().map(u8::from).collect();
        put(&mut call.token, target, &bytes)?;
        target = target.wrapping_add(bytes.len());
    }
    Ok(0)
}

/// Nothing is swapped out: what is brought in stays, but for pages of files.
pub(super) fn mlock(call: &mut Call<'_>) -> Outcome {
    let [address, len, ..] = call.args;
    let start = address / PAGE_SIZE * PAGE_SIZE;
    let end = address.checked_add(len).ok_or(Errno::INVAL)?;
    checked(start, end - start)?;
    let memory: alloc::sync::Arc<Memory> = call.process.memory()?;
    populate(memory.space(), start, end - start)?;
    Ok(0)
}

pub(super) fn brk(call: &mut Call<'_>) -> Outcome {
    let memory = call.process.memory()?;
    let mut layout = memory.layout.lock();
    Ok(layout.set_break(memory.space(), call.args[0]))
}
