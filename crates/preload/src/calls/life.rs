//! The end of threads and processes, and `exec`.
#![forbid(unsafe_code)]

use alloc::boxed::Box;
use alloc::sync::Arc;
use alloc::vec::Vec;

use faultless_posix::Errno;
use syscalls::Sysno;

use crate::call::{Call, Outcome, get_path, get_string, get_words};
use crate::clone;
use crate::environment::ENVIRONMENT;
use crate::files::{files, look, stat_of};
use crate::process::{PROCESSES, Process, serve};
use crate::raw;
use crate::thread::{LentProgram, sleep_for_good};

/// `exit`: Linux ends the thread, on its own stack.
pub(super) fn exit_thread(call: &mut Call<'_>) -> Outcome {
    call.thread.exit();
    Outcome::Pass
}

/// `exit_group`: what the process has is given up first.
pub(super) fn exit(call: &mut Call<'_>) -> Outcome {
    call.process.exit();
    raw::harmless(Sysno::exit_group, call.args);
    sleep_for_good();
}

/// `kill`, `tkill`, `tgkill`: a process of the machine is not killed while a thread of it is in the
/// kernel, where it may hold locks.
pub(super) fn kill(call: &Call<'_>, number: Sysno) -> Outcome {
    let [first, second, third, ..] = call.args;
    let (target, signal) = match number {
        Sysno::kill => (first as i32, second as i32),
        Sysno::tkill => (first as i32, second as i32),
        _ => (first as i32, third as i32),
    };
    if signal != libc::SIGKILL {
        return Outcome::Pass;
    }
    // Whether the program may is for Linux to say.
    let mut asked = call.args;
    asked[if number == Sysno::tgkill { 2 } else { 1 }] = 0;
    let result = raw::harmless(number, asked);
    if result != 0 {
        return Outcome::Done(result);
    }
    let own = call.process.pid;
    let victims: Vec<_> = {
        let processes = PROCESSES.get().lock();
        let meant = |process: &&Arc<Process>| process.pid != own && is_meant(process.pid, target);
        processes.values().filter(meant).cloned().collect()
    };
    victims.iter().for_each(|process| process.kill());
    if target > 0 {
        let is_own = is_meant(own, target);
        if is_own {
            call.process.kill();
        }
        return if is_own || !victims.is_empty() { Outcome::Done(0) } else { Outcome::Pass };
    }
    // The others of the group, when those of the machine are gone.
    while victims.iter().any(|process| process.is_known()) {
        serve();
        raw::yield_now();
    }
    if is_meant(own, target) {
        call.process.kill();
        call.process.exit();
    }
    Outcome::Done(raw::harmless(number, call.args))
}

/// Whether a process is one that `kill` with this target means.
fn is_meant(pid: i32, target: i32) -> bool {
    let group = |pid: i32| raw::harmless(Sysno::getpgid, [pid as usize, 0, 0, 0, 0, 0]) as i32;
    match target {
        -1 => true,
        0 => group(pid) == group(0),
        ..0 => group(pid) == -target,
        _ => pid == target,
    }
}

/// `execve` and `execveat`: Linux reads a program from its own file, so it is given what that is to
/// hold.
pub(super) fn exec(call: &mut Call<'_>, number: Sysno) -> Outcome {
    let (folder, path) = match number {
        Sysno::execve => (libc::AT_FDCWD as usize, call.args[0]),
        _ => (call.args[0], call.args[1]),
    };
    if let Ok(path) = get_path(call, path) {
        let stat = if path.len() == 1 { stat_of(folder) } else { look(folder, &path, 0) };
        if let Some(file) = stat.and_then(|stat| files().find(&stat)) {
            // If that fails, Linux finds a program that it cannot run.
            let _found_by_linux = files().write_out(&file);
        }
        files().write_out_programs();
    }
    let first = if number == Sysno::execveat { 1 } else { 0 };
    let lent = match lend(call, [0, 1, 2].map(|at| call.args[first + at])) {
        Ok(lent) => lent,
        Err(error) => return Outcome::Done(-(error as isize)),
    };
    let outcome = clone::exec(call);
    call.set_argument(first, lent.path.as_ptr().addr());
    call.set_argument(first + 1, lent.arguments.as_ptr().addr());
    call.set_argument(first + 2, lent.environment.as_ptr().addr());
    call.thread.lent_program.set(Some(lent));
    outcome
}

/// Bytes of a string that `exec` takes at most, with its NUL (Linux's `MAX_ARG_STRLEN`).
const STRING_BYTES: usize = 128 << 10;

/// Has Linux read the path, the arguments and the environment from memory of the library's: the
/// program's may lie in mappings of files. The environment gets what the library needs.
///
/// # Errors
/// Error numbers: `EFAULT` for a bad pointer, `ENAMETOOLONG`, `E2BIG`. Linux finds more.
fn lend(
    call: &mut Call<'_>,
    [path, arguments, environment]: [usize; 3],
) -> Result<Box<LentProgram>, i32> {
    let path = get_string(call, path, libc::PATH_MAX as usize)
        .map_err(|errno| too_long(errno, libc::ENAMETOOLONG))?;
    let arguments = strings(call, arguments)?;
    let mut environment = strings(call, environment)?;
    let (added, left_out) = ENVIRONMENT.get().add(&environment);
    for at in left_out.into_iter().rev() {
        environment.remove(at);
    }
    environment.extend(added);
    let list = |strings: &[Vec<u8>]| -> Vec<usize> {
        let addresses = strings.iter().map(|string| string.as_ptr().addr());
        addresses.chain([0]).collect()
    };
    let mut lent = Box::new(LentProgram {
        arguments: list(&arguments),
        environment: list(&environment),
        path,
        strings: arguments,
    });
    lent.strings.extend(environment);
    Ok(lent)
}

/// The number of an error of a string's, given the one for a string that is too long.
fn too_long(errno: Errno, number: i32) -> i32 {
    if errno == Errno::INVAL { number } else { libc::EFAULT }
}

/// The strings of a list that ends with a null.
fn strings(call: &mut Call<'_>, at: usize) -> Result<Vec<Vec<u8>>, i32> {
    let mut strings = Vec::new();
    if at == 0 {
        return Ok(strings);
    }
    for number in 0_usize.. {
        let word = get_words(call, at.saturating_add(number * 8));
        match word.map_err(|_| libc::EFAULT)? {
            [0] => break,
            [string] => {
                let string = get_string(call, string as usize, STRING_BYTES);
                strings.push(string.map_err(|errno| too_long(errno, libc::E2BIG))?);
            }
        }
    }
    Ok(strings)
}
