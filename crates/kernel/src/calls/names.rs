//! Names: `mkdir`, `unlink`, `rename`, `link`, `readlink`, `getdents`, `chdir` and the like.
#![forbid(unsafe_code)]

use core::sync::atomic::Ordering::Relaxed;

use alloc::vec::Vec;

use faultless_posix::{Errno, Follow, Kind};
use linux_raw_sys::general as linux;

use crate::calls::call::{Call, Outcome};
use crate::credentials::EXECUTE;
use crate::files::{self, Directory, Handle, New};
use crate::memory::{get_string, put};
use crate::task::credentials;

/// The path that an argument leads to.
pub(super) fn path(call: &mut Call<'_>, argument: usize) -> Result<Vec<u8>, Errno> {
    let at = call.args[argument];
    get_string(&mut call.token, at, linux::PATH_MAX as usize)
}

/// The directory that a path begins at: that of a descriptor, or the working directory.
pub(super) fn start(call: &Call<'_>, argument: usize, path: &[u8]) -> Result<Directory, Errno> {
    if path.starts_with(b"/") { Ok(cwd(call)) } else { start_of_any(call, argument, path) }
}

/// The same for a path that begins there even if there is a slash in front.
pub(super) fn start_of_any(
    call: &Call<'_>,
    argument: usize,
    path: &[u8],
) -> Result<Directory, Errno> {
    let descriptor = call.args[argument];
    if path.is_empty() {
        return Err(Errno::NOENT);
    }
    if descriptor as i32 == linux::AT_FDCWD {
        return Ok(cwd(call));
    }
    let file = call.process.any_file(descriptor)?;
    let directory = file.node().filter(|node| node.kind() == Kind::Directory);
    directory.cloned().ok_or(Errno::NOTDIR)
}

pub(super) fn cwd(call: &Call<'_>) -> Directory {
    call.process.cwd()
}

/// A directory and a path of two arguments.
fn place(call: &mut Call<'_>, argument: usize) -> Result<(Directory, Vec<u8>), Errno> {
    let path = path(call, argument + 1)?;
    Ok((start(call, argument, &path)?, path))
}

/// Puts the working directory before the arguments, for calls that have none.
pub(super) fn at_cwd(call: &mut Call<'_>) {
    call.args.rotate_right(1);
    call.args[0] = linux::AT_FDCWD as usize;
}

/// Checks that a call knows all its flags.
pub(super) const fn known(flags: usize, all: u32) -> Result<(), Errno> {
    if flags as u32 & !all == 0 { Ok(()) } else { Err(Errno::INVAL) }
}

/// What a flag says of a symbolic link at the end of a path.
const fn follow(flags: usize) -> Follow {
    if flags as u32 & linux::AT_SYMLINK_NOFOLLOW != 0 { Follow::NotLast } else { Follow::Last }
}

/// The node of a directory, a path and flags; of the descriptor itself with `AT_EMPTY_PATH`.
pub(super) fn node(call: &mut Call<'_>, argument: usize, flags: usize) -> Result<Handle, Errno> {
    let path = path(call, argument + 1)?;
    if path.is_empty() && flags as u32 & linux::AT_EMPTY_PATH != 0 {
        return any_node(call, argument);
    }
    let at = start(call, argument, &path)?;
    files::look_up(&at, &path, follow(flags))
}

/// The node of an open file, also of one that stands for a place alone, or of the working
/// directory.
pub(super) fn any_node(call: &Call<'_>, argument: usize) -> Result<Handle, Errno> {
    let descriptor = call.args[argument];
    if descriptor as i32 == linux::AT_FDCWD {
        return Ok(cwd(call));
    }
    call.process.any_file(descriptor)?.node().cloned().ok_or(Errno::BADF)
}

/// The node of an open file.
pub(super) fn open_node(call: &Call<'_>, argument: usize) -> Result<Handle, Errno> {
    call.process.file(call.args[argument])?.node().cloned().ok_or(Errno::BADF)
}

pub(super) fn mkdir(call: &mut Call<'_>) -> Outcome {
    at_cwd(call);
    mkdirat(call)
}

pub(super) fn mkdirat(call: &mut Call<'_>) -> Outcome {
    let (at, path) = place(call, 0)?;
    let mode = call.args[2] as u32 & !call.process.umask();
    files::make(&at, &path, New::Directory(mode))?;
    Ok(0)
}

pub(super) fn mknod(call: &mut Call<'_>) -> Outcome {
    at_cwd(call);
    mknodat(call)
}

/// Devices are made by root alone.
pub(super) fn mknodat(call: &mut Call<'_>) -> Outcome {
    let (at, path) = place(call, 0)?;
    let asked = call.args[2] as u32;
    let mode = asked & 0o7777 & !call.process.umask();
    let new = match Kind::of_mode(asked) {
        None if asked & linux::S_IFMT == 0 => New::File(mode),
        Some(Kind::File) => New::File(mode),
        Some(kind @ (Kind::Fifo | Kind::Socket)) => New::Special(kind, 0, mode),
        Some(kind @ (Kind::Characters | Kind::Blocks)) => {
            if !credentials().is_root_of_files() {
                return Err(Errno::PERM);
            }
            New::Special(kind, call.args[3] as u64, mode)
        }
        Some(Kind::Directory) => return Err(Errno::PERM),
        Some(Kind::Link) | None => return Err(Errno::INVAL),
    };
    files::make(&at, &path, new)?;
    Ok(0)
}

pub(super) fn rmdir(call: &mut Call<'_>) -> Outcome {
    let path = path(call, 0)?;
    files::remove_directory(&cwd(call), &path)?;
    Ok(0)
}

pub(super) fn unlink(call: &mut Call<'_>) -> Outcome {
    let path = path(call, 0)?;
    files::unlink(&cwd(call), &path)?;
    Ok(0)
}

pub(super) fn unlinkat(call: &mut Call<'_>) -> Outcome {
    let (at, path) = place(call, 0)?;
    match call.args[2] as u32 {
        0 => files::unlink(&at, &path)?,
        linux::AT_REMOVEDIR => files::remove_directory(&at, &path)?,
        _ => return Err(Errno::INVAL),
    }
    Ok(0)
}

pub(super) fn rename(call: &mut Call<'_>) -> Outcome {
    let (old, new) = (path(call, 0)?, path(call, 1)?);
    let cwd = cwd(call);
    files::rename((&cwd, &old), (&cwd, &new), 0)?;
    Ok(0)
}

/// `renameat`, whose fifth argument means nothing, and `renameat2`.
pub(super) fn renameat(call: &mut Call<'_>) -> Outcome {
    let (old_at, old) = place(call, 0)?;
    let (new_at, new) = place(call, 2)?;
    let is_second = call.frame.error == syscalls::Sysno::renameat2 as u64 + 1;
    let flags = if is_second { call.args[4] as u32 } else { 0 };
    files::rename((&old_at, &old), (&new_at, &new), flags)?;
    Ok(0)
}

pub(super) fn link(call: &mut Call<'_>) -> Outcome {
    let (old, new) = (path(call, 0)?, path(call, 1)?);
    let cwd = cwd(call);
    let node = files::look_up(&cwd, &old, Follow::NotLast)?;
    files::link(&node, &cwd, &new)?;
    Ok(0)
}

pub(super) fn linkat(call: &mut Call<'_>) -> Outcome {
    let flags = call.args[4];
    known(flags, linux::AT_SYMLINK_FOLLOW | linux::AT_EMPTY_PATH)?;
    let follows = flags as u32 & linux::AT_SYMLINK_FOLLOW != 0;
    let how = if follows { flags } else { flags | linux::AT_SYMLINK_NOFOLLOW as usize };
    let node = node(call, 0, how)?;
    let (at, path) = place(call, 2)?;
    files::link(&node, &at, &path)?;
    Ok(0)
}

pub(super) fn symlink(call: &mut Call<'_>) -> Outcome {
    let (target, path) = (path(call, 0)?, path(call, 1)?);
    files::make(&cwd(call), &path, New::Link(&target))?;
    Ok(0)
}

pub(super) fn symlinkat(call: &mut Call<'_>) -> Outcome {
    let target = path(call, 0)?;
    let (at, path) = place(call, 1)?;
    files::make(&at, &path, New::Link(&target))?;
    Ok(0)
}

pub(super) fn readlink(call: &mut Call<'_>) -> Outcome {
    at_cwd(call);
    readlinkat(call)
}

pub(super) fn readlinkat(call: &mut Call<'_>) -> Outcome {
    let path = path(call, 1)?;
    let [_, _, buffer, len, ..] = call.args;
    if len as i32 <= 0 {
        return Err(Errno::INVAL);
    }
    let target = if path.is_empty() {
        let node = any_node(call, 0)?;
        if node.kind() == Kind::Link { node.target()? } else { return Err(Errno::NOENT) }
    } else {
        files::read_link(&start(call, 0, &path)?, &path)?
    };
    let len = target.len().min(len);
    put(&mut call.token, buffer, &target[..len])?;
    Ok(len)
}

pub(super) fn getdents(call: &mut Call<'_>) -> Outcome {
    let [descriptor, buffer, len, ..] = call.args;
    let file = call.process.file(descriptor)?;
    file.directory().ok_or(Errno::NOTDIR)?.list(&mut call.token, buffer, len as u32 as usize)
}

/// The call of old, whose entries have the kind behind the name.
pub(super) fn old_getdents(call: &mut Call<'_>) -> Outcome {
    let [descriptor, buffer, len, ..] = call.args;
    let file = call.process.file(descriptor)?;
    file.directory().ok_or(Errno::NOTDIR)?.list_old(&mut call.token, buffer, len as u32 as usize)
}

pub(super) fn getcwd(call: &mut Call<'_>) -> Outcome {
    let [buffer, len, ..] = call.args;
    let mut path = files::path(&cwd(call))?;
    path.push(0);
    if path.len() > len {
        return Err(Errno::RANGE);
    }
    put(&mut call.token, buffer, &path)?;
    Ok(path.len())
}

fn set_cwd(call: &Call<'_>, node: Directory) -> Outcome {
    if node.kind() != Kind::Directory {
        return Err(Errno::NOTDIR);
    }
    credentials().need(&node.attributes()?.status, EXECUTE)?;
    let place = call.process.place();
    let old = core::mem::replace(&mut *place.cwd.lock(), node);
    drop(old);
    Ok(0)
}

pub(super) fn chdir(call: &mut Call<'_>) -> Outcome {
    let path = path(call, 0)?;
    let node = files::look_up(&cwd(call), &path, Follow::Last)?;
    set_cwd(call, node)
}

pub(super) fn fchdir(call: &mut Call<'_>) -> Outcome {
    let node = call.process.any_file(call.args[0])?.node().cloned().ok_or(Errno::NOTDIR)?;
    set_cwd(call, node)
}

pub(super) fn umask(call: &mut Call<'_>) -> Outcome {
    Ok(call.process.place().umask.swap(call.args[0] as u32 & 0o777, Relaxed) as usize)
}
