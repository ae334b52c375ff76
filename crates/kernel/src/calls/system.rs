//! What the system is, and its limits.
#![forbid(unsafe_code)]

use core::sync::atomic::Ordering::Relaxed;

use faultless::prelude::PAGE_SIZE;
use faultless_posix::Errno;
use linux_raw_sys::general as linux;

use crate::arch::{clock, percpu};
use crate::calls::call::{Call, Outcome};
use crate::calls::io;
use crate::files::random_bytes;
use crate::memory::{copy_out, frames, get_words, put, put_words, with_buffer};

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
    let [buffer, len, ..] = call.args;
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

/// A limit and the largest that it may be set to.
fn limit(call: &Call<'_>, which: usize) -> [u64; 2] {
    const NONE: u64 = u64::MAX;
    match which as u32 {
        linux::RLIMIT_STACK => [8 << 20, NONE],
        linux::RLIMIT_NOFILE => [1024, 65_536],
        linux::RLIMIT_FSIZE => [call.process.life.file_size_limit.load(Relaxed), NONE],
        _ => [NONE, NONE],
    }
}

fn change_limit(call: &mut Call<'_>, which: usize, new: usize) -> Result<(), Errno> {
    let [bytes, _most] = get_words(&mut call.token, new)?;
    if which as u32 == linux::RLIMIT_FSIZE {
        io::set_size_limit(call, bytes);
    }
    Ok(())
}

pub(super) fn getrlimit(call: &mut Call<'_>) -> Outcome {
    let [which, target, ..] = call.args;
    let limit = limit(call, which);
    put_words(&mut call.token, target, limit)?;
    Ok(0)
}

pub(super) fn setrlimit(call: &mut Call<'_>) -> Outcome {
    let [which, new, ..] = call.args;
    change_limit(call, which, new)?;
    Ok(0)
}

pub(super) fn prlimit(call: &mut Call<'_>) -> Outcome {
    let [_, which, new, old, ..] = call.args;
    let before = limit(call, which);
    if new != 0 {
        change_limit(call, which, new)?;
    }
    if old != 0 {
        put_words(&mut call.token, old, before)?;
    }
    Ok(0)
}

/// Nothing of it is counted.
pub(super) fn getrusage(call: &mut Call<'_>) -> Outcome {
    put_words(&mut call.token, call.args[1], [0; 18])?;
    Ok(0)
}

pub(super) fn sched_getaffinity(call: &mut Call<'_>) -> Outcome {
    let [_, len, target, ..] = call.args;
    if len < 8 {
        return Err(Errno::INVAL);
    }
    let cpus = percpu::cpus().iter().filter(|cpu| cpu.online.load(Relaxed)).count();
    put_words(&mut call.token, target, [(1 << cpus) - 1])?;
    Ok(8)
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
