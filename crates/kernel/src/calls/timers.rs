//! Timers: `setitimer`, `alarm`, `timer_create` and those that go with it.
#![forbid(unsafe_code)]

use faultless_posix::Errno;
use linux_raw_sys::general as linux;

use crate::calls::call::{Call, Outcome};
use crate::calls::signals::signal;
use crate::calls::time::{CpuClock, NANOSECONDS, nanoseconds};
use crate::memory::{get_words, put, put_words};
use crate::process::timers::{self, Due, Notice, Own, Setting, TimerClock, TimerId};
use crate::sched::{self, Thread};

/// Nanoseconds of a `struct timeval`.
fn timeval(seconds: u64, microseconds: u64) -> Result<u64, Errno> {
    nanoseconds(seconds, microseconds.checked_mul(1000).ok_or(Errno::INVAL)?)
}

/// The words of two times, with fractions of a second in units of this many nanoseconds.
const fn times(setting: Setting, unit: u64) -> [u64; 4] {
    let Setting { left, interval } = setting;
    [
        interval / NANOSECONDS,
        interval % NANOSECONDS / unit,
        left / NANOSECONDS,
        (left % NANOSECONDS).div_ceil(unit) % (NANOSECONDS / unit),
    ]
}

/// When a timer with `left` nanoseconds is due.
const fn due(left: u64) -> Due {
    if left > 0 { Due::In(left) } else { Due::Never }
}

/// The timer of an `itimer`.
fn itimer(call: &Call<'_>) -> Result<TimerId, Errno> {
    let which = match call.args[0] as u32 {
        linux::ITIMER_REAL => Own::Alarm,
        linux::ITIMER_VIRTUAL => Own::Virtual,
        linux::ITIMER_PROF => Own::Profile,
        _ => return Err(Errno::INVAL),
    };
    Ok(TimerId::own(&call.process, which))
}

pub(super) fn getitimer(call: &mut Call<'_>) -> Outcome {
    let setting = timers::setting(&call.process, itimer(call)?).unwrap_or_default();
    put_words(&mut call.token, call.args[1], times(setting, 1000))?;
    Ok(0)
}

pub(super) fn setitimer(call: &mut Call<'_>) -> Outcome {
    let [_, new, old, ..] = call.args;
    let id = itimer(call)?;
    let words = if new == 0 { [0; 4] } else { get_words(&mut call.token, new)? };
    let interval = timeval(words[0], words[1])?;
    let left = timeval(words[2], words[3])?;
    let before = timers::set(&call.process, id, due(left), interval)?;
    if old != 0 {
        put_words(&mut call.token, old, times(before, 1000))?;
    }
    Ok(0)
}

pub(super) fn alarm(call: &mut Call<'_>) -> Outcome {
    let left = u64::from(call.args[0] as u32) * NANOSECONDS;
    let before = timers::set(&call.process, TimerId::alarm(&call.process), due(left), 0)?;
    // Rounded, and never to the 0 that says that none was set.
    let seconds = (before.left + NANOSECONDS / 2) / NANOSECONDS;
    Ok(if before.left > 0 { seconds.max(1) } else { 0 } as usize)
}

pub(super) fn timer_create(call: &mut Call<'_>) -> Outcome {
    let [which, event, target, ..] = call.args;
    let clock = match (which as u32, CpuClock::of(which)) {
        (linux::CLOCK_REALTIME | linux::CLOCK_TAI, _) => TimerClock::Real,
        (linux::CLOCK_MONOTONIC | linux::CLOCK_BOOTTIME, _) => TimerClock::Monotonic,
        (_, Some(CpuClock::Process(number))) if number == 0 || number == call.process.number() => {
            TimerClock::Process
        }
        (_, Some(CpuClock::Thread(number))) => {
            let own = sched::with_current(Thread::number);
            if number != 0 && number != own {
                return Err(Errno::INVAL);
            }
            TimerClock::Thread(own)
        }
        (
            linux::CLOCK_MONOTONIC_RAW
            | linux::CLOCK_REALTIME_COARSE
            | linux::CLOCK_MONOTONIC_COARSE,
            _,
        ) => return Err(Errno::OPNOTSUPP),
        _ => return Err(Errno::INVAL),
    };
    let notice = if event == 0 {
        Notice { clock, ..Notice::alarm() }
    } else {
        let [value, kind, thread] = get_words(&mut call.token, event)?;
        let (number, kind, thread) = (kind as u32 as usize, (kind >> 32) as u32, thread as u32);
        let notice = Notice { signal: None, value: Some(value), thread: None, clock };
        match kind {
            linux::SIGEV_NONE => notice,
            linux::SIGEV_SIGNAL | linux::SIGEV_THREAD => {
                Notice { signal: Some(signal(number)?), ..notice }
            }
            linux::SIGEV_THREAD_ID => {
                sched::find(thread).ok_or(Errno::INVAL)?;
                Notice { signal: Some(signal(number)?), thread: Some(thread), ..notice }
            }
            _ => return Err(Errno::INVAL),
        }
    };
    let number = timers::create(&call.process, notice)?;
    let told = put(&mut call.token, target, &number.to_ne_bytes());
    if told.is_err() {
        timers::delete(TimerId::made(&call.process, number))?;
    }
    told.map(|()| 0)
}

/// The timer of the first argument.
fn made(call: &Call<'_>) -> TimerId {
    TimerId::made(&call.process, call.args[0] as u32)
}

pub(super) fn timer_settime(call: &mut Call<'_>) -> Outcome {
    let [_, flags, new, old, ..] = call.args;
    if new == 0 {
        return Err(Errno::INVAL);
    }
    let [interval, interval_rest, seconds, rest] = get_words(&mut call.token, new)?;
    let interval = nanoseconds(interval, interval_rest)?;
    let time = nanoseconds(seconds, rest)?;
    let is_absolute = flags as u32 & linux::TIMER_ABSTIME != 0;
    let due = if is_absolute && time > 0 { Due::At(time) } else { due(time) };
    let before = timers::set(&call.process, made(call), due, interval)?;
    if old != 0 {
        put_words(&mut call.token, old, times(before, 1))?;
    }
    Ok(0)
}

pub(super) fn timer_gettime(call: &mut Call<'_>) -> Outcome {
    let setting = timers::setting(&call.process, made(call))?;
    put_words(&mut call.token, call.args[1], times(setting, 1))?;
    Ok(0)
}

pub(super) fn timer_getoverrun(call: &mut Call<'_>) -> Outcome {
    Ok(timers::overruns(made(call))? as usize)
}

pub(super) fn timer_delete(call: &mut Call<'_>) -> Outcome {
    timers::delete(made(call))?;
    Ok(0)
}
