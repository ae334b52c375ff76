//! Calls on memory: those on mappings of files of the folder.

use core::ops::Range;

use alloc::vec::Vec;

use faultless::prelude::{InFault, PAGE_SIZE};
use faultless_posix::{AddressSpace, Errno, MapRequest, Rights, Sharing};
use syscalls::Sysno;

use crate::call::{Call, Outcome, done, done_raw, file, linux_errno, put};
use crate::kernel::{OpenFile, Program};
use crate::process::Process;
use crate::raw;
use crate::table::reserve;
use crate::task::Running;

type Memory = AddressSpace<Program>;

/// `mmap`.
pub(super) fn map(call: &mut Call<'_>) -> Outcome {
    let [address, length, _, flags, ..] = call.args;
    let anonymous = flags & libc::MAP_ANONYMOUS as usize != 0;
    let fixed = flags & libc::MAP_FIXED as usize != 0;
    match file(call, 4) {
        Some(file) if !anonymous => match map_file(call, file) {
            Ok(at) => done_raw(at as isize),
            Err(errno) => done(Err(errno)),
        },
        _ => {
            // What Linux maps there takes the place of files' pages.
            let replaces = fixed
                && address.is_multiple_of(PAGE_SIZE)
                && has_files(call.process, address, length);
            if replaces {
                let result = Memory::unmap(&call.process.space, address, length);
                debug_assert!(result.is_ok(), "a range of pages");
            }
            Outcome::Pass
        }
    }
}

fn map_file(call: &mut Call<'_>, file: OpenFile) -> Result<usize, Errno> {
    let [address, length, rights, flags, _, offset] = call.args;
    let sharing = match flags as i32 & libc::MAP_TYPE {
        libc::MAP_SHARED | libc::MAP_SHARED_VALIDATE => Sharing::Shared,
        libc::MAP_PRIVATE => Sharing::Private,
        _ => return Err(Errno::INVAL),
    };
    let rights = Rights::from_bits_truncate(rights as u32);
    let request =
        MapRequest { description: file, offset: offset as u64, len: length, rights, sharing };
    let pages = request.check()?;
    let at = reserve_at(address, pages * PAGE_SIZE, flags as i32)?;
    Memory::map(&call.process.space, at, request)?;
    // Also what `map` has taken out.
    reserve(&(at / PAGE_SIZE..at / PAGE_SIZE + pages));
    let populates = (libc::MAP_POPULATE | libc::MAP_LOCKED) as usize;
    if flags & populates != 0 {
        // Linux does not tell of pages that it could not bring in.
        let _not_reported = populate(call.process, at, pages * PAGE_SIZE);
    }
    Ok(at)
}

/// Has Linux find room, and maps nothing there.
fn reserve_at(address: usize, length: usize, flags: i32) -> Result<usize, Errno> {
    let placed = flags & (libc::MAP_FIXED | libc::MAP_FIXED_NOREPLACE | libc::MAP_32BIT);
    let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE | placed;
    let args = [address, length, libc::PROT_NONE as usize, flags as usize, usize::MAX, 0];
    // SAFETY: the address is the program's to choose, as it would be without this library.
    let at = unsafe { raw::call(Sysno::mmap, args) };
    usize::try_from(at).map_err(|_| linux_errno(at))
}

fn populate(process: &Process, address: usize, length: usize) -> Result<(), Errno> {
    // SAFETY: at the entry of a system call no page lock is held.
    let mut token = unsafe { InFault::enter() };
    Memory::populate(&process.space, &mut token, address, length, &Running)
}

fn end(address: usize, length: usize) -> usize {
    address.saturating_add(length)
}

/// Whether the range has a page of a mapping of a file.
fn has_files(process: &Process, address: usize, length: usize) -> bool {
    process.space.has_mapping_in(address..end(address, length))
}

/// The parts of a range, in order: whether each is of a mapping of a file.
fn parts_of(process: &Process, address: usize, length: usize) -> Vec<(Range<usize>, Backing)> {
    let length = length.next_multiple_of(PAGE_SIZE);
    let (mut at, end) = (address, end(address, length));
    let mut parts = Vec::new();
    for area in process.space.areas() {
        let area = (area.pages.start * PAGE_SIZE).max(at)..(area.pages.end * PAGE_SIZE).min(end);
        if area.is_empty() {
            continue;
        }
        if at < area.start {
            parts.push((at..area.start, Backing::Linux));
        }
        at = area.end;
        parts.push((area, Backing::File));
    }
    if at < end {
        parts.push((at..end, Backing::Linux));
    }
    parts
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Backing {
    Linux,
    File,
}

/// `munmap`.
pub(super) fn unmap(call: &mut Call<'_>) -> Outcome {
    let [address, length, ..] = call.args;
    if !has_files(call.process, address, length) {
        return Outcome::Pass;
    }
    match Memory::unmap(&call.process.space, address, length) {
        // And the room itself.
        Ok(()) => done_raw(raw::harmless(Sysno::munmap, [address, length, 0, 0, 0, 0])),
        Err(errno) => done(Err(errno)),
    }
}

/// `mprotect`.
pub(super) fn protect(call: &mut Call<'_>) -> Outcome {
    let [address, length, rights, ..] = call.args;
    if !has_files(call.process, address, length) {
        return Outcome::Pass;
    }
    for (part, backing) in parts_of(call.process, address, length) {
        let (start, length) = (part.start, part.len());
        if backing == Backing::Linux {
            let result = raw::harmless(Sysno::mprotect, [start, length, rights, 0, 0, 0]);
            if result != 0 {
                return Outcome::Done(result);
            }
            continue;
        }
        let rights = Rights::from_bits_truncate(rights as u32);
        if let Err(errno) = Memory::protect(&call.process.space, start, length, rights) {
            return done(Err(errno));
        }
    }
    done_raw(0)
}

/// `mremap`.
pub(super) fn remap(call: &mut Call<'_>) -> Outcome {
    let [address, old, ..] = call.args;
    if !has_files(call.process, address, old.max(1)) {
        return Outcome::Pass;
    }
    match remap_file(call) {
        Ok(at) => done_raw(at as isize),
        Err(errno) => done(Err(errno)),
    }
}

fn remap_file(call: &mut Call<'_>) -> Result<usize, Errno> {
    let [address, old, new, flags, to, _] = call.args;
    let space = &call.process.space;
    let (may_move, fixed) = (flags & 1 != 0, flags & 2 != 0);
    if !address.is_multiple_of(PAGE_SIZE) || new == 0 || flags & !3 != 0 || (fixed && !may_move) {
        return Err(Errno::INVAL);
    }
    // A length of 0 makes a second mapping of the same pages.
    let (old, new) = (old.next_multiple_of(PAGE_SIZE), new.next_multiple_of(PAGE_SIZE));
    if old == 0 {
        return Err(Errno::INVAL);
    }
    if new < old {
        Memory::unmap(space, address + new, old - new)?;
        raw::harmless(Sysno::munmap, [address + new, old - new, 0, 0, 0, 0]);
    }
    let kept = old.min(new);
    if !fixed && new <= old {
        return Ok(address);
    }
    if !fixed
        && reserve_at(address + old, new - old, libc::MAP_FIXED_NOREPLACE)
            .is_ok_and(|at| at == address + old)
    {
        Memory::extend(space, address + old, new - old)?;
        return Ok(address);
    }
    if !may_move {
        return Err(Errno::NOMEM);
    }
    let place = if fixed { libc::MAP_FIXED } else { 0 };
    if fixed && has_files(call.process, to, new) {
        Memory::unmap(space, to, new)?;
    }
    let at = reserve_at(if fixed { to } else { 0 }, new, place)?;
    Memory::relocate(space, address, at, kept)?;
    if new > kept {
        Memory::extend(space, at + kept, new - kept)?;
    }
    raw::harmless(Sysno::munmap, [address, kept, 0, 0, 0, 0]);
    Ok(at)
}

/// `madvise`.
pub(super) fn advise(call: &mut Call<'_>) -> Outcome {
    let [address, length, advice, ..] = call.args;
    if !has_files(call.process, address, length) {
        return Outcome::Pass;
    }
    let mut result = 0;
    for (part, backing) in parts_of(call.process, address, length) {
        let (start, length) = (part.start, part.len());
        let one = if backing == Backing::Linux {
            raw::harmless(Sysno::madvise, [start, length, advice, 0, 0, 0])
        } else {
            Errno::to_raw(advise_file(call.process, start, length, advice as i32).map(|()| 0))
        };
        result = if result == 0 { one } else { result };
    }
    done_raw(result)
}

fn advise_file(process: &Process, address: usize, length: usize, advice: i32) -> Result<(), Errno> {
    match advice {
        libc::MADV_DONTNEED => Memory::discard(&process.space, address, length),
        libc::MADV_POPULATE_READ | libc::MADV_POPULATE_WRITE => populate(process, address, length),
        libc::MADV_NORMAL
        | libc::MADV_RANDOM
        | libc::MADV_SEQUENTIAL
        | libc::MADV_WILLNEED
        | libc::MADV_HUGEPAGE
        | libc::MADV_NOHUGEPAGE
        | libc::MADV_DONTDUMP
        | libc::MADV_DODUMP
        | libc::MADV_COLD
        | libc::MADV_PAGEOUT => Ok(()),
        libc::MADV_REMOVE => Err(Errno::OPNOTSUPP),
        _ => Err(Errno::INVAL),
    }
}

/// `msync`.
pub(super) fn sync(call: &mut Call<'_>) -> Outcome {
    let [address, length, flags, ..] = call.args;
    if !has_files(call.process, address, length) {
        return Outcome::Pass;
    }
    for (part, backing) in parts_of(call.process, address, length) {
        let (start, length) = (part.start, part.len());
        let result = if backing == Backing::Linux {
            raw::harmless(Sysno::msync, [start, length, flags, 0, 0, 0])
        } else {
            let space = &call.process.space;
            let synced =
                Memory::sync(space, &mut call.token, start, length, flags as u32, &Running);
            Errno::to_raw(synced.map(|()| 0))
        };
        if result != 0 {
            return done_raw(result);
        }
    }
    done_raw(0)
}

/// `mincore`.
pub(super) fn resident(call: &mut Call<'_>) -> Outcome {
    let [address, length, target, ..] = call.args;
    if !has_files(call.process, address, length) {
        return Outcome::Pass;
    }
    match put_resident(call, address, length, target) {
        Ok(()) => done_raw(0),
        Err(errno) => done(Err(errno)),
    }
}

/// Puts a byte for each page of the range, a piece at a time.
fn put_resident(
    call: &mut Call<'_>,
    address: usize,
    length: usize,
    target: usize,
) -> Result<(), Errno> {
    const PIECE: usize = 4096 * PAGE_SIZE;
    let mut target = target;
    for (part, backing) in parts_of(call.process, address, length) {
        for start in part.clone().step_by(PIECE) {
            let length = PIECE.min(part.end - start);
            let bytes = match backing {
                Backing::Linux => resident_in_linux(start, length)?,
                Backing::File => {
                    let pages = Memory::resident(&call.process.space, start, length)?;
                    pages.into_iter().map(u8::from).collect()
                }
            };
            put(call, target, &bytes)?;
            target += bytes.len();
        }
    }
    Ok(())
}

fn resident_in_linux(start: usize, length: usize) -> Result<Vec<u8>, Errno> {
    let mut bytes = alloc::vec![0_u8; length.div_ceil(PAGE_SIZE)];
    let args = [start, length, bytes.as_mut_ptr().addr(), 0, 0, 0];
    // SAFETY: the buffer is ours.
    match unsafe { raw::call(Sysno::mincore, args) } {
        0 => Ok(bytes),
        failed => Err(linux_errno(failed)),
    }
}

/// `mlock`, `mlock2`, `munlock`: pages of files are brought in, and may leave again.
pub(super) fn lock(call: &mut Call<'_>, number: Sysno) -> Outcome {
    let [address, length, ..] = call.args;
    if !has_files(call.process, address, length) {
        return Outcome::Pass;
    }
    let start = address - address % PAGE_SIZE;
    let length = end(address, length) - start;
    for (part, backing) in parts_of(call.process, start, length) {
        let (start, length) = (part.start, part.len());
        let result = if backing == Backing::Linux {
            let mut args = call.args;
            args[0] = start;
            args[1] = length;
            raw::harmless(number, args)
        } else if number == Sysno::munlock {
            0
        } else {
            Errno::to_raw(populate(call.process, start, length).map(|()| 0))
        };
        if result != 0 {
            return done_raw(result);
        }
    }
    done_raw(0)
}
