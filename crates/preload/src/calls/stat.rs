//! What a program is told of a file: Linux's answer, with the size, the blocks and the times of the
//! file in Faultless.

use faultless::prelude::Inode;
use syscalls::Sysno;

use crate::buffers::linux;
use crate::call::{Call, Outcome, put};
use crate::counters::{add, counters};
use crate::files::files;
use crate::kernel::Program;

const NANOSECONDS: u64 = 1_000_000_000;

/// Bytes that `st_blocks` counts by.
const BLOCK: u64 = 512;

/// `stat`, `lstat`, `fstat`, `newfstatat`.
pub(super) fn stat(call: &mut Call<'_>, number: Sysno) -> Outcome {
    let argument = if number == Sysno::newfstatat { 2 } else { 1 };
    let target = call.args[argument];
    let mut stat = core::mem::MaybeUninit::<libc::stat>::uninit();
    let mut args = call.args;
    args[argument] = stat.as_mut_ptr().addr();
    // The structure is ours.
    let result = linux(call, number, args);
    if result != 0 {
        return Outcome::Done(result);
    }
    // SAFETY: Linux has filled it in.
    let mut stat = unsafe { stat.assume_init() };
    if let Some(file) = files().find(&stat) {
        add(&counters().calls, 1);
        let inode = file.inode();
        let times = inode.times();
        stat.st_size = inode.size() as i64;
        stat.st_blocks = blocks(inode) as i64;
        // The hidden link is none of the program's.
        stat.st_nlink -= 1;
        (stat.st_mtime, stat.st_mtime_nsec) = split(times.modified);
        (stat.st_ctime, stat.st_ctime_nsec) = split(times.changed);
    }
    // SAFETY: plain data, all of it initialised by Linux.
    let bytes: [u8; size_of::<libc::stat>()] = unsafe { core::mem::transmute(stat) };
    answer(call, target, &bytes)
}

/// `statx`.
pub(super) fn statx(call: &mut Call<'_>) -> Outcome {
    let target = call.args[4];
    let mut stat = core::mem::MaybeUninit::<libc::statx>::uninit();
    let mut args = call.args;
    // The device and number are always told.
    args[3] |= libc::STATX_INO as usize;
    args[4] = stat.as_mut_ptr().addr();
    // The structure is ours.
    let result = linux(call, Sysno::statx, args);
    if result != 0 {
        return Outcome::Done(result);
    }
    // SAFETY: Linux has filled it in.
    let mut statx = unsafe { stat.assume_init() };
    // SAFETY: integers, for which zero is a value.
    let mut key: libc::stat = unsafe { core::mem::zeroed() };
    key.st_dev = libc::makedev(statx.stx_dev_major, statx.stx_dev_minor);
    key.st_ino = statx.stx_ino;
    if let Some(file) = files().find(&key) {
        add(&counters().calls, 1);
        let inode = file.inode();
        let times = inode.times();
        statx.stx_size = inode.size();
        statx.stx_blocks = blocks(inode);
        statx.stx_nlink = statx.stx_nlink.saturating_sub(1);
        for (time, of) in
            [(&mut statx.stx_mtime, times.modified), (&mut statx.stx_ctime, times.changed)]
        {
            let (seconds, rest) = split(of);
            time.tv_sec = seconds;
            time.tv_nsec = rest as u32;
        }
    }
    // SAFETY: plain data, all of it initialised by Linux.
    let bytes: [u8; size_of::<libc::statx>()] = unsafe { core::mem::transmute(statx) };
    answer(call, target, &bytes)
}

/// Tells the program what Linux has said.
fn answer(call: &mut Call<'_>, target: usize, bytes: &[u8]) -> Outcome {
    match put(call, target, bytes) {
        Ok(()) => Outcome::Done(0),
        Err(errno) => Outcome::failed(errno),
    }
}

/// As if a file had no holes.
fn blocks(inode: &Inode<Program>) -> u64 {
    inode.size().div_ceil(4096) * (4096 / BLOCK)
}

const fn split(time: u64) -> (i64, i64) {
    ((time / NANOSECONDS) as i64, (time % NANOSECONDS) as i64)
}
