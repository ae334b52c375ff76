//! Signals: how they are sent, and how a program brings them about.
#![forbid(unsafe_code)]

use core::sync::atomic::Ordering::{Relaxed, SeqCst};

use alloc::collections::BTreeMap;
use alloc::sync::Arc;
use alloc::vec::Vec;

use faultless_posix::{Errno, Signal};
use linux_raw_sys::general as linux;

use crate::process::state::{Change, Process, current, memory, process_of};
use crate::sched::{self, Thread};
use crate::signals::{Cause, HandlerStack, SIG_DFL, SIG_IGN, STOPS, bit};
use crate::waits::{key_of, wake};

/// A new program begins without handlers, and without a stack for them.
pub(super) fn reset_for_exec(process: &Process) {
    process.life.signals.reset_for_exec();
    sched::with_current(|thread| *thread.signals.stack.lock() = HandlerStack::default());
}

/// Sends a signal to a process.
pub(crate) fn send(process: &Arc<Process>, signal: u32, cause: Cause) {
    if signal == linux::SIGKILL {
        process.begin_exit(signal);
        return;
    }
    let threads = process.threads();
    stop_or_continue(process, signal);
    // A signal that is blocked stays, also if nothing is done with it now: `sigwait` takes it.
    let is_blocked = |thread: &Arc<Thread>| thread.signals.blocks(signal);
    if process.life.signals.ignores(signal) && !threads.iter().any(is_blocked) {
        return;
    }
    process.life.signals.add(signal, cause);
    // Also those that have begun meanwhile.
    process.threads().iter().for_each(sched::alert);
}

/// What comes before a signal is noted: one that stops a process takes back one that lets it go
/// on, and the other way round.
fn stop_or_continue(process: &Process, signal: u32) {
    let withdrawn = match signal {
        linux::SIGCONT => STOPS,
        signal if STOPS & bit(signal) != 0 => bit(linux::SIGCONT),
        _ => return,
    };
    process.life.signals.withdraw(withdrawn);
    for thread in process.threads() {
        thread.signals.withdraw(withdrawn);
    }
    if signal == linux::SIGCONT && process.life.stopped.swap(0, SeqCst) != 0 {
        process.tell_parent(Change::Continued);
        wake(key_of(&process.life.stopped));
    }
}

/// Stops the current process: its threads wait on their way to user mode.
pub(super) fn stop(process: &Process, signal: u32) {
    if process.life.stopped.swap(signal, SeqCst) == 0 {
        process.tell_parent(Change::Stopped(signal));
        process.threads().iter().for_each(sched::alert);
    }
}

/// Sends a signal to a thread.
pub(crate) fn send_to_thread(thread: &Arc<Thread>, signal: u32, cause: Cause) {
    let Some(process) = process_of(thread) else { return };
    if signal == linux::SIGKILL {
        process.begin_exit(signal);
        return;
    }
    stop_or_continue(&process, signal);
    if !process.life.signals.ignores(signal) || thread.signals.blocks(signal) {
        thread.signals.add(signal, cause);
        sched::unpark(thread);
    }
}

/// A signal that the thread has brought about itself: it cannot go on without it. If it is blocked
/// or ignored, the process ends.
pub(crate) fn force(signal: u32, cause: Cause) {
    let thread = sched::current();
    let Some(process) = process_of(&thread) else { return };
    let blocked = thread.signals.blocks(signal);
    let handler = process.life.signals.action(signal).handler;
    if signal == linux::SIGKILL || blocked || handler == SIG_IGN || handler == SIG_DFL {
        process.begin_exit(signal);
    } else {
        thread.signals.add(signal, cause);
    }
}

/// The signal for an access of the program that cannot be.
pub(crate) fn fault_signal(signal: Signal, address: usize) {
    let is_mapped = memory().is_ok_and(|memory| memory.space().area_at(address).is_some());
    let (number, code) = match signal {
        Signal::Segv if is_mapped => (linux::SIGSEGV, linux::SEGV_ACCERR),
        Signal::Segv => (linux::SIGSEGV, linux::SEGV_MAPERR),
        Signal::Bus => (linux::SIGBUS, linux::BUS_ADRERR),
        Signal::Kill => (linux::SIGKILL, linux::SI_KERNEL),
    };
    force(number, Cause::Fault { address, code });
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
        && !process.has_ended()
    {
        return Ok(act(&process));
    }
    let own = current().ok_or(Errno::SRCH)?;
    if own.number() == number {
        return Ok(act(&own));
    }
    let child = own.child(number).ok_or(Errno::SRCH)?;
    Ok(act(&child))
}

/// All processes that have a thread.
pub(crate) fn all_processes() -> Vec<Arc<Process>> {
    let processes = sched::all().into_iter().filter_map(|thread| process_of(&thread));
    let known = processes.map(|process| (process.number(), process));
    known.collect::<BTreeMap<_, _>>().into_values().collect()
}

/// Calls `act` with each process of a group, or with every one but the first and the current one.
///
/// # Errors
/// `ESRCH`: there is none.
pub(crate) fn with_group(
    group: Option<u32>,
    mut act: impl FnMut(&Arc<Process>),
) -> Result<(), Errno> {
    let own = current().map_or(0, |process| process.number());
    let processes = sched::all().into_iter().filter_map(|thread| process_of(&thread));
    // The last thread of one that has ended, and was waited for, may be there still.
    let processes = processes.filter(|process| !process.has_ended());
    let mut meant = BTreeMap::new();
    for process in processes {
        let is_meant = match group {
            Some(group) => process.group.load(Relaxed) == group,
            None => process.number() != own && process.parent_number() != 0,
        };
        if is_meant {
            meant.insert(process.number(), process);
        }
    }
    meant.values().for_each(&mut act);
    if meant.is_empty() { Err(Errno::SRCH) } else { Ok(()) }
}
