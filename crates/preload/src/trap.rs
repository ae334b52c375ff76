//! The entries of the kernel: a system call (`SIGSYS`), and a page fault (`SIGSEGV`, `SIGBUS`).
//!
//! Handlers run on the thread's kernel stack, with all signals held off but those of faults.

use core::ffi::{c_int, c_void};
use core::sync::atomic::Ordering::SeqCst;
use core::sync::atomic::compiler_fence;

use alloc::format;

use faultless::prelude::{Access, InFault, MayFault, Task};
use faultless::usercopy::extable::{Kind, Resume, Table};
use faultless_posix::Signal;
use libc::{siginfo_t, ucontext_t};
use spin::Once;
use syscalls::Sysno;

use crate::arena;
use crate::buffers;
use crate::call::{ARGUMENTS, Call, Outcome, put_words, register};
use crate::calls;
use crate::clone;
use crate::counters::{add, counters};
use crate::gate;
use crate::lend;
use crate::locks;
use crate::memory::ProgramMemory;
use crate::options::{Plant, options};
use crate::process::Process;
use crate::raw;
use crate::restart;
use crate::signals;
use crate::task::Running;
use crate::thread::{PASSES, TRAPS, Thread};

/// A trap, from entry to return: system calls of the library pass, the process knows that a thread
/// is in the kernel, and the program's `errno` stays.
struct Entered {
    thread: &'static Thread,
    /// What the selector was. A trap inside a trap is not a program's.
    before: u8,
    errno: c_int,
}

impl Entered {
    fn new() -> Self {
        let thread = Thread::current();
        let before = thread.selector.replace(PASSES);
        compiler_fence(SeqCst);
        // SAFETY: the variable of this thread.
        let errno = unsafe { libc::__errno_location() };
        // SAFETY: as above.
        let errno = unsafe { errno.read() };
        if before == TRAPS
            && let Some(process) = Process::of(thread)
        {
            process.enter();
        }
        Self { thread, before, errno }
    }
}

impl Drop for Entered {
    fn drop(&mut self) {
        if self.before == TRAPS
            && let Some(process) = Process::of(self.thread)
        {
            process.leave();
        }
        // SAFETY: the variable of this thread.
        let errno = unsafe { libc::__errno_location() };
        // SAFETY: as above.
        unsafe { errno.write(self.errno) };
        compiler_fence(SeqCst);
        self.thread.selector.set(self.before);
    }
}

/// How a copy goes on after a fault. An atomic one ends there, unless that bug is planted.
fn resume(rip: usize, resolve: impl Fn() -> bool) -> Option<Resume> {
    let plant = options().plant;
    if plant == Some(Plant::FaultUnderLock) && table().find(rip).is_some() && resolve() {
        return Some(Resume::Retry);
    }
    table().resume(rip, resolve)
}

/// The exception table.
fn table() -> &'static Table<'static> {
    static TABLE: Once<Table<'static>> = Once::new();
    TABLE.call_once(Table::of_image)
}

/// `SIGSYS`: the program makes a system call.
pub(crate) extern "C" fn on_call(_signal: c_int, info: *mut siginfo_t, context: *mut c_void) {
    let entered = Entered::new();
    let thread = entered.thread;
    // SAFETY: Linux passes a context that lives as long as the handler runs.
    let context = unsafe { &mut *context.cast::<ucontext_t>() };
    // SAFETY: Linux passes a record.
    let code = unsafe { (*info).si_code };
    match (Process::of(thread), code == signals::SYS_USER_DISPATCH) {
        (Some(process), true) => {
            call(thread, process, context);
            signals::hand_late(&mut new_call(thread, process, context));
        }
        // SAFETY: as above.
        (Some(process), false) => late_or_now(&entered, process, context, unsafe { &*info }),
        (None, _) => raw::die("faultless: a signal without a process"),
    }
}

/// A signal that the library takes was sent to the program: its handler is entered, or later, if
/// the thread is in the kernel.
fn late_or_now(
    entered: &Entered,
    process: &'static Process,
    context: &mut ucontext_t,
    info: &siginfo_t,
) {
    // Between the entry and the exit, and an instruction before and after, it runs on its stack.
    let in_kernel = arena::contains(*register(context, libc::REG_RSP) as usize);
    if entered.before == TRAPS && !in_kernel {
        let call = &mut new_call(entered.thread, process, context);
        signals::hand_to_program(call, info.si_signo, info);
    } else {
        entered.thread.late.set(Some(*info));
    }
}

/// A signal for which the program has a handler.
pub(crate) extern "C" fn on_signal(signal: c_int, info: *mut siginfo_t, context: *mut c_void) {
    let entered = Entered::new();
    // SAFETY: Linux passes a context that lives as long as the handler runs.
    let context = unsafe { &mut *context.cast::<ucontext_t>() };
    // SAFETY: Linux passes a record.
    let info = unsafe { &*info };
    if let Some(process) = Process::of(entered.thread) {
        signals::hand_to_program(&mut new_call(entered.thread, process, context), signal, info);
    }
}

/// The call that the registers say.
fn new_call<'a>(
    thread: &'static Thread,
    process: &'static Process,
    context: &'a mut ucontext_t,
) -> Call<'a> {
    let args = ARGUMENTS.map(|which| *register(context, which) as usize);
    Call {
        number: *register(context, libc::REG_RAX) as usize,
        args,
        asked: args,
        thread,
        process,
        context,
        memory: ProgramMemory::new(),
        // SAFETY: at the entry of a system call, and where one ends, no lock is held.
        token: unsafe { MayFault::assert() },
    }
}

fn call(thread: &'static Thread, process: &'static Process, context: &mut ucontext_t) {
    let mut call = new_call(thread, process, context);
    let (number, args) = (call.number, call.args);
    let outcome = calls::dispatch(&mut call);
    tell(number, &args, &outcome);
    match outcome {
        Outcome::Done(result) => *register(context, libc::REG_RAX) = result as i64,
        Outcome::Pass => pass(&mut call),
        Outcome::Resume => {}
    }
    locks::nothing_held();
}

/// Has Linux make the call, with the program's signal mask: it may wait, and be interrupted.
fn pass(call: &mut Call<'_>) {
    if lend::lend(call) || buffers::watch(call) {
        restart::begin(call);
        return;
    }
    let rip = *call.register(libc::REG_RIP) as u64;
    let slot = *call.register(libc::REG_RSP) as usize - gate::RED_ZONE - 8;
    if put_words(call, slot, [rip]).is_err() {
        *call.register(libc::REG_RAX) = -i64::from(libc::EFAULT);
        return;
    }
    *call.register(libc::REG_RSP) = slot as i64;
    *call.register(libc::REG_RIP) = gate::pass() as i64;
    restart::begin(call);
}

/// `SIGSEGV` and `SIGBUS`: an access faults.
pub(crate) extern "C" fn on_fault(_signal: c_int, info: *mut siginfo_t, context: *mut c_void) {
    let mut entered = Entered::new();
    let (thread, before) = (entered.thread, entered.before);
    // SAFETY: Linux passes a context that lives as long as the handler runs.
    let context = unsafe { &mut *context.cast::<ucontext_t>() };
    let rip = *register(context, libc::REG_RIP) as usize;
    // SAFETY: Linux passes a record.
    let record = unsafe { &*info };
    if record.si_code <= 0
        && let Some(process) = Process::of(thread)
    {
        late_or_now(&entered, process, context, record);
        return;
    }
    // SAFETY: the record of a fault has an address.
    let address = unsafe { record.si_addr() }.addr();
    if rip == gate::faulted()
        && let Some(process) = Process::of(thread)
    {
        buffers::again(&mut new_call(thread, process, context));
    } else if rip == gate::lent()
        && let Some(process) = Process::of(thread)
    {
        lend::give_back(&mut new_call(thread, process, context));
    } else if rip == gate::parent() {
        clone::parent(thread, context);
    } else if rip == gate::child() {
        clone::child(thread, context);
        if let Some(process) = Process::of(thread) {
            process.enter();
        }
        entered.before = TRAPS;
    } else {
        let store = *register(context, libc::REG_ERR) & 2 != 0;
        let access = if store { Access::Write } else { Access::Read };
        match resume(rip, || resolve(thread, address, access).is_ok()) {
            Some(Resume::Retry) => {}
            Some(Resume::At(fixup)) => {
                let entry = table().find(rip);
                let is_atomic = entry.is_some_and(|entry| entry.kind() == Kind::Atomic);
                let counters = counters();
                let ended = [&counters.failed_copies, &counters.short_copies];
                add(ended[usize::from(is_atomic)], 1);
                *register(context, libc::REG_RIP) = fixup as i64;
            }
            None if before == PASSES => {
                raw::die(&format!(
                    "faultless: the library itself faulted, at {rip:#x}, address {address:#x}"
                ));
            }
            None => match resolve(thread, address, access) {
                Ok(()) => {}
                // The process ends, so that waits for locks were given up. It does so when the
                // thread leaves, or enters again.
                Err(_) if Running.fatal_signal_pending() => {}
                Err(why) => {
                    let Some(process) = Process::of(thread) else {
                        raw::die("faultless: a fault without a process");
                    };
                    let call = &mut new_call(thread, process, context);
                    if matches!(why, Signal::Bus | Signal::Kill) {
                        signals::bus(call, record);
                    } else {
                        signals::hand_to_program(call, record.si_signo, record);
                    }
                }
            },
        }
    }
    if before == TRAPS
        && let Some(process) = Process::of(thread)
    {
        signals::hand_late(&mut new_call(thread, process, context));
    }
}

/// Resolves a fault of a mapping of a file. Another address is none of a mapping's.
fn resolve(thread: &Thread, address: usize, access: Access) -> Result<(), Signal> {
    let process = Process::of(thread).ok_or(Signal::Segv)?;
    make_room(process);
    // SAFETY: the access that faulted was made by the program, or by a copy with a `MayFault`.
    let mut token = unsafe { InFault::enter() };
    process.space.fault(&mut token, address, access, &Running)?;
    add(&counters().faults, 1);
    Ok(())
}

/// Linux has mappings for so many pages, each of which may need one.
const MAPPINGS: usize = 50_000;

/// Takes entries out if there are too many of them.
fn make_room(process: &Process) {
    if process.space.with_table(|table| table.len()) > MAPPINGS {
        process.space.steal(0..usize::MAX);
    }
}

/// `SHOOTDOWN`: another process has changed this one's page table, or ends it. What is to be done
/// is done by whatever leaves the kernel.
pub(crate) extern "C" fn on_shootdown(_signal: c_int, _info: *mut siginfo_t, context: *mut c_void) {
    let entered = Entered::new();
    // SAFETY: Linux passes a context that lives as long as the handler runs.
    let context = unsafe { &mut *context.cast::<ucontext_t>() };
    if entered.before == TRAPS
        && let Some(process) = Process::of(entered.thread)
    {
        restart::again(&mut new_call(entered.thread, process, context));
    }
}

/// Tells of a call, if that is asked for.
fn tell(number: usize, args: &[usize; 6], outcome: &Outcome) {
    let Outcome::Done(result) = outcome else { return };
    if !options().trace {
        return;
    }
    let name = Sysno::new(number).map_or("?", |number| number.name());
    let [a, b, c, d, ..] = args;
    let thread = Thread::current();
    let (pid, tid) = (thread.pid.get(), thread.tid.get());
    raw::complain(&format!("[{pid}.{tid}] {name}({a:#x}, {b:#x}, {c:#x}, {d:#x}) = {result}\n"));
}
