//! The current task, as calls of Faultless and waits see it.
#![forbid(unsafe_code)]

use core::sync::atomic::Ordering::Relaxed;

use faultless::page::StoreId;
use faultless::prelude::{Task, Wait, WaitKey};
use faultless_posix::{Caller, Errno};
use linux_raw_sys::general as linux;

use crate::arch::clock;
use crate::credentials::Credentials;
use crate::memory::DISK;
use crate::process;
use crate::sched::{self, Thread};
use crate::signals::{Cause, Life};
use crate::waits::{Held, SleepLock, key_of, waits};

/// The current task, in calls of Faultless.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Running;

impl Task for Running {
    fn now(&self) -> u64 {
        clock::real()
    }

    fn fatal_signal_pending(&self) -> bool {
        sched::with_current(|thread| ends_early(thread, |life| life.is_exiting()))
    }

    fn file_size_limit(&self) -> u64 {
        sched::with_current(|thread| thread.life().map_or(u64::MAX, |life| life.limits.file_size()))
    }

    fn file_size_exceeded(&self) {
        raise(linux::SIGXFSZ);
    }

    fn keeps_set_id(&self) -> bool {
        credentials().is_root()
    }

    fn throttle(&self) {
        let pause = sched::with_own_writes(|writes| writes.pause_ns(self.now()));
        if pause > 0 && !self.fatal_signal_pending() {
            sched::park_until(clock::monotonic() + pause);
        }
    }

    const LIMITS_DIRTY_PAGES: bool = true;

    /// Pages of files in memory stay dirty: they are not limited.
    fn admit_dirty(&self, store: StoreId, wanted: u32) -> u32 {
        if store != DISK {
            return wanted;
        }
        let killed = || self.fatal_signal_pending();
        sched::with_own_writes(|writes| writes.admit(store, wanted, &killed))
    }

    fn settle_dirty(&self, dirtied: u32) {
        sched::with_own_writes(|writes| writes.settle(dirtied));
    }
}

/// A task that goes on to the end, whatever signals come: the kernel's own work, which no program
/// waits for or which has to be done.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Uninterrupted;

impl Task for Uninterrupted {
    fn now(&self) -> u64 {
        clock::real()
    }
}

/// Who the current task is; the kernel's own threads are root.
pub(crate) fn credentials() -> Credentials {
    sched::with_current(|thread| thread.credentials.lock().clone())
}

/// The current task, in calls that make and change names.
pub(crate) fn caller() -> Caller {
    let Credentials { user, group, .. } = credentials();
    Caller { uid: user.file, gid: group.file, now: clock::real() }
}

/// Whether a signal interrupts the current thread.
pub(crate) fn interrupted() -> bool {
    sched::with_current(|thread| {
        let signals = &thread.signals;
        let is_ready = |life: &Life| signals.pending(&life.signals) & !signals.blocked() != 0;
        ends_early(thread, |life| life.is_exiting() || is_ready(life))
    })
}

/// Whether a call of the current thread ends early for what it finds of its process. What it has
/// found may not have been told to the thread yet, and has to be looked at before user mode.
fn ends_early(thread: &Thread, finds: impl FnOnce(&Life) -> bool) -> bool {
    let ends = thread.life().is_some_and(finds);
    if ends {
        thread.signals.note_work();
    }
    ends
}

/// Takes a lock whose holder may wait for what programs do.
///
/// # Errors
/// `EINTR`: a signal came first.
pub(crate) fn lock_interruptibly<T>(lock: &SleepLock<T>) -> Result<Held<'_, T>, Errno> {
    let mut held = None;
    wait_interruptibly(key_of(lock), &mut || {
        held = lock.try_lock();
        held.is_some()
    })?;
    held.ok_or(Errno::INTR)
}

/// A signal for the current thread, as if its process had sent it. It is delivered on the way to
/// user mode.
pub(crate) fn raise(signal: u32) {
    let sender = process::current().map_or(0, |process| process.number());
    sched::with_current(|thread| {
        if thread.life().is_some_and(|life| !life.signals.ignores(signal)) {
            thread.signals.add(signal, Cause::User(sender));
        }
    });
}

/// Waits until `condition` says yes, or a signal comes.
///
/// # Errors
/// `EINTR`: a signal came first.
pub(crate) fn wait_interruptibly(
    key: WaitKey,
    condition: &mut dyn FnMut() -> bool,
) -> Result<(), Errno> {
    let mut met = false;
    sched::interruptibly(|| {
        waits().wait_until(key, &mut || {
            met = condition();
            met || interrupted()
        });
    });
    if met { Ok(()) } else { Err(Errno::INTR) }
}

/// As [`wait_interruptibly`], and at the latest until `until` on the monotonic clock.
///
/// # Errors
/// `EINTR`; `ETIMEDOUT`: the time came first.
pub(crate) fn wait_until(
    key: WaitKey,
    until: Option<u64>,
    condition: &mut dyn FnMut() -> bool,
) -> Result<(), Errno> {
    let Some(until) = until else { return wait_interruptibly(key, condition) };
    let is_over = || clock::monotonic() >= until;
    let mut met = false;
    let waited = sched::with_timer(until, || {
        wait_interruptibly(key, &mut || {
            met = condition();
            met || is_over()
        })
    });
    if met || waited.is_err() { waited } else { Err(Errno::TIMEDOUT) }
}

/// The time `len` nanoseconds from now, at which a call ends; that of its first try if it is made
/// again after a signal without a handler.
pub(crate) fn from_now(len: u64) -> u64 {
    let resumes = sched::with_current(|thread| thread.signals.resumes_until.swap(0, Relaxed));
    if resumes != 0 { resumes } else { clock::monotonic().saturating_add(len) }
}

/// Notes when a call was to end that a signal interrupted, for [`from_now`]; none for a call that
/// waits for good.
pub(crate) fn resumes_until(until: Option<u64>) {
    sched::with_current(|thread| thread.signals.resumes_until.store(until.unwrap_or(0), Relaxed));
}

/// Has this mask hold until the next signal is delivered, or the system call returns.
pub(crate) fn suspend_mask(mask: u64) {
    sched::with_current(|thread| {
        let before = thread.signals.block(mask);
        *thread.signals.saved_mask.lock() = Some(before);
    });
}
