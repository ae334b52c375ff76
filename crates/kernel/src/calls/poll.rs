//! `poll`, `select` and their forms with a mask of signals.
//!
//! All of them wait under one key, which every file wakes that becomes ready
//! ([`wake_pollers`](crate::waits::wake_pollers)), and then look at their files again.
#![forbid(unsafe_code)]

use alloc::vec::Vec;

use faultless_posix::Errno;
use linux_raw_sys::general as linux;

use crate::arch::clock;
use crate::calls::call::{Call, Outcome};
use crate::calls::time::{NANOSECONDS, nanoseconds, timespec};
use crate::files::{OpenFile, Ready};
use crate::memory::{get, get_words, put, put_words};
use crate::task::{self, from_now};
use crate::waits::poll_key;

/// Files of one call, at most.
const MAX_POLLED: usize = 65_536;

/// Has a mask hold for the call, if there is one.
pub(super) fn mask(call: &mut Call<'_>, at: usize, size: usize) -> Result<(), Errno> {
    if at == 0 {
        return Ok(());
    }
    if size != size_of::<u64>() {
        return Err(Errno::INVAL);
    }
    let [mask] = get_words(&mut call.token, at)?;
    task::suspend_mask(mask);
    Ok(())
}

/// Waits until `look` finds files that are ready; how many. None if the time came first. A file may
/// become ready by itself at the time `wakes_at`.
pub(super) fn wait(
    until: Option<u64>,
    wakes_at: Option<u64>,
    mut look: impl FnMut() -> Result<usize, Errno>,
) -> Outcome {
    let mut found = look();
    while found == Ok(0) {
        let next = wakes_at.filter(|at| *at > clock::monotonic());
        let first = until.into_iter().chain(next).min();
        let waited = task::wait_until(poll_key(), first, &mut || {
            found = look();
            found != Ok(0)
        });
        match waited {
            Ok(()) => {}
            Err(Errno::TIMEDOUT) if until.is_none_or(|until| clock::monotonic() < until) => {}
            Err(Errno::TIMEDOUT) => break,
            Err(errno) => return Err(errno),
        }
    }
    found
}

/// The time that milliseconds from now are; none for a negative number.
pub(super) fn in_milliseconds(milliseconds: usize) -> Option<u64> {
    let len = u64::try_from(milliseconds as i32).ok();
    len.map(|len| from_now(len * 1_000_000))
}

pub(super) fn poll(call: &mut Call<'_>) -> Outcome {
    let [files, count, milliseconds, ..] = call.args;
    let until = in_milliseconds(milliseconds);
    let polled = poll_until(call, files, count, until);
    if polled == Err(Errno::INTR) {
        task::resumes_until(until);
    }
    polled
}

pub(super) fn ppoll(call: &mut Call<'_>) -> Outcome {
    let [files, count, timeout, signals, size, _] = call.args;
    let until = match timeout {
        0 => None,
        timeout => Some(from_now(timespec(call, timeout)?)),
    };
    mask(call, signals, size)?;
    let polled = poll_until(call, files, count, until);
    tell_rest(call, timeout, until, 1);
    polled
}

/// Tells what is left of a time, in seconds and units of so many nanoseconds, unless the call waits
/// for good. As on Linux, it is no error if the time lies in memory that is only read.
fn tell_rest(call: &mut Call<'_>, at: usize, until: Option<u64>, unit: u64) {
    let Some(until) = until.filter(|_| at != 0) else { return };
    let left = until.saturating_sub(clock::monotonic());
    let words = [left / NANOSECONDS, left % NANOSECONDS / unit];
    let _not_reported = put_words(&mut call.token, at, words);
}

fn poll_until(call: &mut Call<'_>, at: usize, count: usize, until: Option<u64>) -> Outcome {
    if count > MAX_POLLED {
        return Err(Errno::INVAL);
    }
    let mut entries = Vec::new();
    entries.try_reserve_exact(count * 8).map_err(|_| Errno::NOMEM)?;
    entries.resize(count * 8, 0);
    get(&mut call.token, at, &mut entries)?;
    let files = polled(call, &entries);
    let wakes_at = files.iter().flatten().flatten().filter_map(|file| file.wakes_at()).min();
    let ready = wait(until, wakes_at, || Ok(look(&files, &mut entries)))?;
    put(&mut call.token, at, &entries)?;
    Ok(ready)
}

/// A file that is waited for: none for a negative descriptor, and an error for one that is free.
type Polled = Option<Result<OpenFile, Errno>>;

/// The files of each `struct pollfd`. They stay open until the call returns: what looks at them
/// must not drop one.
fn polled(call: &Call<'_>, entries: &[u8]) -> Vec<Polled> {
    let (entries, _) = entries.as_chunks::<8>();
    let descriptors = entries.iter().map(|&[a, b, c, d, ..]| i32::from_ne_bytes([a, b, c, d]));
    let numbers = descriptors.map(|number| usize::try_from(number).ok());
    numbers.map(|number| number.map(|number| call.process.file(number))).collect()
}

/// Sets what is ready in each `struct pollfd`; how many are.
fn look(files: &[Polled], entries: &mut [u8]) -> usize {
    let mut count = 0;
    let (entries, _) = entries.as_chunks_mut::<8>();
    for (entry, file) in entries.iter_mut().zip(files) {
        let [_, _, _, _, low, high, ..] = *entry;
        let asked = u16::from_ne_bytes([low, high]).into();
        let ready = match file {
            None => 0,
            Some(Err(_)) => linux::POLLNVAL,
            Some(Ok(file)) => file.ready().told(asked),
        };
        count += usize::from(ready != 0);
        [entry[6], entry[7]] = (ready as u16).to_ne_bytes();
    }
    count
}

/// Descriptors that `select` can name.
const SELECTED: usize = 1024;

/// The words of an `fd_set`.
const SET: usize = SELECTED / 64;

/// What each of the three sets of `select` asks for.
const ASKED: [Ready; 3] = [
    Ready::IN.union(Ready::HANG_UP).union(Ready::ERROR),
    Ready::OUT.union(Ready::ERROR),
    Ready::empty(),
];

pub(super) fn select(call: &mut Call<'_>) -> Outcome {
    let timeout = call.args[4];
    let len = match timeout {
        0 => None,
        at => {
            let [seconds, rest] = get_words(&mut call.token, at)?;
            let fraction = rest.checked_mul(1000).ok_or(Errno::INVAL)?;
            // Microseconds may be more than a second here, as on Linux.
            let seconds = seconds.saturating_add(fraction / NANOSECONDS);
            Some(nanoseconds(seconds, fraction % NANOSECONDS)?)
        }
    };
    select_until(call, len.map(from_now), 1000)
}

pub(super) fn pselect(call: &mut Call<'_>) -> Outcome {
    let [_, _, _, _, timeout, signals] = call.args;
    let until = match timeout {
        0 => None,
        at => Some(from_now(timespec(call, at)?)),
    };
    if signals != 0 {
        let [at, size] = get_words(&mut call.token, signals)?;
        mask(call, at as usize, size as usize)?;
    }
    select_until(call, until, 1)
}

/// `select`; what is left of the time is told in units of so many nanoseconds.
fn select_until(call: &mut Call<'_>, until: Option<u64>, unit: u64) -> Outcome {
    let [count, sets @ .., timeout, _] = call.args;
    let count = usize::try_from(count as i32).map_err(|_| Errno::INVAL)?.min(SELECTED);
    let len = count.div_ceil(64) * 8;
    let mut asked = [[0_u64; SET]; 3];
    for (set, at) in asked.iter_mut().zip(sets).filter(|(_, at)| *at != 0) {
        let mut bytes = [[0; 8]; SET];
        get(&mut call.token, at, &mut bytes.as_flattened_mut()[..len])?;
        *set = bytes.map(u64::from_ne_bytes);
    }
    let mut told = [[0_u64; SET]; 3];
    let files = selected(call, count, &asked)?;
    let wakes_at = files.iter().filter_map(|(_, file)| file.wakes_at()).min();
    let ready = wait(until, wakes_at, || Ok(select_among(&files, &asked, &mut told)));
    tell_rest(call, timeout, until, unit);
    let ready = ready?;
    for (set, at) in told.iter().zip(sets).filter(|(_, at)| *at != 0) {
        put(&mut call.token, at, &set.map(u64::to_ne_bytes).as_flattened()[..len])?;
    }
    Ok(ready)
}

/// Whether a set has a descriptor.
const fn has(set: &[u64; SET], descriptor: usize) -> bool {
    set[descriptor / 64] & 1 << (descriptor % 64) != 0
}

/// The files that are in a set. They stay open until the call returns.
fn selected(
    call: &Call<'_>,
    count: usize,
    asked: &[[u64; SET]; 3],
) -> Result<Vec<(usize, OpenFile)>, Errno> {
    let is_asked = |descriptor: &usize| asked.iter().any(|set| has(set, *descriptor));
    let numbers = (0..count).filter(is_asked);
    numbers.map(|descriptor| Ok((descriptor, call.process.file(descriptor)?))).collect()
}

/// Notes the descriptors that are ready; how often one is.
fn select_among(
    files: &[(usize, OpenFile)],
    asked: &[[u64; SET]; 3],
    told: &mut [[u64; SET]; 3],
) -> usize {
    let mut ready = 0;
    *told = [[0; SET]; 3];
    for (descriptor, file) in files {
        let is = file.ready();
        for (kind, set) in asked.iter().enumerate() {
            if has(set, *descriptor) && is.intersects(ASKED[kind]) {
                told[kind][descriptor / 64] |= 1 << (descriptor % 64);
                ready += 1;
            }
        }
    }
    ready
}
