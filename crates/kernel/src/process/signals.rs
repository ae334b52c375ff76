//! Signals: how they are sent, and how a program brings them about.
#![forbid(unsafe_code)]

use core::sync::atomic::Ordering::Relaxed;

use alloc::sync::Arc;

use faultless_posix::{Errno, Signal};
use linux_raw_sys::general as linux;

use crate::process::state::{Process, current, process_of};
use crate::sched::{self, Thread};
use crate::signals::{Action, Cause, SIG_DFL, SIG_IGN, bit};

/// A new program begins without handlers; ignored signals stay ignored.
pub(super) fn reset_for_exec(process: &Process) {
    for action in process.life.signals.actions.lock().iter_mut() {
        if action.handler != SIG_IGN {
            *action = Action::default();
        }
    }
    sched::with_current(|thread| *thread.signals.stack.lock() = (0, 0));
}

/// Sends a signal to a process.
pub(crate) fn send(process: &Arc<Process>, signal: u32, cause: Cause) {
    if signal == linux::SIGKILL {
        process.begin_exit(signal);
        return;
    }
    if process.life.signals.ignores(signal) {
        return;
    }
    process.life.signals.add(signal, cause);
    process.threads().iter().for_each(sched::unpark);
}

/// Sends a signal to a thread.
pub(crate) fn send_to_thread(thread: &Arc<Thread>, signal: u32, cause: Cause) {
    let Some(process) = process_of(thread) else { return };
    if signal == linux::SIGKILL {
        process.begin_exit(signal);
    } else if !process.life.signals.ignores(signal) {
        thread.signals.add(signal, cause);
        sched::unpark(thread);
    }
}

/// A signal that the thread has brought about itself: it cannot go on without it. If it is blocked
/// or ignored, the process ends.
pub(crate) fn force(signal: u32, cause: Cause) {
    let thread = sched::current();
    let Some(process) = process_of(&thread) else { return };
    let blocked = thread.signals.blocked.load(Relaxed) & bit(signal) != 0;
    let handler = process.life.signals.action(signal).handler;
    if signal == linux::SIGKILL || blocked || handler == SIG_IGN || handler == SIG_DFL {
        process.begin_exit(signal);
    } else {
        thread.signals.add(signal, cause);
    }
}

/// The signal for an access of the program that cannot be.
pub(crate) fn fault_signal(signal: Signal, address: usize) {
    let number = match signal {
        Signal::Segv => linux::SIGSEGV,
        Signal::Bus => linux::SIGBUS,
        Signal::Kill => linux::SIGKILL,
    };
    force(number, Cause::Fault(address));
}

/// Calls `act` with the process of a number.
///
/// # Errors
/// `ESRCH`.
pub(crate) fn with_process<R>(
    number: u32,
    act: impl FnOnce(&Arc<Process>) -> R,
) -> Result<R, Errno> {
    // A process has the number of its first thread; the others may have outlived that.
    if let Some(thread) = sched::find(number)
        && let Some(process) = process_of(&thread)
        && process.number() == number
    {
        return Ok(act(&process));
    }
    let own = current().ok_or(Errno::SRCH)?;
    let child = own.child(number).ok_or(Errno::SRCH)?;
    Ok(act(&child))
}
