//! Time, and waits that end by it: sleeps, futexes, `poll`.
#![forbid(unsafe_code)]

use faultless_posix::Errno;
use linux_raw_sys::general as linux;

use crate::arch::clock;
use crate::calls::call::{Call, Outcome};
use crate::files::Ready;
use crate::memory::{get, get_words, put, put_words};
use crate::process::{self, FutexKey};
use crate::sched;

const NANOSECONDS: u64 = 1_000_000_000;

/// Nanoseconds of a `struct timespec`.
fn timespec(call: &mut Call<'_>, at: usize) -> Result<u64, Errno> {
    let [seconds, nanoseconds] = get_words(&mut call.token, at)?;
    if seconds > i64::MAX as u64 || nanoseconds >= NANOSECONDS {
        return Err(Errno::INVAL);
    }
    Ok(seconds.saturating_mul(NANOSECONDS).saturating_add(nanoseconds))
}

fn put_timespec(call: &mut Call<'_>, at: usize, time: u64) -> Result<(), Errno> {
    put_words(&mut call.token, at, [time / NANOSECONDS, time % NANOSECONDS])
}

/// What a clock shows.
fn clock(which: usize) -> Result<u64, Errno> {
    match which as u32 {
        linux::CLOCK_REALTIME | linux::CLOCK_REALTIME_COARSE | linux::CLOCK_TAI => {
            Ok(clock::real())
        }
        linux::CLOCK_MONOTONIC
        | linux::CLOCK_MONOTONIC_RAW
        | linux::CLOCK_MONOTONIC_COARSE
        | linux::CLOCK_BOOTTIME
        | linux::CLOCK_PROCESS_CPUTIME_ID
        | linux::CLOCK_THREAD_CPUTIME_ID => Ok(clock::monotonic()),
        _ => Err(Errno::INVAL),
    }
}

pub(super) fn clock_gettime(call: &mut Call<'_>) -> Outcome {
    let [which, target, ..] = call.args;
    put_timespec(call, target, clock(which)?)?;
    Ok(0)
}

pub(super) fn clock_getres(call: &mut Call<'_>) -> Outcome {
    let [which, target, ..] = call.args;
    clock(which)?;
    if target != 0 {
        put_timespec(call, target, 1)?;
    }
    Ok(0)
}

pub(super) fn gettimeofday(call: &mut Call<'_>) -> Outcome {
    let [target, zone, ..] = call.args;
    let now = clock::real();
    if target != 0 {
        let words = [now / NANOSECONDS, now % NANOSECONDS / 1000];
        put_words(&mut call.token, target, words)?;
    }
    if zone != 0 {
        put_words(&mut call.token, zone, [0])?;
    }
    Ok(0)
}

pub(super) fn time(call: &mut Call<'_>) -> Outcome {
    let now = clock::real() / NANOSECONDS;
    if call.args[0] != 0 {
        put_words(&mut call.token, call.args[0], [now])?;
    }
    Ok(now as usize)
}

/// Times of CPUs are not kept: only the time since the start.
pub(super) fn times(call: &mut Call<'_>) -> Outcome {
    if call.args[0] != 0 {
        put_words(&mut call.token, call.args[0], [0; 4])?;
    }
    Ok((clock::monotonic() / (NANOSECONDS / 100)) as usize)
}

/// Sleeps until a time of the monotonic clock.
fn sleep_until(until: u64) -> Result<(), Errno> {
    while clock::monotonic() < until {
        if crate::task::interrupted() {
            return Err(Errno::INTR);
        }
        sched::park_until(until);
    }
    Ok(())
}

pub(super) fn nanosleep(call: &mut Call<'_>) -> Outcome {
    let [request, rest, ..] = call.args;
    let len = timespec(call, request)?;
    sleep(call, clock::monotonic().saturating_add(len), rest)
}

fn sleep(call: &mut Call<'_>, until: u64, rest: usize) -> Outcome {
    let slept = sleep_until(until);
    if slept.is_err() {
        // What is left is told instead: the call is not made again.
        call.frame.error = 0;
        if rest != 0 {
            put_timespec(call, rest, until.saturating_sub(clock::monotonic()))?;
        }
    }
    slept.map(|()| 0)
}

pub(super) fn clock_nanosleep(call: &mut Call<'_>) -> Outcome {
    let [which, flags, request, rest, ..] = call.args;
    let now = clock(which)?;
    let time = timespec(call, request)?;
    if flags as u32 & linux::TIMER_ABSTIME == 0 {
        return sleep(call, clock::monotonic().saturating_add(time), rest);
    }
    let until = clock::monotonic().saturating_add(time.saturating_sub(now));
    sleep_until(until).map(|()| 0)
}

pub(super) fn sched_yield(_call: &mut Call<'_>) -> Outcome {
    sched::yield_now();
    Ok(0)
}

/// The time at which a futex wait ends: relative, or of one of two clocks.
fn futex_until(call: &mut Call<'_>, operation: u32, at: usize) -> Result<Option<u64>, Errno> {
    if at == 0 {
        return Ok(None);
    }
    let time = timespec(call, at)?;
    let now = clock::monotonic();
    let is_absolute = operation & linux::FUTEX_CMD_MASK as u32 == linux::FUTEX_WAIT_BITSET;
    let left = match (is_absolute, operation & linux::FUTEX_CLOCK_REALTIME != 0) {
        (false, _) => time,
        (true, true) => time.saturating_sub(clock::real()),
        (true, false) => time.saturating_sub(now),
    };
    Ok(Some(now.saturating_add(left)))
}

pub(super) fn futex(call: &mut Call<'_>) -> Outcome {
    let [word, operation, value, timeout, other, third] = call.args;
    let (operation, value) = (operation as u32, value as u32);
    match operation & linux::FUTEX_CMD_MASK as u32 {
        command @ (linux::FUTEX_WAIT | linux::FUTEX_WAIT_BITSET) => {
            let bits = if command == linux::FUTEX_WAIT { u32::MAX } else { third as u32 };
            let until = futex_until(call, operation, timeout)?;
            process::futex_wait(&mut call.token, word, value, bits, until)?;
            Ok(0)
        }
        linux::FUTEX_WAKE => Ok(process::futex_wake(FutexKey::of(word)?, value as usize, u32::MAX)),
        linux::FUTEX_WAKE_BITSET => {
            Ok(process::futex_wake(FutexKey::of(word)?, value as usize, third as u32))
        }
        command @ (linux::FUTEX_REQUEUE | linux::FUTEX_CMP_REQUEUE) => {
            if command == linux::FUTEX_CMP_REQUEUE {
                let mut now = [0; 4];
                get(&mut call.token, word, &mut now)?;
                if u32::from_ne_bytes(now) != third as u32 {
                    return Err(Errno::AGAIN);
                }
            }
            let (from, to) = (FutexKey::of(word)?, FutexKey::of(other)?);
            Ok(process::futex_requeue(from, value as usize, to, timeout as u32 as usize))
        }
        _ => Err(Errno::NOSYS),
    }
}

pub(super) fn poll(call: &mut Call<'_>) -> Outcome {
    let [files, count, milliseconds, ..] = call.args;
    let until = u64::try_from(milliseconds as i32)
        .ok()
        .map(|len| clock::monotonic().saturating_add(len * 1_000_000));
    poll_until(call, files, count, until)
}

pub(super) fn ppoll(call: &mut Call<'_>) -> Outcome {
    let [files, count, timeout, mask, ..] = call.args;
    let until = match timeout {
        0 => None,
        timeout => Some(clock::monotonic().saturating_add(timespec(call, timeout)?)),
    };
    if mask != 0 {
        let [mask] = get_words(&mut call.token, mask)?;
        crate::task::suspend_mask(mask);
    }
    poll_until(call, files, count, until)
}

/// How long `poll` sleeps before it looks again, in nanoseconds.
const POLL: u64 = 4_000_000;

/// Files that `poll` looks at, at most.
const MAX_POLLED: usize = 65_536;

fn poll_until(call: &mut Call<'_>, at: usize, count: usize, until: Option<u64>) -> Outcome {
    if count > MAX_POLLED {
        return Err(Errno::INVAL);
    }
    let mut entries = alloc::vec![0; count * 8];
    get(&mut call.token, at, &mut entries)?;
    loop {
        let ready = look(call, &mut entries);
        let is_over = until.is_some_and(|until| clock::monotonic() >= until);
        if ready > 0 || is_over {
            put(&mut call.token, at, &entries)?;
            return Ok(ready);
        }
        if crate::task::interrupted() {
            return Err(Errno::INTR);
        }
        let next = clock::monotonic().saturating_add(POLL);
        sched::park_until(until.map_or(next, |until| until.min(next)));
    }
}

/// Sets what is ready in each `struct pollfd`; how many are.
fn look(call: &Call<'_>, entries: &mut [u8]) -> usize {
    let always = Ready::HANG_UP | Ready::ERROR;
    let mut count = 0;
    let (entries, _) = entries.as_chunks_mut::<8>();
    for entry in entries {
        let [a, b, c, d, low, high, ..] = *entry;
        let descriptor = i32::from_ne_bytes([a, b, c, d]);
        let asked = Ready::from_bits_truncate(u16::from_ne_bytes([low, high]).into());
        let ready = match usize::try_from(descriptor).map(|number| call.process.file(number)) {
            Err(_) => 0,
            Ok(Err(_)) => linux::POLLNVAL,
            Ok(Ok(file)) => (file.ready() & (asked | always)).bits(),
        };
        count += usize::from(ready != 0);
        [entry[6], entry[7]] = (ready as u16).to_ne_bytes();
    }
    count
}
