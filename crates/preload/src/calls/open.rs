//! Descriptors: Linux opens, duplicates and closes them; those of files of the folder have an open
//! file of this library's beside.
#![forbid(unsafe_code)]

use alloc::sync::Arc;

use faultless_posix::Errno;
use syscalls::Sysno;

use crate::call::{Call, Outcome, done, done_raw, file, get_path, get_words};
use crate::files::{files, look, volume};
use crate::options::options;
use crate::raw;
use crate::task::Running;

/// Bytes of `struct open_how`.
const HOW_BYTES: usize = 24;

/// All forms of `open`.
pub(super) fn open(call: &mut Call<'_>, number: Sysno) -> Outcome {
    let args = call.args;
    let here = libc::AT_FDCWD as usize;
    let (folder, path_at, flags, mode, resolve) = match number {
        Sysno::open => (here, args[0], args[1], args[2], 0),
        Sysno::creat => {
            (here, args[0], (libc::O_CREAT | libc::O_WRONLY | libc::O_TRUNC) as usize, args[1], 0)
        }
        Sysno::openat => (args[0], args[1], args[2], args[3], 0),
        _ => {
            // A structure: flags, mode, and how names are looked up.
            if args[3] < HOW_BYTES {
                return Outcome::Pass;
            }
            let Ok(how) = get_words(call, args[2]) else { return Outcome::Pass };
            let [flags, mode, resolve] = how.map(|word| word as usize);
            (args[0], args[1], flags, mode, resolve)
        }
    };
    // The bits of `O_TMPFILE` are those of `O_DIRECTORY` and one more.
    let makes_unnamed = flags & libc::O_TMPFILE as usize == libc::O_TMPFILE as usize;
    if flags & (libc::O_PATH | libc::O_DIRECTORY) as usize != 0 && !makes_unnamed {
        return Outcome::Pass;
    }
    let Ok(path) = get_path(call, path_at) else { return Outcome::Pass };
    if resolve != 0 {
        return open_resolved(call, folder, &path, [flags, mode, resolve]);
    }
    // What is not a regular file may make its opener wait: that is for Linux alone.
    match look(folder, &path, 0) {
        Some(stat) if stat.st_mode & libc::S_IFMT != libc::S_IFREG && !makes_unnamed => {
            return Outcome::Pass;
        }
        None if flags & libc::O_CREAT as usize == 0 => return Outcome::Pass,
        _ => {}
    }
    // Its contents are not Linux's to cut.
    let kept = flags & !(libc::O_TRUNC as usize);
    // A file that is never to have a name still needs the hidden one.
    let kept = if makes_unnamed { kept & !(libc::O_EXCL as usize) } else { kept };
    let fd = raw::harmless(Sysno::openat, [folder, path.as_ptr().addr(), kept, mode, 0, 0]);
    opened(call, fd, flags)
}

/// `openat2`, where names are looked up in a way of their own: only Linux knows what is opened.
/// It does not wait for the other end of a pipe.
fn open_resolved(
    call: &mut Call<'_>,
    folder: usize,
    path: &[u8],
    [flags, mode, resolve]: [usize; 3],
) -> Outcome {
    let how = [flags & !(libc::O_TRUNC as usize), mode, resolve];
    let args = [folder, path.as_ptr().addr(), how.as_ptr().addr(), size_of_val(&how), 0, 0];
    let fd = raw::harmless(Sysno::openat2, args);
    opened(call, fd, flags)
}

/// Linux has opened something, or not.
fn opened(call: &mut Call<'_>, fd: isize, flags: usize) -> Outcome {
    let Ok(descriptor) = usize::try_from(fd) else { return Outcome::Done(fd) };
    match begin(call, descriptor, flags) {
        Ok(true) => done_raw(fd),
        Ok(false) => {
            call.process.close(descriptor);
            if flags & libc::O_TRUNC as usize != 0 {
                raw::harmless(Sysno::ftruncate, [descriptor, 0, 0, 0, 0, 0]);
            }
            Outcome::Done(fd)
        }
        Err(errno) => {
            raw::harmless(Sysno::close, [descriptor, 0, 0, 0, 0, 0]);
            done(Err(errno))
        }
    }
}

/// Makes the open file of a descriptor, if it is one of the folder; whether it is.
fn begin(call: &mut Call<'_>, descriptor: usize, flags: usize) -> Result<bool, Errno> {
    let Some(file) = files().opened(descriptor)? else { return Ok(false) };
    let description = Arc::new(volume().open(file, flags as u32));
    let writes = flags as i32 & libc::O_ACCMODE != libc::O_RDONLY;
    if flags & libc::O_TRUNC as usize != 0 && writes && description.inode().size() > 0 {
        description.truncate(&mut call.token, 0, &Running)?;
    }
    call.process.open(descriptor, description)?;
    Ok(true)
}

/// `close` and `close_range`.
pub(super) fn close(call: &mut Call<'_>, number: Sysno) -> Outcome {
    let [first, last, flags, ..] = call.args;
    let private = options().fd as usize;
    if number == Sysno::close {
        if first as u32 as usize == private {
            return Outcome::Done(-(libc::EBADF as isize));
        }
        let was_file = file(call, 0).is_some();
        call.process.close(first as u32 as usize);
        return if was_file {
            done_raw(raw::harmless(Sysno::close, [first, 0, 0, 0, 0, 0]))
        } else {
            Outcome::Pass
        };
    }
    let (first, last) = (first as u32 as usize, last as u32 as usize);
    if first > last {
        return Outcome::Pass;
    }
    let only_marks = flags & libc::CLOSE_RANGE_CLOEXEC as usize != 0;
    if !only_marks {
        let closed = call.process.descriptors.lock().remove_if(|at, _| first <= at && at <= last);
        drop(closed);
    }
    // Around the library's own.
    let mut result = 0;
    let below = (first, last.min(private.saturating_sub(1)));
    let above = (first.max(private + 1), last);
    for (first, last) in [below, above] {
        if first <= last {
            result = raw::harmless(Sysno::close_range, [first, last, flags, 0, 0, 0]).min(result);
        }
    }
    Outcome::Done(result)
}

/// All forms of `dup`.
pub(super) fn dup(call: &mut Call<'_>, number: Sysno) -> Outcome {
    let [old, new, ..] = call.args;
    let has_target = number != Sysno::dup;
    if has_target && new as u32 as usize == options().fd as usize {
        return Outcome::Done(-(libc::EBADF as isize));
    }
    let source = file(call, 0);
    let had = has_target && file(call, 1).is_some();
    if source.is_none() && !had {
        return Outcome::Pass;
    }
    let result = raw::harmless(number, call.args);
    if let Ok(descriptor) = usize::try_from(result)
        && old as u32 as usize != descriptor
    {
        if let Some(source) = source {
            if let Err(errno) = call.process.open(descriptor, source) {
                return done(Err(errno));
            }
        } else {
            call.process.close(descriptor);
        }
    }
    done_raw(result)
}

/// `fcntl`.
pub(super) fn fcntl(call: &mut Call<'_>) -> Outcome {
    let Some(source) = file(call, 0) else { return Outcome::Pass };
    let [_, command, argument, ..] = call.args;
    match command as i32 {
        libc::F_DUPFD | libc::F_DUPFD_CLOEXEC => {
            let result = raw::harmless(Sysno::fcntl, call.args);
            if let Ok(descriptor) = usize::try_from(result)
                && let Err(errno) = call.process.open(descriptor, source)
            {
                return done(Err(errno));
            }
            done_raw(result)
        }
        libc::F_GETFL => done_raw(source.flags() as isize),
        libc::F_SETFL => {
            source.set_flags(argument as u32);
            done_raw(0)
        }
        // Locks and the like, which may wait.
        _ => Outcome::Pass,
    }
}
