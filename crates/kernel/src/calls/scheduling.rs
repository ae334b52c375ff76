//! How threads are scheduled, as far as programs are told: classes, priorities and `nice` are kept
//! and given back, and the scheduler has one class of threads, which take turns.
#![forbid(unsafe_code)]

use core::sync::atomic::Ordering::Relaxed;

use alloc::sync::Arc;
use alloc::vec::Vec;

use faultless::prelude::PAGE_SIZE;
use faultless_posix::Errno;
use linux_raw_sys::general as linux;

use crate::arch::percpu;
use crate::calls::call::{Call, Outcome};
use crate::calls::time::NANOSECONDS;
use crate::memory::{get, put, put_words};
use crate::process::process_of;
use crate::sched::{self, Schedule, Thread};
use crate::task::credentials;

/// The flag beside a class: a child is scheduled as any other. Children are, anyway.
const RESET_ON_FORK: u32 = 0x4000_0000;

/// The thread of the first argument.
///
/// # Errors
/// `EINVAL` for a negative number; `ESRCH`.
fn thread(call: &Call<'_>) -> Result<Arc<Thread>, Errno> {
    match call.args[0] as i32 {
        0 => Ok(sched::current()),
        number if number > 0 => sched::find(number.unsigned_abs()).ok_or(Errno::SRCH),
        _ => Err(Errno::INVAL),
    }
}

/// The highest or lowest priority of a class: of those for real time, `of_real_time`.
pub(super) const fn priority(call: &Call<'_>, of_real_time: usize) -> Outcome {
    match call.args[0] as u32 {
        linux::SCHED_FIFO | linux::SCHED_RR => Ok(of_real_time),
        linux::SCHED_NORMAL | linux::SCHED_BATCH | linux::SCHED_IDLE => Ok(0),
        _ => Err(Errno::INVAL),
    }
}

pub(super) fn sched_getscheduler(call: &Call<'_>) -> Outcome {
    Ok(thread(call)?.schedule.lock().class as usize)
}

pub(super) fn sched_setscheduler(call: &mut Call<'_>) -> Outcome {
    let class = call.args[1] as u32 & !RESET_ON_FORK;
    set(call, Some(class), call.args[2])
}

pub(super) fn sched_setparam(call: &mut Call<'_>) -> Outcome {
    set(call, None, call.args[1])
}

/// Sets the class, unless it stays, and the priority that stands at `at`.
fn set(call: &mut Call<'_>, class: Option<u32>, at: usize) -> Outcome {
    if at == 0 || (call.args[0] as i32) < 0 {
        return Err(Errno::INVAL);
    }
    let mut bytes = [0; 4];
    get(&mut call.token, at, &mut bytes)?;
    let priority = u32::from_ne_bytes(bytes);
    let thread = thread(call)?;
    let before = *thread.schedule.lock();
    change(&thread, Schedule { class: class.unwrap_or(before.class), priority, ..before })
}

/// Has a thread be scheduled in another way.
fn change(thread: &Thread, to: Schedule) -> Outcome {
    check(thread, &to)?;
    *thread.schedule.lock() = to;
    Ok(0)
}

/// Checks that a thread can be scheduled so.
///
/// # Errors
/// `EINVAL`; `EPERM`: the caller may not ask for that.
fn check(thread: &Thread, to: &Schedule) -> Result<(), Errno> {
    let is_real_time = match to.class {
        linux::SCHED_FIFO | linux::SCHED_RR => true,
        linux::SCHED_NORMAL | linux::SCHED_BATCH | linux::SCHED_IDLE => false,
        _ => return Err(Errno::INVAL),
    };
    if is_real_time != (1..=99).contains(&to.priority) || (!is_real_time && to.priority != 0) {
        return Err(Errno::INVAL);
    }
    let own = credentials();
    let asks_for_more = is_real_time || to.nice < thread.schedule.lock().nice;
    if !own.is_root() && (asks_for_more || !is_of_user(thread, own.user.effective)) {
        return Err(Errno::PERM);
    }
    Ok(())
}

/// Bytes of the first version of `struct sched_attr`, and of the last that is known.
const FIRST_ATTRIBUTES: usize = 48;
const ATTRIBUTES: usize = 56;

/// `sched_setattr`: class, priority and `nice` at once.
pub(super) fn sched_setattr(call: &mut Call<'_>) -> Outcome {
    const KEEPS_CLASS: u64 = linux::SCHED_FLAG_KEEP_POLICY as u64;
    const KEEPS_REST: u64 = linux::SCHED_FLAG_KEEP_PARAMS as u64;
    let [number, at, flags, ..] = call.args;
    if at == 0 || (number as i32) < 0 || flags as u32 != 0 {
        return Err(Errno::INVAL);
    }
    let mut size = [0; 4];
    get(&mut call.token, at, &mut size)?;
    let size = match u32::from_ne_bytes(size) as usize {
        0 => FIRST_ATTRIBUTES,
        size @ FIRST_ATTRIBUTES..=ATTRIBUTES => size,
        // Longer ones are of a later version, and so is what they ask for.
        _ => {
            put(&mut call.token, at, &(ATTRIBUTES as u32).to_ne_bytes())?;
            return Err(Errno::TOOBIG);
        }
    };
    let mut words = [[0; 8]; ATTRIBUTES / 8];
    get(&mut call.token, at, &mut words.as_flattened_mut()[..size])?;
    let [kind, asked, how, ..] = words.map(u64::from_ne_bytes);
    if asked & !(u64::from(linux::SCHED_FLAG_RESET_ON_FORK) | KEEPS_CLASS | KEEPS_REST) != 0 {
        return Err(Errno::INVAL);
    }
    let thread = thread(call)?;
    let before = *thread.schedule.lock();
    let class = if asked & KEEPS_CLASS != 0 { before.class } else { (kind >> 32) as u32 };
    if asked & KEEPS_REST != 0 {
        // The class stays, too.
        check(&thread, &Schedule { class, ..before })?;
        return Ok(0);
    }
    let nice = (how as i32).clamp(-20, 19);
    change(&thread, Schedule { class, priority: (how >> 32) as u32, nice })
}

pub(super) fn sched_getattr(call: &mut Call<'_>) -> Outcome {
    let [number, at, size, flags, ..] = call.args;
    let size = size as u32 as usize;
    let sizes = FIRST_ATTRIBUTES..=PAGE_SIZE;
    if at == 0 || (number as i32) < 0 || flags as u32 != 0 || !sizes.contains(&size) {
        return Err(Errno::INVAL);
    }
    let Schedule { class, priority, nice } = *thread(call)?.schedule.lock();
    let told = size.min(ATTRIBUTES);
    let mut words = [0; ATTRIBUTES / 8];
    words[0] = u64::from(class) << 32 | told as u64;
    words[2] = u64::from(priority) << 32 | u64::from(nice.cast_unsigned());
    // What a later version has is 0.
    let mut bytes = words.map(u64::to_ne_bytes).as_flattened().to_vec();
    bytes.resize(size, 0);
    put(&mut call.token, at, &bytes)?;
    Ok(0)
}

pub(super) fn sched_getparam(call: &mut Call<'_>) -> Outcome {
    if call.args[1] == 0 {
        return Err(Errno::INVAL);
    }
    let priority = thread(call)?.schedule.lock().priority;
    put(&mut call.token, call.args[1], &priority.to_ne_bytes())?;
    Ok(0)
}

/// How long a turn is; 0 for a class whose threads run until they wait.
pub(super) fn sched_rr_get_interval(call: &mut Call<'_>) -> Outcome {
    let turn = match thread(call)?.schedule.lock().class {
        linux::SCHED_FIFO => 0,
        linux::SCHED_RR => NANOSECONDS / 10,
        _ => NANOSECONDS / 250,
    };
    put_words(&mut call.token, call.args[1], [0, turn])?;
    Ok(0)
}

/// Threads run on any CPU, whatever they ask for; they have to ask for one that there is.
pub(super) fn sched_setaffinity(call: &mut Call<'_>) -> Outcome {
    let [_, len, source, ..] = call.args;
    let mut bytes = [0; 8];
    let len = len.min(bytes.len());
    get(&mut call.token, source, &mut bytes[..len])?;
    thread(call).map_err(|_| Errno::SRCH)?;
    let asked = u64::from_ne_bytes(bytes) & ((1 << percpu::online()) - 1);
    if asked == 0 { Err(Errno::INVAL) } else { Ok(0) }
}

pub(super) fn sched_getaffinity(call: &mut Call<'_>) -> Outcome {
    let [_, len, target, ..] = call.args;
    if len < 8 {
        return Err(Errno::INVAL);
    }
    thread(call).map_err(|_| Errno::SRCH)?;
    put_words(&mut call.token, target, [(1 << percpu::online()) - 1])?;
    Ok(8)
}

/// Whether a thread is of a user, by its real or effective number.
fn is_of_user(thread: &Thread, user: u32) -> bool {
    let of = thread.credentials.lock().user;
    [of.real, of.effective].contains(&user)
}

/// The threads that `getpriority` and `setpriority` mean: one, those of a group of processes, or
/// of a user.
///
/// # Errors
/// `EINVAL`: something else; `ESRCH`: there are none.
fn meant(call: &Call<'_>) -> Result<Vec<Arc<Thread>>, Errno> {
    let [which, number, ..] = call.args;
    let number = number as u32;
    let found: Vec<_> = match which as u32 {
        linux::PRIO_PROCESS if number == 0 => alloc::vec![sched::current()],
        linux::PRIO_PROCESS => sched::find(number).into_iter().collect(),
        linux::PRIO_PGRP => {
            let own = call.process.group.load(Relaxed);
            let group = if number == 0 { own } else { number };
            let is_in =
                |process: Arc<crate::process::Process>| process.group.load(Relaxed) == group;
            let threads = sched::all().into_iter();
            threads.filter(|thread| process_of(thread).is_some_and(is_in)).collect()
        }
        linux::PRIO_USER => {
            let user = if number == 0 { credentials().user.real } else { number };
            let is_its = |thread: &Arc<Thread>| {
                process_of(thread).is_some() && thread.credentials.lock().user.real == user
            };
            sched::all().into_iter().filter(is_its).collect()
        }
        _ => return Err(Errno::INVAL),
    };
    if found.is_empty() { Err(Errno::SRCH) } else { Ok(found) }
}

/// The lowest `nice` of all, as 20 less that, so that it is no error.
pub(super) fn getpriority(call: &Call<'_>) -> Outcome {
    let lowest = meant(call)?.iter().map(|thread| thread.schedule.lock().nice).min();
    Ok((20 - lowest.unwrap_or(0)) as usize)
}

pub(super) fn setpriority(call: &Call<'_>) -> Outcome {
    let nice = (call.args[2] as i32).clamp(-20, 19);
    let own = credentials();
    for thread in meant(call)? {
        if !own.is_root() && !is_of_user(&thread, own.user.effective) {
            return Err(Errno::PERM);
        }
        let mut schedule = thread.schedule.lock();
        if nice < schedule.nice && !own.is_root() {
            return Err(Errno::ACCES);
        }
        schedule.nice = nice;
    }
    Ok(0)
}
