//! Calls about signals.
#![forbid(unsafe_code)]

use core::sync::atomic::Ordering::Relaxed;

use faultless_posix::Errno;
use linux_raw_sys::general as linux;

use crate::calls::call::{Call, Outcome};
use crate::memory::{get_words, put_words};
use crate::process;
use crate::sched;
use crate::signals::{Action, Cause, SIGNALS, UNBLOCKABLE};

/// The size of a set of signals.
const SET: usize = 8;

fn signal(argument: usize) -> Result<u32, Errno> {
    let signal = argument as u32;
    if (1..=SIGNALS as u32).contains(&signal) { Ok(signal) } else { Err(Errno::INVAL) }
}

fn check_size(size: usize) -> Result<(), Errno> {
    if size == SET { Ok(()) } else { Err(Errno::INVAL) }
}

pub(super) fn sigaction(call: &mut Call<'_>) -> Outcome {
    let [number, new, old, size, ..] = call.args;
    check_size(size)?;
    let number = signal(number)?;
    let before = call.process.life.signals.action(number);
    if new != 0 {
        if [linux::SIGKILL, linux::SIGSTOP].contains(&number) {
            return Err(Errno::INVAL);
        }
        let [handler, flags, restorer, mask] = get_words(&mut call.token, new)?;
        let action = Action { handler: handler as usize, flags, restorer: restorer as usize, mask };
        call.process.life.signals.actions.lock()[number as usize - 1] = action;
    }
    if old != 0 {
        let Action { handler, flags, restorer, mask } = before;
        let words = [handler as u64, flags, restorer as u64, mask];
        put_words(&mut call.token, old, words)?;
    }
    Ok(0)
}

pub(super) fn sigprocmask(call: &mut Call<'_>) -> Outcome {
    let [how, new, old, size, ..] = call.args;
    check_size(size)?;
    let before = sched::with_current(|thread| thread.signals.blocked.load(Relaxed));
    if new != 0 {
        let [set] = get_words(&mut call.token, new)?;
        let mask = match how as u32 {
            linux::SIG_BLOCK => before | set,
            linux::SIG_UNBLOCK => before & !set,
            linux::SIG_SETMASK => set,
            _ => return Err(Errno::INVAL),
        };
        sched::with_current(|thread| thread.signals.blocked.store(mask & !UNBLOCKABLE, Relaxed));
    }
    if old != 0 {
        put_words(&mut call.token, old, [before])?;
    }
    Ok(0)
}

pub(super) fn sigreturn(call: &mut Call<'_>) -> Outcome {
    if process::sigreturn(&mut call.token, call.frame).is_err() {
        process::force(linux::SIGSEGV, Cause::Kernel);
    }
    // The result of the interrupted code, which is not a call to be made again.
    call.frame.error = 0;
    Ok(call.frame.rax as usize)
}

pub(super) fn sigpending(call: &mut Call<'_>) -> Outcome {
    let [target, size, ..] = call.args;
    check_size(size)?;
    let pending = sched::with_current(|thread| thread.signals.pending(&call.process.life.signals));
    put_words(&mut call.token, target, [pending])?;
    Ok(0)
}

/// Waits for a signal.
fn wait_for_signal() -> Outcome {
    let thread = sched::current();
    crate::task::wait_interruptibly(crate::waits::key_of(&*thread), &mut || false)?;
    Err(Errno::INTR)
}

pub(super) fn sigsuspend(call: &mut Call<'_>) -> Outcome {
    let [mask, size, ..] = call.args;
    check_size(size)?;
    let [mask] = get_words(&mut call.token, mask)?;
    crate::task::suspend_mask(mask);
    // Never made again: a handler is called before it returns.
    call.frame.error = 0;
    wait_for_signal()
}

pub(super) fn pause(call: &mut Call<'_>) -> Outcome {
    call.frame.error = 0;
    wait_for_signal()
}

pub(super) fn sigaltstack(call: &mut Call<'_>) -> Outcome {
    let [new, old, ..] = call.args;
    let (start, size) = sched::with_current(|thread| *thread.signals.stack.lock());
    let stack_pointer = call.frame.rsp as usize;
    let is_on_it = start < stack_pointer && stack_pointer <= start + size;
    if new != 0 {
        let [new_start, flags, new_size] = get_words(&mut call.token, new)?;
        if is_on_it {
            return Err(Errno::PERM);
        }
        let stack = match flags as u32 {
            linux::SS_DISABLE => (0, 0),
            0 if (new_size as usize) < linux::MINSIGSTKSZ as usize => return Err(Errno::NOMEM),
            0 => {
                let range = process::checked(new_start as usize, new_size as usize)?;
                (range.start, range.len())
            }
            _ => return Err(Errno::INVAL),
        };
        sched::with_current(|thread| *thread.signals.stack.lock() = stack);
    }
    if old != 0 {
        let flags = match (size, is_on_it) {
            (0, _) => linux::SS_DISABLE,
            (_, true) => linux::SS_ONSTACK,
            (_, false) => 0,
        };
        put_words(&mut call.token, old, [start as u64, flags.into(), size as u64])?;
    }
    Ok(0)
}

pub(super) fn kill(call: &mut Call<'_>) -> Outcome {
    let [number, which, ..] = call.args;
    let cause = Cause::User(call.process.number());
    let send = |process: &alloc::sync::Arc<process::Process>| match which {
        0 => Ok(0),
        which => {
            process::send(process, signal(which)?, cause);
            Ok(0)
        }
    };
    match number as i32 {
        number if number > 0 => process::with_process(number.unsigned_abs(), send)?,
        // Groups of one: the caller's own process.
        0 | -1 => send(&call.process),
        group => process::with_process(group.unsigned_abs(), send)?,
    }
}

pub(super) fn tkill(call: &mut Call<'_>) -> Outcome {
    call.args = [0, call.args[0], call.args[1], 0, 0, 0];
    tgkill(call)
}

pub(super) fn tgkill(call: &mut Call<'_>) -> Outcome {
    let [_, number, which, ..] = call.args;
    let thread = sched::find(number as u32).ok_or(Errno::SRCH)?;
    if which != 0 {
        let cause = Cause::User(call.process.number());
        process::send_to_thread(&thread, signal(which)?, cause);
    }
    Ok(0)
}
