//! Reads and writes of open files, and what else is done with them by descriptor.
#![forbid(unsafe_code)]

use faultless::prelude::{MayFault, SyncKind};
use faultless_posix::{Errno, RwFlags};
use linux_raw_sys::general as linux;

use crate::calls::call::{Call, Outcome};
use crate::calls::{descriptors, names};
use crate::files::{self, OpenFile, Regular};
use crate::memory::{UserBytes, with_buffer, with_vector};
use crate::task::Running;

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
fn need(file: &OpenFile, without: u32) -> Result<(), Errno> {
    if file.flags() & linux::O_ACCMODE == without { Err(Errno::BADF) } else { Ok(()) }
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

/// A read at a position.
fn read_at(
    file: &Regular,
    token: &mut MayFault,
    to: &mut UserBytes<'_>,
    position: usize,
) -> Outcome {
    let bytes = file.description().read_at(token, to, position as u64, &Running)?;
    file.accessed();
    Ok(bytes)
}

pub(super) fn pread(call: &mut Call<'_>) -> Outcome {
    regular(call, Errno::SPIPE, |file, token, [_, buffer, len, position, ..]| {
        with_buffer(token, buffer, len, |to, token| read_at(file, token, to, position))
    })
}

pub(super) fn pwrite(call: &mut Call<'_>) -> Outcome {
    regular(call, Errno::SPIPE, |file, token, [_, buffer, len, position, ..]| {
        with_buffer(token, buffer, len, |from, token| {
            let flags = RwFlags::empty();
            file.description().write_at(token, from, position as u64, flags, &Running)
        })
    })
}

pub(super) fn preadv(call: &mut Call<'_>) -> Outcome {
    regular(call, Errno::SPIPE, |file, token, [_, vector, count, position, ..]| {
        with_vector(token, vector, count, |to, token| read_at(file, token, to, position))
    })
}

pub(super) fn pwritev(call: &mut Call<'_>) -> Outcome {
    call.args[5] = 0;
    pwritev2(call)
}

pub(super) fn preadv2(call: &mut Call<'_>) -> Outcome {
    if file(call)?.regular().is_none() {
        return if call.args[3] as i64 == -1 { readv(call) } else { Err(Errno::SPIPE) };
    }
    regular(call, Errno::SPIPE, |file, token, [_, vector, count, position, _, flags]| {
        with_vector(token, vector, count, |to, token| {
            let flags = RwFlags::from_raw(flags as u32)?;
            let open = file.description();
            match (position as i64 == -1, flags.contains(RwFlags::NOWAIT)) {
                (true, true) => open.try_read(token, to, &Running),
                (true, false) => open.read(token, to, &Running),
                (false, true) => open.try_read_at(token, to, position as u64, &Running),
                (false, false) => read_at(file, token, to, position),
            }
        })
    })
}

pub(super) fn pwritev2(call: &mut Call<'_>) -> Outcome {
    if file(call)?.regular().is_none() {
        return if call.args[3] as i64 == -1 { writev(call) } else { Err(Errno::SPIPE) };
    }
    regular(call, Errno::SPIPE, |file, token, [_, vector, count, position, _, flags]| {
        with_vector(token, vector, count, |from, token| {
            let flags = RwFlags::from_raw(flags as u32)?;
            if position as i64 == -1 {
                file.description().write(token, from, flags, &Running)
            } else {
                file.description().write_at(token, from, position as u64, flags, &Running)
            }
        })
    })
}

pub(super) fn seek(call: &mut Call<'_>) -> Outcome {
    let file = file(call)?;
    let [_, offset, whence, ..] = call.args;
    let (offset, whence) = (offset as i64, whence as u32);
    if let Some(file) = file.regular() {
        let to = file.description().seek(&mut call.token, offset, whence, &Running)?;
        return Ok(to as usize);
    }
    match file.directory() {
        Some(directory) => Ok(directory.seek(offset, whence)? as usize),
        None if file.is_stream() => Err(Errno::SPIPE),
        None => Ok(0),
    }
}

pub(super) fn ftruncate(call: &mut Call<'_>) -> Outcome {
    regular(call, Errno::INVAL, |file, token, [_, size, ..]| {
        let size = u64::try_from(size as i64).map_err(|_| Errno::INVAL)?;
        file.description().truncate(token, size, &Running)?;
        Ok(0)
    })
}

pub(super) fn truncate(call: &mut Call<'_>) -> Outcome {
    let path = names::path(call, 0)?;
    let size = u64::try_from(call.args[1] as i64).map_err(|_| Errno::INVAL)?;
    let cwd = call.process.cwd.lock().clone();
    let file = descriptors::open_at(call, &cwd, &path, linux::O_WRONLY, 0)?;
    let file = file.regular().ok_or(Errno::INVAL)?;
    file.description().truncate(&mut call.token, size, &Running)?;
    Ok(0)
}

pub(super) fn fallocate(call: &mut Call<'_>) -> Outcome {
    regular(call, Errno::SPIPE, |file, token, [_, mode, offset, len, ..]| {
        let (offset, len) = (offset as i64, len as i64);
        file.description().allocate(token, mode as u32, offset, len, &Running)?;
        Ok(0)
    })
}

fn sync(call: &mut Call<'_>, kind: SyncKind) -> Outcome {
    if let Some(directory) = file(call)?.directory() {
        directory.node().sync_names()?;
        return Ok(0);
    }
    regular(call, Errno::INVAL, |file, token, _| {
        file.description().sync(token, kind, &Running)?;
        Ok(0)
    })
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
    regular(call, Errno::SPIPE, |file, token, [_, offset, len, flags, ..]| {
        let (offset, len) = (offset as u64, len as u64);
        file.description().write_back_range(token, offset, len, flags as u32, &Running)?;
        Ok(0)
    })
}

pub(super) fn fadvise(call: &mut Call<'_>) -> Outcome {
    regular(call, Errno::SPIPE, |file, token, [_, offset, len, advice, ..]| {
        let (offset, len) = (offset as u64, len as u64);
        file.description().advise(token, offset, len, advice as u32, &Running)?;
        Ok(0)
    })
}

/// A position that a call has in the program's memory, or the file's own.
fn position(call: &mut Call<'_>, at: usize, file: &Regular) -> Result<u64, Errno> {
    if at == 0 {
        let seeks = linux::SEEK_CUR;
        return file.description().seek(&mut call.token, 0, seeks, &Running);
    }
    Ok(crate::memory::get_words::<1>(&mut call.token, at)?[0])
}

fn set_position(
    call: &mut Call<'_>,
    at: usize,
    file: &Regular,
    position: u64,
) -> Result<(), Errno> {
    if at == 0 {
        let seeks = linux::SEEK_SET;
        file.description().seek(&mut call.token, position as i64, seeks, &Running)?;
        return Ok(());
    }
    crate::memory::put_words(&mut call.token, at, [position])
}

pub(super) fn copy_file_range(call: &mut Call<'_>) -> Outcome {
    let [from, from_at, to, to_at, len, flags] = call.args;
    if flags != 0 {
        return Err(Errno::INVAL);
    }
    let (from, to) = (call.process.file(from)?, call.process.file(to)?);
    let from = from.regular().ok_or(Errno::INVAL)?;
    let to = to.regular().ok_or(Errno::INVAL)?;
    let source = position(call, from_at, from)?;
    let target = position(call, to_at, to)?;
    let (open, into) = (from.description(), to.description());
    let done = into.copy_from(&mut call.token, open, source, target, len, &Running)?;
    set_position(call, from_at, from, source + done as u64)?;
    set_position(call, to_at, to, target + done as u64)?;
    Ok(done)
}

/// Between regular files. Programs do without it for others.
pub(super) fn sendfile(call: &mut Call<'_>) -> Outcome {
    let [to, from, from_at, len, ..] = call.args;
    call.args = [from, from_at, to, 0, len, 0];
    copy_file_range(call)
}

pub(super) fn ioctl(call: &mut Call<'_>) -> Outcome {
    let file = file(call)?;
    let [_, request, argument, ..] = call.args;
    match request as u32 {
        linux_raw_sys::ioctl::FIOCLEX | linux_raw_sys::ioctl::FIONCLEX => {
            let closes = request as u32 == linux_raw_sys::ioctl::FIOCLEX;
            descriptors::set_on_exec(call, usize::from(closes))
        }
        request => file.control(&mut call.token, request, argument),
    }
}
