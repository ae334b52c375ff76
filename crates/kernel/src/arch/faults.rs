//! What the kernel does when it is entered: page faults, other exceptions, interrupts and system
//! calls.

use core::sync::atomic::Ordering::Relaxed;

use faultless::prelude::{Access, InFault, PAGE_SIZE};
use faultless::usercopy::extable::{Resume, Table};
use faultless_posix::{Rights, Signal};
use linux_raw_sys::general as linux;
use spin::Once;
use x86_64::instructions::interrupts as cpu_interrupts;
use x86_64::registers::control::Cr2;

use crate::arch::trap::{ALIGNMENT_CHECK, SYSTEM_CALL, TrapFrame};
use crate::arch::{interrupts, percpu};
use crate::calls;
use crate::memory::{USER_END, stacks};
use crate::process;
use crate::sched;
use crate::signals::Cause;
use crate::task::Running;

const PAGE_FAULT: u64 = 14;
/// Exceptions have the numbers below it.
const EXCEPTIONS: u64 = 32;

/// Bits of the error code of a page fault.
const WRITE: u64 = 1 << 1;
const RESERVED_BIT: u64 = 1 << 3;
const FETCH: u64 = 1 << 4;

/// The exception table, sorted at boot.
static TABLE: Once<Table<'static>> = Once::new();

/// Sorts the exception table.
///
/// # Safety
/// Nothing else runs yet.
///
/// # Panics
/// The image is too large for its table.
pub(crate) unsafe fn init() {
    // SAFETY: the caller's promise; the section is in the data of the image.
    let sorted = unsafe { faultless::usercopy::sort_extable() };
    assert!(sorted.is_ok(), "the image is too large for its exception table");
    TABLE.call_once(Table::of_image);
}

/// Every entry into the kernel, with interrupts off. They are off again when it returns to the
/// entry code, which goes back to `frame`.
pub(super) extern "C" fn trap(frame: &mut TrapFrame) {
    match frame.vector {
        SYSTEM_CALL => {
            cpu_interrupts::enable();
            calls::system_call(frame);
        }
        PAGE_FAULT => page_fault(frame),
        exception if exception < EXCEPTIONS => other_exception(frame),
        _ => interrupts::serve(frame),
    }
    cpu_interrupts::disable();
    if frame.is_user() {
        if sched::with_current(|thread| thread.signals.has_work()) {
            process::prepare_return(frame);
        }
    } else if frame.had_interrupts() && percpu::this().preempt.load(Relaxed) {
        sched::yield_now();
    }
}

fn page_fault(frame: &mut TrapFrame) {
    let address = Cr2::read_raw() as usize;
    if frame.is_user() {
        cpu_interrupts::enable();
        if let Err(signal) = resolve(frame, address) {
            process::fault_signal(signal, address);
        }
        return;
    }
    if stacks::is_below_stack(address) {
        // Trap entry has no stack to move to either: this is its fault, on the trap stack.
        let thread = sched::with_current(sched::Thread::number);
        panic!("the kernel stack of thread {thread} overflows, at {address:#x}");
    }
    // Only a user copy may access user memory, and it opens the window that SMAP closes. With the
    // window closed the access would fault again and again, whatever is mapped.
    let is_open = frame.rflags & ALIGNMENT_CHECK != 0;
    if address >= USER_END || !is_open || frame.error & RESERVED_BIT != 0 {
        bug(frame, address);
    }
    let Some(table) = TABLE.get() else { bug(frame, address) };
    let resolve = || {
        // An instruction of the kind `Faulting`: it needs a `MayFault`, so that no lock is held.
        cpu_interrupts::enable();
        let resolved = resolve(frame, address).is_ok();
        cpu_interrupts::disable();
        resolved
    };
    match table.resume(frame.rip as usize, resolve) {
        Some(Resume::Retry) => {}
        Some(Resume::At(fixup)) => frame.rip = fixup as u64,
        None => bug(frame, address),
    }
}

/// Has the page brought. May sleep; interrupts are on.
fn resolve(frame: &TrapFrame, address: usize) -> Result<(), Signal> {
    let memory = process::memory().map_err(|_| Signal::Segv)?;
    if address >= USER_END {
        return Err(Signal::Segv);
    }
    let space = memory.space();
    if frame.error & FETCH != 0 {
        let area = space.area_at(address).ok_or(Signal::Segv)?;
        if !area.rights.contains(Rights::EXECUTE) {
            return Err(Signal::Segv);
        }
    }
    let access = if frame.error & WRITE != 0 { Access::Write } else { Access::Read };
    // SAFETY: user mode holds no lock, nor does a copy that may fault. The handler itself makes no
    // user access.
    let mut token = unsafe { InFault::enter() };
    let mut faulted = space.fault(&mut token, address, access, &Running);
    if faulted == Err(Signal::Segv) && process::grow_down(&memory, address) {
        faulted = space.fault(&mut token, address, access, &Running);
    }
    faulted?;
    // Without a table for the page the access would fault for ever.
    let is_short = space.with_table(|table| table.was_short(Some(address / PAGE_SIZE)));
    if is_short { Err(Signal::Kill) } else { Ok(()) }
}

/// An exception but a page fault. The kernel makes none.
fn other_exception(frame: &mut TrapFrame) {
    if !frame.is_user() {
        bug(frame, 0);
    }
    cpu_interrupts::enable();
    let at = frame.rip as usize;
    let (signal, code, address) = match frame.vector {
        0 => (linux::SIGFPE, linux::FPE_INTDIV, at),
        16 | 19 => (linux::SIGFPE, linux::FPE_FLTINV, at),
        1 => (linux::SIGTRAP, linux::TRAP_TRACE, at),
        3 => (linux::SIGTRAP, linux::SI_KERNEL, 0),
        6 => (linux::SIGILL, linux::ILL_ILLOPN, at),
        17 => (linux::SIGBUS, linux::BUS_ADRALN, 0),
        // General protection, of which the CPU tells no address.
        _ => (linux::SIGSEGV, linux::SI_KERNEL, 0),
    };
    process::force(signal, Cause::Fault { address, code });
}

/// A fault that the kernel must not make.
fn bug(frame: &TrapFrame, address: usize) -> ! {
    panic!(
        "exception {} at {:#x}, error {:#x}, address {address:#x}, stack {:#x}, flags {:#x}",
        frame.vector, frame.rip, frame.error, frame.rsp, frame.rflags
    )
}

/// A thread begins, with interrupts off: in the kernel, or in user mode with `frame`.
pub(super) extern "C" fn begin_thread(frame: &mut TrapFrame) {
    sched::arrived();
    if let Some(main) = sched::take_main() {
        cpu_interrupts::enable();
        main();
        sched::end_thread();
    }
    process::begin_thread();
    process::prepare_return(frame);
}
