//! What changes what `stat` says, and who may: `access`, `chmod`, `chown`, `utimensat` and the
//! like.
#![forbid(unsafe_code)]

use faultless_posix::{Errno, Kind};
use linux_raw_sys::general as linux;

use crate::calls::call::{Call, Outcome};
use crate::calls::names::{at_cwd, known, node, open_node};
use crate::credentials::{EXECUTE, READ, WRITE};
use crate::files::{APPEND, Handle, IMMUTABLE, NewTimes, need_changeable, notify};
use crate::memory::get_words;
use crate::task::{caller, credentials};

pub(super) fn access(call: &mut Call<'_>) -> Outcome {
    at_cwd(call);
    call.args[3] = 0;
    faccessat(call)
}

/// By the real user, unless a flag says otherwise. The path itself is walked by the effective one.
pub(super) fn faccessat(call: &mut Call<'_>) -> Outcome {
    let is_second = call.frame.error == syscalls::Sysno::faccessat2 as u64 + 1;
    let flags = if is_second { call.args[3] } else { 0 };
    known(call.args[2], READ | WRITE | EXECUTE)?;
    known(flags, linux::AT_EACCESS | linux::AT_SYMLINK_NOFOLLOW | linux::AT_EMPTY_PATH)?;
    let node = node(call, 0, flags)?;
    let own = credentials();
    let own = if flags as u32 & linux::AT_EACCESS == 0 { own.as_real() } else { own };
    if call.args[2] as u32 & WRITE != 0 && node.flags()? & IMMUTABLE != 0 {
        return Err(Errno::PERM);
    }
    own.need(&node.attributes()?.status, call.args[2] as u32)?;
    Ok(0)
}

pub(super) fn chmod(call: &mut Call<'_>) -> Outcome {
    at_cwd(call);
    fchmodat(call)
}

pub(super) fn fchmod(call: &mut Call<'_>) -> Outcome {
    set_mode(&open_node(call, 0)?, call.args[1])
}

pub(super) fn fchmodat(call: &mut Call<'_>) -> Outcome {
    set_mode(&node(call, 0, 0)?, call.args[2])
}

/// As [`fchmodat`], with flags. A symbolic link has no mode to change.
pub(super) fn fchmodat2(call: &mut Call<'_>) -> Outcome {
    let flags = call.args[3];
    known(flags, linux::AT_SYMLINK_NOFOLLOW | linux::AT_EMPTY_PATH)?;
    let node = node(call, 0, flags)?;
    if node.kind() == Kind::Link {
        return Err(Errno::OPNOTSUPP);
    }
    set_mode(&node, call.args[2])
}

/// Changes the mode of a file of the caller's. A group that it is not in loses its set-id bit.
fn set_mode(node: &Handle, mode: usize) -> Outcome {
    need_changeable(&**node)?;
    let (own, status) = (credentials(), node.attributes()?.status);
    if !own.owns(&status) {
        return Err(Errno::PERM);
    }
    let keeps = own.is_root_of_files() || own.has_group(status.gid);
    let lost = if keeps { 0 } else { linux::S_ISGID };
    node.set_mode(mode as u32 & !lost)?;
    notify(node, linux::IN_ATTRIB);
    Ok(0)
}

/// An owner or a group, unless it is to stay.
fn id(argument: usize) -> Option<u32> {
    (argument as i32 != -1).then_some(argument as u32)
}

pub(super) fn chown(call: &mut Call<'_>) -> Outcome {
    at_cwd(call);
    set_owner(&node(call, 0, 0)?, [call.args[2], call.args[3]])
}

pub(super) fn lchown(call: &mut Call<'_>) -> Outcome {
    at_cwd(call);
    let node = node(call, 0, linux::AT_SYMLINK_NOFOLLOW as usize)?;
    set_owner(&node, [call.args[2], call.args[3]])
}

pub(super) fn fchown(call: &mut Call<'_>) -> Outcome {
    set_owner(&open_node(call, 0)?, [call.args[1], call.args[2]])
}

pub(super) fn fchownat(call: &mut Call<'_>) -> Outcome {
    let flags = call.args[4];
    known(flags, linux::AT_SYMLINK_NOFOLLOW | linux::AT_EMPTY_PATH)?;
    set_owner(&node(call, 0, flags)?, [call.args[2], call.args[3]])
}

/// Gives a file away, which root may, or to a group that its owner is in.
fn set_owner(node: &Handle, [user, group]: [usize; 2]) -> Outcome {
    need_changeable(&**node)?;
    let (own, status) = (credentials(), node.attributes()?.status);
    let (user, group) = (id(user), id(group));
    let may = own.is_root_of_files()
        || (user.is_none() && group.is_none())
        || (own.user.file == status.uid
            && user.is_none_or(|user| user == status.uid)
            && group.is_none_or(|group| group == status.gid || own.has_group(group)));
    if !may {
        return Err(Errno::PERM);
    }
    node.set_owner(user, group)?;
    notify(node, linux::IN_ATTRIB);
    Ok(0)
}

pub(super) fn utimensat(call: &mut Call<'_>) -> Outcome {
    let [_, path, times, flags, ..] = call.args;
    known(flags, linux::AT_SYMLINK_NOFOLLOW | linux::AT_EMPTY_PATH)?;
    let now = caller().now;
    let words: [u64; 4] = match times {
        0 => [0, linux::UTIME_NOW.into(), 0, linux::UTIME_NOW.into()],
        times => get_words(&mut call.token, times)?,
    };
    if [words[1], words[3]] == [linux::UTIME_OMIT.into(); 2] {
        return Ok(0);
    }
    if path == 0 && call.args[0] as i32 == linux::AT_FDCWD {
        return Err(Errno::FAULT);
    }
    let node = if path == 0 { open_node(call, 0)? } else { node(call, 0, flags)? };
    set_times(&node, words, now)
}

pub(super) fn utimes(call: &mut Call<'_>) -> Outcome {
    at_cwd(call);
    futimesat(call)
}

/// Times in microseconds.
pub(super) fn futimesat(call: &mut Call<'_>) -> Outcome {
    let times = call.args[2];
    let now = caller().now;
    let words: [u64; 4] = match times {
        0 => [0, linux::UTIME_NOW.into(), 0, linux::UTIME_NOW.into()],
        times => {
            let words: [u64; 4] = get_words(&mut call.token, times)?;
            if words[1] >= 1_000_000 || words[3] >= 1_000_000 {
                return Err(Errno::INVAL);
            }
            [words[0], words[1] * 1000, words[2], words[3] * 1000]
        }
    };
    let node = if call.args[1] == 0 { open_node(call, 0)? } else { node(call, 0, 0)? };
    set_times(&node, words, now)
}

/// Times in seconds.
pub(super) fn utime(call: &mut Call<'_>) -> Outcome {
    let times = call.args[1];
    let now = caller().now;
    let words = match times {
        0 => [0, linux::UTIME_NOW.into(), 0, linux::UTIME_NOW.into()],
        times => {
            let [accessed, modified] = get_words(&mut call.token, times)?;
            [accessed, 0, modified, 0]
        }
    };
    at_cwd(call);
    set_times(&node(call, 0, 0)?, words, now)
}

/// Sets times of a file of the caller's; to the time of the clock also of one that it may write.
fn set_times(node: &Handle, words: [u64; 4], now: u64) -> Outcome {
    let own = credentials();
    let are_now = [words[1], words[3]] == [linux::UTIME_NOW.into(); 2];
    let kept = node.flags()?;
    if kept & IMMUTABLE != 0 || (kept & APPEND != 0 && !are_now) {
        return Err(Errno::PERM);
    }
    if !own.is_root_of_files() {
        let status = node.attributes()?.status;
        match (own.owns(&status), are_now) {
            (true, _) => {}
            (false, true) => own.need(&status, WRITE)?,
            (false, false) => return Err(Errno::PERM),
        }
    }
    let time = |seconds: u64, nanoseconds: u64| match nanoseconds {
        nanoseconds if nanoseconds == u64::from(linux::UTIME_NOW) => Ok(Some(now)),
        nanoseconds if nanoseconds == u64::from(linux::UTIME_OMIT) => Ok(None),
        nanoseconds if nanoseconds < 1_000_000_000 => {
            let start = (seconds as i64).saturating_mul(1_000_000_000);
            Ok(Some(start.saturating_add_unsigned(nanoseconds) as u64))
        }
        _ => Err(Errno::INVAL),
    };
    let (accessed, modified) = (time(words[0], words[1])?, time(words[2], words[3])?);
    node.set_times(NewTimes { accessed, modified })?;
    notify(node, linux::IN_ATTRIB);
    Ok(0)
}
