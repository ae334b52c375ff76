//! Timers that send signals: `setitimer`, `alarm`, `timer_create`.
//!
//! A thread of the kernel sleeps until the first timer is due, and sends its signal. The table has
//! a short lock, which is free while signals are sent.
#![forbid(unsafe_code)]

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::sync::{Arc, Weak};
use alloc::vec::Vec;

use faultless_posix::Errno;

use crate::arch::clock;
use crate::process::signals::{send, send_to_thread};
use crate::process::state::Process;
use crate::sched::{self, Thread};
use crate::signals::Cause;
use crate::sync::Lock;

/// Timers that a process makes at most.
const MAX_TIMERS: usize = 1024;

/// The `si_code` of a timer's signal.
const SI_TIMER: i32 = -2;

/// Which timer: the number of its process, and its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct TimerId {
    process: u32,
    number: u32,
}

impl TimerId {
    /// The timer of `setitimer` and `alarm`.
    pub(crate) const fn alarm(process: &Process) -> Self {
        Self { process: process.number, number: u32::MAX }
    }

    /// One of `timer_create`.
    pub(crate) const fn made(process: &Process, number: u32) -> Self {
        Self { process: process.number, number }
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

/// A clock of timers. All of them run alike.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum TimerClock {
    /// Since 1970.
    Real,
    /// Since the start.
    Monotonic,
}

impl Notice {
    /// What `setitimer` does, and `timer_create` if it is not told.
    pub(crate) const fn alarm() -> Self {
        let signal = Some(linux_raw_sys::general::SIGALRM);
        Self { signal, value: None, thread: None, clock: TimerClock::Monotonic }
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
    /// On the monotonic clock; none if it is not set.
    due: Option<u64>,
    interval: u64,
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

/// Sets a timer: it is due at `due` on the monotonic clock, and each `interval` from then on. The
/// setting that it had. The one of `setitimer` is made by its first use.
///
/// # Errors
/// `EINVAL`: there is no such timer.
pub(crate) fn set(
    process: &Arc<Process>,
    id: TimerId,
    due: Option<u64>,
    interval: u64,
) -> Result<Setting, Errno> {
    let mut table = TIMERS.lock();
    let Table { timers, due: queue, server } = &mut *table;
    if id == TimerId::alarm(process) {
        timers.entry(id).or_insert_with(|| Timer::new(process, Notice::alarm()));
    }
    let timer = timers.get_mut(&id).ok_or(Errno::INVAL)?;
    let before = timer.setting();
    if let Some(old) = timer.due {
        queue.remove(&(old, id));
    }
    (timer.due, timer.interval, timer.overruns) = (due, interval, 0);
    if let Some(due) = due {
        queue.insert((due, id));
    }
    let server = server.clone();
    drop(table);
    server.iter().for_each(sched::unpark);
    Ok(before)
}

/// When a timer is due that is set to a time of its clock.
///
/// # Errors
/// `EINVAL`: there is no such timer.
pub(crate) fn due_at(id: TimerId, time: u64) -> Result<Option<u64>, Errno> {
    let clock = TIMERS.lock().timers.get(&id).ok_or(Errno::INVAL)?.notice.clock;
    Ok(Some(match clock {
        TimerClock::Monotonic => time,
        TimerClock::Real => clock::of_real(time),
    }))
}

/// What a timer is set to.
///
/// # Errors
/// `EINVAL`: there is no such timer.
pub(crate) fn setting(id: TimerId) -> Result<Setting, Errno> {
    TIMERS.lock().timers.get(&id).map(Timer::setting).ok_or(Errno::INVAL)
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
    let timer = table.timers.remove(&id).ok_or(Errno::INVAL)?;
    if let Some(due) = timer.due {
        table.due.remove(&(due, id));
    }
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
    let _deleted = delete(TimerId::alarm(process));
}

impl Timer {
    fn new(process: &Arc<Process>, notice: Notice) -> Self {
        Self { process: Arc::downgrade(process), notice, due: None, interval: 0, overruns: 0 }
    }

    fn setting(&self) -> Setting {
        // A timer that is due and was not served yet is not over: it has a nanosecond left.
        let left = |due: u64| due.saturating_sub(clock::monotonic()).max(1);
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
        while let Some((process, notice, cause)) = take_due() {
            notify(process, notice, cause);
        }
        let first = TIMERS.lock().due.first().map(|(due, _)| *due);
        match first {
            Some(due) => sched::park_until(due),
            None => sched::park(),
        }
    }
}

/// Takes the first timer that is due, and sets it anew.
fn take_due() -> Option<(Weak<Process>, Notice, Cause)> {
    let now = clock::monotonic();
    let mut table = TIMERS.lock();
    let Table { timers, due: queue, .. } = &mut *table;
    let (_, id) = *queue.first().filter(|(due, _)| *due <= now)?;
    queue.pop_first();
    let timer = timers.get_mut(&id)?;
    timer.advance(now);
    if let Some(due) = timer.due {
        queue.insert((due, id));
    }
    let cause = if id.number == u32::MAX {
        Cause::Kernel
    } else {
        let value = timer.notice.value.unwrap_or(id.number.into());
        let first = u64::from(id.number) | u64::from(timer.overruns) << 32;
        Cause::Queued { code: SI_TIMER, words: [first, value] }
    };
    Some((timer.process.clone(), timer.notice, cause))
}

fn notify(process: Weak<Process>, notice: Notice, cause: Cause) {
    let (Some(process), Some(signal)) = (process.upgrade(), notice.signal) else { return };
    match notice.thread.map(sched::find) {
        None => send(&process, signal, cause),
        Some(thread) => {
            thread.iter().for_each(|thread| send_to_thread(thread, signal, cause));
        }
    }
}
