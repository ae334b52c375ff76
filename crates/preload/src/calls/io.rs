//! Reads, writes, and what else works on an open file.
#![forbid(unsafe_code)]

use faultless::prelude::SyncKind;
use faultless_posix::{Errno, RwFlags};
use syscalls::Sysno;

use crate::buffers;
use crate::call::{
    Call, Outcome, done, file, get_words, moved, put_words, with_buffer, with_vector,
};
use crate::files::{files, flush_aged, volume};
use crate::kernel::OpenFile;
use crate::task::Running;

/// All forms of `read` and `write`.
pub(super) fn transfer(call: &mut Call<'_>, number: Sysno) -> Outcome {
    let Some(file) = file(call, 0) else {
        buffers::bring_in_transfer(call, number);
        return Outcome::Pass;
    };
    let result = transfer_on(call, number, &file);
    if is_write(number) && result.is_ok() {
        flush_aged(&mut call.token);
    }
    moved(result)
}

const fn is_write(number: Sysno) -> bool {
    matches!(
        number,
        Sysno::write | Sysno::pwrite64 | Sysno::writev | Sysno::pwritev | Sysno::pwritev2
    )
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
            let flags = RwFlags::from_raw(flags as u32)?;
            with_vector(call, at, length, |to, token| match position {
                u64::MAX => file.read_with(token, to, flags, task),
                position => file.read_at_with(token, to, position, flags, task),
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
        Sysno::fallocate => {
            file.allocate(token, first as u32, second as i64, third as i64, task).map(nothing)
        }
        _ => file.advise(token, first as u64, second as u64, third as u32, task).map(nothing),
    })
}

/// `cachestat`.
pub(super) fn cache_stat(call: &mut Call<'_>) -> Outcome {
    let Some(file) = file(call, 0) else { return Outcome::Pass };
    done(put_cache_stat(call, &file).map(|()| 0))
}

fn put_cache_stat(call: &mut Call<'_>, file: &OpenFile) -> Result<(), Errno> {
    let [_, range, target, flags, ..] = call.args;
    let [offset, len] = get_words(call, range)?;
    let stat = file.cache_stat(offset, len, flags as u32)?;
    put_words(call, target, [stat.cached, stat.dirty, stat.writeback, 0, 0])
}

/// `sync`: the files of the folder, and Linux's.
pub(super) fn sync_all(call: &mut Call<'_>) -> Outcome {
    // `sync` reports nothing, and each open file learns of its failures by its own.
    let sync_stores = || files().sync_stores();
    let _reported_later = volume().sync(&mut call.token, sync_stores, &Running);
    Outcome::Pass
}

/// `syncfs`: the files of the folder, or another file system of Linux's.
pub(super) fn sync_files(call: &mut Call<'_>) -> Outcome {
    let Some(file) = file(call, 0) else { return Outcome::Pass };
    let sync_stores = || files().sync_stores();
    let synced = volume().syncfs(&file, &mut call.token, sync_stores, &Running);
    done(synced.map(|()| 0))
}
