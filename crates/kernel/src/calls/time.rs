//! Time, and waits that end by it: sleeps, futexes.
#![forbid(unsafe_code)]

use faultless_posix::Errno;
use linux_raw_sys::general as linux;

use crate::arch::clock;
use crate::calls::call::{Call, Outcome};
use crate::memory::{USER_END, change_word, get, get_words, put_words};
use crate::process::{self, FutexKey};
use crate::sched;
use crate::task::{self, credentials};

pub(super) const NANOSECONDS: u64 = 1_000_000_000;

/// Nanoseconds of a time.
///
/// # Errors
/// `EINVAL`: it is negative, or the fraction is a second or more.
pub(super) fn nanoseconds(seconds: u64, fraction: u64) -> Result<u64, Errno> {
    if seconds > i64::MAX as u64 || fraction >= NANOSECONDS {
        return Err(Errno::INVAL);
    }
    Ok(seconds.saturating_mul(NANOSECONDS).saturating_add(fraction))
}

/// Nanoseconds of a `struct timespec`.
pub(super) fn timespec(call: &mut Call<'_>, at: usize) -> Result<u64, Errno> {
    let [seconds, fraction] = get_words(&mut call.token, at)?;
    nanoseconds(seconds, fraction)
}

fn put_timespec(call: &mut Call<'_>, at: usize, time: u64) -> Result<(), Errno> {
    put_words(&mut call.token, at, [time / NANOSECONDS, time % NANOSECONDS])
}

/// A clock of CPU time; 0 is the caller.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum CpuClock {
    Process(u32),
    Thread(u32),
}

impl CpuClock {
    /// The clock that a number means: one of two constants, or the complement of the number of a
    /// process or thread, above three bits for the kind of clock. The kinds are not told apart.
    pub(super) const fn of(which: usize) -> Option<Self> {
        const KIND: i32 = 3;
        const OF_THREAD: i32 = 4;
        match which as i32 {
            kind if kind as u32 == linux::CLOCK_PROCESS_CPUTIME_ID => Some(Self::Process(0)),
            kind if kind as u32 == linux::CLOCK_THREAD_CPUTIME_ID => Some(Self::Thread(0)),
            which if which < 0 && which & KIND != KIND => {
                let number = !(which >> 3) as u32;
                let is_thread = which & OF_THREAD != 0;
                Some(if is_thread { Self::Thread(number) } else { Self::Process(number) })
            }
            _ => None,
        }
    }

    /// What it shows.
    ///
    /// # Errors
    /// `EINVAL`: there is no such process, or no such thread of the caller's process.
    fn time(self) -> Result<u64, Errno> {
        let current = process::current().ok_or(Errno::INVAL)?;
        match self {
            Self::Process(0) => Ok(current.run_time()),
            Self::Thread(0) => Ok(sched::own_run_time()),
            Self::Process(number) => process::with_process(number, |process| process.run_time())
                .map_err(|_| Errno::INVAL),
            Self::Thread(number) => {
                let thread = sched::find(number).ok_or(Errno::INVAL)?;
                let of = process::process_of(&thread).ok_or(Errno::INVAL)?;
                let is_own = of.number() == current.number();
                if is_own { Ok(sched::run_time(&thread)) } else { Err(Errno::INVAL) }
            }
        }
    }
}

/// What a clock shows.
fn clock(which: usize) -> Result<u64, Errno> {
    if let Some(clock) = CpuClock::of(which) {
        return clock.time();
    }
    match which as u32 {
        linux::CLOCK_REALTIME | linux::CLOCK_REALTIME_COARSE | linux::CLOCK_TAI => {
            Ok(clock::real())
        }
        linux::CLOCK_MONOTONIC
        | linux::CLOCK_MONOTONIC_RAW
        | linux::CLOCK_MONOTONIC_COARSE
        | linux::CLOCK_BOOTTIME => Ok(clock::monotonic()),
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

/// Sets the clock of the day. Timers that are set to a time of it stay as they are.
///
/// # Errors
/// `EPERM` for others than root; `EINVAL` for a time that is longer ago than the start, or later
/// than Linux has any.
fn set_day(time: u64) -> Outcome {
    /// Seconds: 30 years before the last one of a 64-bit clock of nanoseconds.
    const LAST: u64 = 8_277_292_036;
    if time / NANOSECONDS >= LAST || time < clock::monotonic() {
        return Err(Errno::INVAL);
    }
    if !credentials().is_root() {
        return Err(Errno::PERM);
    }
    clock::set_real(time);
    Ok(0)
}

pub(super) fn clock_settime(call: &mut Call<'_>) -> Outcome {
    let [which, at, ..] = call.args;
    if which as u32 != linux::CLOCK_REALTIME {
        return Err(Errno::INVAL);
    }
    let time = timespec(call, at)?;
    set_day(time)
}

/// A time zone is not kept.
pub(super) fn settimeofday(call: &mut Call<'_>) -> Outcome {
    let [time, zone, ..] = call.args;
    if zone != 0 {
        let [_zone] = get_words(&mut call.token, zone)?;
    }
    if time == 0 {
        return if credentials().is_root() { Ok(0) } else { Err(Errno::PERM) };
    }
    let [seconds, microseconds] = get_words(&mut call.token, time)?;
    set_day(nanoseconds(seconds, microseconds.checked_mul(1000).ok_or(Errno::INVAL)?)?)
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

/// All time is the program's: what the kernel does for it is not told apart.
pub(super) fn times(call: &mut Call<'_>) -> Outcome {
    const TICK: u64 = NANOSECONDS / 100;
    if call.args[0] != 0 {
        let [own, children] = [call.process.run_time(), call.process.life.children_ran()];
        put_words(&mut call.token, call.args[0], [own / TICK, 0, children / TICK, 0])?;
    }
    Ok((clock::monotonic() / TICK) as usize)
}

/// Sleeps until a time of the monotonic clock.
fn sleep_until(until: u64) -> Result<(), Errno> {
    while clock::monotonic() < until {
        if task::interrupted() {
            return Err(Errno::INTR);
        }
        sched::park_until(until);
    }
    Ok(())
}

pub(super) fn nanosleep(call: &mut Call<'_>) -> Outcome {
    let [request, rest, ..] = call.args;
    let len = timespec(call, request)?;
    sleep(call, task::from_now(len), rest)
}

fn sleep(call: &mut Call<'_>, until: u64, rest: usize) -> Outcome {
    let slept = sleep_until(until);
    if slept.is_err() {
        task::resumes_until(Some(until));
        if rest != 0 {
            put_timespec(call, rest, until.saturating_sub(clock::monotonic()))?;
        }
    }
    slept.map(|()| 0)
}

pub(super) fn clock_nanosleep(call: &mut Call<'_>) -> Outcome {
    let [which, flags, request, rest, ..] = call.args;
    let now = clock(which)?;
    match (which as u32, CpuClock::of(which)) {
        (
            linux::CLOCK_THREAD_CPUTIME_ID
            | linux::CLOCK_MONOTONIC_RAW
            | linux::CLOCK_REALTIME_COARSE
            | linux::CLOCK_MONOTONIC_COARSE,
            _,
        ) => return Err(Errno::OPNOTSUPP),
        (_, Some(CpuClock::Thread(_))) => return Err(Errno::INVAL),
        _ => {}
    }
    let time = timespec(call, request)?;
    if flags as u32 & linux::TIMER_ABSTIME == 0 {
        return sleep(call, task::from_now(time), rest);
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
    let command = operation & linux::FUTEX_CMD_MASK as u32;
    let is_absolute = command != linux::FUTEX_WAIT;
    let is_real = operation & linux::FUTEX_CLOCK_REALTIME != 0 || command == linux::FUTEX_LOCK_PI;
    Ok(Some(match (is_absolute, is_real) {
        (false, _) => task::from_now(time),
        (true, true) => now.saturating_add(time.saturating_sub(clock::real())),
        (true, false) => time,
    }))
}

pub(super) fn futex(call: &mut Call<'_>) -> Outcome {
    let [word, operation, value, timeout, other, third] = call.args;
    let (operation, value) = (operation as u32, value as u32);
    // A word of the program alone needs no mapping to be woken.
    let key = |address| match FutexKey::of(address) {
        Err(Errno::FAULT) if operation & linux::FUTEX_PRIVATE_FLAG != 0 && address < USER_END => {
            FutexKey::unmapped(address)
        }
        key => key,
    };
    let command = operation & linux::FUTEX_CMD_MASK as u32;
    let has_clock = [linux::FUTEX_WAIT_BITSET, linux::FUTEX_LOCK_PI2].contains(&command);
    if operation & linux::FUTEX_CLOCK_REALTIME != 0 && !has_clock {
        return Err(Errno::NOSYS);
    }
    match command {
        command @ (linux::FUTEX_WAIT | linux::FUTEX_WAIT_BITSET) => {
            let bits = if command == linux::FUTEX_WAIT { u32::MAX } else { third as u32 };
            let until = futex_until(call, operation, timeout)?;
            let waited = process::futex_wait(&mut call.token, word, value, bits, until);
            if waited == Err(Errno::INTR) && command == linux::FUTEX_WAIT {
                task::resumes_until(until);
            }
            waited.map(|()| 0)
        }
        linux::FUTEX_WAKE => Ok(process::futex_wake(key(word)?, wakes(value), u32::MAX)),
        linux::FUTEX_WAKE_BITSET => {
            if third as u32 == 0 {
                return Err(Errno::INVAL);
            }
            Ok(process::futex_wake(key(word)?, wakes(value), third as u32))
        }
        command @ (linux::FUTEX_REQUEUE | linux::FUTEX_CMP_REQUEUE) => {
            if command == linux::FUTEX_CMP_REQUEUE {
                let mut now = [0; 4];
                get(&mut call.token, word, &mut now)?;
                if u32::from_ne_bytes(now) != third as u32 {
                    return Err(Errno::AGAIN);
                }
            }
            let count = |count: usize| usize::try_from(count as i32).map_err(|_| Errno::INVAL);
            let (wakes, moves) = (count(value as usize)?, count(timeout)?);
            let (from, to) = (key(word)?, key(other)?);
            Ok(process::futex_requeue(from, wakes, to, moves))
        }
        linux::FUTEX_WAKE_OP => {
            let change = Change::new(third as u32)?;
            let (first, second) = (key(word)?, key(other)?);
            let before = change_word(call.process.memory()?.space(), other, |word| {
                Some(change.apply(word))
            })?;
            let is_met = change.is_met(before)?;
            let woken = process::futex_wake(first, wakes(value), u32::MAX);
            let more = if is_met {
                process::futex_wake(second, wakes(timeout as u32), u32::MAX)
            } else {
                0
            };
            Ok(woken + more)
        }
        linux::FUTEX_LOCK_PI | linux::FUTEX_LOCK_PI2 => {
            let until = futex_until(call, operation, timeout)?;
            process::futex_lock(word, until).map(|()| 0)
        }
        linux::FUTEX_TRYLOCK_PI => process::futex_try_lock(word).map(|()| 0),
        linux::FUTEX_UNLOCK_PI => process::futex_unlock(word).map(|()| 0),
        _ => Err(Errno::NOSYS),
    }
}

/// How many threads are woken at most. As on Linux, it is one at least.
fn wakes(value: u32) -> usize {
    usize::try_from(value.cast_signed()).map_or(1, |value| value.max(1))
}

/// How `FUTEX_WAKE_OP` changes the second word, and what that must have been before.
#[derive(Clone, Copy)]
struct Change {
    operation: u32,
    argument: u32,
    comparison: u32,
    compared: u32,
}

impl Change {
    /// Takes the argument of the call apart.
    ///
    /// # Errors
    /// `ENOSYS` for an operation that is none.
    fn new(encoded: u32) -> Result<Self, Errno> {
        /// A number of 12 bits with a sign.
        const fn signed(bits: u32) -> u32 {
            ((bits << 20).cast_signed() >> 20).cast_unsigned()
        }
        let (operation, comparison) = (encoded >> 28, encoded >> 24 & 0xf);
        let argument = signed(encoded >> 12 & 0xfff);
        let is_shift = operation & linux::FUTEX_OP_OPARG_SHIFT != 0;
        let argument = if is_shift { 1_u32.wrapping_shl(argument) } else { argument };
        let operation = operation & !linux::FUTEX_OP_OPARG_SHIFT;
        if operation > linux::FUTEX_OP_XOR {
            return Err(Errno::NOSYS);
        }
        Ok(Self { operation, argument, comparison, compared: signed(encoded & 0xfff) })
    }

    const fn apply(self, word: u32) -> u32 {
        match self.operation {
            linux::FUTEX_OP_SET => self.argument,
            linux::FUTEX_OP_ADD => word.wrapping_add(self.argument),
            linux::FUTEX_OP_OR => word | self.argument,
            linux::FUTEX_OP_ANDN => word & !self.argument,
            _ => word ^ self.argument,
        }
    }

    /// Whether the second word was as it has to be.
    ///
    /// # Errors
    /// `ENOSYS` for a comparison that is none. The word has changed.
    const fn is_met(self, before: u32) -> Result<bool, Errno> {
        let (before, compared) = (before.cast_signed(), self.compared.cast_signed());
        Ok(match self.comparison {
            linux::FUTEX_OP_CMP_EQ => before == compared,
            linux::FUTEX_OP_CMP_NE => before != compared,
            linux::FUTEX_OP_CMP_LT => before < compared,
            linux::FUTEX_OP_CMP_LE => before <= compared,
            linux::FUTEX_OP_CMP_GT => before > compared,
            linux::FUTEX_OP_CMP_GE => before >= compared,
            _ => return Err(Errno::NOSYS),
        })
    }
}
