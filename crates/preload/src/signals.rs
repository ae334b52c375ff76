//! Signals of the program. Its handlers are Linux's affair, but for those of the signals that this
//! library takes: what the program wants of them is kept here.

use core::ffi::{c_int, c_void};
use core::sync::atomic::Ordering::SeqCst;
use core::sync::atomic::compiler_fence;

use libc::{siginfo_t, ucontext_t};
use syscalls::Sysno;

use crate::call::{Call, Outcome, get, put};
use crate::gate;
use crate::process::Process;
use crate::raw;
use crate::taken::{
    ACTION_BYTES, Action, HELD_IN_CALLS, SA_RESTORER, TAKEN, allowed, ends_program,
};
use crate::thread::{PASSES, TRAPS, Thread, sleep_for_good};

/// `si_code` of a trapped system call.
pub(crate) const SYS_USER_DISPATCH: c_int = 2;

/// A handler of signals.
pub(crate) type Handler = extern "C" fn(c_int, *mut siginfo_t, *mut c_void);

/// Takes the signals of [`TAKEN`], with these handlers, and those that end the program. Whether
/// that was possible.
pub(crate) fn take(handlers: [Handler; TAKEN.len()]) -> bool {
    let fatal = ends_program().filter(|signal| {
        let mut now = Action::default();
        let args = [*signal as usize, 0, (&raw mut now).addr(), 8, 0, 0];
        // SAFETY: the structure is ours.
        let result = unsafe { raw::call(Sysno::rt_sigaction, args) };
        result == 0 && now.handler == libc::SIG_DFL
    });
    let fatal = fatal.map(|signal| (signal, on_fatal as Handler));
    TAKEN.into_iter().zip(handlers).chain(fatal).all(|(signal, handler)| {
        let action = own_action(handler);
        let args = [signal as usize, (&raw const action).addr(), 0, 8, 0, 0];
        raw::harmless(Sysno::rt_sigaction, args) == 0
    })
}

/// What Linux is to do for a handler of the library's.
fn own_action(handler: Handler) -> Action {
    let flags = libc::SA_SIGINFO | libc::SA_ONSTACK | libc::SA_NODEFER | libc::SA_RESTART;
    Action {
        handler: handler as usize,
        flags: flags as u64 | SA_RESTORER,
        restorer: gate::restorer(),
        mask: HELD_IN_CALLS,
    }
}

/// A signal ends the program, as it does without a handler; but first all threads leave the kernel,
/// where they may hold locks that other processes wait for.
extern "C" fn on_fatal(signal: c_int, _info: *mut siginfo_t, _context: *mut c_void) {
    let thread = Thread::current();
    thread.selector.set(PASSES);
    compiler_fence(SeqCst);
    if let Some(process) = Process::of(thread) {
        process.enter();
    }
    end(thread, signal);
}

/// Ends the program by a signal. The thread is in the kernel.
fn end(thread: &Thread, signal: c_int) -> ! {
    if let Some(process) = Process::of(thread) {
        process.exit();
    }
    let default = Action::default();
    let args = [signal as usize, (&raw const default).addr(), 0, 8, 0, 0];
    raw::harmless(Sysno::rt_sigaction, args);
    let set = 1_u64 << (signal - 1);
    let args = [libc::SIG_UNBLOCK as usize, (&raw const set).addr(), 0, 8, 0, 0];
    raw::harmless(Sysno::rt_sigprocmask, args);
    let (pid, tid) = (raw::pid(), raw::tid());
    raw::harmless(Sysno::tgkill, [pid as usize, tid as usize, signal as usize, 0, 0, 0]);
    sleep_for_good();
}

/// `rt_sigaction`.
pub(crate) fn action(call: &mut Call<'_>) -> Outcome {
    let [signal, new, old, size, ..] = call.args;
    let taken = TAKEN.iter().position(|taken| *taken as usize == signal);
    if size != 8 {
        return Outcome::Done(-(libc::EINVAL as isize));
    }
    let mut wanted = [0_u8; ACTION_BYTES];
    if new != 0 && get(call, new, &mut wanted).is_err() {
        return Outcome::Done(-(libc::EFAULT as isize));
    }
    let wanted = Action::from_bytes(&wanted);
    let before = match taken {
        Some(taken) => {
            let mut actions = call.process.actions.lock();
            let before = actions.0[taken];
            if new != 0 {
                actions.0[taken] = wanted;
            }
            before
        }
        None => {
            let is_fatal = ends_program().any(|fatal| fatal as usize == signal);
            let wanted = if is_fatal && wanted.handler == libc::SIG_DFL {
                own_action(on_fatal)
            } else {
                Action { mask: allowed(wanted.mask), ..wanted }
            };
            let mut before = Action::default();
            let new = if new == 0 { 0 } else { (&raw const wanted).addr() };
            let args = [signal, new, (&raw mut before).addr(), 8, 0, 0];
            // SAFETY: the structure is ours; the handler is the program's.
            let result = unsafe { raw::call(Sysno::rt_sigaction, args) };
            if result < 0 {
                return Outcome::Done(result);
            }
            if before.handler == on_fatal as Handler as usize { Action::default() } else { before }
        }
    };
    if old != 0 && put(call, old, &before.to_bytes()).is_err() {
        return Outcome::Done(-(libc::EFAULT as isize));
    }
    Outcome::Done(0)
}

/// `rt_sigprocmask`: works on the mask that the program goes on with.
pub(crate) fn procmask(call: &mut Call<'_>) -> Outcome {
    let [how, new, old, size, ..] = call.args;
    if size != 8 {
        return Outcome::Done(-(libc::EINVAL as isize));
    }
    let before = mask_of(call.context);
    if new != 0 {
        let mut set = [0; 8];
        if get(call, new, &mut set).is_err() {
            return Outcome::Done(-(libc::EFAULT as isize));
        }
        let set = u64::from_ne_bytes(set);
        let mask = match how as c_int {
            libc::SIG_BLOCK => before | set,
            libc::SIG_UNBLOCK => before & !set,
            libc::SIG_SETMASK => set,
            _ => return Outcome::Done(-(libc::EINVAL as isize)),
        };
        set_mask(call.context, allowed(mask));
    }
    if old != 0 && put(call, old, &before.to_ne_bytes()).is_err() {
        return Outcome::Done(-(libc::EFAULT as isize));
    }
    Outcome::Done(0)
}

/// The signal mask that a program goes on with.
pub(crate) fn mask_of(context: &ucontext_t) -> u64 {
    // SAFETY: a set begins with 64 bits.
    unsafe { (&raw const context.uc_sigmask).cast::<u64>().read() }
}

/// Sets it.
pub(crate) fn set_mask(context: &mut ucontext_t, mask: u64) {
    // SAFETY: as above.
    unsafe { (&raw mut context.uc_sigmask).cast::<u64>().write(mask) };
}

/// A call with a signal mask as argument `number`: Linux is given one that it may have.
pub(crate) fn with_mask(call: &mut Call<'_>, number: usize) -> Outcome {
    let address = call.args[number];
    if address == 0 {
        return Outcome::Pass;
    }
    let mut mask = [0; 8];
    if get(call, address, &mut mask).is_err() {
        return Outcome::Done(-(libc::EFAULT as isize));
    }
    let lent = call.thread.lent_mask.get();
    // SAFETY: the record of this thread.
    unsafe { (*lent)[0] = allowed(u64::from_ne_bytes(mask)) };
    call.set_argument(number, lent.addr());
    Outcome::Pass
}

/// `pselect6`: its mask is in a structure.
pub(crate) fn pselect(call: &mut Call<'_>) -> Outcome {
    let address = call.args[5];
    let mut pair = [0; 16];
    if address == 0 {
        return Outcome::Pass;
    }
    if get(call, address, &mut pair).is_err() {
        return Outcome::Done(-(libc::EFAULT as isize));
    }
    let word = |at: usize| u64::from_ne_bytes(pair[at..at + 8].try_into().unwrap_or_default());
    let mut mask = [0; 8];
    let at = word(0) as usize;
    if at != 0 && get(call, at, &mut mask).is_err() {
        return Outcome::Done(-(libc::EFAULT as isize));
    }
    let lent = call.thread.clone_args.get();
    let mask_at = lent.addr() + 16;
    // SAFETY: the record of this thread.
    let lent = unsafe { &mut *lent };
    lent[0] = if at == 0 { 0 } else { mask_at as u64 };
    lent[1] = word(8);
    lent[2] = allowed(u64::from_ne_bytes(mask));
    call.set_argument(5, mask_at - 16);
    Outcome::Pass
}

/// `sigaltstack`: the program believes to have the stack that it asks for; signals that it wants on
/// one come on the kernel stack.
pub(crate) fn altstack(call: &mut Call<'_>) -> Outcome {
    const BYTES: usize = size_of::<libc::stack_t>();
    let [new, old, ..] = call.args;
    let stack = call.thread.program_stack.get();
    let mut bytes = [0_u8; BYTES];
    // SAFETY: plain data of the same size.
    let before: [u8; BYTES] = unsafe { stack.cast::<[u8; BYTES]>().read() };
    if new != 0 {
        if get(call, new, &mut bytes).is_err() {
            return Outcome::Done(-(libc::EFAULT as isize));
        }
        // SAFETY: as above: integers and an address, which is not used.
        unsafe { stack.cast::<[u8; BYTES]>().write(bytes) };
    }
    if old != 0 && put(call, old, &before).is_err() {
        return Outcome::Done(-(libc::EFAULT as isize));
    }
    Outcome::Done(0)
}

/// A signal that the library took is the program's: its handler is called, or the signal does what
/// it does without one.
pub(crate) fn hand_to_program(signal: c_int, info: *mut siginfo_t, context: &mut ucontext_t) {
    let taken = TAKEN.iter().position(|taken| *taken == signal);
    let action = taken
        .zip(Process::current())
        .map(|(taken, process)| process.actions.lock().0[taken])
        .unwrap_or_default();
    if action.handler == libc::SIG_DFL || action.handler == libc::SIG_IGN {
        // A fault cannot be ignored.
        end(Thread::current(), signal);
    }
    // SAFETY: the program has said so.
    let handler = unsafe { core::mem::transmute::<usize, Handler>(action.handler) };
    let thread = Thread::current();
    // The handler is the program's: it may never return.
    if let Some(process) = Process::of(thread) {
        process.leave();
    }
    thread.selector.set(TRAPS);
    compiler_fence(SeqCst);
    handler(signal, info, core::ptr::from_mut(context).cast());
    compiler_fence(SeqCst);
    thread.selector.set(PASSES);
    if let Some(process) = Process::of(thread) {
        process.enter();
    }
}

/// An access past the end of a file.
pub(crate) fn bus(info: *mut siginfo_t, context: &mut ucontext_t) {
    // SAFETY: Linux's record, which the handler owns.
    let info = unsafe { &mut *info };
    info.si_signo = libc::SIGBUS;
    info.si_code = 2; // BUS_ADRERR
    hand_to_program(libc::SIGBUS, info, context);
}
