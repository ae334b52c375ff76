//! Files that stand for events: `epoll`, `eventfd`, `timerfd`, `signalfd`, `inotify`.
#![forbid(unsafe_code)]

use faultless_posix::{Errno, Follow, Kind};
use linux_raw_sys::general as linux;

use crate::arch::clock;
use crate::calls::call::{Call, Outcome};
use crate::calls::descriptors::{add, on_exec};
use crate::calls::names::{self, known};
use crate::calls::poll;
use crate::calls::time::{NANOSECONDS, nanoseconds, timespec};
use crate::credentials::READ;
use crate::files::{self, Clock, Counts, Epoll, Notices, Setting, SignalFile, TimerFile};
use crate::memory::{get, get_words, put, put_words};
use crate::task::credentials;

/// Bytes of `struct epoll_event`, which is packed.
const EVENT: usize = 12;

/// The flags of `eventfd` and `timerfd`; those of `epoll_create1` are among them.
const FLAGS: u32 = linux::O_CLOEXEC | linux::O_NONBLOCK;

pub(super) fn epoll_create(call: &mut Call<'_>) -> Outcome {
    if call.args[0] as i32 <= 0 {
        return Err(Errno::INVAL);
    }
    call.args[0] = 0;
    epoll_create1(call)
}

pub(super) fn epoll_create1(call: &mut Call<'_>) -> Outcome {
    let flags = call.args[0];
    known(flags, linux::EPOLL_CLOEXEC)?;
    add(call, 0, files::epoll(), on_exec(flags as u32))
}

pub(super) fn epoll_ctl(call: &mut Call<'_>) -> Outcome {
    let [set, operation, descriptor, event, ..] = call.args;
    let mut bytes = [0; EVENT];
    if operation as u32 != linux::EPOLL_CTL_DEL {
        get(&mut call.token, event, &mut bytes)?;
    }
    let [a, b, c, d, data @ ..] = bytes;
    let set = call.process.file(set)?;
    let file = call.process.file(descriptor)?;
    let of = set.kind::<Epoll>().ok_or(Errno::INVAL)?;
    let events = u32::from_ne_bytes([a, b, c, d]);
    let data = u64::from_ne_bytes(data);
    of.change(&set, operation as u32, (descriptor as u32, &file), events, data)?;
    Ok(0)
}

pub(super) fn epoll_wait(call: &mut Call<'_>) -> Outcome {
    let until = poll::in_milliseconds(call.args[3]);
    wait(call, until)
}

pub(super) fn epoll_pwait(call: &mut Call<'_>) -> Outcome {
    let until = poll::in_milliseconds(call.args[3]);
    poll::mask(call, call.args[4], call.args[5])?;
    wait(call, until)
}

pub(super) fn epoll_pwait2(call: &mut Call<'_>) -> Outcome {
    let until = match call.args[3] {
        0 => None,
        at => Some(clock::monotonic().saturating_add(timespec(call, at)?)),
    };
    poll::mask(call, call.args[4], call.args[5])?;
    wait(call, until)
}

fn wait(call: &mut Call<'_>, until: Option<u64>) -> Outcome {
    /// Events of one call, at most.
    const MOST: usize = 65_536;
    let [set, target, most, ..] = call.args;
    let most = usize::try_from(most as i32).map_err(|_| Errno::INVAL)?;
    if most == 0 || most > i32::MAX as usize / EVENT {
        return Err(Errno::INVAL);
    }
    let most = most.min(MOST);
    let set = call.process.file(set)?;
    let of = set.kind::<Epoll>().ok_or(Errno::INVAL)?;
    let mut found;
    loop {
        let looked = of.files();
        found = looked.ready(of, most);
        let mut changed = false;
        if found.is_empty() {
            poll::wait(until, looked.wakes_at(), || {
                found = looked.ready(of, most);
                changed = of.has_changed_since(&looked);
                Ok(usize::from(changed) + found.len())
            })?;
        }
        if !found.is_empty() || !changed {
            break;
        }
    }
    for (number, (events, data)) in found.iter().enumerate() {
        let mut bytes = [0; EVENT];
        bytes[..4].copy_from_slice(&events.to_ne_bytes());
        bytes[4..].copy_from_slice(&data.to_ne_bytes());
        put(&mut call.token, target + EVENT * number, &bytes)?;
    }
    Ok(found.len())
}

pub(super) fn eventfd(call: &mut Call<'_>) -> Outcome {
    call.args[1] = 0;
    eventfd2(call)
}

pub(super) fn eventfd2(call: &mut Call<'_>) -> Outcome {
    const SEMAPHORE: u32 = 1;
    let [count, flags, ..] = call.args;
    known(flags, FLAGS | SEMAPHORE)?;
    let flags = flags as u32;
    let counts = if flags & SEMAPHORE == 0 { Counts::All } else { Counts::One };
    add(call, 0, files::counter(count as u32, counts, flags), on_exec(flags))
}

pub(super) fn signalfd(call: &mut Call<'_>) -> Outcome {
    call.args[3] = 0;
    signalfd4(call)
}

pub(super) fn signalfd4(call: &mut Call<'_>) -> Outcome {
    let [descriptor, set, size, flags, ..] = call.args;
    known(flags, FLAGS)?;
    if size != size_of::<u64>() {
        return Err(Errno::INVAL);
    }
    let [set] = get_words(&mut call.token, set)?;
    if descriptor as i32 == -1 {
        let file = files::signal_file(set, flags as u32);
        return add(call, 0, file, on_exec(flags as u32));
    }
    let file = call.process.file(descriptor)?;
    file.kind::<SignalFile>().ok_or(Errno::INVAL)?.change(set);
    Ok(descriptor)
}

pub(super) fn timerfd_create(call: &mut Call<'_>) -> Outcome {
    let [which, flags, ..] = call.args;
    let clock = match which as u32 {
        linux::CLOCK_REALTIME | linux::CLOCK_REALTIME_ALARM => Clock::Real,
        linux::CLOCK_MONOTONIC | linux::CLOCK_BOOTTIME | linux::CLOCK_BOOTTIME_ALARM => {
            Clock::Monotonic
        }
        _ => return Err(Errno::INVAL),
    };
    known(flags, FLAGS)?;
    add(call, 0, files::timer(clock, flags as u32), on_exec(flags as u32))
}

/// `struct itimerspec` of a timer.
fn words(setting: Setting) -> [u64; 4] {
    let left = setting.at.saturating_sub(clock::monotonic());
    // One that is about to go off is not one that is off.
    let left = if setting.at > 0 { left.max(1) } else { 0 };
    let interval = setting.interval;
    [interval / NANOSECONDS, interval % NANOSECONDS, left / NANOSECONDS, left % NANOSECONDS]
}

pub(super) fn timerfd_settime(call: &mut Call<'_>) -> Outcome {
    const ABSOLUTE: u32 = 1;
    const CANCEL_ON_SET: u32 = 2;
    let [descriptor, flags, new, old, ..] = call.args;
    known(flags, ABSOLUTE | CANCEL_ON_SET)?;
    let [seconds, fraction, first, first_fraction] = get_words(&mut call.token, new)?;
    let interval = nanoseconds(seconds, fraction)?;
    let first = nanoseconds(first, first_fraction)?;
    let file = call.process.file(descriptor)?;
    let timer = file.kind::<TimerFile>().ok_or(Errno::INVAL)?;
    let now = clock::monotonic();
    let at = match (first, flags as u32 & ABSOLUTE != 0) {
        (0, _) => 0,
        (first, false) => now.saturating_add(first),
        (first, true) if timer.clock == Clock::Real => {
            now.saturating_add(first.saturating_sub(clock::real())).max(1)
        }
        (first, true) => first,
    };
    let before = timer.set(Setting { at, interval });
    if old != 0 {
        put_words(&mut call.token, old, words(before))?;
    }
    Ok(0)
}

pub(super) fn timerfd_gettime(call: &mut Call<'_>) -> Outcome {
    let [descriptor, target, ..] = call.args;
    let file = call.process.file(descriptor)?;
    let setting = file.kind::<TimerFile>().ok_or(Errno::INVAL)?.get();
    put_words(&mut call.token, target, words(setting))?;
    Ok(0)
}

pub(super) fn inotify_init(call: &mut Call<'_>) -> Outcome {
    call.args[0] = 0;
    inotify_init1(call)
}

pub(super) fn inotify_init1(call: &mut Call<'_>) -> Outcome {
    let flags = call.args[0];
    known(flags, FLAGS)?;
    add(call, 0, files::notices(flags as u32), on_exec(flags as u32))
}

pub(super) fn inotify_add_watch(call: &mut Call<'_>) -> Outcome {
    const HOW: u32 = linux::IN_ONLYDIR
        | linux::IN_DONT_FOLLOW
        | linux::IN_EXCL_UNLINK
        | linux::IN_MASK_CREATE
        | linux::IN_MASK_ADD
        | linux::IN_ONESHOT;
    let [queue, _, mask, ..] = call.args;
    let mask = mask as u32;
    if mask & (linux::IN_ALL_EVENTS | HOW) == 0 {
        return Err(Errno::INVAL);
    }
    let file = call.process.file(queue)?;
    let both = linux::IN_MASK_ADD | linux::IN_MASK_CREATE;
    let queue = file.kind::<Notices>().filter(|_| mask & both != both).ok_or(Errno::INVAL)?;
    let follows = mask & linux::IN_DONT_FOLLOW == 0;
    let path = names::path(call, 1)?;
    let follow = if follows { Follow::Last } else { Follow::NotLast };
    let node = files::look_up(&names::cwd(call), &path, follow)?;
    if mask & linux::IN_ONLYDIR != 0 && node.kind() != Kind::Directory {
        return Err(Errno::NOTDIR);
    }
    credentials().need(&node.attributes()?.status, READ)?;
    queue.watch(&node, mask)
}

pub(super) fn inotify_rm_watch(call: &mut Call<'_>) -> Outcome {
    let [queue, watch, ..] = call.args;
    let file = call.process.file(queue)?;
    file.kind::<Notices>().ok_or(Errno::INVAL)?.forget(watch as i32)?;
    Ok(0)
}
