//! New threads and processes.
//!
//! Linux makes them at the gate, with all signals held off, so that nothing runs on a kernel stack
//! that two of them share. Both sides then trap, and go on as the program expects.

use core::ffi::c_int;

use libc::ucontext_t;
use syscalls::Sysno;

use crate::call::{Call, Outcome, get, put_words};
use crate::deliver::{mask_of, set_mask};
use crate::gate::{self, RED_ZONE};
use crate::process::{self, Process};
use crate::raw;
use crate::taken::HELD_IN_CALLS;
use crate::thread::Thread;
use crate::words::words_of;

/// Bytes of `struct clone_args`, as far as this library knows it.
const CLONE_ARGS: usize = 88;

const THREAD: u64 = libc::CLONE_THREAD as u64;

/// `fork`, `vfork`.
pub(crate) fn fork(call: &mut Call<'_>) -> Outcome {
    begin(call, Sysno::fork as usize, [None; 2], None)
}

/// `clone`.
pub(crate) fn clone(call: &mut Call<'_>) -> Outcome {
    let [flags, stack, ..] = call.args;
    let flags = process_of_its_own(flags as u64);
    let stack = (stack != 0).then_some(stack);
    begin(call, Sysno::clone as usize, [Some(flags as usize), stack.map(|top| top - 16)], stack)
}

/// `clone3`.
pub(crate) fn clone3(call: &mut Call<'_>) -> Outcome {
    let [at, size, ..] = call.args;
    if size > CLONE_ARGS {
        return Outcome::Done(-(libc::E2BIG as isize));
    }
    let mut bytes = [0; CLONE_ARGS];
    if get(call, at, &mut bytes[..size]).is_err() {
        return Outcome::Done(-(libc::EFAULT as isize));
    }
    let mut words = words_of(&bytes);
    // Flags, …, the lowest address of the stack, its size.
    words[0] = process_of_its_own(words[0]);
    let (stack, length) = (words[5], words[6]);
    let top = (stack != 0).then(|| (stack + length) as usize);
    if stack != 0 {
        words[6] = length - 16;
    }
    let lent = call.thread.clone_args.get();
    // SAFETY: the record of this thread.
    unsafe { *lent = words };
    begin(call, Sysno::clone3 as usize, [Some(lent.addr()), Some(size)], top)
}

/// A child that is not a thread gets memory of its own, also where the program offers its own: the
/// child of `vfork` and `posix_spawn` changes descriptors, and must not do so here.
const fn process_of_its_own(flags: u64) -> u64 {
    let shared = (libc::CLONE_VM | libc::CLONE_VFORK | libc::CLONE_FILES) as u64;
    if flags & THREAD == 0 { flags & !shared } else { flags }
}

/// `execve` and `execveat`, at the gate: they return only if they fail. Until then the process is
/// not asked for anything: it has no mappings, and soon no handlers.
pub(crate) fn exec(call: &mut Call<'_>) -> Outcome {
    // SAFETY: the record of this thread.
    unsafe { *call.thread.registers.get() = call.context.uc_mcontext.gregs };
    call.thread.mask.set(mask_of(call.context));
    call.thread.child.set(None);
    call.process.begin_exec();
    // Nothing is kept on the program's stack.
    *call.register(libc::REG_RIP) = gate::clone() as i64;
    Outcome::Resume
}

/// Prepares both sides, and goes to the gate.
fn begin(
    call: &mut Call<'_>,
    number: usize,
    args: [Option<usize>; 2],
    stack: Option<usize>,
) -> Outcome {
    let is_thread = match number {
        n if n == Sysno::clone as usize => args[0].is_some_and(|flags| flags as u64 & THREAD != 0),
        n if n == Sysno::clone3 as usize => {
            // SAFETY: the record of this thread.
            unsafe { (*call.thread.clone_args.get())[0] & THREAD != 0 }
        }
        _ => false,
    };
    let Some(thread) = Thread::new() else { return Outcome::Done(-(libc::EAGAIN as isize)) };
    let rsp = *call.register(libc::REG_RSP) as usize;
    let slot = rsp - RED_ZONE - 16;
    let stack_at = [thread.stack.get().addr() as u64];
    let child_slot = stack.map_or(slot, |top| top - 16);
    if put_words(call, slot, stack_at).is_err() || put_words(call, child_slot, stack_at).is_err() {
        thread.give_up();
        return Outcome::Done(-(libc::EFAULT as isize));
    }
    let registers = call.context.uc_mcontext.gregs;
    let mask = mask_of(call.context);
    for record in [call.thread, thread] {
        // SAFETY: the record of this thread, and one that is not used yet.
        unsafe { *record.registers.get() = registers };
        record.mask.set(mask);
    }
    // SAFETY: as above.
    let child = unsafe { &mut *thread.registers.get() };
    child[libc::REG_RAX as usize] = 0;
    if let Some(top) = stack {
        child[libc::REG_RSP as usize] = top as i64;
    }
    let process = (!is_thread).then(|| call.process.fork());
    thread.held.set(call.thread.held.get());
    thread.pid.set(call.thread.pid.get());
    thread.process.set(call.thread.process.get());
    call.thread.forks.set(process.is_some());
    thread.birth.set(process);
    call.thread.child.set(Some(thread));
    for (at, value) in args.into_iter().enumerate() {
        if let Some(value) = value {
            call.set_argument(at, value);
        }
    }
    *call.register(libc::REG_RAX) = number as i64;
    *call.register(libc::REG_RSP) = slot as i64;
    *call.register(libc::REG_RIP) = gate::clone() as i64;
    set_mask(call.context, HELD_IN_CALLS);
    Outcome::Resume
}

/// The old thread goes on.
pub(crate) fn parent(thread: &'static Thread, context: &mut ucontext_t) {
    let result = context.uc_mcontext.gregs[libc::REG_RAX as usize];
    if let Some(process) = Process::of(thread) {
        process.end_exec();
    }
    thread.lent_program.set(None);
    // Before the program knows of the child: from now on it can be killed by its number.
    if thread.forks.replace(false)
        && let Ok(pid) = i32::try_from(result)
        && pid > 0
    {
        process::wait_for_begin(pid);
    }
    resume(thread, context);
    context.uc_mcontext.gregs[libc::REG_RAX as usize] = result;
    let child = thread.child.take();
    if let Some(child) = child
        && result < 0
    {
        if let Some(process) = child.birth.take() {
            // SAFETY: from `fork`, and no child has taken it.
            unsafe { Process::give_up(process) };
        }
        child.give_up();
    }
}

/// The new thread goes on.
pub(crate) fn child(thread: &'static Thread, context: &mut ucontext_t) {
    thread.tid.set(raw::tid());
    if let Some(process) = thread.birth.take() {
        // SAFETY: from `fork`; the parent leaves it to the child.
        unsafe { Process::begin(process, thread) };
    }
    trap_calls(thread);
    resume(thread, context);
}

fn resume(thread: &Thread, context: &mut ucontext_t) {
    const KEPT: [c_int; 17] = [
        libc::REG_R8,
        libc::REG_R9,
        libc::REG_R10,
        libc::REG_R11,
        libc::REG_R12,
        libc::REG_R13,
        libc::REG_R14,
        libc::REG_R15,
        libc::REG_RDI,
        libc::REG_RSI,
        libc::REG_RBP,
        libc::REG_RBX,
        libc::REG_RDX,
        libc::REG_RAX,
        libc::REG_RCX,
        libc::REG_RSP,
        libc::REG_RIP,
    ];
    // SAFETY: the record of this thread.
    let registers = unsafe { &*thread.registers.get() };
    for which in KEPT {
        context.uc_mcontext.gregs[which as usize] = registers[which as usize];
    }
    set_mask(context, thread.mask.get());
}

/// `PR_SET_SYSCALL_USER_DISPATCH`.
const SET_SYSCALL_USER_DISPATCH: usize = 59;

/// Has system calls of the running thread trap from now on, once its selector says so.
pub(crate) fn trap_calls(thread: &Thread) {
    let (start, length) = gate::range();
    let selector = thread.selector.as_ptr().addr();
    let args = [SET_SYSCALL_USER_DISPATCH, 1, start, length, selector, 0];
    if raw::harmless(Sysno::prctl, args) != 0 {
        raw::die("faultless: this Linux has no syscall user dispatch, which 5.11 has");
    }
}
