//! Reads and writes of open files, and what else is done with them by descriptor.
#![forbid(unsafe_code)]

use faultless::prelude::{MayFault, SyncKind};
use faultless_posix::{Errno, Follow, Kind, RwFlags};
use linux_raw_sys::general as linux;

use crate::calls::call::{Call, Outcome};
use crate::calls::names;
use crate::credentials::WRITE;
use crate::files::{self, APPEND, IMMUTABLE, OpenFile, PipeEnd, Regular, need_changeable, notify};
use crate::memory::{with_buffer, with_vector};
use crate::task::{Running, credentials};

/// The open file of the first argument.
fn file(call: &Call<'_>) -> Result<OpenFile, Errno> {
    call.process.file(call.args[0])
}

/// Calls `body` with the regular file of the first argument.
///
/// # Errors
/// `otherwise` if it is something else.
fn regular<R>(
    call: &mut Call<'_>,
    otherwise: Errno,
    body: impl FnOnce(&Regular, &mut MayFault, [usize; 6]) -> Result<R, Errno>,
) -> Result<R, Errno> {
    let file = file(call)?;
    body(file.regular().ok_or(otherwise)?, &mut call.token, call.args)
}

/// Whether a file is open for reads, or for writes.
pub(super) fn need(file: &OpenFile, without: u32) -> Result<(), Errno> {
    // One that is open for neither is as good as without either.
    let lacks = [without, linux::O_ACCMODE].contains(&(file.flags() & linux::O_ACCMODE));
    if lacks { Err(Errno::BADF) } else { Ok(()) }
}

pub(super) fn read(call: &mut Call<'_>) -> Outcome {
    let file = file(call)?;
    need(&file, linux::O_WRONLY)?;
    let [_, buffer, len, ..] = call.args;
    with_buffer(&mut call.token, buffer, len, |to, token| file.read(token, to))
}

pub(super) fn write(call: &mut Call<'_>) -> Outcome {
    let file = file(call)?;
    need(&file, linux::O_RDONLY)?;
    let [_, buffer, len, ..] = call.args;
    with_buffer(&mut call.token, buffer, len, |from, token| file.write(token, from))
}

pub(super) fn readv(call: &mut Call<'_>) -> Outcome {
    let file = file(call)?;
    need(&file, linux::O_WRONLY)?;
    let [_, vector, count, ..] = call.args;
    with_vector(&mut call.token, vector, count, |to, token| file.read(token, to))
}

pub(super) fn writev(call: &mut Call<'_>) -> Outcome {
    let file = file(call)?;
    need(&file, linux::O_RDONLY)?;
    let [_, vector, count, ..] = call.args;
    with_vector(&mut call.token, vector, count, |from, token| file.write(token, from))
}

/// As [`need`], for a call with a position, which a pipe has not.
fn need_at(file: &OpenFile, without: u32) -> Result<(), Errno> {
    if file.kind::<PipeEnd>().is_some() { Err(Errno::SPIPE) } else { need(file, without) }
}

/// The position that an argument names.
const fn position(call: &Call<'_>) -> Result<u64, Errno> {
    let position = call.args[3] as i64;
    if position < 0 { Err(Errno::INVAL) } else { Ok(position as u64) }
}

pub(super) fn pread(call: &mut Call<'_>) -> Outcome {
    let position = position(call)?;
    let file = file(call)?;
    need_at(&file, linux::O_WRONLY)?;
    let [_, buffer, len, ..] = call.args;
    with_buffer(&mut call.token, buffer, len, |to, token| file.read_at(token, to, position))
}

pub(super) fn pwrite(call: &mut Call<'_>) -> Outcome {
    let position = position(call)?;
    let file = file(call)?;
    need_at(&file, linux::O_RDONLY)?;
    let [_, buffer, len, ..] = call.args;
    with_buffer(&mut call.token, buffer, len, |from, token| file.write_at(token, from, position))
}

pub(super) fn preadv(call: &mut Call<'_>) -> Outcome {
    let position = position(call)?;
    let file = file(call)?;
    need_at(&file, linux::O_WRONLY)?;
    let [_, vector, count, ..] = call.args;
    with_vector(&mut call.token, vector, count, |to, token| file.read_at(token, to, position))
}

pub(super) fn pwritev(call: &mut Call<'_>) -> Outcome {
    position(call)?;
    call.args[5] = 0;
    pwritev2(call)
}

/// The position that `preadv2` or `pwritev2` names, after a look as [`need`] or [`need_at`] has it;
/// `None` for the file's own.
fn position_or_own(file: &OpenFile, position: usize, without: u32) -> Result<Option<u64>, Errno> {
    match position as i64 {
        -1 => need(file, without).map(|()| None),
        ..0 => Err(Errno::INVAL),
        _ => need_at(file, without).map(|()| Some(position as u64)),
    }
}

pub(super) fn preadv2(call: &mut Call<'_>) -> Outcome {
    let file = file(call)?;
    let [_, vector, count, position, _, flags] = call.args;
    let position = position_or_own(&file, position, linux::O_WRONLY)?;
    with_vector(&mut call.token, vector, count, |to, token| {
        let flags = RwFlags::from_raw(flags as u32)?;
        match (file.regular(), position) {
            (Some(file), position) => file.read(token, to, position, flags),
            (None, Some(position)) => file.read_at(token, to, position),
            (None, None) => file.read(token, to),
        }
    })
}

pub(super) fn pwritev2(call: &mut Call<'_>) -> Outcome {
    let file = file(call)?;
    let [_, vector, count, position, _, flags] = call.args;
    let position = position_or_own(&file, position, linux::O_RDONLY)?;
    with_vector(&mut call.token, vector, count, |from, token| {
        let flags = RwFlags::from_raw(flags as u32)?;
        match (file.regular(), position) {
            (Some(file), position) => file.write(token, from, position, flags),
            (None, Some(position)) => file.write_at(token, from, position),
            (None, None) => file.write(token, from),
        }
    })
}

pub(super) fn seek(call: &mut Call<'_>) -> Outcome {
    let [_, offset, whence, ..] = call.args;
    let file = file(call)?;
    if whence as u32 > linux::SEEK_HOLE {
        return Err(Errno::INVAL);
    }
    Ok(file.seek(&mut call.token, offset as i64, whence as u32)? as usize)
}

pub(super) fn ftruncate(call: &mut Call<'_>) -> Outcome {
    let size = u64::try_from(call.args[1] as i64).map_err(|_| Errno::INVAL)?;
    regular(call, Errno::INVAL, |file, token, _| {
        if file.node().flags()? & APPEND != 0 {
            return Err(Errno::PERM);
        }
        file.truncate(token, size)?;
        notify(file.node(), linux::IN_MODIFY);
        Ok(0)
    })
}

pub(super) fn truncate(call: &mut Call<'_>) -> Outcome {
    let size = u64::try_from(call.args[1] as i64).map_err(|_| Errno::INVAL)?;
    let path = names::path(call, 0)?;
    let node = files::look_up(&names::cwd(call), &path, Follow::Last)?;
    match node.kind() {
        Kind::File => {}
        Kind::Directory => return Err(Errno::ISDIR),
        _ => return Err(Errno::INVAL),
    }
    need_changeable(&*node)?;
    credentials().need(&node.attributes()?.status, WRITE)?;
    let _writing = files::Use::writing(&*node)?;
    node.open(linux::O_WRONLY)?.truncate(&mut call.token, size, &Running)?;
    notify(&node, linux::IN_MODIFY);
    Ok(0)
}

/// What `fallocate` may be asked for.
const MODES: u32 = linux::FALLOC_FL_KEEP_SIZE
    | linux::FALLOC_FL_PUNCH_HOLE
    | linux::FALLOC_FL_COLLAPSE_RANGE
    | linux::FALLOC_FL_ZERO_RANGE
    | linux::FALLOC_FL_INSERT_RANGE
    | linux::FALLOC_FL_UNSHARE_RANGE;

pub(super) fn fallocate(call: &mut Call<'_>) -> Outcome {
    let file = file(call)?;
    let [_, mode, offset, len, ..] = call.args;
    let (offset, len) = (offset as i64, len as i64);
    let Some(regular) = file.regular() else {
        if offset < 0 || len <= 0 {
            return Err(Errno::INVAL);
        }
        if mode as u32 & !MODES != 0 {
            return Err(Errno::OPNOTSUPP);
        }
        need(&file, linux::O_RDONLY)?;
        return Err(if file.kind::<PipeEnd>().is_some() { Errno::SPIPE } else { Errno::NODEV });
    };
    let kept = regular.node().flags()?;
    let grows = mode as u32 & !linux::FALLOC_FL_KEEP_SIZE == 0;
    if kept & IMMUTABLE != 0 || (kept & APPEND != 0 && !grows) {
        return Err(Errno::PERM);
    }
    regular.allocate(&mut call.token, mode as u32, offset, len)?;
    notify(regular.node(), linux::IN_MODIFY);
    Ok(0)
}

/// `fsync` and `fdatasync` of an open file.
pub(super) fn sync_file(file: &OpenFile, token: &mut MayFault, kind: SyncKind) -> Outcome {
    if let Some(directory) = file.directory() {
        directory.node().sync_names()?;
        return Ok(0);
    }
    let regular = file.regular().ok_or(Errno::INVAL)?;
    regular.description().sync(token, kind, &Running)?;
    Ok(0)
}

fn sync(call: &mut Call<'_>, kind: SyncKind) -> Outcome {
    sync_file(&file(call)?, &mut call.token, kind)
}

/// `sync`, which reports nothing.
pub(super) fn sync_all(_call: &mut Call<'_>) -> Outcome {
    let _told_by_others = files::sync();
    Ok(0)
}

pub(super) fn fsync(call: &mut Call<'_>) -> Outcome {
    sync(call, SyncKind::All)
}

pub(super) fn fdatasync(call: &mut Call<'_>) -> Outcome {
    sync(call, SyncKind::Data)
}

pub(super) fn syncfs(call: &mut Call<'_>) -> Outcome {
    let file = file(call)?;
    if let Some(file) = file.regular() {
        file.node().sync_all(Some(file.description()))?;
    } else if let Some(directory) = file.directory() {
        directory.node().sync_all(None)?;
    }
    Ok(0)
}

pub(super) fn sync_file_range(call: &mut Call<'_>) -> Outcome {
    const FLAGS: u32 = linux::SYNC_FILE_RANGE_WAIT_BEFORE
        | linux::SYNC_FILE_RANGE_WRITE
        | linux::SYNC_FILE_RANGE_WAIT_AFTER;
    let file = file(call)?;
    let [_, offset, len, flags, ..] = call.args;
    let (offset, len, flags) = (offset as i64, len as i64, flags as u32);
    let is_range = offset >= 0 && len >= 0 && offset.checked_add(len).is_some();
    if flags & !FLAGS != 0 || !is_range {
        return Err(Errno::INVAL);
    }
    if let Some(file) = file.regular() {
        let open = file.description();
        open.write_back_range(&mut call.token, offset as u64, len as u64, flags, &Running)?;
    } else if file.directory().is_none() {
        return Err(Errno::SPIPE);
    }
    Ok(0)
}

pub(super) fn fadvise(call: &mut Call<'_>) -> Outcome {
    let file = file(call)?;
    let [_, offset, len, advice, ..] = call.args;
    let (offset, len) = (offset as u64, len as u64);
    match file.regular() {
        Some(regular) => {
            let open = regular.description();
            open.advise(&mut call.token, offset, len, advice as u32, &Running)?;
            Ok(0)
        }
        None if file.kind::<PipeEnd>().is_some() => Err(Errno::SPIPE),
        None if advice as u32 > linux::POSIX_FADV_NOREUSE || (len as i64) < 0 => Err(Errno::INVAL),
        None => Ok(0),
    }
}

pub(super) fn readahead(call: &mut Call<'_>) -> Outcome {
    let file = file(call)?;
    need(&file, linux::O_WRONLY)?;
    let regular = file.regular().ok_or(Errno::INVAL)?;
    let [_, offset, len, ..] = call.args;
    let (open, advice) = (regular.description(), linux::POSIX_FADV_WILLNEED);
    if len > 0 {
        open.advise(&mut call.token, offset as u64, len as u64, advice, &Running)?;
    }
    Ok(0)
}
