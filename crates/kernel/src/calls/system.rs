//! What the system is, and its limits.
#![forbid(unsafe_code)]

use alloc::sync::Arc;

use faultless::prelude::PAGE_SIZE;
use faultless_posix::Errno;
use linux_raw_sys::general as linux;

use crate::arch::{clock, percpu};
use crate::calls::call::{Call, Outcome};
use crate::calls::names::known;
use crate::calls::time::NANOSECONDS;
use crate::files::random_bytes;
use crate::memory::{copy_out, frames, get_words, put, put_words, with_buffer};
use crate::process::{self, Process};
use crate::sched;
use crate::task::credentials;

/// Bytes of a field of `struct utsname`.
const FIELD: usize = 65;

pub(super) fn uname(call: &mut Call<'_>) -> Outcome {
    let fields: [&[u8]; 6] =
        [b"Linux", b"faultless", b"6.1.0-faultless", b"#1 SMP", b"x86_64", b"(none)"];
    let mut bytes = [0; 6 * FIELD];
    for (place, text) in bytes.chunks_exact_mut(FIELD).zip(fields) {
        place[..text.len()].copy_from_slice(text);
    }
    put(&mut call.token, call.args[0], &bytes)?;
    Ok(0)
}

pub(super) fn sysinfo(call: &mut Call<'_>) -> Outcome {
    let frames = frames();
    let bytes = |frames: u32| u64::from(frames) * PAGE_SIZE as u64;
    let mut words = [0; 14];
    words[0] = clock::monotonic() / 1_000_000_000;
    words[4] = bytes(frames.total());
    words[5] = bytes(frames.free());
    // The number of processes, and the unit: one byte.
    words[10] = 1;
    words[13] = 1;
    put_words(&mut call.token, call.args[0], words)?;
    Ok(0)
}

pub(super) fn getrandom(call: &mut Call<'_>) -> Outcome {
    const PIECE: usize = 256;
    let [buffer, len, flags, ..] = call.args;
    let both = linux::GRND_RANDOM | linux::GRND_INSECURE;
    known(flags, both | linux::GRND_NONBLOCK)?;
    if flags as u32 & both == both {
        return Err(Errno::INVAL);
    }
    with_buffer(&mut call.token, buffer, len, |to, token| {
        let asked = to.count();
        while to.count() > 0 {
            let len = to.count().min(PIECE);
            if copy_out(to, token, &random_bytes::<PIECE>()[..len]) < len {
                break;
            }
        }
        let done = asked - to.count();
        if done == 0 && asked > 0 { Err(Errno::FAULT) } else { Ok(done) }
    })
}

fn change_limit(
    call: &mut Call<'_>,
    of: &Arc<Process>,
    which: usize,
    new: usize,
) -> Result<(), Errno> {
    let limit = get_words(&mut call.token, new)?;
    let [_, most] = of.life.limits.get(which)?;
    if limit[1] > most && limit[0] <= limit[1] && !credentials().is_root() {
        return Err(Errno::PERM);
    }
    of.life.limits.set(which, limit)?;
    if which as u32 == linux::RLIMIT_NOFILE {
        of.files().lock().set_limit(limit[0] as usize);
    }
    if which as u32 == linux::RLIMIT_CPU {
        process::timers::limit(of);
    }
    Ok(())
}

pub(super) fn getrlimit(call: &mut Call<'_>) -> Outcome {
    let [which, target, ..] = call.args;
    let limit = call.process.life.limits.get(which as u32 as usize)?;
    put_words(&mut call.token, target, limit)?;
    Ok(0)
}

pub(super) fn setrlimit(call: &mut Call<'_>) -> Outcome {
    let [which, new, ..] = call.args;
    let process = Arc::clone(&call.process);
    change_limit(call, &process, which as u32 as usize, new)?;
    Ok(0)
}

pub(super) fn prlimit(call: &mut Call<'_>) -> Outcome {
    let [number, which, new, old, ..] = call.args;
    let which = which as u32 as usize;
    let process = match number as u32 {
        0 => Arc::clone(&call.process),
        number => process::with_process(number, Arc::clone)?,
    };
    let before = process.life.limits.get(which)?;
    if new != 0 {
        change_limit(call, &process, which, new)?;
    }
    if old != 0 {
        put_words(&mut call.token, old, before)?;
    }
    Ok(0)
}

/// `struct rusage` of so many nanoseconds. Only time is counted.
pub(super) const fn usage(time: u64) -> [u64; 18] {
    let mut words = [0; 18];
    words[0] = time / NANOSECONDS;
    words[1] = time % NANOSECONDS / 1000;
    words
}

pub(super) fn getrusage(call: &mut Call<'_>) -> Outcome {
    const THREAD: i32 = 1;
    let time = match call.args[0] as i32 {
        0 => call.process.run_time(),
        linux::RUSAGE_CHILDREN => call.process.life.children_ran(),
        THREAD => sched::own_run_time(),
        _ => return Err(Errno::INVAL),
    };
    put_words(&mut call.token, call.args[1], usage(time))?;
    Ok(0)
}

/// Programs run as those of Linux, without exceptions to that.
pub(super) const fn personality(call: &Call<'_>) -> Outcome {
    match call.args[0] as u32 {
        // Linux' own, and what only asks.
        0 | u32::MAX => Ok(0),
        _ => Err(Errno::INVAL),
    }
}

/// The clock runs as it does.
pub(super) fn adjtimex(call: &mut Call<'_>) -> Outcome {
    const WORDS: usize = 26;
    let [modes] = get_words(&mut call.token, call.args[0])?;
    if modes as u32 != 0 {
        return Err(Errno::PERM);
    }
    put_words(&mut call.token, call.args[0], [0; WORDS])?;
    Ok(0)
}

pub(super) fn getcpu(call: &mut Call<'_>) -> Outcome {
    let [cpu, node, ..] = call.args;
    for (target, value) in [(cpu, percpu::number() as u32), (node, 0)] {
        if target != 0 {
            put(&mut call.token, target, &value.to_ne_bytes())?;
        }
    }
    Ok(0)
}
