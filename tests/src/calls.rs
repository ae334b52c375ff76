//! System calls: each enters the kernel, does one thing and leaves. At return no lock may be held
//! (P3), which the host checks.

use faultless::filemap::{Inode, NoTask, SyncKind, Task, WriteOptions, Written};
use faultless::page::Errno;
use faultless::usercopy::{IovIter, MayFault, UserMemory, UserSlice};
use faultless_host::{Flavor, HostKernel, syscall};

/// `pwritev2`: writes `segments` of `user` as `options` say, on behalf of `task`.
///
/// # Errors
/// As [`Inode::write`].
///
/// # Panics
/// If the segments are no request (W7), or the cursor does not stand just behind what was written.
#[track_caller]
pub fn write_as<U: UserMemory<Token = MayFault>, F: Flavor, T: Task>(
    user: &U,
    file: &Inode<HostKernel<F>>,
    segments: &[UserSlice],
    options: &WriteOptions,
    task: &T,
) -> Result<Written, Errno> {
    let mut from = IovIter::new(user, segments).expect("a request");
    let asked = from.count();
    let result = syscall(|token| file.write(token, &mut from, options, task));
    if options.sync().is_none() {
        let landed = result.map_or(0, |written| written.bytes);
        assert_eq!(asked - from.count(), landed, "the cursor stands behind what landed");
    }
    result
}

/// `pwritev`: how many bytes landed.
///
/// # Errors
/// As [`Inode::write`].
///
/// # Panics
/// As [`write_as`].
#[track_caller]
pub fn pwritev<U: UserMemory<Token = MayFault>, F: Flavor>(
    user: &U,
    file: &Inode<HostKernel<F>>,
    pos: u64,
    segments: &[UserSlice],
) -> Result<usize, Errno> {
    write_as(user, file, segments, &WriteOptions::at(pos), &NoTask).map(|written| written.bytes)
}

/// `pwrite`: how many bytes landed. Without a cursor.
///
/// # Errors
/// As [`Inode::write_slice`].
#[track_caller]
pub fn pwrite<U: UserMemory<Token = MayFault>, F: Flavor>(
    user: &U,
    file: &Inode<HostKernel<F>>,
    pos: u64,
    source: UserSlice,
) -> Result<usize, Errno> {
    pwrite_with(user, file, source, &WriteOptions::at(pos))
}

/// The same with options.
///
/// # Errors
/// As [`Inode::write_slice`].
#[track_caller]
pub fn pwrite_with<U: UserMemory<Token = MayFault>, F: Flavor>(
    user: &U,
    file: &Inode<HostKernel<F>>,
    source: UserSlice,
    options: &WriteOptions,
) -> Result<usize, Errno> {
    let written = syscall(|token| file.write_slice(token, user, &source, options, &NoTask));
    written.map(|written| written.bytes)
}

/// `preadv`: how many bytes arrived.
///
/// # Errors
/// As [`Inode::read`].
///
/// # Panics
/// If the segments are no request (W7).
#[track_caller]
pub fn preadv<U: UserMemory<Token = MayFault>, F: Flavor>(
    user: &U,
    file: &Inode<HostKernel<F>>,
    pos: u64,
    segments: &[UserSlice],
) -> Result<usize, Errno> {
    let mut to = IovIter::new(user, segments).expect("a request");
    syscall(|token| file.read(token, &mut to, pos, &NoTask))
}

/// `pread`: how many bytes arrived. Without a cursor.
///
/// # Errors
/// As [`Inode::read_slice`].
#[track_caller]
pub fn pread<U: UserMemory<Token = MayFault>, F: Flavor>(
    user: &U,
    file: &Inode<HostKernel<F>>,
    pos: u64,
    target: UserSlice,
) -> Result<usize, Errno> {
    syscall(|token| file.read_slice(token, user, &target, pos, &NoTask))
}

/// `ftruncate`.
///
/// # Errors
/// As [`Inode::set_size`].
#[track_caller]
pub fn truncate<F: Flavor>(file: &Inode<HostKernel<F>>, size: u64) -> Result<(), Errno> {
    syscall(|token| file.set_size(token, size, &NoTask))
}

/// `fsync`.
///
/// # Errors
/// As [`Inode::fsync`].
#[track_caller]
pub fn fsync<F: Flavor>(file: &Inode<HostKernel<F>>) -> Result<(), Errno> {
    syscall(|token| file.fsync(token, SyncKind::All, &NoTask))
}

/// Drops every clean page of the file from the cache; how many.
#[track_caller]
pub fn evict<F: Flavor>(file: &Inode<HostKernel<F>>) -> u64 {
    syscall(|token| file.evict(token, 0..u64::MAX))
}
