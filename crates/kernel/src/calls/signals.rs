//! Calls about signals.
#![forbid(unsafe_code)]

use core::sync::atomic::Ordering::Relaxed;

use alloc::sync::Arc;

use faultless_posix::Errno;
use linux_raw_sys::general as linux;

use crate::arch::clock;
use crate::calls::call::{Call, Outcome};
use crate::calls::time::timespec;
use crate::memory::{get_words, put, put_words};
use crate::process::{self, Process};
use crate::sched;
use crate::signals::{Action, Cause, HandlerStack, SIGNALS, UNBLOCKABLE, bit};
use crate::task::credentials;

/// The size of a set of signals.
const SET: usize = 8;

pub(super) fn signal(argument: usize) -> Result<u32, Errno> {
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
        call.process.life.signals.set_action(number, action);
        if call.process.life.signals.ignores(number) {
            // One that is pending goes, too.
            call.process.life.signals.withdraw(bit(number));
            for thread in call.process.threads() {
                thread.signals.withdraw(bit(number));
            }
        }
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
    let before = sched::with_current(|thread| thread.signals.blocked());
    if new != 0 {
        let [set] = get_words(&mut call.token, new)?;
        let mask = match how as u32 {
            linux::SIG_BLOCK => before | set,
            linux::SIG_UNBLOCK => before & !set,
            linux::SIG_SETMASK => set,
            _ => return Err(Errno::INVAL),
        };
        sched::with_current(|thread| thread.signals.block(mask));
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
    if size > SET {
        return Err(Errno::INVAL);
    }
    let pending = sched::with_current(|thread| {
        thread.signals.pending(&call.process.life.signals) & thread.signals.blocked()
    });
    put(&mut call.token, target, &pending.to_ne_bytes()[..size])?;
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
    wait_for_signal()
}

pub(super) fn pause() -> Outcome {
    wait_for_signal()
}

pub(super) fn sigaltstack(call: &mut Call<'_>) -> Outcome {
    let [new, old, ..] = call.args;
    let before = sched::with_current(|thread| *thread.signals.stack.lock());
    let stack_pointer = call.frame.rsp as usize;
    if new != 0 {
        let [start, flags, size] = get_words(&mut call.token, new)?;
        if before.has(stack_pointer) {
            return Err(Errno::PERM);
        }
        let stack = HandlerStack::new(flags as u32, start as usize, size as usize)?;
        sched::with_current(|thread| *thread.signals.stack.lock() = stack);
    }
    if old != 0 {
        let flags = before.flags(stack_pointer).into();
        put_words(&mut call.token, old, [before.start as u64, flags, before.size as u64])?;
    }
    Ok(0)
}

/// A signal, or 0 to send none and look whether it could be sent.
pub(super) fn signal_or_none(argument: usize) -> Result<Option<u32>, Errno> {
    if argument as u32 == 0 { Ok(None) } else { signal(argument).map(Some) }
}

fn send_to(call: &Call<'_>, number: i32, signal: Option<u32>, cause: Cause) -> Outcome {
    let mut sent = Err(Errno::PERM);
    let send = |process: &Arc<Process>| {
        if may_send(call, process, signal) {
            sent = Ok(0);
            if let Some(signal) = signal {
                process::send(process, signal, cause);
            }
        }
    };
    match number {
        number if number > 0 => process::with_process(number.unsigned_abs(), send)?,
        0 => process::with_group(Some(call.process.group.load(Relaxed)), send)?,
        -1 => process::with_group(None, send)?,
        group => process::with_group(Some(group.unsigned_abs()), send)?,
    }
    sent
}

/// Whether the caller may send a signal to a process: one of the same user, or of the same session
/// if it is to go on.
pub(super) fn may_send(call: &Call<'_>, to: &Process, signal: Option<u32>) -> bool {
    let (own, other) = (credentials().user, to.credentials().user);
    let is_same = [own.real, own.effective].iter().any(|id| [other.real, other.saved].contains(id));
    let session = call.process.session.load(Relaxed);
    let continues = signal == Some(linux::SIGCONT) && session == to.session.load(Relaxed);
    own.effective == 0 || is_same || continues
}

pub(super) fn kill(call: &mut Call<'_>) -> Outcome {
    let [number, which, ..] = call.args;
    let cause = Cause::User(call.process.number());
    send_to(call, number as i32, signal_or_none(which)?, cause)
}

pub(super) fn sigqueueinfo(call: &mut Call<'_>) -> Outcome {
    let [number, which, information, ..] = call.args;
    let [_, code, first, value] = get_words(&mut call.token, information)?;
    let code = code as i32;
    let number = number as i32;
    need_code(call, code, number)?;
    if number <= 0 {
        return Err(Errno::SRCH);
    }
    let cause = Cause::Queued { code, words: [first, value] };
    send_to(call, number, signal_or_none(which)?, cause)
}

/// What a program says of a signal in a `siginfo_t`, for the process of a number.
///
/// # Errors
/// `EINVAL`: it is of another signal; `EPERM`; `EFAULT`.
pub(super) fn queued(
    call: &mut Call<'_>,
    at: usize,
    which: usize,
    number: u32,
) -> Result<Cause, Errno> {
    let [signal, code, first, value] = get_words(&mut call.token, at)?;
    if signal as u32 != which as u32 {
        return Err(Errno::INVAL);
    }
    need_code(call, code as i32, number.cast_signed())?;
    Ok(Cause::Queued { code: code as i32, words: [first, value] })
}

/// Checks the `si_code` of a signal that a program sends: only the kernel sends others with these.
///
/// # Errors
/// `EPERM`.
fn need_code(call: &Call<'_>, code: i32, number: i32) -> Result<(), Errno> {
    let is_of_kernel = code >= 0 || code == linux::SI_TKILL;
    let is_own = number == call.process.number().cast_signed();
    if is_of_kernel && !is_own { Err(Errno::PERM) } else { Ok(()) }
}

/// As [`sigqueueinfo`], to a thread.
pub(super) fn tgsigqueueinfo(call: &mut Call<'_>) -> Outcome {
    let [group, number, which, information, ..] = call.args;
    let [_, code, first, value] = get_words(&mut call.token, information)?;
    let code = code as i32;
    if group as i32 <= 0 || number as i32 <= 0 {
        return Err(Errno::INVAL);
    }
    need_code(call, code, number as i32)?;
    let cause = Cause::Queued { code, words: [first, value] };
    send_to_thread(call, Some(group as u32), number, which, cause)
}

pub(super) fn sigtimedwait(call: &mut Call<'_>) -> Outcome {
    let [set, target, timeout, size, ..] = call.args;
    check_size(size)?;
    let [set] = get_words(&mut call.token, set)?;
    let until = match timeout {
        0 => None,
        at => Some(clock::monotonic().saturating_add(timespec(call, at)?)),
    };
    let thread = sched::current();
    let mut got = None;
    let waited = crate::task::wait_until(crate::waits::key_of(&*thread), until, &mut || {
        got = thread.signals.take_of(&call.process.life.signals, set & !UNBLOCKABLE);
        got.is_some()
    });
    let Some((signal, cause)) = got else {
        return Err(match waited {
            Err(Errno::TIMEDOUT) => Errno::AGAIN,
            _ => Errno::INTR,
        });
    };
    if target != 0 {
        let mut words = [0; process::INFO_WORDS];
        process::information(&mut words, signal, cause);
        put_words(&mut call.token, target, words)?;
    }
    Ok(signal as usize)
}

pub(super) fn tkill(call: &mut Call<'_>) -> Outcome {
    let [number, which, ..] = call.args;
    send_to_thread(call, None, number, which, by_thread(call))
}

pub(super) fn tgkill(call: &mut Call<'_>) -> Outcome {
    let [group, number, which, ..] = call.args;
    if group as i32 <= 0 {
        return Err(Errno::INVAL);
    }
    send_to_thread(call, Some(group as u32), number, which, by_thread(call))
}

/// What `tkill` and `tgkill` send.
fn by_thread(call: &Call<'_>) -> Cause {
    let sender = u64::from(call.process.number());
    Cause::Queued { code: linux::SI_TKILL, words: [sender, 0] }
}

/// Sends a signal to a thread, which is one of the process `of` if that is given.
fn send_to_thread(
    call: &Call<'_>,
    of: Option<u32>,
    number: usize,
    which: usize,
    cause: Cause,
) -> Outcome {
    if number as i32 <= 0 {
        return Err(Errno::INVAL);
    }
    let signal = signal_or_none(which)?;
    let thread = sched::find(number as u32).ok_or(Errno::SRCH)?;
    let process = process::process_of(&thread).ok_or(Errno::SRCH)?;
    if of.is_some_and(|of| of != process.number()) {
        return Err(Errno::SRCH);
    }
    if !may_send(call, &process, signal) {
        return Err(Errno::PERM);
    }
    if let Some(signal) = signal {
        process::send_to_thread(&thread, signal, cause);
    }
    Ok(0)
}
