//! Signals of the program. Its handlers are Linux's affair, but for those of the signals that this
//! library takes: what the program wants of them is kept here.

use core::ffi::{c_int, c_void};
use core::sync::atomic::Ordering::SeqCst;
use core::sync::atomic::compiler_fence;

use libc::siginfo_t;
use spin::Once;
use syscalls::Sysno;

use crate::call::{Call, Outcome, get, get_words, put, put_words};
use crate::deliver::{enter_handler, is_on, leave_handler, mask_of, set_mask};
use crate::gate;
use crate::process::Process;
use crate::raw;
use crate::restart;
use crate::taken::{
    Action, HELD_IN_CALLS, LAST, SA_RESTORER, TAKEN, TAKEN_BITS, allowed, bit, ends_program,
};
use crate::thread::{PASSES, Thread, sleep_for_good};

/// `si_code` of a trapped system call.
pub(crate) const SYS_USER_DISPATCH: c_int = 2;

/// A handler of signals.
pub(crate) type Handler = extern "C" fn(c_int, *mut siginfo_t, *mut c_void);

/// What comes for signals that the program handles.
static ON_SIGNAL: Once<Handler> = Once::new();

/// Takes the signals of [`TAKEN`], with these handlers, and those that end the program; `on_signal`
/// is for those that the program will handle. Whether that was possible.
pub(crate) fn take(handlers: [Handler; TAKEN.len()], on_signal: Handler) -> bool {
    ON_SIGNAL.call_once(|| on_signal);
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

/// Flags of an action that are Linux's affair.
const LINUX_FLAGS: u64 = (libc::SA_RESTART | libc::SA_NOCLDSTOP | libc::SA_NOCLDWAIT) as u64;

/// What Linux is to do for what the program wants.
fn linux_action(signal: c_int, wanted: &Action) -> Action {
    match wanted.handler {
        libc::SIG_DFL if ends_program().any(|fatal| fatal == signal) => own_action(on_fatal),
        libc::SIG_DFL | libc::SIG_IGN => Action { mask: 0, ..*wanted },
        _ => {
            let own = own_action(*ON_SIGNAL.get().unwrap_or(&(on_fatal as Handler)));
            let restarts = libc::SA_RESTART as u64;
            Action { flags: own.flags & !restarts | wanted.flags & LINUX_FLAGS, ..own }
        }
    }
}

/// `rt_sigaction`.
pub(crate) fn action(call: &mut Call<'_>) -> Outcome {
    let [signal, new, old, size, ..] = call.args;
    let signal = signal as c_int;
    if size != 8 || !(1..=LAST).contains(&signal) {
        return Outcome::Done(-(libc::EINVAL as isize));
    }
    let wanted = match new {
        0 => None,
        new => match get_words(call, new) {
            Ok(words) => Some(Action::from_words(words)),
            Err(errno) => return Outcome::failed(errno),
        },
    };
    let mut before;
    {
        let mut actions = call.process.actions.lock();
        before = *actions.of(signal);
        if !TAKEN.contains(&signal) {
            let linux = wanted.map(|wanted| linux_action(signal, &wanted));
            let mut now = Action::default();
            let new = linux.as_ref().map_or(0, |linux| core::ptr::from_ref(linux).addr());
            let args = [signal as usize, new, (&raw mut now).addr(), 8, 0, 0];
            // SAFETY: the structures are ours; the handler, too.
            let result = unsafe { raw::call(Sysno::rt_sigaction, args) };
            if result < 0 {
                return Outcome::Done(result);
            }
            if now.handler == libc::SIG_IGN {
                before.handler = libc::SIG_IGN;
            }
        }
        if let Some(wanted) = wanted {
            *actions.of(signal) = wanted;
        }
    }
    if old != 0 && put_words(call, old, before.words()).is_err() {
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
    let before = mask_of(call.context) | call.thread.held.get();
    if new != 0 {
        let [set] = match get_words(call, new) {
            Ok(words) => words,
            Err(errno) => return Outcome::failed(errno),
        };
        let mask = match how as c_int {
            libc::SIG_BLOCK => before | set,
            libc::SIG_UNBLOCK => before & !set,
            libc::SIG_SETMASK => set,
            _ => return Outcome::Done(-(libc::EINVAL as isize)),
        };
        set_mask(call.context, allowed(mask));
        call.thread.held.set(mask & TAKEN_BITS);
    }
    if old != 0 && put_words(call, old, [before]).is_err() {
        return Outcome::Done(-(libc::EFAULT as isize));
    }
    Outcome::Done(0)
}

/// A call with a signal mask as argument `number`: Linux is given one that it may have.
pub(crate) fn with_mask(call: &mut Call<'_>, number: usize) -> Outcome {
    let address = call.args[number];
    if address == 0 {
        return Outcome::Pass;
    }
    let [mask] = match get_words(call, address) {
        Ok(words) => words,
        Err(errno) => return Outcome::failed(errno),
    };
    let lent = call.thread.lent_mask.get();
    // SAFETY: the record of this thread.
    unsafe { (*lent)[0] = allowed(mask) };
    call.set_argument(number, lent.addr());
    Outcome::Pass
}

/// `rt_sigreturn`: Linux takes the frame at the gate.
pub(crate) fn sigreturn(call: &mut Call<'_>) -> Outcome {
    leave_handler(call);
    *call.register(libc::REG_RIP) = gate::restorer() as i64;
    Outcome::Resume
}

/// `pselect6`: its mask is in a structure.
pub(crate) fn pselect(call: &mut Call<'_>) -> Outcome {
    let address = call.args[5];
    if address == 0 {
        return Outcome::Pass;
    }
    let [at, size] = match get_words(call, address) {
        Ok(words) => words,
        Err(errno) => return Outcome::failed(errno),
    };
    let mask = if at == 0 { Ok([0]) } else { get_words(call, at as usize) };
    let [mask] = match mask {
        Ok(words) => words,
        Err(errno) => return Outcome::failed(errno),
    };
    let lent = call.thread.clone_args.get();
    let mask_at = lent.addr() + 16;
    // SAFETY: the record of this thread.
    let lent = unsafe { &mut *lent };
    lent[0] = if at == 0 { 0 } else { mask_at as u64 };
    lent[1] = size;
    lent[2] = allowed(mask);
    call.set_argument(5, mask_at - 16);
    Outcome::Pass
}

/// A flag of signal stacks: Linux gives them up while a handler runs on them.
const SS_AUTODISARM: c_int = 1 << 31;

/// `sigaltstack`: the program believes to have the stack that it asks for; signals that it wants on
/// one come on the kernel stack.
pub(crate) fn altstack(call: &mut Call<'_>) -> Outcome {
    const BYTES: usize = size_of::<libc::stack_t>();
    let [new, old, ..] = call.args;
    let stack = call.thread.program_stack.get();
    let mut bytes = [0_u8; BYTES];
    // SAFETY: plain data of the same size.
    let mut before: [u8; BYTES] = unsafe { stack.cast::<[u8; BYTES]>().read() };
    // SAFETY: the record of this thread.
    let is_on_it = is_on(unsafe { &*stack }, *call.register(libc::REG_RSP) as usize);
    if new != 0 {
        if get(call, new, &mut bytes).is_err() {
            return Outcome::Done(-(libc::EFAULT as isize));
        }
        // SAFETY: as above: integers and an address, which is not used.
        let mut wanted: libc::stack_t = unsafe { core::mem::transmute(bytes) };
        let is_off = wanted.ss_flags & libc::SS_DISABLE != 0;
        let error = match wanted.ss_flags & !SS_AUTODISARM {
            _ if is_on_it => libc::EPERM,
            0 | libc::SS_ONSTACK | libc::SS_DISABLE if is_off => 0,
            0 | libc::SS_ONSTACK if wanted.ss_size < libc::MINSIGSTKSZ => libc::ENOMEM,
            0 | libc::SS_ONSTACK => 0,
            _ => libc::EINVAL,
        };
        if error != 0 {
            return Outcome::Done(-(error as isize));
        }
        wanted.ss_flags &= !libc::SS_ONSTACK;
        if is_off {
            wanted.ss_sp = core::ptr::null_mut();
            wanted.ss_size = 0;
        }
        // SAFETY: the record of this thread.
        unsafe { *stack = wanted };
    }
    if is_on_it {
        const FLAGS: usize = core::mem::offset_of!(libc::stack_t, ss_flags);
        before[FLAGS] |= libc::SS_ONSTACK as u8;
    }
    if old != 0 && put(call, old, &before).is_err() {
        return Outcome::Done(-(libc::EFAULT as isize));
    }
    Outcome::Done(0)
}

/// A signal is the program's: its handler is entered, or the signal does what it does without one.
/// One of a fault that the program holds off ends it.
pub(crate) fn hand_to_program(call: &mut Call<'_>, signal: c_int, info: &siginfo_t) {
    restart::interrupt(call);
    let action = {
        let mut actions = call.process.actions.lock();
        let action = *actions.of(signal);
        if action.flags & libc::SA_RESETHAND as u64 != 0 {
            let once = actions.of(signal);
            once.handler = libc::SIG_DFL;
            let linux = linux_action(signal, once);
            let args = [signal as usize, (&raw const linux).addr(), 0, 8, 0, 0];
            if !TAKEN.contains(&signal) {
                raw::harmless(Sysno::rt_sigaction, args);
            }
        }
        action
    };
    let was_sent = info.si_code <= 0;
    if action.handler == libc::SIG_IGN && was_sent {
        return;
    }
    if call.thread.held.get() & bit(signal) != 0 {
        if was_sent {
            call.thread.late.set(Some(*info));
            return;
        }
        end(call.thread, signal);
    }
    // A fault cannot be ignored.
    if action.handler == libc::SIG_DFL || action.handler == libc::SIG_IGN {
        end(call.thread, signal);
    }
    if !enter_handler(call, signal, info, &action) {
        end(call.thread, libc::SIGSEGV);
    }
}

/// Hands a signal to the program that came while that was not possible.
pub(crate) fn hand_late(call: &mut Call<'_>) {
    let Some(info) = call.thread.late.take() else { return };
    hand_to_program(call, info.si_signo, &info);
}

/// An access past the end of a file.
pub(crate) fn bus(call: &mut Call<'_>, info: &siginfo_t) {
    let mut info = *info;
    info.si_signo = libc::SIGBUS;
    info.si_code = BUS_ADRERR;
    hand_to_program(call, libc::SIGBUS, &info);
}

const BUS_ADRERR: c_int = 2;
