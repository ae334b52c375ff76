//! What happens on the way to user mode: signals are delivered, threads end, others get their turn.

use core::sync::atomic::Ordering::{Relaxed, SeqCst};

use faultless::prelude::{MayFault, Wait};
use faultless_posix::Errno;
use linux_raw_sys::general as linux;
use syscalls::Sysno;
use x86_64::instructions::interrupts;

use crate::arch::percpu;
use crate::arch::trap::{SYSTEM_CALL, TrapFrame, USER_FLAGS, Vectors};
use crate::memory::{USER_END, get, put};
use crate::process::exit::exit_thread;
use crate::process::sequences;
use crate::process::signals::{force, stop};
use crate::process::state::{Process, process_of};
use crate::sched::{self, Thread};
use crate::signals::{
    Action, Cause, HandlerStack, SIG_DFL, SIG_IGN, STOPS, bit, is_ignored_by_default,
};
use crate::waits::{key_of, waits};

/// Bytes below the stack pointer that a function may use.
const RED_ZONE: u64 = 128;

/// Words of a signal frame: the way back, `struct ucontext`, `siginfo_t`.
const WORDS: usize = 1 + CONTEXT_WORDS + INFO_WORDS;
const CONTEXT_WORDS: usize = 5 + REGISTER_WORDS + 1;
const REGISTER_WORDS: usize = 32;
pub(crate) const INFO_WORDS: usize = 16;

/// Where in `struct ucontext` the stack, the registers and the mask are, in words.
const STACK: usize = 2;
const REGISTERS: usize = 5;
const MASK: usize = REGISTERS + REGISTER_WORDS;

/// `uc_flags`: the stack segment is in the registers, and is restored.
const CONTEXT_FLAGS: u64 = 6;

/// The result of a call that a signal came before: it is made again, or fails with `EINTR`.
const INTERRUPTED: u64 = -(linux_raw_sys::errno::EINTR as i64) as u64;

/// Does what there is to do on the way to user mode, with interrupts off. They are off again when
/// it returns. Called if the thread [has work](crate::signals::ThreadSignals::has_work).
pub(crate) fn prepare_return(frame: &mut TrapFrame) {
    loop {
        let thread = sched::current();
        thread.signals.take_work();
        let Some(process) = process_of(&thread) else { return };
        let ends = thread.signals.ends();
        if process.is_exiting() || ends.is_some() {
            drop(thread);
            drop(process);
            interrupts::enable();
            exit_thread(ends.unwrap_or(0));
        }
        if process.life.stopped.load(SeqCst) != 0 {
            interrupts::enable();
            let goes_on = || process.life.stopped.load(SeqCst) == 0 || process.is_exiting();
            waits().wait_until(key_of(&process.life.stopped), &mut { goes_on });
            interrupts::disable();
            continue;
        }
        if let Some((signal, cause)) = thread.signals.take(&process.life.signals) {
            interrupts::enable();
            deliver(&thread, &process, frame, signal, cause);
            interrupts::disable();
        } else if percpu::this().preempt.load(Relaxed) {
            sched::yield_now();
        } else if thread.sequences.take_interrupted() {
            interrupts::enable();
            if sequences::resume(&mut no_lock(), &thread, &process, frame).is_err() {
                force(linux::SIGSEGV, Cause::Kernel);
            }
            interrupts::disable();
        } else {
            // A mask that was to hold until a signal comes holds no longer.
            if let Some(mask) = thread.signals.saved_mask.lock().take() {
                thread.signals.block(mask);
                continue;
            }
            // Signals ended the wait of a call, and none of them called a handler.
            restart(frame);
            return;
        }
    }
}

/// The right to access user memory, on the way to it.
fn no_lock() -> MayFault {
    // SAFETY: on the way to user mode no lock is held, and the call's own token is gone.
    unsafe { MayFault::assert() }
}

fn deliver(thread: &Thread, process: &Process, frame: &mut TrapFrame, signal: u32, cause: Cause) {
    let action = process.life.signals.action(signal);
    match action.handler {
        // A call that it came before is made again once no signal is left.
        SIG_IGN => {}
        SIG_DFL if is_ignored_by_default(signal) => {}
        SIG_DFL if STOPS & bit(signal) != 0 => stop(process, signal),
        SIG_DFL => process.begin_exit(signal),
        _ => {
            if action.flags & u64::from(linux::SA_RESTART) != 0 && again(frame) == Again::AsHandler
            {
                restart(frame);
            }
            // What was interrupted goes on at the abort handler if it was a sequence.
            let token = &mut no_lock();
            let called = sequences::resume(token, thread, process, frame)
                .and_then(|()| call_handler(token, thread, frame, signal, cause, &action));
            if called.is_err() {
                process.begin_exit(linux::SIGSEGV);
            }
            if action.flags & u64::from(linux::SA_RESETHAND) != 0 {
                let action = Action { handler: SIG_DFL, ..action };
                process.life.signals.set_action(signal, action);
            }
        }
    }
}

/// Has a system call that a signal came before made again, unless it is one that is not. Its number
/// is kept in `error`.
fn restart(frame: &mut TrapFrame) {
    let was_interrupted = frame.vector == SYSTEM_CALL && frame.rax == INTERRUPTED;
    if was_interrupted && frame.error != 0 && again(frame) != Again::Never {
        frame.rax = frame.error - 1;
        frame.rip -= 2;
        frame.error = 0;
    }
}

/// When a system call is made again that a signal came before.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Again {
    /// If no handler has run, or one with `SA_RESTART`.
    AsHandler,
    /// If no handler has run, whatever its flags: the waits that end by time, those for several
    /// files, and for a signal.
    WithoutHandler,
    /// It fails with `EINTR`, also once the process goes on that was stopped.
    Never,
}

fn again(frame: &TrapFrame) -> Again {
    let number = frame.error.wrapping_sub(1);
    let call = u32::try_from(number).ok().and_then(|number| Sysno::new(number as usize));
    match call {
        Some(Sysno::futex) if frame.arguments()[3] == 0 => Again::AsHandler,
        Some(
            Sysno::futex
            | Sysno::poll
            | Sysno::ppoll
            | Sysno::select
            | Sysno::pselect6
            | Sysno::pause
            | Sysno::rt_sigsuspend
            | Sysno::nanosleep
            | Sysno::clock_nanosleep
            | Sysno::msgsnd
            | Sysno::msgrcv,
        ) => Again::WithoutHandler,
        Some(
            Sysno::epoll_wait
            | Sysno::epoll_pwait
            | Sysno::epoll_pwait2
            | Sysno::semop
            | Sysno::semtimedop
            | Sysno::rt_sigtimedwait
            | Sysno::io_getevents
            | Sysno::io_pgetevents,
        ) => Again::Never,
        _ => Again::AsHandler,
    }
}

/// Lets the program go on in the handler, with what it was at on its stack.
///
/// # Errors
/// `EFAULT`: the stack cannot be written to.
fn call_handler(
    token: &mut MayFault,
    thread: &Thread,
    frame: &mut TrapFrame,
    signal: u32,
    cause: Cause,
    action: &Action,
) -> Result<(), Errno> {
    // A call that is made after the handler begins its time anew.
    thread.signals.resumes_until.store(0, Relaxed);
    let blocked = thread.signals.blocked();
    let mask = thread.signals.saved_mask.lock().take().unwrap_or(blocked);
    let stack = *thread.signals.stack.lock();
    let is_on_it = stack.has(frame.rsp as usize);
    let uses_it = action.flags & u64::from(linux::SA_ONSTACK) != 0 && stack.size > 0 && !is_on_it;
    let end = stack.start.saturating_add(stack.size) as u64;
    let top = if uses_it { end } else { frame.rsp.wrapping_sub(RED_ZONE) };
    let vectors = top.wrapping_sub(size_of::<Vectors>() as u64) & !63;
    // As after a call: a word below a multiple of 16.
    let at = (vectors.wrapping_sub((WORDS * 8) as u64) & !15).wrapping_sub(8);

    let mut words = [0_u64; WORDS];
    words[0] = action.restorer as u64;
    let context = &mut words[1..=CONTEXT_WORDS];
    context[0] = CONTEXT_FLAGS;
    let [start, flags, size] = &mut context[STACK..STACK + 3] else { return Err(Errno::FAULT) };
    (*start, *size) = (stack.start as u64, stack.size as u64);
    *flags = stack.flags(frame.rsp as usize).into();
    context[REGISTERS..MASK].copy_from_slice(&registers(frame, vectors, cause));
    context[MASK] = mask;
    information(&mut words[1 + CONTEXT_WORDS..], signal, cause);
    put(token, vectors as usize, &frame.vectors.0)?;
    put(token, at as usize, words.map(u64::to_ne_bytes).as_flattened())?;

    if stack.disarms {
        *thread.signals.stack.lock() = HandlerStack::default();
    }
    let deferred = if action.flags & u64::from(linux::SA_NODEFER) == 0 { bit(signal) } else { 0 };
    thread.signals.block(blocked | action.mask | deferred);
    let begin = TrapFrame::user(action.handler, at as usize);
    *frame = TrapFrame {
        rdi: signal.into(),
        rsi: at + (8 * (1 + CONTEXT_WORDS)) as u64,
        rdx: at + 8,
        // Not one of a call that may be made again.
        vector: SYSTEM_CALL,
        error: 0,
        ..begin
    };
    sane(frame)
}

/// `struct sigcontext`.
fn registers(frame: &TrapFrame, vectors: u64, cause: Cause) -> [u64; REGISTER_WORDS] {
    let address = if let Cause::Fault { address, .. } = cause { address as u64 } else { 0 };
    let (trap, error) =
        if frame.vector == SYSTEM_CALL { (0, 0) } else { (frame.vector, frame.error) };
    let mut words = [0; REGISTER_WORDS];
    let segments = frame.cs & 0xffff | (frame.ss & 0xffff) << 48;
    words[..24].copy_from_slice(&[
        frame.r8,
        frame.r9,
        frame.r10,
        frame.r11,
        frame.r12,
        frame.r13,
        frame.r14,
        frame.r15,
        frame.rdi,
        frame.rsi,
        frame.rbp,
        frame.rbx,
        frame.rdx,
        frame.rax,
        frame.rcx,
        frame.rsp,
        frame.rip,
        frame.rflags,
        segments,
        error,
        trap,
        0,
        address,
        vectors,
    ]);
    words
}

/// Fills in a `siginfo_t`.
pub(crate) fn information(words: &mut [u64], signal: u32, cause: Cause) {
    words[0] = signal.into();
    words[1] = cause.code().cast_unsigned().into();
    match cause {
        Cause::User(number) => words[2] = number.into(),
        Cause::Kernel => {}
        Cause::Fault { address, .. } => words[2] = address as u64,
        Cause::Queued { words: told, .. } => words[2..4].copy_from_slice(&told),
        Cause::Child(child) => {
            words[2] = child.number.into();
            words[3] = child.told().1.into();
        }
    }
}

/// `rt_sigreturn`: the program goes on where the signal came.
///
/// # Errors
/// `EFAULT`: the frame cannot be read, or leads nowhere.
pub(crate) fn sigreturn(token: &mut MayFault, frame: &mut TrapFrame) -> Result<(), Errno> {
    let mut bytes = [[0; 8]; CONTEXT_WORDS];
    get(token, frame.rsp as usize, bytes.as_flattened_mut())?;
    let context = bytes.map(u64::from_ne_bytes);
    let words = &context[REGISTERS..MASK];
    let mut vectors = Vectors::initial();
    if words[23] != 0 {
        get(token, words[23] as usize, &mut vectors.0)?;
        vectors.sanitise();
    }
    let begin = TrapFrame::user(0, 0);
    *frame = TrapFrame {
        vectors,
        r8: words[0],
        r9: words[1],
        r10: words[2],
        r11: words[3],
        r12: words[4],
        r13: words[5],
        r14: words[6],
        r15: words[7],
        rdi: words[8],
        rsi: words[9],
        rbp: words[10],
        rbx: words[11],
        rdx: words[12],
        rax: words[13],
        rcx: words[14],
        rsp: words[15],
        rip: words[16],
        rflags: begin.rflags | words[17] & USER_FLAGS,
        ..begin
    };
    let [start, flags, size] = [context[STACK], context[STACK + 1], context[STACK + 2]];
    let stack = HandlerStack::new(flags as u32, start as usize, size as usize);
    let rsp = frame.rsp as usize;
    sched::with_current(|thread| {
        thread.signals.block(context[MASK]);
        let mut own = thread.signals.stack.lock();
        // As on Linux: one that cannot be, or that is in use, is left as it is.
        if let Ok(stack) = stack
            && !own.has(rsp)
        {
            *own = stack;
        }
    });
    sane(frame)
}

/// Checks what the CPU would refuse to go back to, with a fault in the kernel.
///
/// # Errors
/// `EFAULT`.
const fn sane(frame: &TrapFrame) -> Result<(), Errno> {
    if (frame.rip as usize) < USER_END { Ok(()) } else { Err(Errno::FAULT) }
}
