//! What programs are told of a file.
#![forbid(unsafe_code)]

use faultless_posix::{Errno, Follow};
use linux_raw_sys::general as linux;

use crate::calls::call::{Call, Outcome};
use crate::calls::names;
use crate::files::{self, Attributes};
use crate::memory::{put, put_words};

const NANOSECONDS: u64 = 1_000_000_000;
const BLOCK: u64 = 4096;
/// What `st_blocks` counts by.
const SECTOR: u64 = 512;

/// `struct stat`.
fn put_stat(call: &mut Call<'_>, target: usize, attributes: &Attributes) -> Outcome {
    let status = &attributes.status;
    let [accessed, modified, changed] = [status.accessed, status.modified, status.changed]
        .map(|time| (time / NANOSECONDS, time % NANOSECONDS));
    let words = [
        status.device,
        status.number,
        status.links,
        u64::from(status.mode) | u64::from(status.uid) << 32,
        status.gid.into(),
        attributes.device,
        status.size,
        BLOCK,
        status.size.div_ceil(BLOCK) * (BLOCK / SECTOR),
        accessed.0,
        accessed.1,
        modified.0,
        modified.1,
        changed.0,
        changed.1,
        0,
        0,
        0,
    ];
    put_words(&mut call.token, target, words)?;
    Ok(0)
}

pub(super) fn stat(call: &mut Call<'_>) -> Outcome {
    of_path(call, Follow::Last)
}

pub(super) fn lstat(call: &mut Call<'_>) -> Outcome {
    of_path(call, Follow::NotLast)
}

fn of_path(call: &mut Call<'_>, follow: Follow) -> Outcome {
    let path = names::path(call, 0)?;
    let attributes = files::attributes_at(&names::cwd(call), &path, follow)?;
    put_stat(call, call.args[1], &attributes)
}

pub(super) fn fstat(call: &mut Call<'_>) -> Outcome {
    let attributes = call.process.file(call.args[0])?.attributes();
    put_stat(call, call.args[1], &attributes)
}

/// The attributes of a directory, a path and flags.
fn attributes(call: &mut Call<'_>, flags: usize) -> Result<Attributes, Errno> {
    let is_empty = flags as u32 & linux::AT_EMPTY_PATH != 0
        && (call.args[1] == 0 || names::path(call, 1)?.is_empty());
    if is_empty && call.args[0] as i32 != linux::AT_FDCWD {
        return Ok(call.process.file(call.args[0])?.attributes());
    }
    if is_empty {
        return files::attributes_at(&names::cwd(call), b".", Follow::Last);
    }
    let path = names::path(call, 1)?;
    let at = names::start(call, 0, &path)?;
    let not_last = flags as u32 & linux::AT_SYMLINK_NOFOLLOW != 0;
    let follow = if not_last { Follow::NotLast } else { Follow::Last };
    files::attributes_at(&at, &path, follow)
}

pub(super) fn fstatat(call: &mut Call<'_>) -> Outcome {
    let [_, _, target, flags, ..] = call.args;
    let attributes = attributes(call, flags)?;
    put_stat(call, target, &attributes)
}

/// `struct statx`, with what `stat` has.
pub(super) fn statx(call: &mut Call<'_>) -> Outcome {
    let [_, _, flags, _, target, _] = call.args;
    let Attributes { status, device } = attributes(call, flags)?;
    let mut bytes = [0; 256];
    let mut set = |at: usize, value: &[u8]| bytes[at..at + value.len()].copy_from_slice(value);
    set(0, &linux::STATX_BASIC_STATS.to_ne_bytes());
    set(4, &(BLOCK as u32).to_ne_bytes());
    set(16, &(status.links as u32).to_ne_bytes());
    set(20, &status.uid.to_ne_bytes());
    set(24, &status.gid.to_ne_bytes());
    set(28, &(status.mode as u16).to_ne_bytes());
    set(32, &status.number.to_ne_bytes());
    set(40, &status.size.to_ne_bytes());
    set(48, &(status.size.div_ceil(BLOCK) * (BLOCK / SECTOR)).to_ne_bytes());
    for (at, time) in [(64, status.accessed), (96, status.changed), (112, status.modified)] {
        set(at, &(time / NANOSECONDS).to_ne_bytes());
        set(at + 8, &((time % NANOSECONDS) as u32).to_ne_bytes());
    }
    for (at, number) in [(128, device), (136, status.device)] {
        set(at, &((number >> 8) as u32).to_ne_bytes());
        set(at + 4, &((number & 0xff) as u32).to_ne_bytes());
    }
    put(&mut call.token, target, &bytes)?;
    Ok(0)
}

/// `struct statfs`: as tmpfs without a limit.
fn put_statfs(call: &mut Call<'_>) -> Outcome {
    const TMPFS: u64 = 0x0102_1994;
    let mut words = [0; 15];
    (words[0], words[1], words[8], words[9]) = (TMPFS, BLOCK, 255, BLOCK);
    put_words(&mut call.token, call.args[1], words)?;
    Ok(0)
}

pub(super) fn statfs(call: &mut Call<'_>) -> Outcome {
    let path = names::path(call, 0)?;
    files::attributes_at(&names::cwd(call), &path, Follow::Last)?;
    put_statfs(call)
}

pub(super) fn fstatfs(call: &mut Call<'_>) -> Outcome {
    call.process.file(call.args[0])?;
    put_statfs(call)
}
