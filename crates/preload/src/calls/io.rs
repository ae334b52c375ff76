//! Reads, writes, and what else works on an open file.
#![forbid(unsafe_code)]

use alloc::vec;

use faultless::prelude::{IovIter, KernelMemory, MayFault, SyncKind};
use faultless::usercopy::MAX_RW_COUNT;
use faultless_posix::{Errno, RwFlags};
use syscalls::Sysno;

use super::buffers;
use crate::call::{
    Call, Outcome, done, done_raw, file, get, linux_errno, moved, put, with_buffer, with_vector,
};
use crate::files::files;
use crate::kernel::OpenFile;
use crate::raw;
use crate::task::Running;

/// All forms of `read` and `write`.
pub(super) fn transfer(call: &mut Call<'_>, number: Sysno) -> Outcome {
    let Some(file) = file(call, 0) else {
        buffers::bring_in(call, number);
        return Outcome::Pass;
    };
    let result = transfer_on(call, number, &file);
    moved(result)
}

fn transfer_on(call: &mut Call<'_>, number: Sysno, file: &OpenFile) -> Result<usize, Errno> {
    let [_, at, length, position, _, flags] = call.args;
    let position = position as u64;
    let none = RwFlags::empty();
    let task = &Running;
    match number {
        Sysno::read => with_buffer(call, at, length, |to, token| file.read(token, to, task)),
        Sysno::write => {
            with_buffer(call, at, length, |from, token| file.write(token, from, none, task))
        }
        Sysno::pread64 => {
            with_buffer(call, at, length, |to, token| file.read_at(token, to, position, task))
        }
        Sysno::pwrite64 => with_buffer(call, at, length, |from, token| {
            file.write_at(token, from, position, none, task)
        }),
        Sysno::readv => with_vector(call, at, length, |to, token| file.read(token, to, task)),
        Sysno::writev => {
            with_vector(call, at, length, |from, token| file.write(token, from, none, task))
        }
        Sysno::preadv => {
            with_vector(call, at, length, |to, token| file.read_at(token, to, position, task))
        }
        Sysno::pwritev => with_vector(call, at, length, |from, token| {
            file.write_at(token, from, position, none, task)
        }),
        Sysno::preadv2 => {
            RwFlags::from_raw(flags as u32)?;
            with_vector(call, at, length, |to, token| match position {
                u64::MAX => file.read(token, to, task),
                position => file.read_at(token, to, position, task),
            })
        }
        _ => {
            let flags = RwFlags::from_raw(flags as u32)?;
            with_vector(call, at, length, |from, token| match position {
                u64::MAX => file.write(token, from, flags, task),
                position => file.write_at(token, from, position, flags, task),
            })
        }
    }
}

/// What works on one open file and moves no bytes.
pub(super) fn on_file(call: &mut Call<'_>, number: Sysno) -> Outcome {
    let Some(file) = file(call, 0) else { return Outcome::Pass };
    let [_, first, second, third, ..] = call.args;
    let (token, task) = (&mut call.token, &Running);
    let nothing = |()| 0;
    done(match number {
        Sysno::lseek => {
            file.seek(token, first as i64, second as u32, task).map(|position| position as usize)
        }
        Sysno::ftruncate => file.truncate(token, first as u64, task).map(nothing),
        Sysno::fsync => file.sync(token, SyncKind::All, task).map(nothing),
        Sysno::fdatasync => file.sync(token, SyncKind::Data, task).map(nothing),
        Sysno::sync_file_range => file
            .write_back_range(token, first as u64, second as u64, third as u32, task)
            .map(nothing),
        Sysno::fallocate => file.allocate(second as i64, third as i64).map(nothing),
        _ => file.advise(token, first as u64, second as u64, third as u32, task).map(nothing),
    })
}

/// `sync` and `syncfs`: the files of the folder, and Linux's.
pub(super) fn sync_all() -> Outcome {
    // `sync` reports nothing, and each open file learns of its failures by its own.
    let _reported_later = files().sync();
    Outcome::Pass
}

/// `sendfile`, `copy_file_range`, `splice`.
pub(super) fn between(call: &mut Call<'_>, number: Sysno) -> Outcome {
    let (source, target) = match number {
        Sysno::sendfile => (file(call, 1), file(call, 0)),
        _ => (file(call, 0), file(call, 2)),
    };
    match (number, source, target) {
        (_, None, None) => Outcome::Pass,
        (Sysno::copy_file_range, Some(source), Some(target)) => {
            let result = copy_range(call, &source, &target);
            moved(result)
        }
        (Sysno::sendfile, Some(source), target) => {
            let result = send(call, &source, target.as_ref());
            moved(result)
        }
        // Between a file of the folder and one that is not: as between two file systems.
        (Sysno::copy_file_range, ..) => done_raw(-(libc::EXDEV as isize)),
        _ => done_raw(-(libc::EINVAL as isize)),
    }
}

/// The position that a call was given by address; the file's own without one.
fn position(call: &mut Call<'_>, at: usize, file: &OpenFile) -> Result<u64, Errno> {
    if at == 0 {
        return file.seek(&mut call.token, 0, libc::SEEK_CUR as u32, &Running);
    }
    let mut bytes = [0; 8];
    get(call, at, &mut bytes)?;
    Ok(u64::from_ne_bytes(bytes))
}

/// Moves it behind `bytes`.
fn advance(
    call: &mut Call<'_>,
    at: usize,
    file: &OpenFile,
    (position, bytes): (u64, usize),
) -> Result<(), Errno> {
    let position = position + bytes as u64;
    if at == 0 {
        file.seek(&mut call.token, position as i64, libc::SEEK_SET as u32, &Running)?;
        return Ok(());
    }
    put(call, at, &position.to_ne_bytes())
}

fn copy_range(call: &mut Call<'_>, source: &OpenFile, target: &OpenFile) -> Result<usize, Errno> {
    let [_, from_at, _, to_at, length, flags] = call.args;
    if flags != 0 {
        return Err(Errno::INVAL);
    }
    let from = position(call, from_at, source)?;
    let to = position(call, to_at, target)?;
    let length = length.min(MAX_RW_COUNT);
    let copied = target.copy_from(&mut call.token, source, from, to, length, &Running)?;
    advance(call, from_at, source, (from, copied))?;
    advance(call, to_at, target, (to, copied))?;
    Ok(copied)
}

/// Bytes that are sent at a time.
const PIECE: usize = 16 * 4096;

fn send(call: &mut Call<'_>, source: &OpenFile, target: Option<&OpenFile>) -> Result<usize, Errno> {
    let [target_fd, _, at, length, ..] = call.args;
    let from = position(call, at, source)?;
    let length = length.min(MAX_RW_COUNT);
    let mut buffer = vec![0; PIECE.min(length)];
    let mut sent = 0;
    while sent < length {
        let piece = PIECE.min(length - sent);
        let read = read_kernel(call, source, &mut buffer[..piece], from + sent as u64)?;
        if read == 0 {
            break;
        }
        let step = match target {
            Some(target) => write_kernel(call, target, &buffer[..read])?,
            None => {
                let args = [target_fd, buffer.as_ptr().addr(), read, 0, 0, 0];
                match raw::harmless(Sysno::write, args) {
                    result if result >= 0 => result as usize,
                    _ if sent > 0 => break,
                    result => {
                        return Err(linux_errno(result));
                    }
                }
            }
        };
        sent += step;
        if step < read {
            break;
        }
    }
    advance(call, at, source, (from, sent))?;
    Ok(sent)
}

fn read_kernel(
    call: &mut Call<'_>,
    source: &OpenFile,
    buffer: &mut [u8],
    position: u64,
) -> Result<usize, Errno> {
    let memory = KernelMemory::<MayFault>::writable(buffer);
    let slice = memory.slice();
    let mut to = IovIter::from_slice(&memory, &slice);
    source.read_at(&mut call.token, &mut to, position, &Running)
}

fn write_kernel(call: &mut Call<'_>, target: &OpenFile, buffer: &[u8]) -> Result<usize, Errno> {
    let memory = KernelMemory::<MayFault>::readable(buffer);
    let slice = memory.slice();
    let mut from = IovIter::from_slice(&memory, &slice);
    target.write(&mut call.token, &mut from, RwFlags::empty(), &Running)
}
