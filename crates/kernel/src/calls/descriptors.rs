//! `open`, `close`, `dup`, `fcntl`, `pipe`.
#![forbid(unsafe_code)]

use faultless_posix::{Errno, OnExec};
use linux_raw_sys::general as linux;

use crate::calls::call::{Call, Outcome};
use crate::calls::{locks, names, seals};
use crate::files::{self, APPEND, Directory, How, OpenFile, PipeEnd, Resolve};
use crate::memory::{get, get_string, get_words, put};
use crate::process;
use crate::task::credentials;

/// The flag of `close_range` that gives the caller a table of its own.
const CLOSE_RANGE_UNSHARE: u32 = 2;

/// The flag of `close_range` that marks instead.
const CLOSE_RANGE_CLOEXEC: u32 = 1 << 2;

/// What a flag of `open` and the like says.
pub(super) const fn on_exec(flags: u32) -> OnExec {
    if flags & linux::O_CLOEXEC != 0 { OnExec::Close } else { OnExec::Keep }
}

fn open_descriptor(call: &mut Call<'_>, at: &Directory, path: &[u8], how: How) -> Outcome {
    let mode = how.mode & !call.process.umask();
    let file = files::open(&mut call.token, at, path, How { mode, ..how })?;
    add(call, 0, file, on_exec(how.flags))
}

/// Gives an open file the lowest descriptor from `from` on.
///
/// # Errors
/// `EMFILE`. The file is dropped with the table free: that may sleep.
pub(super) fn add(call: &Call<'_>, from: usize, file: OpenFile, on_exec: OnExec) -> Outcome {
    let kept = OpenFile::clone(&file);
    let added = call.process.files().lock().add(from, file, on_exec);
    drop(kept);
    added
}

pub(super) fn open(call: &mut Call<'_>) -> Outcome {
    let [_, flags, mode, ..] = call.args;
    let path = names::path(call, 0)?;
    let cwd = call.process.cwd();
    open_descriptor(call, &cwd, &path, How::plain(flags as u32, mode as u32))
}

pub(super) fn openat(call: &mut Call<'_>) -> Outcome {
    let [_, _, flags, mode, ..] = call.args;
    let path = names::path(call, 1)?;
    let at = names::start(call, 0, &path)?;
    open_descriptor(call, &at, &path, How::plain(flags as u32, mode as u32))
}

/// Flags of `open` that `openat2` takes: those that mean something.
const OPEN_FLAGS: u64 = (linux::O_ACCMODE
    | linux::O_CREAT
    | linux::O_EXCL
    | linux::O_NOCTTY
    | linux::O_TRUNC
    | linux::O_APPEND
    | linux::O_NONBLOCK
    | linux::O_SYNC
    | linux::FASYNC
    | linux::O_DIRECT
    | linux::O_LARGEFILE
    | linux::O_DIRECTORY
    | linux::O_NOFOLLOW
    | linux::O_NOATIME
    | linux::O_CLOEXEC
    | linux::O_PATH
    | linux::__O_TMPFILE) as u64;

/// The flags that `openat2` takes with `O_PATH`.
const PATH_FLAGS: u64 =
    (linux::O_PATH | linux::O_DIRECTORY | linux::O_NOFOLLOW | linux::O_CLOEXEC) as u64;

/// As [`openat`], with flags that all mean something, and with limits of the walk.
pub(super) fn openat2(call: &mut Call<'_>) -> Outcome {
    const HOW: usize = 24;
    const KNOWN: usize = 4096;
    let [_, _, at, size, ..] = call.args;
    if size < HOW {
        return Err(Errno::INVAL);
    }
    if size > KNOWN {
        return Err(Errno::TOOBIG);
    }
    let [flags, mode, resolve] = get_words(&mut call.token, at)?;
    let mut more = alloc::vec![0; size - HOW];
    get(&mut call.token, at + HOW, &mut more)?;
    if more.iter().any(|byte| *byte != 0) {
        return Err(Errno::TOOBIG);
    }
    let resolve = u32::try_from(resolve).ok().and_then(Resolve::from_bits).ok_or(Errno::INVAL)?;
    let has = |flag: u32| flags & u64::from(flag) != 0;
    let makes = has(linux::O_CREAT | linux::__O_TMPFILE);
    let is_sound = flags & !OPEN_FLAGS == 0
        && (!has(linux::O_PATH) || flags & !PATH_FLAGS == 0)
        && mode & !0o7777 == 0
        && (makes || mode == 0)
        && !resolve.contains(Resolve::BENEATH | Resolve::IN_ROOT);
    if !is_sound {
        return Err(Errno::INVAL);
    }
    if resolve.contains(Resolve::CACHED) && (makes || has(linux::O_TRUNC)) {
        return Err(Errno::AGAIN);
    }
    let path = names::path(call, 1)?;
    // An absolute path, too, begins at the descriptor if that is its root.
    let at = if resolve.contains(Resolve::IN_ROOT) {
        names::start_of_any(call, 0, &path)?
    } else {
        names::start(call, 0, &path)?
    };
    open_descriptor(call, &at, &path, How { flags: flags as u32, mode: mode as u32, resolve })
}

pub(super) fn creat(call: &mut Call<'_>) -> Outcome {
    let flags = linux::O_CREAT | linux::O_WRONLY | linux::O_TRUNC;
    call.args = [call.args[0], flags as usize, call.args[1], 0, 0, 0];
    open(call)
}

pub(super) fn close(call: &mut Call<'_>) -> Outcome {
    let removed = call.process.files().lock().remove(call.args[0] as u32 as usize);
    // With the lock free: the last handle may drop the file.
    locks::all_closed(call.process.files().owner, alloc::vec![removed?]);
    Ok(0)
}

pub(super) fn close_range(call: &mut Call<'_>) -> Outcome {
    let [first, last, flags, ..] = call.args;
    let range = first as u32 as usize..=last as u32 as usize;
    names::known(flags, CLOSE_RANGE_UNSHARE | CLOSE_RANGE_CLOEXEC)?;
    if range.is_empty() {
        return Err(Errno::INVAL);
    }
    if flags as u32 & CLOSE_RANGE_UNSHARE != 0 {
        process::unshare_files(&call.process);
    }
    let table = call.process.files();
    let mut files = table.lock();
    if flags as u32 & CLOSE_RANGE_CLOEXEC != 0 {
        let marked: alloc::vec::Vec<usize> =
            files.iter().map(|(at, _)| at).filter(|at| range.contains(at)).collect();
        for at in marked {
            files.set_on_exec(at, OnExec::Close)?;
        }
        return Ok(0);
    }
    let closed = files.remove_if(|at, _| range.contains(&at));
    drop(files);
    locks::all_closed(call.process.files().owner, closed);
    Ok(0)
}

pub(super) fn dup(call: &mut Call<'_>) -> Outcome {
    let file = call.process.any_file(call.args[0])?;
    add(call, 0, file, OnExec::Keep)
}

pub(super) fn dup2(call: &mut Call<'_>) -> Outcome {
    let [old, new, ..] = call.args;
    if old as u32 == new as u32 {
        return call.process.any_file(old).map(|_| old as u32 as usize);
    }
    call.args[2] = 0;
    dup3(call)
}

pub(super) fn dup3(call: &mut Call<'_>) -> Outcome {
    let [old, new, flags, ..] = call.args;
    let new = new as u32 as usize;
    if old as u32 as usize == new {
        return Err(Errno::INVAL);
    }
    names::known(flags, linux::O_CLOEXEC)?;
    let file = call.process.any_file(old)?;
    let kept = OpenFile::clone(&file);
    let replaced = call.process.files().lock().set(new, file, on_exec(flags as u32));
    // With the table free, as in `add`.
    drop(kept);
    locks::all_closed(call.process.files().owner, replaced?.into_iter().collect());
    Ok(new)
}

/// `F_SETFD`, and `ioctl`s that do the same.
pub(super) fn set_on_exec(call: &Call<'_>, flags: usize) -> Outcome {
    let closes = flags as u32 & linux::FD_CLOEXEC != 0;
    let on_exec = if closes { OnExec::Close } else { OnExec::Keep };
    call.process.files().lock().set_on_exec(call.args[0] as u32 as usize, on_exec)?;
    Ok(0)
}

/// Checks the flags that `F_SETFL` is to set.
///
/// # Errors
/// `EPERM` for what the file's own flags or its owner forbid; `EINVAL` for `O_DIRECT` of what has
/// no bytes of its own.
fn need_flags(file: &OpenFile, flags: u32) -> Result<(), Errno> {
    let Some(node) = file.node() else { return Ok(()) };
    let old = file.flags();
    if old & !flags & linux::O_APPEND != 0 && node.flags()? & APPEND != 0 {
        return Err(Errno::PERM);
    }
    if flags & !old & linux::O_NOATIME != 0 && !credentials().owns(&node.attributes()?.status) {
        return Err(Errno::PERM);
    }
    let is_direct = flags & linux::O_DIRECT != 0;
    if is_direct && file.regular().is_none() && file.kind::<PipeEnd>().is_none() {
        return Err(Errno::INVAL);
    }
    Ok(())
}

pub(super) fn fcntl(call: &mut Call<'_>) -> Outcome {
    let [descriptor, command, argument, ..] = call.args;
    let file = call.process.any_file(descriptor)?;
    let is_place = file.flags() & linux::O_PATH != 0;
    match command as u32 {
        linux::F_DUPFD => add(call, argument, file, OnExec::Keep),
        linux::F_DUPFD_CLOEXEC => add(call, argument, file, OnExec::Close),
        linux::F_GETFD => {
            let on_exec = call.process.files().lock().on_exec(descriptor as u32 as usize)?;
            Ok(usize::from(on_exec == OnExec::Close))
        }
        linux::F_SETFD => set_on_exec(call, argument),
        linux::F_GETFL => Ok(file.flags() as usize),
        _ if is_place => Err(Errno::BADF),
        linux::F_SETFL => {
            need_flags(&file, argument as u32)?;
            file.set_flags(argument as u32);
            Ok(0)
        }
        linux::F_GETLK
        | linux::F_SETLK
        | linux::F_SETLKW
        | linux::F_OFD_GETLK
        | linux::F_OFD_SETLK
        | linux::F_OFD_SETLKW => locks::records(call, &file),
        linux::F_GETPIPE_SZ => Ok(file.kind::<PipeEnd>().ok_or(Errno::BADF)?.capacity()),
        linux::F_SETPIPE_SZ if argument as i32 <= 0 => Err(Errno::INVAL),
        linux::F_SETPIPE_SZ => {
            file.kind::<PipeEnd>().ok_or(Errno::BADF)?.set_capacity(argument as u32 as usize)
        }
        linux::F_ADD_SEALS => {
            seals::add_seals(file.regular().ok_or(Errno::INVAL)?, argument as u32).map(|()| 0)
        }
        linux::F_GET_SEALS => Ok(seals::seals(file.regular().ok_or(Errno::INVAL)?)? as usize),
        // Signals for input are never sent, and nothing is leased.
        linux::F_SETOWN | linux::F_SETSIG => Ok(0),
        linux::F_GETOWN | linux::F_GETSIG => Ok(0),
        linux::F_GETLEASE => Ok(linux::F_UNLCK as usize),
        _ => Err(Errno::INVAL),
    }
}

pub(super) fn pipe(call: &mut Call<'_>) -> Outcome {
    call.args[1] = 0;
    pipe2(call)
}

pub(super) fn pipe2(call: &mut Call<'_>) -> Outcome {
    let [target, flags, ..] = call.args;
    names::known(flags, linux::O_CLOEXEC | linux::O_NONBLOCK | linux::O_DIRECT)?;
    let flags = flags as u32;
    add_pair(call, files::pipe(flags), on_exec(flags), target)
}

/// Gives two open files descriptors, whose numbers are told at `target`.
///
/// # Errors
/// `EMFILE`, `EFAULT`: no descriptor is left.
pub(super) fn add_pair(
    call: &mut Call<'_>,
    (first, second): (OpenFile, OpenFile),
    on_exec: OnExec,
    target: usize,
) -> Outcome {
    let numbers = {
        let table = call.process.files();
        let mut files = table.lock();
        let first = files.add(0, first, on_exec)?;
        match files.add(0, second, on_exec) {
            Ok(second) => [first, second],
            Err(errno) => {
                let removed = files.remove(first);
                drop(files);
                drop(removed);
                return Err(errno);
            }
        }
    };
    let bytes = numbers.map(|number| (number as u32).to_ne_bytes());
    let told = put(&mut call.token, target, bytes.as_flattened());
    if told.is_err() {
        let closed = call.process.files().lock().remove_if(|at, _| numbers.contains(&at));
        drop(closed);
    }
    told.map(|()| 0)
}

/// A file without a name.
pub(super) fn memfd_create(call: &mut Call<'_>) -> Outcome {
    /// Characters of a name.
    const MOST: usize = 249;
    const EXECUTES: u32 = 0x10;
    const BOTH: u32 = linux::MFD_NOEXEC_SEAL | EXECUTES;
    const KNOWN: u32 = linux::MFD_CLOEXEC | linux::MFD_ALLOW_SEALING | BOTH;
    let [name, flags, ..] = call.args;
    names::known(flags, KNOWN)?;
    let flags = flags as u32;
    if flags & BOTH == BOTH {
        return Err(Errno::INVAL);
    }
    let name = get_string(&mut call.token, name, MOST).map_err(|why| match why {
        Errno::NAMETOOLONG => Errno::INVAL,
        why => why,
    })?;
    let file = seals::memfd(&mut call.token, &call.process.cwd(), &name, flags)?;
    let closes = flags & linux::MFD_CLOEXEC != 0;
    add(call, 0, file, if closes { OnExec::Close } else { OnExec::Keep })
}
