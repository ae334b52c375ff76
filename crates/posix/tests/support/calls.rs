//! System calls on open files, with buffers of the kernel in the place of user memory.

use faultless::prelude::{IovIter, KernelMemory, MayFault, NoTask, SyncKind};
use faultless_posix::{Errno, RwFlags};

use super::{Open, syscall};

type Bytes<'b> = KernelMemory<'b, MayFault>;

pub fn write(open: &Open, bytes: &[u8]) -> Result<usize, Errno> {
    write_flags(open, bytes, RwFlags::empty())
}

pub fn write_flags(open: &Open, bytes: &[u8], flags: RwFlags) -> Result<usize, Errno> {
    let memory = Bytes::readable(bytes);
    let slice = memory.slice();
    let mut from = IovIter::from_slice(&memory, &slice);
    syscall(|token| open.write(token, &mut from, flags, &NoTask))
}

pub fn pwrite(open: &Open, bytes: &[u8], at: u64) -> Result<usize, Errno> {
    pwrite_flags(open, bytes, at, RwFlags::empty())
}

pub fn pwrite_flags(open: &Open, bytes: &[u8], at: u64, flags: RwFlags) -> Result<usize, Errno> {
    let memory = Bytes::readable(bytes);
    let slice = memory.slice();
    let mut from = IovIter::from_slice(&memory, &slice);
    syscall(|token| open.write_at(token, &mut from, at, flags, &NoTask))
}

/// What arrived.
pub fn read(open: &Open, len: usize) -> Result<Vec<u8>, Errno> {
    into(len, |to, token| open.read(token, to, &NoTask))
}

/// What arrived.
pub fn pread(open: &Open, len: usize, at: u64) -> Result<Vec<u8>, Errno> {
    into(len, |to, token| open.read_at(token, to, at, &NoTask))
}

/// `preadv2` with `RWF_NOWAIT`, at the position.
pub fn try_read(open: &Open, len: usize) -> Result<Vec<u8>, Errno> {
    into(len, |to, token| open.try_read(token, to, &NoTask))
}

/// `preadv2` with `RWF_NOWAIT`.
pub fn try_pread(open: &Open, len: usize, at: u64) -> Result<Vec<u8>, Errno> {
    into(len, |to, token| open.try_read_at(token, to, at, &NoTask))
}

/// `preadv2` at the position.
pub fn read_flags(open: &Open, len: usize, flags: RwFlags) -> Result<Vec<u8>, Errno> {
    into(len, |to, token| open.read_with(token, to, flags, &NoTask))
}

/// `preadv2`.
pub fn pread_flags(open: &Open, len: usize, at: u64, flags: RwFlags) -> Result<Vec<u8>, Errno> {
    into(len, |to, token| open.read_at_with(token, to, at, flags, &NoTask))
}

fn into(
    len: usize,
    call: impl FnOnce(&mut IovIter<'_, Bytes<'_>>, &mut MayFault) -> Result<usize, Errno>,
) -> Result<Vec<u8>, Errno> {
    let mut bytes = vec![0xee; len];
    let read = {
        let memory = Bytes::writable(&mut bytes);
        let slice = memory.slice();
        let mut to = IovIter::from_slice(&memory, &slice);
        syscall(|token| call(&mut to, token))?
    };
    assert!(bytes[read..].iter().all(|byte| *byte == 0xee), "bytes past what arrived");
    bytes.truncate(read);
    Ok(bytes)
}

pub fn seek(open: &Open, offset: i64, whence: u32) -> Result<u64, Errno> {
    syscall(|token| open.seek(token, offset, whence, &NoTask))
}

pub fn position(open: &Open) -> u64 {
    seek(open, 0, linux_raw_sys::general::SEEK_CUR).expect("a position")
}

pub fn truncate(open: &Open, size: u64) -> Result<(), Errno> {
    syscall(|token| open.truncate(token, size, &NoTask))
}

pub fn fallocate(open: &Open, mode: u32, offset: i64, len: i64) -> Result<(), Errno> {
    syscall(|token| open.allocate(token, mode, offset, len, &NoTask))
}

pub fn fsync(open: &Open) -> Result<(), Errno> {
    syscall(|token| open.sync(token, SyncKind::All, &NoTask))
}

pub fn sync_range(open: &Open, offset: u64, len: u64, flags: u32) -> Result<(), Errno> {
    syscall(|token| open.write_back_range(token, offset, len, flags, &NoTask))
}

pub fn advise(open: &Open, offset: u64, len: u64, advice: u32) -> Result<(), Errno> {
    syscall(|token| open.advise(token, offset, len, advice, &NoTask))
}

pub fn copy(from: (&Open, u64), to: (&Open, u64), len: usize) -> Result<usize, Errno> {
    syscall(|token| to.0.copy_from(token, from.0, from.1, to.1, len, &NoTask))
}
