//! Calls with names: they are Linux's, and the library looks at what becomes of its files.

use faultless::prelude::{Task, Times};
use syscalls::Sysno;

use crate::buffers::linux;
use crate::call::{Call, Outcome, done, done_raw, get_path, put};
use crate::files::{files, look, stat_of, times_of};
use crate::kernel::Key;
use crate::options::HIDDEN;
use crate::raw;
use crate::task::Running;

const HERE: usize = libc::AT_FDCWD as usize;

/// `truncate`.
pub(super) fn truncate(call: &mut Call<'_>) -> Outcome {
    let [path, size, ..] = call.args;
    let Ok(path) = get_path(call, path) else { return Outcome::Pass };
    let args = [HERE, path.as_ptr().addr(), libc::O_WRONLY as usize, 0, 0, 0];
    let is_regular =
        look(HERE, &path, 0).is_some_and(|stat| stat.st_mode & libc::S_IFMT == libc::S_IFREG);
    if !is_regular {
        return Outcome::Pass;
    }
    // Whether the program may is for Linux to say.
    let fd = raw::harmless(Sysno::openat, args);
    let Ok(descriptor) = usize::try_from(fd) else { return Outcome::Done(fd) };
    let file = files().opened(descriptor);
    raw::harmless(Sysno::close, [descriptor, 0, 0, 0, 0, 0]);
    match file {
        Ok(None) => Outcome::Pass,
        Ok(Some(_)) if (size as i64) < 0 => done_raw(-(libc::EINVAL as isize)),
        Ok(Some(file)) => {
            let set = file.set_size(&mut call.token, size as u64, &Running);
            done(set.map(|()| 0).map_err(Into::into))
        }
        Err(errno) => done(Err(errno)),
    }
}

/// `unlink` and `unlinkat`.
pub(super) fn unlink(call: &mut Call<'_>, number: Sysno) -> Outcome {
    let (folder, path) = match number {
        Sysno::unlink => (HERE, call.args[0]),
        _ => (call.args[0], call.args[1]),
    };
    take_name(call, number, folder, path)
}

/// All forms of `rename`: the target may lose a name.
pub(super) fn rename(call: &mut Call<'_>, number: Sysno) -> Outcome {
    let (folder, path) = match number {
        Sysno::rename => (HERE, call.args[1]),
        _ => (call.args[2], call.args[3]),
    };
    take_name(call, number, folder, path)
}

/// Has Linux make a call by which a file may lose the name at `path`.
fn take_name(call: &mut Call<'_>, number: Sysno, folder: usize, path: usize) -> Outcome {
    let Ok(path) = get_path(call, path) else { return Outcome::Pass };
    let stat = look(folder, &path, libc::AT_SYMLINK_NOFOLLOW);
    let Some(key) = stat.filter(|stat| files().find(stat).is_some()).map(|stat| Key::of(&stat))
    else {
        return Outcome::Pass;
    };
    let result = linux(call, number, call.args);
    if result == 0 {
        files().lost_a_name(key);
    }
    done_raw(result)
}

/// Calls that set times: Linux checks and sets its own, which the file then takes.
pub(super) fn set_times(call: &mut Call<'_>, number: Sysno) -> Outcome {
    let (folder, path) = match number {
        Sysno::utimensat | Sysno::futimesat => (call.args[0], call.args[1]),
        _ => (HERE, call.args[0]),
    };
    let follow = number != Sysno::utimensat || call.args[3] as i32 & libc::AT_SYMLINK_NOFOLLOW == 0;
    let flags = if follow { 0 } else { libc::AT_SYMLINK_NOFOLLOW };
    let path = if path == 0 { None } else { get_path(call, path).ok() };
    let result = linux(call, number, call.args);
    if result != 0 {
        return Outcome::Done(result);
    }
    let stat = match path {
        Some(path) => look(folder, &path, flags),
        None => stat_of(folder),
    };
    if let Some(stat) = stat
        && let Some(file) = files().find(&stat)
    {
        file.inode().set_times(times_of(&stat));
    }
    Outcome::Done(result)
}

/// `getdents64`: leaves the library's own folder out.
pub(super) fn list(call: &mut Call<'_>) -> Outcome {
    let [descriptor, target, length, ..] = call.args;
    let mut buffer = alloc::vec![0_u8; length.min(1 << 20)];
    loop {
        let args = [descriptor, buffer.as_mut_ptr().addr(), buffer.len(), 0, 0, 0];
        // SAFETY: the buffer is ours.
        let result = unsafe { raw::call(Sysno::getdents64, args) };
        let Ok(filled) = usize::try_from(result) else { return Outcome::Done(result) };
        let mut kept = alloc::vec::Vec::with_capacity(filled);
        let mut rest = &buffer[..filled];
        // An entry: number, offset, its length in 16 bits, a type, and the name with NULs behind.
        while let Some(length) = rest.get(16..18) {
            let length = usize::from(u16::from_ne_bytes([length[0], length[1]]));
            let Some((entry, after)) = rest.split_at_checked(length.max(19)) else { break };
            let name = entry[19..].split(|byte| *byte == 0).next().unwrap_or_default();
            if name != HIDDEN.as_bytes() {
                kept.extend_from_slice(entry);
            }
            rest = after;
        }
        if kept.is_empty() && filled > 0 {
            // Only the hidden one: the next entries.
            continue;
        }
        return match put(call, target, &kept) {
            Ok(()) => Outcome::Done(kept.len() as isize),
            Err(errno) => done(Err(errno)),
        };
    }
}

/// Calls that change what is known of a file, but not what it holds: Linux makes them, and the file
/// takes the time.
pub(super) fn change(call: &mut Call<'_>, number: Sysno) -> Outcome {
    let [first, second, _, _, fifth, _] = call.args;
    let follows = |flags: usize| flags as i32 & libc::AT_SYMLINK_NOFOLLOW;
    // The folder and the path, or a descriptor; and how the name is looked up.
    let (folder, path, flags) = match number {
        Sysno::fchmod | Sysno::fchown => (first, None, 0),
        Sysno::chmod | Sysno::chown => (HERE, Some(first), 0),
        Sysno::lchown | Sysno::link => (HERE, Some(first), libc::AT_SYMLINK_NOFOLLOW),
        Sysno::fchmodat => (first, Some(second), 0),
        Sysno::fchownat => (first, Some(second), follows(fifth)),
        _ => {
            let flags = if fifth as i32 & libc::AT_SYMLINK_FOLLOW == 0 {
                libc::AT_SYMLINK_NOFOLLOW
            } else {
                0
            };
            (first, Some(second), flags)
        }
    };
    let path = match path {
        Some(at) => match get_path(call, at) {
            Ok(path) => Some(path),
            Err(_) => return Outcome::Pass,
        },
        None => None,
    };
    let result = linux(call, number, call.args);
    let stat = match path {
        Some(path) if result == 0 => look(folder, &path, flags),
        None if result == 0 => stat_of(folder),
        _ => None,
    };
    if let Some(file) = stat.and_then(|stat| files().find(&stat)) {
        let times = file.inode().times();
        file.inode().set_times(Times { changed: Running.now(), ..times });
    }
    Outcome::Done(result)
}
