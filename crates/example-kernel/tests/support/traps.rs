//! SIGSEGV as the page-fault trap, and a user program that loads and stores.

use std::ffi::{c_int, c_void};
use std::ptr::{null_mut, with_exposed_provenance, with_exposed_provenance_mut};
use std::sync::OnceLock;

use faultless::prelude::*;
use faultless::usercopy::arch::{Faulting, NoWindow, native};
use faultless::usercopy::extable::Kind;
use faultless_example_kernel::arch::TrapFrame;
use faultless_example_kernel::{Current, Outcome, Signal, on_page_fault};

use super::{cpu, nothing_held};

/// Bits of the error code and of RFLAGS.
const WRITE: usize = 1 << 1;
const USER: usize = 1 << 2;
const AC: usize = 1 << 18;

pub(super) fn install() {
    static INSTALLED: OnceLock<()> = OnceLock::new();
    INSTALLED.get_or_init(|| {
        // SAFETY: all zeros is a valid `sigaction`.
        let mut action: libc::sigaction = unsafe { std::mem::zeroed() };
        action.sa_sigaction = on_segv as *const () as usize;
        action.sa_flags = libc::SA_SIGINFO | libc::SA_NODEFER;
        // SAFETY: a handler of the right type.
        assert_eq!(unsafe { libc::sigaction(libc::SIGSEGV, &raw const action, null_mut()) }, 0);
    });
}

/// The entry code: saves what it has to, calls the kernel, and restores.
extern "C" fn on_segv(_: c_int, info: *mut libc::siginfo_t, context: *mut c_void) {
    // SAFETY: the arguments of a `SA_SIGINFO` handler.
    let info = unsafe { &*info };
    // SAFETY: SIGSEGV has an address.
    let address = unsafe { info.si_addr() }.addr();
    // SAFETY: as above.
    let context = unsafe { &mut *context.cast::<libc::ucontext_t>() };
    let registers = &mut context.uc_mcontext.gregs;
    let cpu = cpu();
    let user_mode = cpu.user_mode.replace(false);
    let window = cpu.window_open.get();
    let ip = registers[libc::REG_RIP as usize] as usize;
    let error = registers[libc::REG_ERR as usize] as usize & WRITE;
    let rflags = if window { AC } else { 0 };
    let mut frame = TrapFrame { rip: ip, rflags, ..TrapFrame::default() };
    cpu.faults.set(cpu.faults.get() + 1);
    assert_eq!(cpu.interrupts_off.get(), 0, "a fault with a short lock");
    // A fault makes the CPU forget the entry.
    let page = (address / super::PAGE_SIZE).wrapping_sub(cpu.first_page());
    cpu.reload(page);
    let space = cpu.running.borrow().clone();
    let outcome = space.map_or(Outcome::Bug, |space| {
        let current = Current { space: &*space, task: &NoTask, table: &cpu.extable };
        let error = error | if user_mode { USER } else { 0 };
        on_page_fault(&current, &mut frame, address, error)
    });
    match outcome {
        Outcome::Return => {}
        Outcome::Signal(signal) => {
            // The program's access is a copy, which ends here.
            cpu.signal.set(Some(signal));
            frame.rip = cpu.extable.find(ip).map_or(ip, |entry| entry.fixup());
        }
        // The access is made again, and kills the process.
        // SAFETY: the default action is always one.
        Outcome::Bug => unsafe {
            libc::signal(libc::SIGSEGV, libc::SIG_DFL);
        },
    }
    // The access that is made again walks the table.
    cpu.reload(page);
    registers[libc::REG_RIP as usize] = frame.rip as i64;
    cpu.window_open.set(frame.rflags & AC != 0);
    cpu.user_mode.set(user_mode);
}

/// Page faults of this CPU so far.
pub(crate) fn faults() -> usize {
    cpu().faults.get()
}

/// The user program loads bytes.
pub(crate) fn load(address: usize, bytes: &mut [u8]) -> Result<(), Signal> {
    user_program(|| {
        let user = with_exposed_provenance(address);
        // SAFETY: the kernel side is a slice; the user side is a user address, with its faults.
        unsafe { native::copy_from::<NoWindow, Faulting>(bytes.as_mut_ptr(), user, bytes.len()) }
    })
}

/// The user program stores bytes.
pub(crate) fn store(address: usize, bytes: &[u8]) -> Result<(), Signal> {
    user_program(|| {
        let user = with_exposed_provenance_mut(address);
        // SAFETY: as above.
        unsafe { native::copy_to::<NoWindow, Faulting>(user, bytes.as_ptr(), bytes.len()) }
    })
}

fn user_program(access: impl FnOnce() -> usize) -> Result<(), Signal> {
    nothing_held("a user program");
    cpu().waiting_since.set(None);
    cpu().user_mode.set(true);
    let left = access();
    cpu().user_mode.set(false);
    match cpu().signal.take() {
        Some(signal) => Err(signal),
        None => {
            assert_eq!(left, 0, "an access that ended without a signal");
            Ok(())
        }
    }
}

/// A trap that has not happened, at an instruction; RFLAGS and the error code are given.
pub(crate) fn trap(
    space: &super::Space,
    instruction: usize,
    address: usize,
    rflags: usize,
    error: usize,
) -> Outcome {
    let mut frame = TrapFrame { rip: instruction, rflags, ..TrapFrame::default() };
    let current = Current { space, task: &NoTask, table: &cpu().extable };
    on_page_fault(&current, &mut frame, address, error)
}

/// An instruction that may fault, and whose faults are resolved.
pub(crate) fn registered() -> usize {
    let entries = cpu().extable.entries().iter();
    let mut faulting = entries.filter(|entry| entry.kind() == Kind::Faulting);
    faulting.next().expect("an entry").insn()
}
