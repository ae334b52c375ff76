//! Timers that send signals: `setitimer`, `alarm`, `timer_create`, `RLIMIT_CPU`.
//!
//! A thread of the kernel sleeps until the first timer is due, and sends its signal. The table has
//! a short lock, which is free while signals are sent.
//!
//! A timer of CPU time is due after what is left of it at the earliest: then the thread looks how
//! long the program has run, and looks again after the rest.
#![forbid(unsafe_code)]

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::sync::{Arc, Weak};
use alloc::vec::Vec;

use faultless_posix::Errno;
use linux_raw_sys::general as linux;

use crate::arch::{clock, percpu};
use crate::process::signals::{send, send_to_thread};
use crate::process::state::Process;
use crate::sched::{self, Thread};
use crate::signals::Cause;
use crate::sync::Lock;

/// Timers that a process makes at most.
const MAX_TIMERS: usize = 1024;

/// The least time from one look at a timer of CPU time to the next, in nanoseconds.
const LEAST_NS: u64 = 2_000_000;

/// The `si_code` of a timer's signal.
const SI_TIMER: i32 = -2;

/// Which timer: the number of its process, and its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct TimerId {
    process: u32,
    number: u32,
}

impl TimerId {
    /// The timer of `alarm`, and of `setitimer` by the clock of the day.
    pub(crate) const fn alarm(process: &Process) -> Self {
        Self::own(process, Own::Alarm)
    }

    /// One that every process has.
    pub(crate) const fn own(process: &Process, which: Own) -> Self {
        Self { process: process.number, number: FIRST_OWN + which as u32 }
    }

    const fn is_own(self) -> bool {
        self.number >= FIRST_OWN
    }

    /// One of `timer_create`. There is none with a number as high as those that every process has.
    pub(crate) const fn made(process: &Process, number: u32) -> Self {
        let number = if number < FIRST_OWN { number } else { FIRST_OWN - 1 };
        Self { process: process.number, number }
    }
}

/// The timers that every process has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Own {
    /// `ITIMER_REAL`, `alarm`.
    Alarm,
    /// `ITIMER_VIRTUAL`. The time of the kernel is not told apart from the program's.
    Virtual,
    /// `ITIMER_PROF`.
    Profile,
    /// `RLIMIT_CPU`: what is told of, and what ends the process.
    Limit,
    LastLimit,
}

/// The number of the first of them; those of `timer_create` have lower ones.
const FIRST_OWN: u32 = u32::MAX - Own::LastLimit as u32;

impl Own {
    const fn notice(self) -> Notice {
        let (signal, clock) = match self {
            Self::Alarm => (linux::SIGALRM, TimerClock::Monotonic),
            Self::Virtual => (linux::SIGVTALRM, TimerClock::Process),
            Self::Profile => (linux::SIGPROF, TimerClock::Process),
            Self::Limit => (linux::SIGXCPU, TimerClock::Process),
            Self::LastLimit => (linux::SIGKILL, TimerClock::Process),
        };
        Notice { signal: Some(signal), value: None, thread: None, clock }
    }
}

/// What a timer does when it is due.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Notice {
    /// The signal, or none (`SIGEV_NONE`).
    pub(crate) signal: Option<u32>,
    /// What its handler is told; the number of the timer if none is given.
    pub(crate) value: Option<u64>,
    /// The thread that gets it, or the process.
    pub(crate) thread: Option<u32>,
    /// Which clock its absolute times are of.
    pub(crate) clock: TimerClock,
}

/// A clock of timers. The first two run alike.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum TimerClock {
    /// Since 1970.
    Real,
    /// Since the start.
    Monotonic,
    /// While a thread of the process runs.
    Process,
    /// While the thread of a number runs.
    Thread(u32),
}

impl TimerClock {
    const fn is_of_cpu(self) -> bool {
        matches!(self, Self::Process | Self::Thread(_))
    }
}

impl Notice {
    /// What `timer_create` does if it is not told.
    pub(crate) const fn alarm() -> Self {
        Own::Alarm.notice()
    }
}

/// The time of a clock of a process' timers.
fn time(clock: TimerClock, process: &Process) -> u64 {
    match clock {
        TimerClock::Real | TimerClock::Monotonic => clock::monotonic(),
        TimerClock::Process => process.run_time(),
        // A thread that has ended runs no more: its timers are never due.
        TimerClock::Thread(number) => sched::run_time_of(number).unwrap_or(0),
    }
}

/// When a timer is due, in nanoseconds.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Setting {
    /// Until it is due, from now on; 0 if it is not set.
    pub(crate) left: u64,
    /// From then on; 0 for once.
    pub(crate) interval: u64,
}

struct Timer {
    process: Weak<Process>,
    notice: Notice,
    /// On its clock; none if it is not set.
    due: Option<u64>,
    interval: u64,
    /// Where it stands in the queue: on the monotonic clock.
    queued: Option<u64>,
    /// Intervals that have passed without a signal of their own before the last one.
    overruns: u32,
}

struct Table {
    timers: BTreeMap<TimerId, Timer>,
    due: BTreeSet<(u64, TimerId)>,
    server: Option<Arc<Thread>>,
}

static TIMERS: Lock<Table> =
    Lock::new(Table { timers: BTreeMap::new(), due: BTreeSet::new(), server: None });

/// `timer_create`: the number of a timer that is not set.
///
/// # Errors
/// `EAGAIN`: the process has too many.
pub(crate) fn create(process: &Arc<Process>, notice: Notice) -> Result<u32, Errno> {
    let mut table = TIMERS.lock();
    let own = TimerId::made(process, 0)..TimerId::alarm(process);
    let taken: Vec<u32> = table.timers.range(own).map(|(id, _)| id.number).collect();
    if taken.len() >= MAX_TIMERS {
        return Err(Errno::AGAIN);
    }
    // In order: the first number that differs from its place is behind a free one.
    let free = taken.iter().zip(0..).find(|(taken, at)| **taken != *at);
    let number = free.map_or(taken.len() as u32, |(_, at)| at);
    table.timers.insert(TimerId::made(process, number), Timer::new(process, notice));
    Ok(number)
}

/// Sets a timer: it is due at `due`, and each `interval` from then on. The setting that it had.
/// Those that every process has are made by their first use.
///
/// # Errors
/// `EINVAL`: there is no such timer.
pub(crate) fn set(
    process: &Arc<Process>,
    id: TimerId,
    due: Due,
    interval: u64,
) -> Result<Setting, Errno> {
    let mut table = TIMERS.lock();
    let Table { timers, due: queue, server } = &mut *table;
    if let Some(own) = OWN.into_iter().find(|own| id == TimerId::own(process, *own)) {
        timers.entry(id).or_insert_with(|| Timer::new(process, own.notice()));
    }
    let timer = timers.get_mut(&id).ok_or(Errno::INVAL)?;
    let now = time(timer.notice.clock, process);
    let before = timer.setting(now);
    timer.take_from(queue, id);
    timer.due = match due {
        Due::Never => None,
        Due::In(len) => Some(now.saturating_add(len)),
        Due::At(time) if timer.notice.clock == TimerClock::Real => Some(clock::of_real(time)),
        Due::At(time) => Some(time),
    };
    (timer.interval, timer.overruns) = (interval, 0);
    timer.put_into(queue, id, now);
    let server = server.clone();
    drop(table);
    server.iter().for_each(sched::unpark);
    Ok(before)
}

/// When a timer is to be due.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Due {
    /// It is not set.
    Never,
    /// After so many nanoseconds.
    In(u64),
    /// When its clock shows this.
    At(u64),
}

const OWN: [Own; 5] = [Own::Alarm, Own::Virtual, Own::Profile, Own::Limit, Own::LastLimit];

/// Has `RLIMIT_CPU` hold: `SIGXCPU` each second from the first one on, `SIGKILL` at the second.
pub(crate) fn limit(process: &Arc<Process>) {
    const SECOND: u64 = 1_000_000_000;
    let limits = process.life.limits.get(linux::RLIMIT_CPU as usize).unwrap_or([u64::MAX; 2]);
    for (which, limit) in [Own::Limit, Own::LastLimit].into_iter().zip(limits) {
        let due =
            if limit == u64::MAX { Due::Never } else { Due::At(limit.saturating_mul(SECOND)) };
        let id = TimerId::own(process, which);
        if due != Due::Never || setting(process, id).is_ok() {
            // Made by its first use: there is one.
            let _before = set(process, id, due, SECOND);
        }
    }
}

/// What a timer is set to.
///
/// # Errors
/// `EINVAL`: there is no such timer.
pub(crate) fn setting(process: &Process, id: TimerId) -> Result<Setting, Errno> {
    let table = TIMERS.lock();
    let timer = table.timers.get(&id).ok_or(Errno::INVAL)?;
    Ok(timer.setting(time(timer.notice.clock, process)))
}

/// Intervals that had passed when the last signal was sent, without one of their own.
///
/// # Errors
/// `EINVAL`: there is no such timer.
pub(crate) fn overruns(id: TimerId) -> Result<u32, Errno> {
    TIMERS.lock().timers.get(&id).map(|timer| timer.overruns).ok_or(Errno::INVAL)
}

/// `timer_delete`.
///
/// # Errors
/// `EINVAL`: there is no such timer.
pub(crate) fn delete(id: TimerId) -> Result<(), Errno> {
    let mut table = TIMERS.lock();
    let mut timer = table.timers.remove(&id).ok_or(Errno::INVAL)?;
    timer.take_from(&mut table.due, id);
    Ok(())
}

/// Deletes the timers that a process has made (`execve`).
pub(super) fn delete_made(process: &Process) {
    let own = TimerId::made(process, 0)..TimerId::alarm(process);
    let made: Vec<TimerId> = TIMERS.lock().timers.range(own).map(|(id, _)| *id).collect();
    for id in made {
        // Another thread may have deleted it.
        let _deleted = delete(id);
    }
}

/// Deletes all timers of a process (`exit`).
pub(super) fn delete_all(process: &Process) {
    delete_made(process);
    for own in OWN {
        // It may not have been used.
        let _deleted = delete(TimerId::own(process, own));
    }
}

impl Timer {
    fn new(process: &Arc<Process>, notice: Notice) -> Self {
        let process = Arc::downgrade(process);
        Self { process, notice, due: None, interval: 0, queued: None, overruns: 0 }
    }

    fn take_from(&mut self, queue: &mut BTreeSet<(u64, TimerId)>, id: TimerId) {
        if let Some(at) = self.queued.take() {
            queue.remove(&(at, id));
        }
    }

    /// Has it looked at when it is due; one of CPU time when it could be, if all CPUs ran for it,
    /// and not before `LEAST_NS` have passed. `now` is the time of its clock.
    fn put_into(&mut self, queue: &mut BTreeSet<(u64, TimerId)>, id: TimerId, now: u64) {
        self.queued = self.due.map(|due| {
            if self.notice.clock.is_of_cpu() {
                let left = due.saturating_sub(now) / percpu::online() as u64;
                clock::monotonic().saturating_add(left.max(LEAST_NS))
            } else {
                due
            }
        });
        if let Some(at) = self.queued {
            queue.insert((at, id));
        }
    }

    fn setting(&self, now: u64) -> Setting {
        // A timer that is due and was not served yet is not over: it has a nanosecond left.
        let left = |due: u64| due.saturating_sub(now).max(1);
        Setting { left: self.due.map_or(0, left), interval: self.interval }
    }

    /// Sets it anew after it was due.
    fn advance(&mut self, now: u64) {
        let late = self.due.map_or(0, |due| now.saturating_sub(due));
        let passed = late.checked_div(self.interval).unwrap_or(0);
        self.overruns = u32::try_from(passed).unwrap_or(u32::MAX).min(i32::MAX as u32);
        let next = |due: u64| due.saturating_add((passed + 1).saturating_mul(self.interval));
        self.due = self.due.filter(|_| self.interval > 0).map(next);
    }
}

/// Serves the timers for ever: a thread of the kernel.
pub(crate) fn serve() {
    TIMERS.lock().server = Some(sched::current());
    loop {
        while let Some(first) = take_first() {
            if let Some((process, notice, cause)) = look(first) {
                notify(&process, notice, cause);
            }
        }
        let first = TIMERS.lock().due.first().map(|(due, _)| *due);
        match first {
            Some(due) => sched::park_until(due),
            None => sched::park(),
        }
    }
}

/// Takes the first timer that is to be looked at out of the queue.
fn take_first() -> Option<TimerId> {
    let mut table = TIMERS.lock();
    let Table { timers, due: queue, .. } = &mut *table;
    let (_, id) = *queue.first().filter(|(at, _)| *at <= clock::monotonic())?;
    queue.pop_first();
    if let Some(timer) = timers.get_mut(&id) {
        timer.queued = None;
    }
    Some(id)
}

/// What a timer does if it is due, which is then set anew. One that is not is looked at again.
fn look(id: TimerId) -> Option<(Arc<Process>, Notice, Cause)> {
    // The handle is dropped with the table free: it may be the last one.
    let process = TIMERS.lock().timers.get(&id)?.process.upgrade()?;
    let mut table = TIMERS.lock();
    let Table { timers, due: queue, .. } = &mut *table;
    let timer = timers.get_mut(&id)?;
    if timer.queued.is_some() {
        // Set anew meanwhile.
        return None;
    }
    let now = time(timer.notice.clock, &process);
    let is_due = timer.due.is_some_and(|due| due <= now);
    if is_due {
        timer.advance(now);
    }
    timer.put_into(queue, id, now);
    let cause = if id.is_own() {
        Cause::Kernel
    } else {
        let value = timer.notice.value.unwrap_or(id.number.into());
        let first = u64::from(id.number) | u64::from(timer.overruns) << 32;
        Cause::Queued { code: SI_TIMER, words: [first, value] }
    };
    let notice = timer.notice;
    drop(table);
    is_due.then_some((process, notice, cause))
}

fn notify(process: &Arc<Process>, notice: Notice, cause: Cause) {
    let Some(signal) = notice.signal else { return };
    match notice.thread.map(sched::find) {
        None => send(process, signal, cause),
        Some(thread) => {
            thread.iter().for_each(|thread| send_to_thread(thread, signal, cause));
        }
    }
}
