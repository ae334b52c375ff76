//! Processes and threads: `clone`, `execve`, `exit`, `wait`, and who is who.
#![forbid(unsafe_code)]

use core::sync::atomic::Ordering::Relaxed;

use alloc::sync::Arc;
use alloc::vec::Vec;

use faultless::prelude::PAGE_SIZE;
use faultless_posix::{Errno, Follow, Kind};
use linux_raw_sys::general as linux;
use x86_64::VirtAddr;
use x86_64::registers::model_specific::{FsBase, KernelGsBase};

use crate::calls::call::{Call, Outcome};
use crate::calls::{names, system};
use crate::files::{self, ProcessFile};
use crate::memory::{USER_END, get, get_string, get_words, put, put_words};
use crate::process::{self, CloneRequest, Process, Words};
use crate::sched;
use crate::signals::{Cause, SIGNALS, Waited};

/// A word of arguments, at most.
const MAX_WORD: usize = 128 * 1024;

pub(super) fn clone(call: &mut Call<'_>) -> Outcome {
    let [flags, stack, parent_number, child_number, thread_pointer, _] = call.args;
    let flags = flags as u64;
    let signal = flags as u32 & SIGNAL;
    const BOTH: u64 = (linux::CLONE_PIDFD | linux::CLONE_PARENT_SETTID) as u64;
    // One place is for the one or the other.
    let is_pid_fd = flags & u64::from(linux::CLONE_PIDFD) != 0;
    if flags & BOTH == BOTH || (is_pid_fd && flags & u64::from(linux::CLONE_DETACHED) != 0) {
        return Err(Errno::INVAL);
    }
    let descriptor = parent_number;
    let request = CloneRequest {
        flags,
        stack,
        parent_number,
        descriptor,
        child_number,
        thread_pointer,
        signal,
    };
    run(call, request)
}

/// The bits of the flags of `clone` that are a signal; `clone3` has a word for it.
const SIGNAL: u32 = linux::CSIGNAL;

fn run(call: &mut Call<'_>, request: CloneRequest) -> Outcome {
    Ok(process::clone(&mut call.token, call.frame, request)? as usize)
}

/// Words of `struct clone_args` that its first version has.
const CLONE_WORDS: usize = 8;

pub(super) fn clone3(call: &mut Call<'_>) -> Outcome {
    let [at, size, ..] = call.args;
    if size < CLONE_WORDS * 8 {
        return Err(Errno::INVAL);
    }
    if size > PAGE_SIZE {
        return Err(Errno::TOOBIG);
    }
    let words: [u64; CLONE_WORDS] = get_words(&mut call.token, at)?;
    let mut later = [0; PAGE_SIZE - CLONE_WORDS * 8];
    let later = &mut later[..size - CLONE_WORDS * 8];
    get(&mut call.token, at + CLONE_WORDS * 8, later)?;
    if later.iter().any(|byte| *byte != 0) {
        // What a later version has is not known.
        return Err(Errno::TOOBIG);
    }
    let [flags, descriptor, child, parent, signal, stack, stack_size, thread_pointer] =
        words.map(|word| word as usize);
    let refused = SIGNAL | linux::CLONE_DETACHED;
    if flags as u32 & refused != 0 || signal > SIGNALS || (stack == 0) != (stack_size == 0) {
        return Err(Errno::INVAL);
    }
    if flags as u32 & (linux::CLONE_THREAD | linux::CLONE_PARENT) != 0 && signal != 0 {
        return Err(Errno::INVAL);
    }
    let request = CloneRequest {
        flags: flags as u64,
        signal: signal as u32,
        stack: stack.wrapping_add(stack_size),
        parent_number: parent,
        descriptor,
        child_number: child,
        thread_pointer,
    };
    run(call, request)
}

pub(super) fn fork(call: &mut Call<'_>) -> Outcome {
    run(call, CloneRequest { signal: linux::SIGCHLD, ..CloneRequest::default() })
}

pub(super) fn vfork(call: &mut Call<'_>) -> Outcome {
    let flags = u64::from(linux::CLONE_VM | linux::CLONE_VFORK);
    run(call, CloneRequest { flags, signal: linux::SIGCHLD, ..CloneRequest::default() })
}

/// `unshare`: what a process shares with others it has for itself from then on.
pub(super) fn unshare(call: &mut Call<'_>) -> Outcome {
    /// Threads share these for good.
    const OF_THREADS: u32 = linux::CLONE_THREAD | linux::CLONE_SIGHAND | linux::CLONE_VM;
    let flags = call.args[0] as u32;
    names::known(call.args[0], OF_THREADS | linux::CLONE_FILES | linux::CLONE_FS | SEMAPHORES)?;
    if flags & OF_THREADS != 0 && call.process.threads().len() > 1 {
        return Err(Errno::INVAL);
    }
    if flags & linux::CLONE_FILES != 0 {
        process::unshare_files(&call.process);
    }
    if flags & linux::CLONE_FS != 0 {
        call.process.unshare_place();
    }
    Ok(0)
}

/// What is undone of semaphores is never shared.
const SEMAPHORES: u32 = linux::CLONE_SYSVSEM;

/// A table of texts, with a 0 at its end.
///
/// `room` is how many bytes there may be, and becomes less by those that there are.
fn words(call: &mut Call<'_>, at: usize, room: &mut usize) -> Result<Vec<Vec<u8>>, Errno> {
    let mut words = Vec::new();
    let mut at = at;
    while at != 0 {
        let [word] = get_words(&mut call.token, at)?;
        if word == 0 {
            break;
        }
        let text = get_string(&mut call.token, word as usize, MAX_WORD);
        let text = text.map_err(|why| if why == Errno::FAULT { why } else { Errno::TOOBIG })?;
        *room = room.checked_sub(text.len() + process::WORD).ok_or(Errno::TOOBIG)?;
        words.push(text);
        at = at.wrapping_add(8);
    }
    Ok(words)
}

pub(super) fn execve(call: &mut Call<'_>) -> Outcome {
    let path = names::path(call, 0)?;
    let [_, arguments, environment, ..] = call.args;
    execute(call, &path, arguments, environment)
}

/// By a directory and a path, or by an open file, which a script's interpreter finds by its name in
/// `/proc`.
pub(super) fn execveat(call: &mut Call<'_>) -> Outcome {
    let [descriptor, _, arguments, environment, flags, _] = call.args;
    names::known(flags, linux::AT_EMPTY_PATH | linux::AT_SYMLINK_NOFOLLOW)?;
    let path = names::path(call, 1)?;
    let is_open = path.is_empty() && flags as u32 & linux::AT_EMPTY_PATH != 0;
    let path = if is_open {
        call.process.any_file(descriptor)?;
        alloc::format!("/proc/self/fd/{}", descriptor as u32).into_bytes()
    } else {
        let at = names::start(call, 0, &path)?;
        let follow = if flags as u32 & linux::AT_SYMLINK_NOFOLLOW == 0 {
            Follow::Last
        } else {
            Follow::NotLast
        };
        if files::look_up(&at, &path, follow)?.kind() == Kind::Link {
            return Err(Errno::LOOP);
        }
        files::absolute(&at, &path)
    };
    execute(call, &path, arguments, environment)
}

fn execute(call: &mut Call<'_>, path: &[u8], arguments: usize, environment: usize) -> Outcome {
    let mut room = process::MAX_TEXT;
    let words = Words {
        arguments: words(call, arguments, &mut room)?,
        environment: words(call, environment, &mut room)?,
        ..Words::default()
    };
    process::execute(&mut call.token, call.frame, path, words)?;
    // The register is part of what the new program begins with.
    Ok(0)
}

pub(super) fn exit(call: &mut Call<'_>) -> Outcome {
    process::exit_call(process::Ending::Thread, status(call))
}

pub(super) fn exit_group(call: &mut Call<'_>) -> Outcome {
    process::exit_call(process::Ending::Process, status(call))
}

const fn status(call: &Call<'_>) -> u32 {
    (call.args[0] as u32 & 0xff) << 8
}

/// The options of `wait` that say which kinds of children are meant.
const KINDS: u32 = linux::__WNOTHREAD | linux::__WALL | linux::__WCLONE;

pub(super) fn wait4(call: &mut Call<'_>) -> Outcome {
    let [which, status, flags, usage, ..] = call.args;
    let known = linux::WNOHANG | linux::WUNTRACED | linux::WCONTINUED | KINDS;
    if flags as u32 & !known != 0 {
        return Err(Errno::INVAL);
    }
    // A group that has no number.
    if which as i32 == i32::MIN {
        return Err(Errno::SRCH);
    }
    let before = call.process.life.children_ran();
    let Some(child) = process::wait(which as i32, flags as u32 | linux::WEXITED)? else {
        return Ok(0);
    };
    if status != 0 {
        put(&mut call.token, status, &child.status.to_ne_bytes())?;
    }
    if usage != 0 {
        let ran = call.process.life.children_ran().saturating_sub(before);
        put_words(&mut call.token, usage, system::usage(ran))?;
    }
    Ok(child.number as usize)
}

pub(super) fn waitid(call: &mut Call<'_>) -> Outcome {
    let [kind, which, target, flags, ..] = call.args;
    let mut flags = flags;
    let which = match (kind as u32, which as i32) {
        (linux::P_PIDFD, number) if number >= 0 => {
            let file = call.process.file(number as usize)?;
            let of = file.kind::<ProcessFile>().ok_or(Errno::BADF)?;
            if file.flags() & linux::O_NONBLOCK != 0 {
                flags |= linux::WNOHANG as usize;
            }
            of.process.number().cast_signed()
        }
        (linux::P_ALL, _) => -1,
        (linux::P_PID, number) if number > 0 => number,
        (linux::P_PGID, group) if group >= 0 => -group,
        _ => return Err(Errno::INVAL),
    };
    let known = linux::WEXITED | linux::WSTOPPED | linux::WCONTINUED;
    let more = linux::WNOHANG | linux::WNOWAIT | KINDS;
    if flags as u32 & known == 0 || flags as u32 & !(known | more) != 0 {
        return Err(Errno::INVAL);
    }
    let asked = call.args[3] as u32;
    let child = process::wait(which, flags as u32)?;
    if child.is_none() && asked & linux::WNOHANG == 0 {
        return Err(Errno::AGAIN);
    }
    if target != 0 {
        put_words(&mut call.token, target, child.map_or([0; process::INFO_WORDS], information))?;
    }
    Ok(0)
}

/// `siginfo_t` of a child.
fn information(child: Waited) -> [u64; process::INFO_WORDS] {
    let mut words = [0; process::INFO_WORDS];
    process::information(&mut words, linux::SIGCHLD, Cause::Child(child));
    words
}

pub(super) fn gettid(_call: &mut Call<'_>) -> Outcome {
    Ok(sched::with_current(sched::Thread::number) as usize)
}

/// The process that an argument means: 0 is the caller's.
fn meant(call: &Call<'_>) -> u32 {
    match call.args[0] as u32 {
        0 => call.process.number(),
        number => number,
    }
}

pub(super) fn getpgid(call: &mut Call<'_>) -> Outcome {
    process::with_process(meant(call), |process| process.group.load(Relaxed) as usize)
}

pub(super) fn setpgid(call: &mut Call<'_>) -> Outcome {
    let number = meant(call);
    let group = call.args[1] as i32;
    let group = if group == 0 { number } else { group.cast_unsigned() };
    if group > i32::MAX as u32 {
        return Err(Errno::INVAL);
    }
    let session = call.process.session.load(Relaxed);
    let own = call.process.number();
    process::with_process(number, |process| {
        if number != own && process.parent_number() != own {
            return Err(Errno::SRCH);
        }
        if number != own && process.has_executed.load(Relaxed) {
            return Err(Errno::ACCES);
        }
        let leads = process.session.load(Relaxed) == number;
        if leads || process.session.load(Relaxed) != session {
            return Err(Errno::PERM);
        }
        // A new group, or one of the session.
        let mut is_known = group == number;
        let look = |other: &Arc<Process>| {
            is_known |= other.session.load(Relaxed) == session;
        };
        if group != number {
            // None is an unknown group.
            let _none = process::with_group(Some(group), look);
        }
        if !is_known {
            return Err(Errno::PERM);
        }
        process.group.store(group, Relaxed);
        Ok(0)
    })?
}

pub(super) fn getsid(call: &mut Call<'_>) -> Outcome {
    process::with_process(meant(call), |process| process.session.load(Relaxed) as usize)
}

pub(super) fn setsid(call: &mut Call<'_>) -> Outcome {
    let number = call.process.number();
    // No process is in a group of that number: it would have another session.
    if process::with_group(Some(number), |_| {}).is_ok() {
        return Err(Errno::PERM);
    }
    call.process.group.store(number, Relaxed);
    call.process.session.store(number, Relaxed);
    Ok(number as usize)
}

pub(super) fn set_tid_address(call: &mut Call<'_>) -> Outcome {
    sched::with_current(|thread| thread.clear_at_exit.store(call.args[0], Relaxed));
    gettid(call)
}

/// Bytes of `struct robust_list_head`.
const ROBUST_HEAD: usize = 24;

pub(super) fn get_robust_list(call: &mut Call<'_>) -> Outcome {
    let [number, head, len, ..] = call.args;
    let thread = match number as u32 {
        0 => sched::current(),
        number => sched::find(number).ok_or(Errno::SRCH)?,
    };
    let list = thread.robust_list.load(Relaxed);
    put_words(&mut call.token, len, [ROBUST_HEAD as u64])?;
    put_words(&mut call.token, head, [list as u64])?;
    Ok(0)
}

pub(super) fn set_robust_list(call: &mut Call<'_>) -> Outcome {
    let [head, len, ..] = call.args;
    if len != ROBUST_HEAD {
        return Err(Errno::INVAL);
    }
    sched::with_current(|thread| thread.robust_list.store(head, Relaxed));
    Ok(0)
}

pub(super) fn arch_prctl(call: &mut Call<'_>) -> Outcome {
    const SET_GS: u32 = 0x1001;
    const SET_FS: u32 = 0x1002;
    const GET_FS: u32 = 0x1003;
    const GET_GS: u32 = 0x1004;
    let [code, address, ..] = call.args;
    match code as u32 {
        SET_FS | SET_GS if address >= USER_END + PAGE_SIZE => Err(Errno::PERM),
        // The registers are the thread's, whatever the CPU: each is set by one instruction.
        SET_FS => {
            FsBase::write(VirtAddr::new_truncate(address as u64));
            Ok(0)
        }
        SET_GS => {
            KernelGsBase::write(VirtAddr::new_truncate(address as u64));
            Ok(0)
        }
        GET_FS | GET_GS => {
            let base = if code as u32 == GET_FS { FsBase::read() } else { KernelGsBase::read() };
            put_words(&mut call.token, address, [base.as_u64()])?;
            Ok(0)
        }
        _ => Err(Errno::INVAL),
    }
}
